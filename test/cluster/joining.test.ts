/** A node that begins is told by another one what the group knows, whatever the weather, and follows the engine then. */
import { describe, expect, test } from "vitest";
import { encodeClient } from "../../src/cluster/book_record.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import { Link, type LinkOutput } from "../../src/cluster/link.ts";
import { PIECE_MAX, packMessages } from "../../src/cluster/link_message.ts";
import { PAGE } from "../../src/cluster/snapshot.ts";
import { type Client, endpoint, FAIR, type Node, World } from "./world.ts";

/** More than one page of each. */
const MANY = 2 * PAGE + 30;

const follows = (node: Node) => node.outputs.flatMap((one) => (one.kind === "follow" ? [one.informed] : []));
const keyOf = (n: number) => n.toString(16).padStart(64, "0");

function sessions(world: World, count: number): Client[] {
  const clients = Array.from({ length: count }, () => world.session(1));
  for (const client of clients) client.send();
  return clients;
}

/** Clients of the book, of which every tenth was removed again. */
function book(world: World, count: number): void {
  const { group } = world.node(1);
  for (let n = 0; n < count; n++) group.putClient(world.now(), keyOf(n), Uint8Array.of(n, n >> 8));
  for (let n = 0; n < count; n += 10) group.putClient(world.now(), keyOf(n), undefined);
  world.node(1).settle();
}

/** Everything that node 1 has, on another one, too. */
function knowsAll(world: World, node: Node, clients: readonly Client[]): void {
  const [theirs, own] = [world.node(1).group, node.group];
  expect([...own.book.clients()].map(({ clientKey, content }) => [clientKey, content]).sort()).toEqual(
    [...theirs.book.clients()].map(({ clientKey, content }) => [clientKey, content]).sort(),
  );
  expect(own.book.client(keyOf(10))).toMatchObject({ content: undefined });
  const keysOf = ({ book }: Node["group"]) => book.ticketKeys(world.now().wallMs).sort((a, b) => a.id - b.id);
  expect(keysOf(own)).toEqual(keysOf(theirs));
  expect(keysOf(own)).not.toEqual([]);
  for (const { record } of clients) {
    expect(own.known(record.index)).toEqual(theirs.known(record.index));
    expect(own.holding(record.index)?.node).toBe(1);
  }
  expect(node.rows.size).toBe(clients.length);
}

/** A group whose engine is gone, and with it all that it knew. */
function withoutEngine(seed: number, count: number): { world: World; clients: Client[] } {
  const world = new World(seed, [1, 2, 3], { sessionsMax: 2000 });
  world.kill(3);
  const clients = sessions(world, count);
  book(world, count);
  world.run(4000);
  world.bus.stop();
  world.bus.values.clear();
  world.run(500);
  return { world, clients };
}

describe("a node that begins", () => {
  test("is told clients, removed ones, ticket keys and sessions without an engine, and serves at once", () => {
    const { world, clients } = withoutEngine(1, MANY);
    const node = world.start(3, { sessionsMax: 2000 });
    world.run(300);
    expect(follows(node)).toEqual([true]);
    knowsAll(world, node, clients);
    // A page is one of a book of 286 places or of a table of 286 rows.
    expect(node.outcomes).toMatchObject({ fetched: 6, answer_unexpected: 0, link_malformed: 0 });
    const [client] = clients;
    client.at = 3;
    const seq = client.send();
    world.run(5);
    expect(world.acceptedAt(client, seq)).toEqual([3]);
    expect(node.outcomes).toMatchObject({ taken: 1, asked: 0 });
  });

  test("in bad weather, too: what is lost is asked for again", () => {
    for (let seed = 10; seed < 20; seed++) {
      const { world, clients } = withoutEngine(seed, MANY);
      world.weather = { linkLoss: 0.1, shoutLoss: 0.2, doubled: 0.1, minMs: 0.1, maxMs: 30 };
      const node = world.start(3, { sessionsMax: 2000 });
      world.run(15_000);
      world.weather = FAIR;
      world.run(3000);
      expect(follows(node)).toEqual([true]);
      knowsAll(world, node, clients);
    }
  });

  test("hears of what comes and goes while it is told", () => {
    const { world, clients } = withoutEngine(30, MANY);
    world.weather = { ...FAIR, minMs: 20, maxMs: 20 };
    const node = world.start(3, { sessionsMax: 2000 });
    // Between the first pages and the last.
    world.run(160);
    expect(follows(node)).toEqual([]);
    expect(node.rows.size).toBeLessThan(MANY);
    const late = sessions(world, 3);
    for (const gone of clients.slice(0, 2)) {
      const { index, created } = gone.record;
      world.node(1).rows.delete(index);
      world.node(1).group.ended(world.now(), index, created, "closed");
    }
    world.node(1).settle();
    world.run(3000);
    expect(follows(node)).toEqual([true]);
    knowsAll(world, node, [...clients.slice(2), ...late]);
  });

  test("asks another one when the first dies", () => {
    const { world, clients } = withoutEngine(40, MANY);
    world.weather = { ...FAIR, minMs: 20, maxMs: 20 };
    const node = world.start(3, { sessionsMax: 2000 });
    world.run(160);
    const asked = node.group.isJoining;
    // Node 1 knows as much as node 2, and is the first.
    world.kill(1);
    world.run(4000);
    expect([asked, follows(node)]).toEqual([true, [true]]);
    expect(node.rows.size).toBe(clients.length);
    // That it goes away later makes no difference any more.
    world.kill(2);
    world.run(3000);
    expect(follows(node)).toEqual([true]);
  });

  test("that is alone follows the engine after 600 ms", () => {
    const world = new World(50, [1, 2]);
    sessions(world, 3);
    world.run(500);
    for (const node of [1, 2]) world.kill(node);
    const node = world.start(2);
    world.run(550);
    expect([follows(node), node.rows.size]).toEqual([[], 0]);
    world.run(100);
    expect([follows(node), node.rows.size]).toEqual([[false], 3]);
  });

  test("gives nothing to the bus before, and all of it then", () => {
    const world = new World(60, [1, 2]);
    for (const node of [1, 2]) world.kill(node);
    world.bus.values.clear();
    const node = world.start(1);
    world.run(100);
    node.group.putClient(world.now(), keyOf(7), Uint8Array.of(7));
    node.settle();
    expect(world.bus.values.size).toBe(0);
    world.run(1000);
    expect([...world.bus.values.keys()]).toContain(`1 c.${keyOf(7)}`);
  });
});

/** A node with the fleet key that says what it likes. */
function impostor(world: World, id: number, victim: Node): (...payloads: Uint8Array[]) => void {
  world.kill(id);
  world.run(1500);
  const link = new Link(world.now(), {
    ...{ node: id, bootId: new Uint8Array(8).fill(id), entropy: world.entropy },
    ...{ fleetKeys: new FleetKeys(new Uint8Array(32).fill(9)), groupPublicKey: new Uint8Array(32).fill(3) },
    peers: [{ node: victim.id, endpoint: endpoint(victim.id) }],
  });
  const exchange = (out: LinkOutput[]) => {
    for (let more = out; more.length > 0; ) {
      const from = victim.outputs.length;
      for (const one of more)
        if (one.kind === "datagram") victim.group.linkDatagram(world.now(), endpoint(id), one.bytes);
      victim.settle();
      more = [];
      for (const one of victim.outputs.slice(from))
        if (one.kind === "link") link.receive(world.now(), endpoint(victim.id), one.bytes, more);
    }
  };
  const out: LinkOutput[] = [];
  link.tick(world.now(), out);
  exchange(out);
  expect(link.isAlive(victim.id)).toBe(true);
  return (...payloads) => {
    for (const payload of payloads) {
      const sealed: LinkOutput[] = [];
      expect(link.send(world.now(), victim.id, payload, sealed)).toBe(true);
      exchange(sealed);
    }
  };
}

test("a page that nobody asked for, and what has no place on a page, are not believed", () => {
  const world = new World(70, [1, 2]);
  const node = world.node(2);
  const say = impostor(world, 1, node);
  const page = (plain: Uint8Array) =>
    packMessages([{ kind: "piece", part: "book", page: 0, number: 0, count: 1, last: true, plain }])[0];
  const value = encodeClient({
    version: { stamp: 5, node: 1 },
    claimed: { stamp: 5, node: 1 },
    content: Uint8Array.of(1),
  });
  const [client] = packMessages([{ kind: "client", clientKey: keyOf(7), value }], PIECE_MAX);
  // An ask is a question, and 99 nothing.
  say(page(client), page(Uint8Array.of(4, 0, 0, 0x80, 0)), page(Uint8Array.of(99)));
  expect(node.outcomes).toMatchObject({ link_malformed: 2 });
  expect(node.group.book.client(keyOf(7))).toBeUndefined();
  // A record that can't be read is refused alone.
  const record = { kind: "record", encoded: new Uint8Array(9), owner: 1, seq: -1, endpoint: undefined } as const;
  say(packMessages([record, { kind: "ask", index: 2 ** 25 }])[0]);
  expect(node.outcomes).toMatchObject({ record_malformed: 1, link_malformed: 2 });
  expect(node.rows.size).toBe(0);
});

/**
 * The books of a group of real `Group`s on virtual time, without an engine: nodes add, remove, are cut off, are killed and
 * come back with their disks, in any order. In the end all have the same clients, no address is there twice, and who was
 * removed last is gone.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Endpoint } from "../../src/cluster/endpoint.ts";
import { Group } from "../../src/cluster/group.ts";
import type { GroupOutput } from "../../src/cluster/group_types.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { operator, rosterText, signing } from "../attack/thief.ts";
import { Prng } from "../support/prng.ts";

const WALL_MS = 1_800_000_000_000;
const STEP_MS = 20;
const HOSTS = 60;
const ids = [1, 2, 3];
const DAY_MS = 86_400_000;

const endpointOf = (node: number): Endpoint => ({ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: node, port: 4445 });
const keyOf = (client: number) => client.toString(16).padStart(2, "0").padEnd(64, "5");
/** Content: who it is, then numbers of hosts. */
const claimsOf = (content: Uint8Array) => [...content.subarray(1)].map((host) => `10.9.0.${host}/32`);

class Node {
  readonly group: Group;
  readonly world: World;
  readonly id: number;

  constructor(world: World, id: number) {
    this.world = world;
    this.id = id;
    const peers = ids.filter((peer) => peer !== id).map((node) => ({ node, endpoint: endpointOf(node) }));
    const key = (fill: number) => new Uint8Array(32).fill(fill);
    this.group = new Group(
      world.now(),
      {
        ...{ node: id, bootId: world.entropy.bytes(8), fleetKey: key(9), groupPublicKey: key(3), peers },
        ...{ holdMs: 10, sessionLifeMs: 600_000, sessionsMax: 16, tellsOverLink: true },
        identity: world.hasRoster
          ? { group: "example", operator: operator.publicKey, signing: signing(id), roster: rosterText(1) }
          : undefined,
      },
      { entropy: world.entropy, open: () => undefined, superseded: () => false, fenced: () => false, claimsOf },
    );
    for (const [clientKey, value] of this.disk) this.group.restoreClient(world.now(), clientKey, value);
    this.settle();
  }

  get disk(): Map<string, Uint8Array> {
    return this.world.disks[this.id];
  }

  /** Of this node's part of the pool. */
  freeHost(): number {
    for (let host = this.id; host < HOSTS; host += ids.length)
      if (this.group.book.keeperOf(`10.9.0.${host}/32`) === undefined) return host;
    return 0;
  }

  put(client: number, hosts: readonly number[] | undefined): void {
    const content = hosts && Uint8Array.of(client, ...hosts);
    this.group.putClient(this.world.now(), keyOf(client), content, (value) => this.disk.set(keyOf(client), value));
    this.settle();
  }

  settle(): void {
    for (let more = true; more; ) {
      const out: GroupOutput[] = [];
      this.group.flush(this.world.now(), out);
      for (const output of out) this.#carryOut(output);
      more = out.length > 0;
    }
  }

  #carryOut(output: GroupOutput): void {
    const { world, group } = this;
    if (output.kind === "link") world.send(this.id, output.to.w3, output.bytes.slice());
    else if (output.kind === "follow") group.busState(world.now(), true);
    else if (output.kind === "keep") {
      if (output.value === undefined) this.disk.delete(output.clientKey);
      else this.disk.set(output.clientKey, output.value);
    } else if (output.kind === "settle") {
      const lost = group.book.lostOf(output.clientKey);
      const { content } = group.book.client(output.clientKey)!;
      const kept = [...content!.subarray(1)].filter((host) => !lost.includes(`10.9.0.${host}/32`));
      group.rewriteClient(world.now(), output.clientKey, Uint8Array.of(content![0], ...kept, this.freeHost()));
    }
  }
}

class World {
  ms = 0;
  readonly entropy;
  readonly nodes = new Map<number, Node>();
  readonly disks: Record<number, Map<string, Uint8Array>> = { 1: new Map(), 2: new Map(), 3: new Map() };
  readonly cut = new Set<string>();
  loss = 0;
  readonly #random: Prng;
  #flights: { readonly from: number; readonly to: number; readonly bytes: Uint8Array }[] = [];

  readonly hasRoster: boolean;

  constructor(seed: number, hasRoster = false) {
    this.hasRoster = hasRoster;
    this.#random = new Prng(seed);
    const bytes = (n: number) => Uint8Array.from({ length: n }, () => this.#random.nextU32() & 255);
    this.entropy = { bytes, keyPair: () => keyPairFromPrivate(bytes(32)) };
    for (const id of ids) this.start(id);
    this.run(3000);
  }

  now() {
    return { ms: this.ms, wallMs: WALL_MS + this.ms };
  }

  start(id: number): void {
    this.nodes.set(id, new Node(this, id));
  }

  send(from: number, to: number, bytes: Uint8Array): void {
    if (this.cut.has([from, to].sort().join()) || this.#random.nextU32() % 100 < this.loss) return;
    this.#flights.push({ from, to, bytes });
  }

  run(forMs: number): void {
    for (const end = this.ms + forMs; this.ms < end; ) {
      this.ms += STEP_MS;
      const flights = this.#flights;
      this.#flights = [];
      for (const { from, to, bytes } of flights)
        this.nodes.get(to)?.group.linkDatagram(this.now(), endpointOf(from), bytes);
      for (const node of this.nodes.values()) {
        node.group.tick(this.now());
        node.settle();
      }
    }
  }

  /** Everybody is there and hears the others: all have the same. */
  agree(): void {
    this.cut.clear();
    this.loss = 0;
    for (const id of ids) if (!this.nodes.has(id)) this.start(id);
    this.run(25_000);
    const books = ids.map((id) => {
      const { book } = this.nodes.get(id)!.group;
      const entries = [...this.disks[id].keys()].sort().map((clientKey) => [clientKey, book.encoded(clientKey)]);
      const keys = book.ticketKeys(this.now().wallMs).map((key) => key.id);
      expect(book.conflicts()).toEqual([]);
      const { outcomes } = this.nodes.get(id)!.group.status();
      expect(outcomes).toMatchObject({
        book_forged: 0,
        book_unsigned: 0,
        ticket_key_forged: 0,
        ticket_key_unsigned: 0,
      });
      expect(entries).toEqual([...this.disks[id]].sort(([a], [b]) => (a < b ? -1 : 1)));
      return { entries, sums: [...book.sums.sums], keys: keys.sort() };
    });
    expect(books[1]).toEqual(books[0]);
    expect(books[2]).toEqual(books[0]);
    const hosts = [...this.nodes.get(1)!.group.book.clients()].flatMap(({ content }) => [...content!.subarray(1)]);
    expect(new Set(hosts).size).toBe(hosts.length);
  }

  present(): number[] {
    return [...this.nodes.get(1)!.group.book.clients()].map(({ content }) => content![0]).sort((a, b) => a - b);
  }
}

const step = fc.record({
  what: fc.constantFrom("add", "add", "explicit", "remove", "remove", "cut", "cut", "heal", "kill", "start", "rest"),
  ...{ at: fc.constantFrom(...ids), other: fc.constantFrom(...ids), client: fc.integer({ min: 1, max: 6 }) },
  ...{ host: fc.integer({ min: HOSTS, max: HOSTS + 2 }), ms: fc.integer({ min: 1, max: 4000 }) },
});

test("any order, any cut: all end with the same book, no address twice, and removed ones stay removed", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.boolean(),
      fc.nat(20),
      fc.array(step, { maxLength: 25 }),
      (seed, hasRoster, loss, steps) => {
        const world = new World(seed, hasRoster);
        world.loss = loss;
        /** The newest word on each client, by its stamp: a removal of somebody unheard is meant for the minute to come. */
        const newest = new Map<number, { stamp: number; isThere: boolean }>();
        for (const { what, at, other, client, host, ms } of steps) {
          const node = world.nodes.get(at);
          const key = [at, other].sort().join();
          if (what === "cut" && at !== other) world.cut.add(key);
          else if (what === "heal") world.cut.delete(key);
          else if (what === "kill") world.nodes.delete(at);
          else if (what === "start" && node === undefined) world.start(at);
          else if (node !== undefined && ["add", "explicit", "remove"].includes(what)) {
            const before = node.group.book.client(keyOf(client))?.version.stamp;
            node.put(client, what === "remove" ? undefined : [what === "add" ? node.freeHost() : host]);
            const { version } = node.group.book.client(keyOf(client)) ?? {};
            if (version !== undefined && version.stamp !== before && version.stamp > (newest.get(client)?.stamp ?? 0))
              newest.set(client, { stamp: version.stamp, isThere: what !== "remove" });
          }
          world.run(ms);
        }
        world.agree();
        const expected = [...newest].filter(([, { isThere }]) => isThere).map(([client]) => client);
        expect(world.present()).toEqual(expected.sort((a, b) => a - b));
      },
    ),
    { numRuns: 25 },
  );
});

describe("one by one", () => {
  test("removed while a node was away: it stays removed when that one returns, alone at first", () => {
    const world = new World(1);
    world.nodes.get(1)!.put(1, [10]);
    world.nodes.get(1)!.put(2, [11]);
    world.run(500);
    world.nodes.delete(2);
    world.nodes.get(1)!.put(1, undefined);
    world.run(2000);
    for (const pair of ["1,2", "2,3"]) world.cut.add(pair);
    world.start(2);
    world.run(5000);
    expect([...world.nodes.get(2)!.group.book.clients()]).toHaveLength(2);
    world.nodes.get(2)!.put(2, undefined);
    world.agree();
    expect(world.present()).toEqual([]);
  });

  test("many were added on both sides of a cut: each side learns the rest, and nothing is said when all is equal", () => {
    const world = new World(2);
    for (const pair of ["1,2", "2,3"]) world.cut.add(pair);
    world.run(3000);
    for (let client = 1; client < 20; client++) world.nodes.get(1)!.put(client, []);
    for (let client = 100; client < 120; client++) world.nodes.get(2)!.put(client, []);
    world.agree();
    expect(world.present()).toHaveLength(39);
    const told = () => ids.map((id) => world.nodes.get(id)!.group.status().outcomes.book_compared);
    const before = told();
    world.run(10_000);
    expect(told()).toEqual(before);
    const alarms = world.nodes.get(1)!.group.status().alarms;
    expect(alarms).toMatchObject([
      { code: "cut_changes", count: 1, text: expect.stringContaining("19 here, 20 there") },
    ]);
    world.run(600_000);
    expect(world.nodes.get(1)!.group.status().alarms).toEqual([]);
  });

  test("one address named at both sides of a cut: the older client keeps it, and the other's writer gives it another", () => {
    const world = new World(3);
    world.cut.add("1,2").add("2,3");
    world.run(3000);
    world.nodes.get(1)!.put(1, [50]);
    world.run(100);
    world.nodes.get(2)!.put(2, [50]);
    world.agree();
    const { book } = world.nodes.get(3)!.group;
    expect([...book.client(keyOf(1))!.content!]).toEqual([1, 50]);
    expect([...book.client(keyOf(2))!.content!]).toEqual([2, 2]);
    expect(book.client(keyOf(2))!.version.node).toBe(2);
  });

  test("the writer of the loser is gone: the living node with the lowest number does it", () => {
    const world = new World(4);
    world.cut.add("1,2").add("2,3").add("1,3");
    world.run(3000);
    world.nodes.get(3)!.put(1, [50]);
    world.run(100);
    world.nodes.get(2)!.put(2, [50]);
    world.cut.delete("2,3");
    // Node 3 has heard of both, and node 2 is gone before it has written the loser anew; node 1 comes back.
    world.disks[3].set(keyOf(2), world.nodes.get(2)!.group.book.encoded(keyOf(2))!);
    world.nodes.delete(2);
    world.nodes.delete(3);
    world.cut.clear();
    world.start(3);
    world.run(15_000);
    for (const id of [1, 3]) {
      const { book } = world.nodes.get(id)!.group;
      expect([book.conflicts(), book.client(keyOf(2))!.version.node]).toEqual([[], 1]);
    }
    world.agree();
  });

  test("a client that is removed while another node writes it anew stays removed", () => {
    const world = new World(5);
    world.cut.add("1,2").add("2,3").add("1,3");
    world.run(3000);
    world.nodes.get(1)!.put(1, [50]);
    world.run(100);
    world.nodes.get(2)!.put(2, [50]);
    world.cut.delete("2,3");
    world.run(4000);
    // Node 3 removes it, cut off again; then node 2 hears of the conflict.
    world.cut.add("2,3");
    world.run(2000);
    world.nodes.get(3)!.put(2, undefined);
    world.run(100);
    world.cut.delete("1,2");
    world.run(5000);
    expect(world.nodes.get(2)!.group.book.client(keyOf(2))!.content).toEqual(Uint8Array.of(2, 2));
    world.agree();
    expect(world.present()).toEqual([1]);
  });

  test("a node that starts later, or was cut off, seals with keys that all others have", () => {
    const world = new World(6);
    world.nodes.delete(3);
    world.run(2000);
    for (const pair of ["1,3", "2,3"]) world.cut.add(pair);
    world.start(3);
    world.run(10_000);
    const sealing = (id: number) => world.nodes.get(id)!.group.book.sealingKey(world.now().wallMs)!.id;
    expect(sealing(3)).not.toBe(sealing(1));
    world.cut.clear();
    world.run(3000);
    expect([sealing(2), sealing(3)]).toEqual([sealing(1), sealing(1)]);
    // A day later a new one is made, and everybody has it before it seals.
    world.ms += DAY_MS;
    const before = sealing(1);
    world.run(5000);
    const known = ids.map((id) => world.nodes.get(id)!.group.book.ticketKeys(world.now().wallMs).length);
    expect([sealing(1), sealing(2), sealing(3)]).toEqual([before, before, before]);
    world.run(70_000);
    expect(sealing(1)).not.toBe(before);
    expect([sealing(2), sealing(3)]).toEqual([sealing(1), sealing(1)]);
    expect(new Set(known).size).toBeGreaterThan(0);
  });

  test("what a node says of the future is named, counted, and forgotten when it does not happen again", () => {
    const world = new World(7);
    const [one, two] = [world.nodes.get(1)!.group, world.nodes.get(2)!];
    const now = { ms: world.ms, wallMs: world.now().wallMs + 400_000 };
    two.group.putClient(now, keyOf(1), Uint8Array.of(1, 9));
    two.settle();
    world.run(1000);
    const status = one.status();
    expect([status.outcomes.book_future, status.book.clients]).toEqual([1, 0]);
    expect(status.alarms).toMatchObject([{ code: "book_refused", text: expect.stringContaining("node 2") }]);
  });
});

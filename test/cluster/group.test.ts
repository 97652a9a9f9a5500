/** Several nodes of a group on virtual time: who owns a session, what becomes of packets that arrive elsewhere. */
import { describe, expect, test } from "vitest";
import { PONG } from "../../src/channel/kinds.ts";
import { encodeUnnumbered, TOKEN_LEN } from "../../src/channel/unnumbered.ts";
import { Envelope } from "../../src/cluster/envelope.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import type { GroupOutput } from "../../src/cluster/group_types.ts";
import { BEAT_MS } from "../../src/cluster/lifeline_types.ts";
import { PATIENCE_MS } from "../../src/cluster/lifeline_watch.ts";
import { decodeShouts } from "../../src/cluster/location.ts";
import { PROOF_LEN } from "../../src/cluster/ownership.ts";
import { sealAead } from "../../src/crypto/aead.ts";
import { ALG_AES_256_GCM } from "../../src/dataplane/layout.ts";
import { TYPE_CONTROL } from "../../src/wire/satp.ts";
import { type Client, endpoint, FLEET_KEY, forged, type Node, World } from "./world.ts";

/** A client that has sent `count` packets at node 1, one a millisecond, and everybody has heard of it. */
function settled(world: World, count = 100): Client {
  const client = world.session(1);
  for (let n = 0; n < count; n++) {
    client.send();
    world.run(1);
  }
  world.run(600);
  return client;
}

const notices = (node: Node): string[] =>
  node.outputs.flatMap((output) => (output.kind === "notice" || output.kind === "refuse" ? [output.code] : []));

const last = <K extends GroupOutput["kind"]>(node: Node, kind: K) =>
  node.outputs.findLast((output): output is Extract<GroupOutput, { kind: K }> => output.kind === kind);

describe("a living owner", () => {
  test("hands over the exact window: nothing lost, nothing twice", () => {
    const world = new World(1, [1, 2]);
    const client = settled(world);
    client.at = 2;
    const numbers = [client.send(), client.send()];
    world.run(1);
    for (const seq of numbers) expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.owners(client)).toEqual([2]);
    expect(world.order.slice(-2)).toEqual(numbers);
    for (let seq = 0; seq < 100; seq++) world.receive(2, client.packet(seq));
    world.run(50);
    for (let seq = 0; seq < 100; seq++) expect(world.acceptedAt(client, seq)).toEqual([1]);
    expect(world.node(2).outcomes).toMatchObject({ held: 2, taken: 1, injected: 2, forecast: 0, challenged: 0 });
    expect(world.node(1).outcomes).toMatchObject({ given: 1 });
    expect(world.node(1).group.holding(client.record.index)?.node).toBe(2);
  });

  test("every node says which one has a client, since when, and how often that changed", () => {
    const world = new World(3, [1, 2, 3]);
    const client = settled(world);
    const { index } = client.record;
    const seconds = (ms: number) => Math.floor(ms / 1000) * 1000;
    for (const id of world.ids) {
      expect(world.node(id).group.holding(index)).toMatchObject({ node: 1, moves: 0 });
      expect(world.node(id).group.holding(index)!.sinceMs).toBeLessThan(world.now().wallMs);
    }
    let moves = 0;
    for (const at of [2, 3, 1]) {
      world.run(5000);
      client.at = at;
      const sinceMs = seconds(world.now().wallMs + 500);
      world.run(500);
      client.send();
      world.run(5);
      moves++;
      // Also nodes that had no part in it; and what is told again, counts once.
      for (let n = 0; n < 3; n++) {
        client.send();
        world.run(300);
      }
      for (const id of world.ids) expect(world.node(id).group.holding(index)).toEqual({ node: at, sinceMs, moves });
    }
    expect(world.node(1).group.holding(index + 2)).toBeUndefined();
  });

  test("a client that goes on in another session: its moves are counted on", () => {
    const world = new World(4, [1, 2]);
    const client = settled(world);
    client.at = 2;
    client.send();
    world.run(3000);
    const before = world.node(1).group.holding(client.record.index)!;
    expect(before).toMatchObject({ node: 2, moves: 1 });
    const [here, there] = [world.session(2), world.session(1)];
    world.run(600);
    for (const { group } of [world.node(1), world.node(2)]) {
      group.replaced(here.record.index, client.record.index);
      expect(group.holding(here.record.index)).toEqual(before);
      // Now at node 1: that is a move, and since when it has it is its own.
      group.replaced(there.record.index, here.record.index);
      expect(group.holding(there.record.index)).toMatchObject({ node: 1, moves: 2 });
      expect(group.holding(there.record.index)!.sinceMs).toBeGreaterThan(before.sinceMs);
      group.replaced(there.record.index, 2 ** 25 + 12_345);
      expect(group.holding(there.record.index)!.moves).toBe(2);
    }
  });

  test("an owner that dies: who has its clients then has moved them once, also when nobody had them meanwhile", () => {
    const world = new World(5, [1, 2, 3]);
    const client = settled(world);
    world.kill(1);
    world.run(50);
    client.at = 2;
    for (let n = 0; n < 40; n++) {
      client.send();
      world.run(50);
    }
    expect(world.owners(client)).toEqual([2]);
    for (const id of [2, 3])
      expect(world.node(id).group.holding(client.record.index)).toMatchObject({ node: 2, moves: 1 });
  });

  test("hands over a session that nobody has sent in", () => {
    const world = new World(2, [1, 2]);
    const client = world.session(1);
    world.run(5);
    client.at = 2;
    const seq = client.send();
    world.run(2);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.node(1).count("up")).toBe(1);
  });

  test("gets stragglers from the node where they arrived", () => {
    const world = new World(3, [1, 2]);
    const client = settled(world);
    const straggler = client.packet();
    client.at = 2;
    client.send();
    world.run(100);
    world.receive(1, straggler);
    world.run(2);
    expect(world.acceptedAt(client, straggler.seq)).toEqual([2]);
    expect(world.owners(client)).toEqual([2]);
    expect(world.node(1).outcomes).toMatchObject({ kept: 1, forwarded: 1 });
    expect(world.node(2).outcomes).toMatchObject({ received: 1 });
  });

  test("does not let go for recorded packets, wherever they are played", () => {
    const world = new World(4, [1, 2, 3]);
    const client = settled(world);
    for (let seq = 0; seq < 100; seq++) world.receive(2 + (seq % 2), client.packet(seq));
    world.run(500);
    for (let seq = 0; seq < 100; seq++) expect(world.acceptedAt(client, seq)).toEqual([1]);
    expect(world.owners(client)).toEqual([1]);
    expect(world.node(2).outcomes).toMatchObject({ held: 50, taken: 0 });
    // Two questions for as many as are held at once, not one for each.
    expect(world.node(2).outcomes.stale).toBe(2);
    expect(world.node(2).group.status().waitingPackets).toBe(0);
  });

  test("is not asked about forged packets", () => {
    const world = new World(5, [1, 2]);
    const client = settled(world);
    const fake = forged(client.packet(5000));
    world.receive(2, fake);
    world.run(20);
    expect(world.node(2).outcomes).toMatchObject({ forged: 1, taken: 0 });
    expect(world.node(1).outcomes).toMatchObject({ given: 0 });
    // In front of a good one: it falls when it is put back, like any forged packet.
    client.at = 2;
    const seq = client.send();
    world.receive(2, fake);
    world.run(20);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.acceptedAt(client, 5000)).toEqual([]);
  });

  test("keeps a session for a while after it came: packets by turns at two nodes", () => {
    const world = new World(6, [1, 2]);
    const client = settled(world);
    const from = client.seq;
    for (let n = 0; n < 400; n++) {
      client.at = 1 + (n % 2);
      client.send();
      world.run(1);
    }
    world.run(100);
    for (let seq = from; seq < from + 400; seq++) expect(world.acceptedAt(client, seq)).toHaveLength(1);
    const moves = world.node(1).outcomes.taken + world.node(2).outcomes.taken;
    expect(moves).toBeGreaterThan(1);
    expect(moves).toBeLessThan(400 / 20 + 2);
    expect(world.owners(client)).toHaveLength(1);
  });

  test("is found over a node that gave it on", () => {
    const world = new World(7, [1, 2, 3]);
    const client = settled(world);
    world.weather = { ...world.weather, shoutLoss: 1 };
    client.at = 2;
    client.send();
    world.run(50);
    client.at = 3;
    const seq = client.send();
    world.run(3);
    expect(world.acceptedAt(client, seq)).toEqual([3]);
    expect(world.node(3).outcomes).toMatchObject({ taken: 1, forecast: 0 });
    expect(world.node(2).outcomes).toMatchObject({ given: 1 });
  });

  test("answers again when its answer was lost, with the same window", () => {
    const world = new World(8, [1, 2]);
    const client = settled(world);
    world.cut.add("1>2");
    client.at = 2;
    const seq = client.send();
    world.run(2);
    expect(world.owners(client)).toEqual([]);
    world.cut.clear();
    world.run(5);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.node(2).outcomes).toMatchObject({ taken: 1, forecast: 0 });
    for (let old = 0; old < 100; old++) world.receive(2, client.packet(old));
    for (let old = 0; old < 100; old++) expect(world.acceptedAt(client, old)).toEqual([1]);
  });

  test("is only busy while it says something: no forecast", () => {
    const world = new World(9, [1, 2]);
    const clients = [settled(world), settled(world)];
    world.node(1).shardMs = 60;
    const [one, two] = clients.map((client) => {
      client.at = 2;
      return client.send();
    });
    // Something is heard of it all the time.
    for (let n = 0; n < 30; n++) {
      world.node(1).group.drain(world.now(), "serving");
      world.node(1).settle();
      world.run(3);
    }
    expect(world.acceptedAt(clients[0], one)).toEqual([2]);
    expect(world.acceptedAt(clients[1], two)).toEqual([2]);
    expect(world.node(2).outcomes).toMatchObject({ taken: 2, forecast: 0 });
  });

  test("what it gives late is taken, also when the client is being asked already", () => {
    const world = new World(18, [1, 2]);
    const client = settled(world, 1000);
    world.run(2000);
    world.clients.delete(client.record.index);
    world.node(1).shardMs = 400;
    client.at = 2;
    const seq = client.send();
    world.run(350);
    expect(world.node(2).outcomes).toMatchObject({ challenged: 1, taken: 0 });
    world.run(100);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.node(2).outcomes).toMatchObject({ taken: 1, forecast: 0, proven: 0, challenge_failed: 0 });
  });

  test("is not taken for dead by a node that was too busy to read its answer", () => {
    const world = new World(19, [1, 2]);
    const clients = Array.from({ length: 80 }, () => settled(world, 20));
    const sent = clients.map((client) => {
      client.seq += 2000;
      client.at = 2;
      return client.send();
    });
    for (let n = 0; n < 4; n++) {
      world.ms += 25;
      world.node(2).group.tick(world.now());
      world.node(2).settle();
    }
    expect(world.node(2).outcomes).toMatchObject({ taken: 0, forecast: 0 });
    world.run(2);
    for (const [i, client] of clients.entries()) expect(world.acceptedAt(client, sent[i])).toEqual([2]);
    expect(world.node(2).outcomes).toMatchObject({ taken: 80, forecast: 0, challenged: 0 });
  });

  test("a late, repeated answer is not taken for the answer to a later question", () => {
    const world = new World(17, [1, 2]);
    const client = settled(world);
    world.weather = { ...world.weather, minMs: 2, maxMs: 2 };
    // The question is repeated after 3 ms; the answer to that leaves after 5.
    const startMs = world.ms;
    world.lateMs = (from) => (from === 1 && world.ms > startMs + 4 ? 60 : 0);
    client.at = 2;
    client.send();
    world.run(8);
    expect(world.owners(client)).toEqual([2]);
    world.lateMs = () => 0;
    world.run(25);
    client.at = 1;
    for (let n = 0; n < 10; n++) client.send();
    world.run(30);
    expect(world.owners(client)).toEqual([1]);
    // The true answer takes longer than what is left of the old one's way.
    world.node(1).shardMs = 30;
    client.at = 2;
    client.send();
    world.run(100);
    expect(world.node(2).outcomes.answer_unexpected).toBeGreaterThan(0);
    for (let seq = 0; seq < client.seq; seq++) {
      world.receive(world.owners(client)[0], client.packet(seq));
      expect(world.acceptedAt(client, seq)).toHaveLength(1);
    }
  });
});

describe("an owner that is gone", () => {
  test("the first packet through the new node is delivered within 20 ms, old ones are not", () => {
    const world = new World(10, [1, 2]);
    const client = settled(world, 1000);
    world.kill(1);
    client.at = 2;
    // Ahead of the forecast, as the client of a busy session is after the detection of the failure.
    client.seq += 2000;
    const seq = client.send();
    world.run(20);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.node(2).outcomes).toMatchObject({ forecast: 1, challenged: 0 });
    for (let old = 0; old < 1000; old++) world.receive(2, client.packet(old));
    world.run(10);
    for (let old = 0; old < 1000; old++) expect(world.acceptedAt(client, old)).toEqual([1]);
  });

  test("a client that has proven where it is waits for evidence: the end of a connection, or missing beats", () => {
    const world = new World(19, [1, 2]);
    const client = settled(world, 1000);
    world.kill(1, true);
    client.at = 2;
    const seqs = [client.send(), client.send()];
    world.run(PATIENCE_MS - BEAT_MS - 50);
    expect(world.node(2).outcomes).toMatchObject({ challenged: 1, proven: 0, forecast: 0 });
    expect(world.acceptedAt(client, seqs[1])).toEqual([]);
    world.run(BEAT_MS + 60);
    expect(world.node(2).outcomes).toMatchObject({ challenged: 1, proven: 1, forecast: 0 });
    for (const seq of seqs) expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(notices(world.node(2))).toContain("peer_dead");
  });

  test("a daemon that ends is replaced as soon as its host refuses another connection", () => {
    const world = new World(19, [1, 2]);
    const client = settled(world, 1000);
    world.kill(1);
    client.at = 2;
    const seqs = [client.send(), client.send()];
    world.run(4);
    for (const seq of seqs) expect(world.acceptedAt(client, seq)).toEqual([2]);
  });

  test("of dozens that are held only the proof is opened, and a forged one of them goes no further than the window", () => {
    const world = new World(20, [1, 2]);
    const client = settled(world, 1000);
    world.kill(1);
    client.at = 2;
    client.send();
    world.run(2.5);
    const bad = forged(client.packet());
    world.receive(2, bad);
    expect(world.node(2).outcomes).toMatchObject({ forged: 0 });
    const seq = client.send();
    world.run(10);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.owners(client)).toEqual([2]);
  });

  test("what is opened is as long as a datagram with PONG is", () => {
    const key = new Uint8Array(32);
    const inner = encodeUnnumbered({ kind: PONG, token: new Uint8Array(TOKEN_LEN) });
    const context = { algorithm: ALG_AES_256_GCM, sealKey: key, openKey: key };
    expect(sealAead(context, { seq: 1, senderId: 1, mux: 0x8000 }, TYPE_CONTROL, inner)).toHaveLength(PROOF_LEN);
  });

  test("known to be dead, it is not asked at all", () => {
    const world = new World(11, [1, 2]);
    const client = settled(world, 20);
    world.kill(1);
    world.run(1500);
    client.seq += 2000;
    client.at = 2;
    const seq = client.send();
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(notices(world.node(2))).toContain("peer_dead");
  });

  test("a number below the forecast is delivered after the client has proven where it is", () => {
    const world = new World(12, [1, 2]);
    const client = settled(world, 1000);
    world.run(-300 + 300);
    client.send();
    world.run(1);
    world.kill(1);
    world.run(2000);
    client.at = 2;
    const seq = client.send();
    world.run(1.5);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.node(2).outcomes).toMatchObject({ challenged: 1, proven: 1, forecast: 0 });
    world.receive(2, client.packet(500));
    expect(world.acceptedAt(client, 500)).toEqual([1]);
  });

  test("recorded packets are dropped when no client answers", () => {
    const world = new World(13, [1, 2]);
    const client = settled(world, 1000);
    world.kill(1);
    world.run(1500);
    world.clients.delete(client.record.index);
    for (let old = 900; old < 950; old++) world.receive(2, client.packet(old));
    world.run(1100);
    for (let old = 900; old < 950; old++) expect(world.acceptedAt(client, old)).toEqual([1]);
    expect(world.node(2).outcomes).toMatchObject({ challenged: 1, challenge_failed: 50, forecast: 0 });
    expect(world.node(2).count("challenge")).toBe(4);
    expect(world.node(2).group.status()).toMatchObject({ moving: 0, waitingPackets: 0 });
  });

  test("PING goes to where the client is, not to who played a recorded packet first", () => {
    const world = new World(14, [1, 2]);
    const client = settled(world, 1000);
    client.send();
    world.run(1);
    world.kill(1);
    world.run(2000);
    world.clients.delete(client.record.index);
    world.receive(2, { ...client.packet(10), from: endpoint(66, 6666) });
    client.from = endpoint(101, 5001);
    client.at = 2;
    client.send();
    const asked = last(world.node(2), "challenge")!;
    expect(asked.to).toEqual(client.from);
    client.answer(asked.token);
    expect(world.owners(client)).toEqual([2]);
    client.answer(new Uint8Array(8));
    expect(world.node(2).outcomes).toMatchObject({ proven: 1 });
  });

  test("the client's answer says where it is only when nothing newer does", () => {
    const world = new World(17, [1, 2, 3]);
    const client = settled(world, 1000);
    world.kill(1);
    world.run(1500);
    world.clients.delete(client.record.index);
    world.receive(2, client.packet(10));
    world.run(10);
    const answer = client.packet(client.seq++, last(world.node(2), "challenge")!.token);
    client.at = 2;
    client.send();
    world.receive(2, { ...answer, from: endpoint(66, 6666) });
    world.run(10);
    expect(world.owners(client)).toEqual([2]);
    for (const id of [2, 3]) expect(world.node(id).count("locate")).toBe(0);
    expect(world.node(3).group.holding(client.record.index)?.node).toBe(2);
  });

  test("the shard begins with the endpoint that all are told", () => {
    const world = new World(18, [1, 2]);
    const client = settled(world);
    client.from = endpoint(101, 5001);
    client.at = 2;
    client.send();
    world.run(2);
    const kinds = world.node(2).outputs.flatMap(({ kind }) => (/^(locate|own|inject)$/.test(kind) ? [kind] : []));
    expect(world.owners(client)).toEqual([2]);
    expect(kinds.slice(-3)).toEqual(["locate", "own", "inject"]);
    expect(last(world.node(2), "locate")?.endpoint).toEqual(client.from);
  });

  test("the client's answer, brought from where it is, proves nothing: that node has told of newer numbers", () => {
    const world = new World(16, [1, 2]);
    const client = settled(world);
    for (const way of ["1>2", "2>1"]) world.cut.add(way);
    world.run(1500);
    world.receive(2, client.packet(50));
    const { token } = last(world.node(2), "challenge")!;
    const recorded = client.packet(client.seq++, token);
    for (const packet of [recorded, client.packet(), client.packet()]) world.receive(1, packet);
    world.run(600);
    world.receive(2, recorded);
    world.run(1100);
    expect(world.acceptedAt(client, recorded.seq)).toEqual([1]);
    expect(world.owners(client)).toEqual([1]);
    expect(world.node(2).outcomes).toMatchObject({ challenged: 1, proven: 0 });
  });

  test("a node that came later asks the others for what it has not heard", () => {
    const world = new World(15, [1, 2, 3]);
    world.kill(3);
    const client = settled(world, 500);
    world.start(3);
    world.run(1500);
    world.kill(1);
    client.seq += 3000;
    client.at = 3;
    const seq = client.send();
    world.run(25);
    expect(world.acceptedAt(client, seq)).toEqual([3]);
    expect(world.node(3).outcomes).toMatchObject({ forecast: 1, challenged: 0 });
    for (let old = 0; old < 500; old++) world.receive(3, client.packet(old));
    for (let old = 0; old < 500; old++) expect(world.acceptedAt(client, old)).toEqual([1]);
  });

  test("nobody has heard anything: only the client can tell", () => {
    const world = new World(16, [1, 2]);
    world.kill(2);
    const client = settled(world, 500);
    world.kill(1);
    world.start(2);
    world.run(700);
    client.at = 2;
    world.receive(2, client.packet(3));
    world.run(0.1);
    expect(world.acceptedAt(client, 3)).toEqual([1]);
    const seq = client.send();
    world.run(5);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.node(2).outcomes).toMatchObject({ challenged: 1, proven: 1 });
  });
});

describe("unknown sessions", () => {
  test("news that the engine lost: the creator is asked over the link", () => {
    const world = new World(20, [1, 2, 3]);
    world.bus.stop(false);
    const client = world.session(1);
    client.send();
    world.run(50);
    expect(world.node(2).rows.size).toBe(0);
    client.at = 2;
    const numbers = [client.send(), client.send()];
    world.run(2);
    for (const seq of numbers) expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.node(2).outcomes).toMatchObject({ held: 2, asked: 1, learnt: 1, taken: 1, unknown: 0 });
    world.run(30);
    client.at = 3;
    const seq = client.send();
    world.run(30);
    expect(world.acceptedAt(client, seq)).toEqual([3]);
  });

  test("the record comes by the bus while it is asked for", () => {
    const world = new World(21, [1, 2]);
    world.cut.add("1>2");
    const client = world.session(1);
    client.at = 2;
    const seq = client.send();
    world.run(1);
    world.cut.clear();
    world.run(5);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.node(2).outcomes).toMatchObject({ unknown: 0 });
  });

  test("nobody knows it: the client is told once in a while, and others are not asked for every packet", () => {
    const world = new World(22, [1, 2, 3]);
    const client = world.session(1);
    const stranger = { ...client.packet(7), index: client.record.index ^ 1 };
    world.receive(2, stranger);
    world.receive(2, stranger);
    world.run(2);
    expect(last(world.node(2), "unknown")).toMatchObject({ from: stranger.from });
    expect(world.node(2).outcomes).toMatchObject({ asked: 1, unknown: 2 });
    expect(world.node(2).count("unknown")).toBe(1);
    world.receive(2, stranger);
    expect(world.node(2).outcomes).toMatchObject({ asked: 1, unknown: 3 });
    expect(world.node(2).count("unknown")).toBe(1);
    // It may have been lost; and who borrows the index must not keep its client from hearing.
    const borrowed = { ...stranger, from: { ...stranger.from, port: stranger.from.port ^ 1 } };
    for (const packet of [borrowed, stranger]) world.receive(2, packet);
    expect(world.node(2).count("unknown")).toBe(3);
    world.run(10);
    for (let i = 0; i < 2; i++) world.receive(2, stranger);
    expect(world.node(2).count("unknown")).toBe(4);
    expect(world.node(2).outcomes).toMatchObject({ asked: 1, unknown: 7 });
    world.run(1100);
    world.receive(2, stranger);
    world.run(5);
    expect(world.node(2).outcomes).toMatchObject({ asked: 2, unknown: 8 });
  });

  test("the creator is dead: the others are asked at once", () => {
    const world = new World(23, [1, 2, 3]);
    world.kill(3);
    const client = settled(world, 50);
    client.at = 2;
    client.send();
    world.run(300);
    world.bus.values.clear();
    world.kill(1);
    // It begins alone, and hears of nothing.
    for (const way of ["2>3", "3>2"]) world.cut.add(way);
    world.start(3);
    world.run(1500);
    world.cut.clear();
    world.run(300);
    client.at = 3;
    const seq = client.send();
    world.run(2);
    expect(world.acceptedAt(client, seq)).toEqual([3]);
    expect(world.node(3).outcomes).toMatchObject({ asked: 1, learnt: 1, taken: 1 });
  });

  test("a creator that lives but does not answer gets the packets, and tells the client", () => {
    const world = new World(24, [1, 2]);
    const client = world.session(1);
    const stranger = client.packet(7);
    new DataView(stranger.datagram.buffer).setUint16(6, 0x8000 | ((client.record.index & 0x7fff) ^ 1));
    world.cut.add("1>2");
    world.receive(2, { ...stranger, index: client.record.index ^ 1 });
    world.run(15);
    expect(world.node(2).outcomes).toMatchObject({ forwarded: 1, unknown: 0 });
    expect(world.node(1).outcomes).toMatchObject({ received: 1, unknown_forwarded: 1 });
    expect(last(world.node(1), "unknown")).toMatchObject({ from: stranger.from });
  });
});

describe("records", () => {
  test("a session that ended stays ended, whatever comes later", () => {
    const world = new World(30, [1, 2, 3]);
    world.kill(3);
    const client = world.session(1);
    client.at = 2;
    client.send();
    world.run(50);
    const { index, created } = client.record;
    // Its record stays in the subtree of node 2, which confirmed it; its end is in that of node 1.
    expect([...world.bus.values.keys()].filter((name) => name.includes(" s."))).toHaveLength(2);
    world.node(1).group.ended(world.now(), index, created, "closed");
    world.node(1).settle();
    world.run(50);
    expect(world.node(2).rows.size).toBe(0);
    expect(last(world.node(2), "retire")).toMatchObject({ index, created, reason: "closed" });
    world.bus.snapshot(world.node(1));
    world.bus.snapshot(world.node(2));
    world.start(3);
    world.run(20_000);
    expect(world.node(1).group.status().sessions).toBe(0);
    expect(world.node(2).rows.size).toBe(0);
    expect(world.node(3).rows.size).toBe(0);
    expect(world.node(1).outcomes.record_old).toBeGreaterThan(0);
    client.at = 2;
    client.send();
    world.run(20);
    expect(world.node(2).count("unknown")).toBe(1);
  });

  test("what every node finds out by itself is not told, and does not come back", () => {
    const world = new World(31, [1, 2]);
    const client = settled(world, 5);
    const { index, created } = client.record;
    const version = world.node(1).group.status().version;
    world.node(1).group.ended(world.now(), index, created, "expired");
    world.node(1).settle();
    expect(world.node(1).group.status().version).toBe(version);
    world.bus.snapshot(world.node(1));
    expect(world.node(1).count("install")).toBe(0);
    expect(world.node(2).group.status().sessions).toBe(1);
  });

  test("of two sessions with one index the later one counts", () => {
    const world = new World(32, [1, 2]);
    const client = settled(world, 5);
    const later = { ...client.record, created: client.record.created + 1000, secret: new Uint8Array(32).fill(77) };
    world.node(1).group.answered(world.now(), later);
    world.node(1).settle();
    world.run(20);
    expect(world.node(2).rows.get(later.index)?.record.created).toBe(later.created);
    world.bus.snapshot(world.node(2));
    expect(world.node(2).rows.get(later.index)?.record.created).toBe(later.created);
    // The end of the former one is not the end of this one.
    world.node(1).group.ended(world.now(), later.index, client.record.created, "closed");
    expect(world.node(1).group.status().sessions).toBe(1);
  });

  test("expired and superseded ones are not taken in", () => {
    const world = new World(33, [1, 2, 3]);
    world.kill(2);
    world.kill(3);
    settled(world, 5);
    world.superseded = (node) => node.id === 3;
    world.start(3);
    world.run(700);
    expect(world.node(3).rows.size).toBe(0);
    expect(world.node(3).outcomes.record_old).toBeGreaterThan(0);
    world.run(700_000);
    world.start(2);
    world.run(700);
    expect(world.node(2).rows.size).toBe(0);
    expect(world.node(2).outcomes.record_old).toBeGreaterThan(0);
  });

  test("an earlier start's own sessions come back, and only the client can open them", () => {
    const world = new World(34, [1, 2]);
    const client = settled(world, 300);
    client.seq = 4000;
    client.send();
    world.kill(2);
    world.run(1500);
    world.kill(1);
    world.start(1);
    world.run(700);
    expect(world.node(1).rows.size).toBe(1);
    expect(world.node(1).group.holding(client.record.index)?.node).toBe(0);
    const seq = client.send();
    world.run(5);
    expect(world.acceptedAt(client, seq)).toEqual([1]);
    world.receive(1, client.packet(10));
    expect(world.acceptedAt(client, 10)).toEqual([1]);
    expect(world.node(1).outcomes).toMatchObject({ challenged: 1, proven: 1 });
  });

  test("a table that is full says so", () => {
    const world = new World(35, [1, 2], { sessionsMax: 10 });
    for (let n = 0; n < 12; n++) world.session(1);
    world.run(10);
    expect(world.node(1).group.status()).toMatchObject({ sessions: 10, outcomes: { table_full: 2 } });
  });
});

describe("without an engine that others hear", () => {
  const alone = (seed: number, ids: number[]): World => {
    const world = new World(seed, ids, { tellsOverLink: true });
    world.bus.stop();
    return world;
  };

  test("records and where clients are go over the node link, so that a flip needs no question of a stranger", () => {
    const world = alone(60, [1, 2, 3]);
    const client = settled(world);
    for (const node of [2, 3]) {
      expect(world.node(node).rows.get(client.record.index)?.confirmed).toBe(true);
      expect(world.node(node).group.holding(client.record.index)?.node).toBe(1);
    }
    client.at = 2;
    const seq = client.send();
    world.run(5);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.node(2).outcomes).toMatchObject({ asked: 0, taken: 1, forecast: 0 });
    expect(world.node(3).group.holding(client.record.index)?.node).toBe(2);
  });

  test("an owner that dies: the forecast is above what it told, so nothing old is taken twice", () => {
    const world = alone(61, [1, 2]);
    const client = settled(world);
    world.kill(1);
    world.run(1100);
    for (let seq = 0; seq < 100; seq++) world.receive(2, client.packet(seq));
    world.run(2000);
    for (let seq = 0; seq < 100; seq++) expect(world.acceptedAt(client, seq)).toEqual([1]);
  });

  test("a node that comes with an empty disk is told of all sessions at once", () => {
    const world = alone(62, [1, 2]);
    const clients = Array.from({ length: 300 }, () => settled(world, 1));
    world.kill(2);
    world.run(1500);
    const node = world.start(2, { tellsOverLink: true });
    world.run(500);
    for (const client of clients) expect(node.rows.get(client.record.index)?.confirmed).toBe(true);
  });

  test("an end is told, too", () => {
    const world = alone(63, [1, 2]);
    const client = settled(world);
    world.node(1).group.ended(world.now(), client.record.index, client.record.created, "closed");
    world.node(1).settle();
    world.run(5);
    expect(world.node(2).rows.has(client.record.index)).toBe(false);
  });
});

describe("the engine goes away", () => {
  /** Node 1 owns the session and nobody else has heard of the last 50 of its 150 numbers but over the link. */
  const served = (world: World): Client => {
    const client = settled(world);
    world.bus.stop();
    for (let n = 0; n < 50; n++) client.send();
    world.run(600);
    return client;
  };

  test("new sessions, and where clients are, go over the link; over the engine again when it is back", () => {
    const world = new World(66, [1, 2, 3]);
    const client = served(world);
    const later = world.session(3);
    later.send();
    client.at = 2;
    client.send();
    world.run(10);
    const { index } = client.record;
    expect(world.node(3).group.holding(index)?.node).toBe(2);
    for (const id of [1, 2]) expect(world.node(id).rows.get(later.record.index)?.confirmed).toBe(true);
    world.bus.start();
    world.run(1000);
    world.bus.stop(false);
    client.at = 1;
    client.send();
    world.run(10);
    expect(world.owners(client)).toEqual([1]);
    expect(world.node(3).group.holding(index)?.node).toBe(2);
  });

  test("an owner that dies meanwhile: nothing that it took is taken twice", () => {
    const world = new World(67, [1, 2]);
    const client = served(world);
    world.kill(1);
    world.run(1100);
    for (let seq = 0; seq < 150; seq++) world.receive(2, client.packet(seq));
    world.run(2000);
    for (let seq = 0; seq < 150; seq++) expect(world.acceptedAt(client, seq)).toEqual([1]);
  });

  test.each([
    { who: "a node that knows it is cut off from the engine", noticed: true, waitMs: 300 },
    { who: "a node that hears nothing of another for 3 s", noticed: false, waitMs: 3500 },
  ])("$who is told over the link, and tells", ({ noticed, waitMs }) => {
    const world = new World(68, [1, 2, 3]);
    const client = settled(world);
    world.bus.away.add(3);
    if (noticed) world.node(3).group.busState(world.now(), false);
    world.run(waitMs);
    client.at = 2;
    client.send();
    const own = world.session(3);
    own.send();
    world.run(10);
    expect(world.node(3).group.holding(client.record.index)?.node).toBe(2);
    expect(world.node(1).rows.get(own.record.index)?.confirmed).toBe(true);
  });

  test("what was missed is made good when it is back", () => {
    const world = new World(69, [1, 2]);
    world.run(10_000);
    world.bus.stop();
    for (const way of ["1>2", "2>1"]) world.cut.add(way);
    const clients = Array.from({ length: 30 }, () => settled(world, 1));
    expect(world.node(2).rows.size).toBe(0);
    world.cut.clear();
    world.bus.start(false);
    world.run(20_000);
    for (const { record } of clients) expect(world.node(2).rows.get(record.index)?.confirmed).toBe(true);
  });
});

test("a window that was handed over unasked is found, though no newer number told of it", () => {
  const world = new World(71, [1, 2, 3]);
  const client = settled(world);
  const { group } = world.node(1);
  group.drain(world.now(), "leaving");
  group.part(world.now(), [client.record.index]);
  world.node(1).settle();
  world.run(50);
  const [heir] = world.owners(client);
  world.kill(1);
  client.at = 5 - heir;
  const seq = client.send();
  world.run(15);
  expect(world.acceptedAt(client, seq)).toEqual([client.at]);
  expect(world.node(client.at).outcomes).toMatchObject({ taken: 1, forecast: 0 });
});

describe("two owners", () => {
  test("one that hears that it is outdone, while its shard is asked about an old number, gives up", () => {
    const world = new World(70, [1, 2, 3]);
    const client = settled(world);
    world.bus.stop(false);
    for (const way of ["1>2", "2>1"]) world.cut.add(way);
    world.run(1500);
    client.seq += 2000;
    client.at = 2;
    client.send();
    world.run(20);
    expect(world.owners(client)).toEqual([1, 2]);
    world.bus.up = true;
    world.node(1).shardMs = 60;
    client.send();
    world.run(world.node(2).progressMs - world.ms - 20);
    world.receive(3, client.packet(10));
    world.run(100);
    expect(world.owners(client)).toEqual([2]);
  });
});

describe("the operator", () => {
  test("asks for the lists of one node, or of all that live", () => {
    const world = new World(64, [1, 2, 3]);
    settled(world);
    const { group } = world.node(1);
    expect(group.resync(world.now())).toEqual([2, 3]);
    expect(group.resync(world.now(), 2)).toEqual([2]);
    expect(group.resync(world.now(), 9)).toEqual([]);
    world.kill(3);
    world.run(1100);
    expect(group.resync(world.now())).toEqual([2]);
    const before = world.node(1).outcomes.resynced;
    group.resync(world.now(), 2);
    expect(world.node(1).outcomes.resynced).toBeGreaterThanOrEqual(before);
  });

  test("a leaving node takes nothing back: what still arrives goes on to the new owner", () => {
    const world = new World(65, [1, 2]);
    const client = settled(world);
    const { group } = world.node(1);
    group.drain(world.now(), "leaving");
    group.part(world.now(), [client.record.index]);
    world.node(1).settle();
    world.run(50);
    expect(world.owners(client)).toEqual([2]);
    const seq = client.send();
    world.run(5);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
    expect(world.owners(client)).toEqual([2]);
    expect(world.node(2).outcomes.received).toBe(1);
  });

  test("is told calmly what is well, and warned of what is not", () => {
    const world = new World(66, [1, 2]);
    world.kill(2);
    world.run(1500);
    const levels = world
      .node(1)
      .outputs.flatMap((output) => (output.kind === "notice" ? [[output.code, output.level]] : []));
    expect(levels).toEqual([
      ["peer_alive", "notice"],
      ["peer_dead", "warning"],
    ]);
  });
});

test("an owner that gave up remembers how far the other one was, should the session come back", () => {
  const world = new World(72, [1, 2]);
  const client = settled(world);
  const home = client.at;
  const other = 3 - home;
  world.run(2000);
  for (const way of ["1>2", "2>1"]) world.cut.add(way);
  world.bus.stop();
  world.run(1100);
  client.at = other;
  for (let n = 0; n < 40; n++) {
    client.send();
    world.run(5);
  }
  world.cut.clear();
  world.bus.start(false);
  world.run(1000);
  const seen = client.send();
  world.run(1000);
  world.kill(other);
  world.run(1100);
  client.at = home;
  client.send();
  world.run(50);
  expect(world.owners(client)).toEqual([home]);
  for (let seq = seen - 20; seq <= seen; seq++) world.receive(home, client.packet(seq));
  world.run(50);
  for (let seq = seen - 20; seq <= seen; seq++) expect(world.acceptedAt(client, seq)).toHaveLength(1);
});

test.each([
  ["moved", 700],
  ["progress", 1500],
] as const)("what an earlier owner said (%s), heard once more, leads nobody back to it", (kind, packets) => {
  const world = new World(73, [1, 2, 3]);
  const client = settled(world, packets);
  const { index } = client.record;
  const said = world.node(1).outputs.flatMap((output) => (output.kind === "shout" ? [output.message] : []));
  const { group } = world.node(1);
  group.drain(world.now(), "leaving");
  group.part(world.now(), [index]);
  world.node(1).settle();
  world.run(50);
  const [heir] = world.owners(client);
  const third = world.node(5 - heir);
  // An old packet there: it asks around who has the session now, and goes there.
  world.receive(third.id, client.packet(0));
  world.run(50);
  expect(third.group.holding(index)?.node).toBe(heir);
  const reader = new Envelope(new FleetKeys(FLEET_KEY), third.id, third.bootId);
  const ofKind = said.filter((message) => {
    const opened = reader.open(world.ms, 1, "", message);
    return typeof opened === "object" && decodeShouts(opened.plain)?.some((shout) => shout.kind === kind);
  });
  expect(ofKind.length).toBeGreaterThan(0);
  for (const node of [third, world.node(heir)])
    for (const message of ofKind) {
      node.group.busShout(world.now(), 1, message);
      node.settle();
    }
  expect(third.group.holding(index)?.node).toBe(heir);
  world.run(50);
  expect(world.owners(client)).toEqual([heir]);
});

/** Who is in the group, what nodes know of each other, and what becomes of it when they disagree or leave. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { outcomeNames, outcomes } from "../../src/cluster/outcomes.ts";
import { type Client, endpoint, FAIR, type Node, World } from "./world.ts";

const notices = (node: Node): string[] =>
  node.outputs.flatMap((output) => (output.kind === "notice" || output.kind === "refuse" ? [output.code] : []));

function sessions(world: World, count: number): Client[] {
  const clients = Array.from({ length: count }, () => world.session(1));
  for (const client of clients) client.send();
  return clients;
}

describe("nodes know each other", () => {
  test("status says per peer: alive, round trip, sync lag, version, sessions, agreement", () => {
    const world = new World(1, [1, 2, 3]);
    sessions(world, 5);
    world.run(2000);
    const { peers, engine, sessions: own } = world.node(2).group.status();
    expect(own).toBe(5);
    expect(engine).toEqual({ connected: true, caughtUp: true });
    expect(peers.map(({ node, alive, disagreements }) => ({ node, alive, disagreements }))).toEqual([
      { node: 1, alive: true, disagreements: [] },
      { node: 3, alive: true, disagreements: [] },
    ]);
    const [first] = peers;
    expect(first.bootId).toEqual(world.node(1).bootId);
    expect(first.rttMs).toBeCloseTo(0.4, 1);
    expect(first.syncLagMs).toBeLessThanOrEqual(1001);
    expect(first).toMatchObject({ sessions: 5, drain: "serving", version: world.node(1).group.status().version });
  });

  test("senders are those that live, with their present start", () => {
    const world = new World(2, [1, 2, 3]);
    const ids = () =>
      world
        .node(1)
        .group.senders()
        .map(({ senderId }) => senderId);
    expect(ids()).toEqual([1, 2, 3]);
    world.kill(3);
    world.run(5000);
    expect(ids()).toEqual([1, 2]);
    const again = world.start(3);
    world.run(1500);
    expect(world.node(1).group.senders()[2]).toEqual({ senderId: 3, bootId: again.bootId });
    expect(world.node(1).count("senders")).toBeGreaterThan(2);
  });

  test("without a link to it, a node is known by the bus", () => {
    const world = new World(3, [1, 2]);
    world.cut.add("1>2").add("2>1");
    world.run(5000);
    expect(world.node(1).group.status().peers[0].alive).toBe(false);
    expect(world.node(1).group.senders()).toHaveLength(2);
    world.bus.stop();
    world.run(5000);
    expect(world.node(1).group.senders()).toHaveLength(1);
  });

  test("nodes can be taken out of the group and into it while it runs", () => {
    const world = new World(9, [1, 2, 3]);
    const { group } = world.node(1);
    group.setPeers(world.now(), [{ node: 2, endpoint: endpoint(2) }]);
    world.run(5000);
    expect(group.senders().map(({ senderId }) => senderId)).toEqual([1, 2]);
    expect(group.status().peers.map(({ node }) => node)).toEqual([2]);
    group.setPeers(
      world.now(),
      [2, 3].map((node) => ({ node, endpoint: endpoint(node) })),
    );
    world.run(1500);
    expect(group.status().peers.map(({ node, alive }) => ({ node, alive }))).toEqual([
      { node: 2, alive: true },
      { node: 3, alive: true },
    ]);
    expect(group.senders()).toHaveLength(3);
  });

  test("a second machine with a node's number refuses to go on; the first one stays", () => {
    const world = new World(4, [1, 2, 3]);
    const first = world.node(2);
    const second = world.twin(2);
    world.run(6000);
    expect(notices(second)).toContain("node_id_taken");
    expect(second.count("refuse")).toBe(1);
    expect(first.count("refuse")).toBe(0);
    expect(notices(first)).toContain("node_id_taken");
    expect(world.node(1).group.senders()[1].bootId).toEqual(first.bootId);
  });

  test("a quick restart is not taken for a second machine", () => {
    const world = new World(5, [1, 2]);
    world.kill(2);
    const again = world.start(2);
    world.run(3000);
    expect(again.count("refuse")).toBe(0);
    expect(world.node(1).group.senders()[1].bootId).toEqual(again.bootId);
    expect(world.node(1).group.status().peers[0].alive).toBe(true);
  });

  test("clients whose node did not hear the others yet are told of these, and no others", () => {
    const world = new World(7, [1, 2]);
    const before = world.session(2);
    before.send();
    world.run(4000);
    world.kill(2);
    world.start(2);
    // Node 1 has not heard this start yet.
    const early = world.session(2);
    early.send();
    world.run(3000);
    const late = world.session(2);
    late.send();
    world.run(500);
    const told = world.node(1).outputs.flatMap((one) => (one.kind === "announceSender" ? [one.index] : []));
    expect(new Set(told)).toEqual(new Set([early.record.index]));
    expect(world.node(1).rows.has(late.record.index)).toBe(true);
    // They do not hear each other for a while.
    world.run(2000);
    world.cut.add("1>2").add("2>1");
    world.run(3000);
    const meanwhile = world.session(2);
    meanwhile.send();
    world.run(1000);
    world.cut.clear();
    world.run(3000);
    const again = world.node(1).outputs.flatMap((one) => (one.kind === "announceSender" ? [one.index] : []));
    expect(new Set(again)).toEqual(new Set([early.record.index, meanwhile.record.index]));
  });

  test("a node that started later introduces itself to the clients of before, once", () => {
    const world = new World(6, [1, 2]);
    world.kill(2);
    const clients = sessions(world, 120);
    world.run(500);
    const node = world.start(2);
    world.run(1500);
    const introduced = node.outputs.flatMap((one) => (one.kind === "announceSender" ? [one.index] : []));
    expect(new Set(introduced).size).toBe(120);
    const before = introduced.length;
    const { index } = clients[0].record;
    world.node(1).group.senderAcked(world.now(), index, { senderId: 2, bootId: node.bootId });
    world.node(1).settle();
    world.run(2);
    expect(node.outputs.findLast(({ kind }) => kind === "acked")).toMatchObject({ index, senderId: 2 });
    // Known now: no introduction when it moves, but one for a session that was not acknowledged.
    clients[0].at = 2;
    clients[0].send();
    world.run(5);
    expect(node.count("announceSender")).toBe(before);
    clients[1].at = 2;
    clients[1].send();
    world.run(5);
    expect(node.count("announceSender")).toBe(before + 1);
    // What a client says of the start before may come late, and says nothing of this one.
    world.node(1).group.senderAcked(world.now(), clients[2].record.index, { senderId: 2, bootId: new Uint8Array(8) });
    world.node(1).settle();
    world.run(2);
    clients[2].at = 2;
    clients[2].send();
    world.run(5);
    expect(node.count("announceSender")).toBe(before + 2);
    // Sessions of after its start had it in their grant.
    world.run(10_000);
    const [late] = sessions(world, 1);
    world.run(500);
    late.at = 2;
    late.send();
    world.run(5);
    expect(world.acceptedAt(late, 1)).toEqual([2]);
    expect(node.count("announceSender")).toBe(before + 2);
  });

  test("ticket keys: one is made, all know it", () => {
    const world = new World(7, [1, 2, 3]);
    const { wallMs } = world.now();
    world.run(10);
    const keys = world.ids.map((id) => world.node(id).group.book.sealingKey(wallMs));
    expect(keys[0]).toBeDefined();
    expect(keys[1]).toEqual(keys[0]);
    expect(keys[2]).toEqual(keys[0]);
    expect(world.node(3).count("ticket_keys")).toBeGreaterThan(0);
  });

  test.each([
    { engine: "with an engine", without: false },
    { engine: "while the engine is away", without: true },
  ])("clients that are added or removed at one node are so at all, $engine", ({ without }) => {
    const world = new World(8, [1, 2]);
    if (without) world.bus.stop();
    const key = "ab".repeat(32);
    const content = new TextEncoder().encode('{"name":"a"}');
    expect(world.node(1).group.putClient(world.now(), key, content)).toBeUndefined();
    world.node(1).settle();
    world.run(5);
    expect(world.node(2).group.book.client(key)?.content).toEqual(content);
    world.node(2).group.putClient(world.now(), key, undefined);
    world.node(2).settle();
    world.run(5);
    expect(world.node(1).group.book.client(key)?.content).toBeUndefined();
    expect(world.node(1).count("client")).toBe(2);
  });
});

describe("nodes disagree", () => {
  test("a node that missed records says so, asks for the list, and has them", () => {
    const world = new World(20, [1, 2]);
    world.run(10_000);
    world.bus.stop(false);
    const clients = sessions(world, 300);
    world.run(10);
    world.bus.start(false);
    world.run(2500);
    expect(world.node(2).rows.size).toBe(0);
    expect(notices(world.node(2))).not.toContain("digest_differs");
    world.run(4000);
    expect(notices(world.node(2))).toContain("digest_differs");
    expect(world.node(2).rows.size).toBe(300);
    world.run(4000);
    expect(notices(world.node(2)).at(-1)).toBe("digest_agrees");
    expect(world.node(2).group.status().peers[0].disagreements).toEqual([]);
    const { outcomes } = world.node(2);
    expect(outcomes.resynced).toBeGreaterThan(0);
    expect(outcomes.resynced).toBeLessThan(6);
    clients[299].at = 2;
    const seq = clients[299].send();
    world.run(2);
    expect(world.acceptedAt(clients[299], seq)).toEqual([2]);
  });

  test("a node that missed ends is told of them", () => {
    const world = new World(21, [1, 2]);
    const clients = sessions(world, 20);
    world.run(10_000);
    world.bus.stop(false);
    for (const { record } of clients.slice(0, 10)) {
      world.node(1).group.ended(world.now(), record.index, record.created, "closed");
      world.node(1).settle();
    }
    world.run(10);
    world.bus.start(false);
    world.run(12_000);
    expect(world.node(2).rows.size).toBe(10);
    expect(world.node(1).group.status().peers[0].disagreements).toEqual([]);
  });

  test("much coming and going is not a disagreement", () => {
    const world = new World(22, [1, 2]);
    world.run(11_000);
    for (let n = 0; n < 1500; n++) {
      const [client] = sessions(world, 1);
      world.after(500, () => {
        world.node(1).group.ended(world.now(), client.record.index, client.record.created, "closed");
        world.node(1).settle();
      });
      world.run(5);
    }
    expect(notices(world.node(1))).not.toContain("digest_differs");
    expect(notices(world.node(2))).not.toContain("digest_differs");
  });

  test("cut off from each other, both serve; healed, the client's newest number decides", () => {
    const world = new World(23, [1, 2, 3]);
    const [client] = sessions(world, 1);
    for (let n = 0; n < 50; n++) client.send();
    world.run(600);
    world.bus.stop();
    for (const way of ["1>2", "2>1", "2>3", "3>2"]) world.cut.add(way);
    world.run(1500);
    client.at = 2;
    client.seq += 500;
    const there = client.send();
    expect(world.acceptedAt(client, there)).toEqual([2]);
    client.at = 1;
    const back = client.send();
    expect(world.acceptedAt(client, back)).toEqual([1]);
    expect(world.owners(client)).toEqual([1, 2]);
    world.bus.start(false);
    world.cut.clear();
    world.run(1500);
    expect(world.owners(client)).toEqual([1]);
    for (const id of world.ids) expect(world.node(id).group.holding(client.record.index)?.node).toBe(1);
  });
});

describe("leaving", () => {
  test("all windows go to those that stay: nothing lost, nothing twice", () => {
    const world = new World(30, [1, 2, 3]);
    world.weather = { ...world.weather, linkLoss: 0.2 };
    const clients = sessions(world, 40);
    world.run(300);
    world.node(3).group.drain(world.now(), "draining");
    world.node(3).settle();
    world.run(300);
    world.node(1).group.drain(world.now(), "leaving");
    const indices = clients.map(({ record }) => record.index);
    expect(world.node(1).group.part(world.now(), indices)).toBe(40);
    world.node(1).settle();
    world.run(100);
    expect(world.node(1).group.part(world.now(), indices)).toBe(0);
    world.kill(1);
    world.run(1500);
    world.weather = FAIR;
    for (const client of clients) {
      expect(world.owners(client)).toEqual([2]);
      world.receive(2, client.packet(0));
      expect(world.acceptedAt(client, 0)).toEqual([1]);
      client.at = 3;
      const seq = client.send();
      world.run(20);
      expect(world.acceptedAt(client, seq)).toEqual([3]);
    }
    expect(world.node(1).outcomes).toMatchObject({ parted: 40 });
  });

  test("a window that is handed over once more, after it went on, is not taken again", () => {
    const world = new World(32, [1, 2, 3]);
    const [client] = sessions(world, 1);
    world.run(300);
    world.node(3).group.drain(world.now(), "draining");
    world.node(3).settle();
    world.run(10);
    // Node 1 does not hear that node 2 has it.
    world.cut.add("2>1");
    world.node(1).group.drain(world.now(), "leaving");
    world.node(1).group.part(world.now(), [client.record.index]);
    world.node(1).settle();
    world.run(22);
    expect(world.owners(client)).toEqual([2]);
    client.at = 3;
    const seq = client.send();
    world.run(3);
    expect(world.acceptedAt(client, seq)).toEqual([3]);
    world.run(100);
    expect(world.owners(client)).toEqual([3]);
    expect(world.node(2).count("own")).toBe(1);
  });

  test("the last one keeps what it has", () => {
    const world = new World(31, [1, 2]);
    const [client] = sessions(world, 1);
    world.kill(2);
    world.run(1500);
    expect(world.node(1).group.part(world.now(), [client.record.index])).toBe(0);
    const seq = client.send();
    expect(world.acceptedAt(client, seq)).toEqual([1]);
  });
});

describe("bounds and strangers", () => {
  test("a flood of unknown sessions and of one session leaves queues bounded and others served", () => {
    const world = new World(40, [1, 2]);
    const [client, other] = sessions(world, 2);
    world.run(500);
    world.node(1).shardMs = 5;
    const stranger = client.packet(9);
    for (let n = 0; n < 10_000; n++) {
      world.node(2).group.held(world.now(), { ...stranger, index: 2 ** 25 + 2 * n });
    }
    client.at = 2;
    for (let n = 0; n < 1200; n++) world.node(2).group.held(world.now(), client.packet());
    const { asking, moving, waitingPackets } = world.node(2).group.status();
    expect(asking).toBe(4096);
    expect(moving).toBe(1);
    expect(waitingPackets).toBe(4096 + 1024);
    expect(world.node(2).outcomes.hold_full).toBe(1200 - 1024);
    other.at = 2;
    const seq = other.send();
    world.run(20);
    expect(world.acceptedAt(other, seq)).toEqual([2]);
    world.run(1000);
    expect(world.node(2).group.status()).toMatchObject({ asking: 0, moving: 0, waitingPackets: 0, waitingBytes: 0 });
  });

  test("a row that the shard does not have is not put back for ever", () => {
    const world = new World(41, [1, 2]);
    const [client] = sessions(world, 1);
    world.run(100);
    world.node(1).rows.delete(client.record.index);
    client.send();
    expect(world.node(1).outcomes.row_missing).toBe(1);
  });

  test("bytes of strangers and of broken nodes are refused, counted, and change nothing", () => {
    const world = new World(42, [1, 2]);
    const [client] = sessions(world, 1);
    world.run(100);
    const { group } = world.node(2);
    const bytes = fc.uint8Array({ maxLength: 200 });
    fc.assert(
      fc.property(
        bytes,
        fc.integer({ min: 0, max: 5 }),
        fc.constantFrom("s.00008001", "c.ab", "t.1", "x"),
        (data, node, key) => {
          group.busRecord(world.now(), node, key, data);
          group.busShout(world.now(), node, data);
          group.linkDatagram(world.now(), endpoint(1), data);
          group.linkDatagram(world.now(), endpoint(77), data);
          world.node(2).settle();
        },
      ),
      { numRuns: 300 },
    );
    // What another node put is not taken under another key or from another node.
    for (const { node, key, value } of [...world.bus.values.values()]) {
      group.busRecord(world.now(), node + 1, key, value);
      group.busRecord(world.now(), node, "s.00012345", value);
      for (let at = 0; at < value.length; at += 7) {
        const damaged = value.slice();
        damaged[at] ^= 1;
        group.busRecord(world.now(), node, key, damaged);
      }
    }
    expect(world.node(2).outcomes.bus_refused).toBeGreaterThan(600);
    expect(Object.values(group.status().linkRefusals).reduce((a, b) => a + b, 0)).toBe(600);
    expect(group.status().sessions).toBe(1);
    client.at = 2;
    const seq = client.send();
    world.run(2);
    expect(world.acceptedAt(client, seq)).toEqual([2]);
  });

  test("another fleet key or group: no link, no records, and it is named", () => {
    const world = new World(43, [1, 2]);
    world.kill(2);
    world.start(2, { fleetKey: new Uint8Array(32).fill(1) });
    sessions(world, 1);
    world.run(2000);
    expect(world.node(2).rows.size).toBe(0);
    expect(world.node(2).outcomes.bus_refused).toBeGreaterThan(0);
    expect(world.node(2).group.status().linkRefusals.wrong_key).toBeGreaterThan(0);
    world.kill(2);
    world.start(2, { groupPublicKey: new Uint8Array(32) });
    world.run(2000);
    expect(notices(world.node(2)).filter((code) => code === "other_group")).toHaveLength(1);
  });

  test("every outcome has a help text", () => {
    for (const name of outcomeNames) expect(outcomes[name].help).toMatch(/^[A-Z].{20,}[.?]$|; harmless\.$/);
  });
});

/**
 * Node 3 was stolen and still belongs to the group: it fills the tables of the others, asks for sessions, and says what no
 * node says. The sessions of the others live on, and everything that it does has a bound and a counter.
 */
import { expect, test } from "vitest";
import { encodeShouts, lifeOf } from "../../src/cluster/location.ts";
import type { LiveRecord } from "../../src/cluster/record.ts";
import { encodeRecord } from "../../src/cluster/record.ts";
import type { Client, World } from "../cluster/world.ts";
import { endpoint } from "../cluster/world.ts";
import { rosterText, Thief, worldOf } from "./thief.ts";

/** Of each node of the world. */
const SESSIONS_MAX = 1000;
/** Less the eighth that is kept for what a node answers itself. */
const FOR_OTHERS = 875;

function stolen(): { readonly world: World; readonly thief: Thief } {
  const world = worldOf(rosterText(1));
  world.kill(3);
  world.run(2000);
  const thief = new Thief(world, 3, 13, rosterText(1));
  thief.run(1000);
  return { world, thief };
}

/** Each client sends so often, every 10 ms, and changes its node after each tenth packet. What arrived not exactly once. */
function traffic(thief: Thief, clients: readonly Client[], times: number): string[] {
  const { world } = thief;
  const sent: [Client, number][] = [];
  for (let step = 0; step < times; step++) {
    for (const client of clients) {
      if (step % 10 === 9) client.at = 3 - client.at;
      sent.push([client, client.send()]);
    }
    thief.run(10);
  }
  thief.run(500);
  return sent
    .filter(([client, seq]) => world.acceptedAt(client, seq).length !== 1)
    .map(([client, seq]) => `${client.record.index} ${seq}: ${world.acceptedAt(client, seq)}`);
}

test("a flood of records fills no more than its share: sessions live on, and new ones are answered", () => {
  const { world, thief } = stolen();
  const clients = [1, 2, 1, 2].map((at) => world.session(at));
  expect(traffic(thief, clients, 20)).toEqual([]);
  const { wallMs } = world.now();
  const told = 3000;
  for (let k = 0; k < told; k++) {
    const record: LiveRecord = {
      // In the name of each node in turn: who made it stands in the record, and a member can write any.
      ...{ index: (((1 + (k % 3)) << 25) | (k << 8)) >>> 0, created: wallMs, phase: "up", creator: 1 + (k % 3) },
      ...{ clientKey: world.entropy.bytes(32), instance: world.entropy.bytes(8), receiver: 1, aead: 1, modes: 1 },
      ...{ secret: world.entropy.bytes(32), expiryMs: wallMs + 800_000, addresses: [], endpoint: endpoint(9) },
    };
    const encoded = encodeRecord(record)!;
    for (const to of [1, 2]) thief.say(to, { kind: "record", encoded, owner: 3, seq: -1, endpoint: undefined });
    if (k % 100 === 99) thief.run(10);
  }
  for (const node of [1, 2]) {
    const { sessions, outcomes } = world.node(node).group.status();
    expect(sessions).toBe(FOR_OTHERS);
    expect(outcomes.table_full).toBe(told + clients.length - FOR_OTHERS);
  }
  expect(traffic(thief, clients, 40)).toEqual([]);

  // New clients come while the tables are full: at the node that answers, none is refused and none is lost.
  const late = Array.from({ length: SESSIONS_MAX - FOR_OTHERS }, () => world.session(1));
  const arrived = late.map((client) => client.send());
  thief.run(100);
  expect(late.filter((client, k) => world.acceptedAt(client, arrived[k])[0] !== 1)).toEqual([]);
  expect(world.node(1).group.status().sessions).toBe(SESSIONS_MAX);
  expect(world.node(1).group.status().outcomes.callback_failed).toBe(0);
  expect(traffic(thief, clients, 40)).toEqual([]);
});

test("a take-over by numbers that no client sent works for a member, and not for one that was put out", () => {
  const { world, thief } = stolen();
  const clients = [1, 1, 2].map((at) => world.session(at));
  const [robbed, other] = clients;
  expect(traffic(thief, clients, 20)).toEqual([]);
  const take = ({ record: { index, created } }: Client, to: number, seq = 1_000_000) => {
    thief.heard.length = 0;
    const said = thief.say(to, { kind: "take", index, created, seq });
    thief.run(20);
    return { said, answers: thief.heard.filter(({ kind }) => kind === "taken") };
  };
  const at = world.owners(robbed)[0];
  for (const seq of [0xfffffff0, 2 ** 31, 2 ** 27]) expect(take(robbed, at, seq).answers).toEqual([]);
  expect(world.owners(robbed)).toEqual([at]);
  // The attack is right.
  expect(take(robbed, at).answers).toMatchObject([{ result: "given" }]);
  expect(world.owners(robbed)).toEqual([]);

  for (const node of [1, 2]) {
    world.node(node).group.learnRoster(world.now(), rosterText(2, [3]));
    world.node(node).settle();
  }
  const refusals = () => {
    const { linkRefusals } = world.node(world.owners(other)[0]).group.status();
    return Object.values(linkRefusals).reduce((sum, n) => sum + n, 0);
  };
  const before = refusals();
  const owner = world.owners(other)[0];
  // Its own link does not know yet, and seals as before.
  expect(take(other, owner)).toEqual({ said: true, answers: [] });
  expect(world.owners(other)).toEqual([owner]);
  expect(refusals()).toBeGreaterThan(before);
  // The one that it took comes back to who is left.
  expect(traffic(thief, [other, clients[2]], 40)).toEqual([]);
  for (let k = 0; k < 40; k++) {
    robbed.send();
    thief.run(50);
  }
  expect(world.owners(robbed)).toHaveLength(1);
  const seq = robbed.send();
  thief.run(100);
  expect(world.acceptedAt(robbed, seq)).toHaveLength(1);
});

test("numbers that no client can have come to are refused, in whatever a member tells, and the client is not shut out", () => {
  const { world, thief } = stolen();
  const clients = [1, 2].map((at) => world.session(at));
  expect(traffic(thief, clients, 20)).toEqual([]);
  const absurd = [2 ** 31, 0xffffffff, 2 ** 27];
  for (const { record } of clients) {
    const { index, created } = record;
    for (const seq of absurd) {
      const moved = { kind: "moved", index, created, seq, owner: 3, endpoint: endpoint(9) } as const;
      const progress = { kind: "progress", sessions: [{ index, life: lifeOf(created), seq }] } as const;
      const window = { highest: seq, words: new Int32Array(1) };
      for (const to of [1, 2]) {
        for (const plain of encodeShouts([moved, progress])) thief.say(to, { kind: "shout", plain });
        thief.say(to, { kind: "record", encoded: encodeRecord(record)!, owner: 3, seq, endpoint: endpoint(9) });
        thief.say(to, { kind: "part", index, created, window, endpoint: endpoint(9) });
        thief.say(to, { kind: "take", index, created, seq });
      }
    }
  }
  thief.run(100);
  const kinds = 5;
  for (const node of [1, 2])
    expect(world.node(node).outcomes.number_impossible).toBe(kinds * absurd.length * clients.length);
  expect(clients.map((client) => world.owners(client).length)).toEqual([1, 1]);
  expect(traffic(thief, clients, 40)).toEqual([]);
});

test("a window with holes, given by a member that lies, lets in again only what may have been under way", () => {
  const { world, thief } = stolen();
  const client = world.session(2);
  const count = 200;
  for (let k = 0; k < count; k++) {
    client.send();
    thief.run(100);
  }
  const { index, created } = client.record;
  const lives = { kind: "alive", node: 3, bootId: new Uint8Array(8).fill(77) } as const;
  for (const node of [1, 2]) world.node(node).group.lifeline(world.now(), lives);
  thief.say(2, { kind: "take", index, created, seq: count });
  thief.run(20);
  expect(world.owners(client)).toEqual([]);
  client.at = 1;
  client.send();
  thief.run(50);
  expect(thief.heard.filter(({ kind }) => kind === "take")).not.toEqual([]);
  const window = { highest: count - 1, words: new Int32Array(8) };
  thief.say(1, { kind: "taken", index, created, result: "given", owner: 0, window });
  thief.run(50);
  expect(world.owners(client)).toEqual([1]);
  for (let seq = 0; seq < count; seq++) {
    world.receive(1, client.packet(seq));
    thief.run(10);
  }
  const twice = Array.from({ length: count }, (_, seq) => seq).filter(
    (seq) => world.acceptedAt(client, seq).length > 1,
  );
  // The attack is right, and ends 64 numbers below what was told.
  expect(twice.length).toBeGreaterThan(0);
  expect(twice[0]).toBeGreaterThanOrEqual(count - 1 - 64 - 3);
});

test("absurd heartbeats and payloads of a member are counted, and change nothing but what is said of it", () => {
  const { world, thief } = stolen();
  const clients = [1, 2, 1, 2].map((at) => world.session(at));
  expect(traffic(thief, clients, 20)).toEqual([]);
  const digest = Array.from({ length: 63 }, (_, k) => ({ creator: k + 1, count: 0xffffffff, high: 1, low: 1 }));
  for (const drain of ["leaving", "draining"] as const) {
    thief.beat = {
      ...{ kind: "heartbeat", wallMs: 2 ** 48 - 1, sessions: 0xffffffff, version: 2 ** 48 - 1, drain, deaf: true },
      digest,
    };
    thief.run(12_000);
    expect(traffic(thief, clients, 40)).toEqual([]);
  }
  const status = world.node(1).group.status();
  expect(status.peers.find(({ node }) => node === 3)).toMatchObject({ sessions: 0xffffffff, drain: "draining" });
  // It is named, asked for its lists now and then, and nothing else.
  expect(status.peers.find(({ node }) => node === 3)!.disagreements.length).toBeGreaterThan(0);
  expect(status.peers.find(({ node }) => node === 2)!.disagreements).toEqual([]);
  expect(status.outcomes.resynced).toBeLessThanOrEqual(digest.length * (26_000 / 3000 + 1));

  const before = world.node(1).outcomes.link_malformed;
  let unreadable = 0;
  for (let k = 0; k < 2000; k++) {
    const payload = world.entropy.bytes(1 + (k % 1300));
    // Kinds that are not given to any message: whatever follows, none of it is taken.
    payload[0] = 0x80 | payload[0];
    expect(thief.sayBytes(1, payload)).toBe(true);
    unreadable++;
    if (k % 100 === 99) thief.run(10);
  }
  expect(world.node(1).outcomes.link_malformed - before).toBe(unreadable);
  expect(traffic(thief, clients, 40)).toEqual([]);

  thief.beat = undefined;
  // Any first byte: some of it may be a message by chance; the node goes on.
  for (let k = 0; k < 2000; k++) thief.sayBytes(1, world.entropy.bytes(1 + (k % 1300)));
  thief.run(1000);
  expect(traffic(thief, clients, 40)).toEqual([]);
  expect(world.node(1).outcomes.callback_failed).toBe(0);
  expect(world.node(1).group.status().sessions).toBe(clients.length);
});

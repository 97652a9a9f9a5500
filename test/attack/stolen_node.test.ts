/**
 * Node 3 was stolen, with all that it has: fleet key, its signing key, the roster, ticket keys, session secrets. It goes on
 * talking to the others, and the operator puts it out. Three nodes on virtual time; the thief speaks with the project's own
 * link and envelope.
 */
import { describe, expect, test } from "vitest";
import { Envelope } from "../../src/cluster/envelope.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import { encodeRecord, recordKey } from "../../src/cluster/record.ts";
import { type BookTicketKey, TicketKeyRing } from "../../src/cluster/ticket_keys.ts";
import { endpoint, World } from "../cluster/world.ts";
import { FLEET, operator, rosterText, signaturesOf, signing, Thief, worldOf } from "./thief.ts";

const ring = new TicketKeyRing(signaturesOf(3));
/** Signed by node 3. */
const encoded = (key: BookTicketKey) => ring.encode(ring.signed(3, key));
const keyOf = (change: Partial<BookTicketKey>, world: World): BookTicketKey => {
  const wallMs = world.now().wallMs;
  return {
    ...{ id: 0xdeadbeef, key: new Uint8Array(32).fill(7), notBeforeMs: wallMs - 1000, notAfterMs: wallMs + 86_400_000 },
    ...{ roster: 1, endsOthersMs: 0, ...change },
  };
};
const ticketKeys = (world: World, node: number) =>
  world
    .node(node)
    .group.book.ticketKeys(world.now().wallMs)
    .map(({ id }) => id);
const alive = (world: World, node: number, peer: number) =>
  world
    .node(node)
    .group.status()
    .peers.find((one) => one.node === peer)?.alive;

describe("the roster", () => {
  test("without one no node is believed; given to one node, all have it, and all are believed", () => {
    const world = worldOf(undefined);
    expect(alive(world, 1, 2)).toBe(false);
    expect(world.node(1).group.learnRoster(world.now(), rosterText(1))).toEqual({ result: "in_force" });
    world.node(1).settle();
    world.run(3000);
    for (const node of [1, 2, 3])
      for (const peer of [1, 2, 3]) if (peer !== node) expect(alive(world, node, peer), `${node} ${peer}`).toBe(true);
    expect([1, 2, 3].map((node) => world.node(node).group.roster?.version)).toEqual([1, 1, 1]);
  });

  test("a newer one goes from any node to all; an older one, a forged one, a second one of the version do not", () => {
    const world = worldOf(rosterText(1));
    const learn = (text: string) => world.node(2).group.learnRoster(world.now(), text);
    expect(learn(rosterText(5))).toEqual({ result: "in_force" });
    world.node(2).settle();
    world.run(3000);
    expect([1, 2, 3].map((node) => world.node(node).group.roster?.version)).toEqual([5, 5, 5]);
    expect(learn(rosterText(5))).toEqual({ result: "known" });
    expect(learn(rosterText(4))).toEqual({ result: "older" });
    expect(learn(rosterText(5, [1]))).toMatchObject({ fault: expect.stringMatching(/two rosters of version 5/) });
    for (const text of [rosterText(9, [1], signing(3)), rosterText(9).replace("n2", "n4"), "", "x".repeat(9000)])
      expect(learn(text)).toHaveProperty("fault");
    expect([1, 2, 3].map((node) => world.node(node).group.roster?.version)).toEqual([5, 5, 5]);
  });
});

test("the fleet key alone makes nobody a node, under no number", () => {
  const world = worldOf(rosterText(1));
  world.kill(3);
  world.run(2000);
  const impostor = new Thief(world, 3, 99, rosterText(1));
  impostor.run(2000);
  expect(impostor.said.some(({ kind }) => kind === "alive" || kind === "payload")).toBe(false);
  expect(alive(world, 1, 3)).toBe(false);
  expect(world.node(1).group.status().linkRefusals.wrong_signature).toBeGreaterThan(0);
});

test("node 3 speaks until it is put out; then nothing that it says is taken, and what it knew opens nothing", () => {
  const world = worldOf(rosterText(1));
  world.kill(3);
  world.run(2000);
  const thief = new Thief(world, 3, 13, rosterText(1));
  thief.run(1000);
  // The attack is right: as long as it belongs to the group, it is believed.
  expect(alive(world, 1, 3)).toBe(true);
  const planted = keyOf({}, world);
  for (const to of [1, 2]) expect(thief.say(to, { kind: "ticket_key", value: encoded(planted) })).toBe(true);
  thief.run(50);
  expect(ticketKeys(world, 1)).toContain(planted.id);
  const before = { keys: ticketKeys(world, 1), fleet: world.node(1).group.fleetKeys(world.now())[0] };
  expect(before.fleet).toEqual(FLEET);

  expect(world.node(2).group.learnRoster(world.now(), rosterText(2, [3]))).toEqual({ result: "in_force" });
  world.node(2).settle();
  thief.heard.length = 0;
  thief.said.length = 0;
  thief.run(8000);

  for (const node of [1, 2]) {
    const { group } = world.node(node);
    expect(group.roster?.version).toBe(2);
    expect(alive(world, node, 3)).toBeUndefined();
    expect(group.senders().map(({ senderId }) => senderId)).not.toContain(3);
    // Ticket keys of before are over; there are others, the same at both.
    const keys = ticketKeys(world, node);
    expect(keys.length).toBeGreaterThan(0);
    for (const id of before.keys) expect(keys).not.toContain(id);
    expect([...keys].sort()).toEqual([...ticketKeys(world, 1)].sort());
    // Another fleet key seals, the same at both.
    expect(group.fleetKeys(world.now())[0]).not.toEqual(FLEET);
    expect(group.fleetKeys(world.now())[0]).toEqual(world.node(1).group.fleetKeys(world.now())[0]);
  }
  expect(alive(world, 1, 2)).toBe(true);
  // It was told nothing meanwhile: no fleet key, no ticket key, no session.
  expect(thief.heard.filter(({ kind }) => kind !== "heartbeat")).toEqual([]);
  expect(thief.said.some(({ kind }) => kind === "alive")).toBe(false);

  // What it says now: over the link, and through the engine under its own and another name, with the key that it had.
  thief.say(1, { kind: "ticket_key", value: encoded(keyOf({ id: 5 }, world)) });
  const wallMs = world.now().wallMs;
  world.run(60_000);
  const session = {
    ...{
      index: (1 << 25) | 0x1234,
      created: wallMs,
      phase: "up" as const,
      creator: 1,
      clientKey: new Uint8Array(32).fill(4),
    },
    ...{ instance: new Uint8Array(8), receiver: 1, aead: 1 as const, modes: 1, secret: new Uint8Array(32) },
    ...{ expiryMs: wallMs + 800_000, addresses: [], endpoint: endpoint(9) },
  };
  const sessions = world.node(1).group.status().sessions;
  for (const name of [3, 1] as const) {
    const envelope = name === 3 ? thief.envelope : new Envelope(new FleetKeys(FLEET), 1, new Uint8Array(8).fill(5));
    const key = recordKey(session.index);
    const sealed = envelope.seal(world.ms, key, encodeRecord(session)!);
    world.node(2).group.busRecord(world.now(), name, key, sealed);
    const value = encoded(keyOf({ id: 6, roster: 2 }, world));
    world.node(2).group.busRecord(world.now(), name, "t.00000006", envelope.seal(world.ms, "t.00000006", value));
    world.node(2).settle();
  }
  expect(world.node(2).group.status().sessions).toBe(sessions);
  expect(ticketKeys(world, 2)).not.toContain(6);
  expect(ticketKeys(world, 2)).not.toContain(5);
  expect(world.node(2).outcomes).toMatchObject({ bus_not_member: 2, bus_old_key: 2 });
  // A key of before that another node tells again stays over.
  world.node(1).group.putTicketKey(world.now(), planted);
  world.node(1).settle();
  world.run(100);
  for (const node of [1, 2]) expect(ticketKeys(world, node)).not.toContain(planted.id);
});

test("a record that would shut a client out, or last for ever, is taken from no node; a usual one is", () => {
  const world = worldOf(rosterText(1));
  world.kill(3);
  world.run(2000);
  const thief = new Thief(world, 3, 13, rosterText(1));
  thief.run(1000);
  const { wallMs } = world.now();
  let number = 1;
  const say = (
    change: Partial<{ created: number; expiryMs: number; creator: number; phase: "up" | "ended" }>,
  ): boolean => {
    const creator = change.creator ?? 3;
    const session = {
      ...{ index: ((creator << 25) | (number++ << 8)) >>> 0, created: wallMs, phase: "up" as const, creator },
      ...{
        clientKey: new Uint8Array(32).fill(4),
        instance: new Uint8Array(8),
        receiver: 1,
        aead: 1 as const,
        modes: 1,
      },
      ...{ secret: new Uint8Array(32), expiryMs: wallMs + 800_000, addresses: [], endpoint: endpoint(9) },
      ...change,
    };
    const before = world.node(1).group.status();
    const message = {
      kind: "record",
      encoded: encodeRecord(session)!,
      owner: 3,
      seq: -1,
      endpoint: undefined,
    } as const;
    thief.say(1, message);
    thief.run(20);
    const after = world.node(1).group.status();
    return after.sessions + after.tombstones > before.sessions + before.tombstones;
  };
  expect(say({})).toBe(true);
  expect(say({ phase: "ended" })).toBe(true);
  const refused = [
    { created: 2 ** 48 - 2 },
    { created: wallMs + 1_300_000 },
    { expiryMs: 2 ** 48 - 1 },
    { expiryMs: wallMs + 2 * 86_400_000 },
    { creator: 9 },
    { phase: "ended", created: 2 ** 48 - 2 },
    { phase: "ended", expiryMs: 2 ** 48 - 1 },
  ] as const;
  for (const change of refused) expect(say(change), JSON.stringify(change)).toBe(false);
  expect(world.node(1).outcomes.record_implausible).toBe(refused.length);
  expect(say({})).toBe(true);
});

test("a window that is handed over unasked lets in nothing that was told before", () => {
  const world = worldOf(rosterText(1));
  world.kill(3);
  world.run(2000);
  const thief = new Thief(world, 3, 13, rosterText(1));
  thief.run(1000);
  const client = world.session(2);
  for (let k = 0; k < 40; k++) {
    client.send();
    world.run(20);
  }
  world.run(1000);
  const part = (highest: number) => {
    const words = new Int32Array(highest < 0 ? 0 : 1);
    thief.say(1, {
      ...{ kind: "part", index: client.record.index, created: client.record.created },
      ...{ window: { highest, words }, endpoint: endpoint(9) },
    });
    thief.run(20);
  };
  for (const highest of [-1, 0, 20]) part(highest);
  expect(world.node(1).outcomes.part_outdated).toBe(3);
  part(1000);
  expect(world.node(1).outcomes.part_outdated).toBe(3);
});

test("sessions go on while a node is put out: no packet of any client is lost or doubled", () => {
  const world = worldOf(rosterText(1));
  const clients = [1, 2, 1, 2, 1, 2].map((at) => world.session(at));
  world.run(500);
  const sent: [(typeof clients)[number], number][] = [];
  for (let step = 0; step < 400; step++) {
    if (step === 100) {
      world.node(1).group.learnRoster(world.now(), rosterText(2, [3]));
      world.node(1).settle();
    }
    for (const client of clients) {
      if (step % 50 === 0) client.at = 3 - client.at;
      sent.push([client, client.send()]);
    }
    world.run(10);
  }
  world.run(1000);
  expect(sent.filter(([client, seq]) => world.acceptedAt(client, seq).length !== 1)).toEqual([]);
});

test("whichever node gets the roster that puts one out, the others have it and the new fleet key soon", () => {
  for (const first of [1, 2]) {
    const world = worldOf(rosterText(1), true);
    world.kill(3);
    world.node(first).group.learnRoster(world.now(), rosterText(2, [3]));
    world.node(first).settle();
    world.run(5000);
    const keys = [1, 2].map((node) => Buffer.from(world.node(node).group.fleetKeys(world.now())[0]).toString("hex"));
    expect([1, 2].map((node) => world.node(node).group.roster?.version)).toEqual([2, 2]);
    expect(new Set(keys).size).toBe(1);
    expect(keys[0]).not.toBe(Buffer.from(FLEET).toString("hex"));
    expect([alive(world, 1, 2), alive(world, 2, 1)]).toEqual([true, true]);
  }
});

test("the fleet key is rotated while the group runs: all have the new one, and a node that was away gets it", () => {
  const world = worldOf(rosterText(1), true);
  world.kill(3);
  world.run(2000);
  expect(world.node(2).group.rotateFleetKey(world.now())).toBe(true);
  world.node(2).settle();
  world.run(5000);
  const key = () => world.node(1).group.fleetKeys(world.now())[0];
  expect(key()).not.toEqual(FLEET);
  expect(world.node(2).group.fleetKeys(world.now())[0]).toEqual(key());
  // It comes back with the key of its file.
  world.start(3, {
    ...{ tellsOverLink: true },
    identity: { group: "example", operator: operator.publicKey, signing: signing(3), roster: rosterText(1) },
  });
  world.run(8000);
  expect(world.node(3).group.fleetKeys(world.now())[0]).toEqual(key());
  expect(alive(world, 1, 3)).toBe(true);
  const without = new World(2, [1, 2]);
  expect(without.node(1).group.rotateFleetKey(without.now())).toBe(false);
});

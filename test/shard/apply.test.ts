/** Keys that come and go: one that the crypto driver refuses brings nothing up, and no key outlives what it was for. */

import { expect, test } from "vitest";
import { remoteOf } from "../../src/base/ip.ts";
import { parsePrefix } from "../../src/base/prefix.ts";
import { createMemory } from "../../src/dataplane/batch.ts";
import { ALG_AES_256_GCM, AUTH_NULL, OUT_BASE, ROLE_LEFT, SLOT_BYTES } from "../../src/dataplane/layout.ts";
import { Plane } from "../../src/dataplane/plane.ts";
import { createTunnelMemory, IN_CLIENT, IN_NODE, NO_SESSION } from "../../src/dataplane/tunnels.ts";
import { LIVE } from "../../src/dataplane/verdict.ts";
import { MemoryIo } from "../../src/drivers/memory_io.ts";
import { MemoryNetwork } from "../../src/drivers/memory_network.ts";
import { createTwinCrypto } from "../../src/drivers/twin_crypto.ts";
import { apply } from "../../src/shard/apply.ts";
import type { KeyRefused, SessionSetup, ToShard } from "../../src/shard/messages.ts";
import { SessionBatch } from "../../src/shard/session_batch.ts";

const EINVAL = 22;
const key = (fill: number) => new Uint8Array(32).fill(fill);
const good = { algorithm: ALG_AES_256_GCM, sealKey: key(1), openKey: key(2) };
/** Nonces would repeat. */
const equal = { algorithm: ALG_AES_256_GCM, sealKey: key(1), openKey: key(1) };
const endpoint = remoteOf([0, 0, 0xffff, 0xc0000202 | 0], 4444, 0);
const session = (change: Partial<SessionSetup>): SessionSetup => ({
  ...{ index: 3, owner: 3, end: "node", sessionIndex: 0x1234_0007, receiver: 1, senderId: 1, key: equal },
  ...{ window: 2048, keepaliveMs: 0, innerMtu: 1400, pending: false, endpoint },
  routes: [parsePrefix("198.51.100.1/32")!],
  ...change,
});
const packed = (setup: SessionSetup) => {
  const batch = new SessionBatch();
  batch.add(setup);
  return batch.take();
};

function planeOf(sessions: number): Plane {
  const memory = createMemory();
  const io = new MemoryIo({ memory, network: new MemoryNetwork(), addresses: ["192.0.2.1"] });
  const plane = new Plane({
    ...{ memory, io, crypto: createTwinCrypto(memory), tunnels: createTunnelMemory(16) },
    ...{ ethernet: false, fanoutMax: 1, floodPps: 1, dscp: -1, windowMax: 2048, hashSeed: 0 },
  });
  plane.sessions = sessions;
  return plane;
}

const satp = {
  cipherLen: 0,
  tagLen: AUTH_NULL,
  kdLen: 16,
  role: ROLE_LEFT,
  masterKey: key(1),
  masterSalt: key(1),
} as const;
const messages: [string, ToShard][] = [
  ["a session", { kind: "session", session: session({}) }],
  ["sessions at once", { kind: "sessions", sessions: packed(session({})) }],
  [
    "a classic tunnel",
    {
      kind: "add",
      tunnel: {
        ...{ index: 3, mux: 1, senderId: 0, key: satp, window: 64, keepaliveMs: 0, innerMtu: 1400, seqNext: 0 },
        ...{ routes: [parsePrefix("198.51.100.1/32")!], endpoint },
      },
    },
  ],
];

test.each(messages)("%s", (_what, message) => {
  const plane = planeOf(IN_NODE);
  const refusals: KeyRefused[] = [];
  expect(apply(plane, message, { refused: (refused) => refusals.push(refused) })).toBe(true);
  expect(refusals).toEqual([{ index: 3, errno: EINVAL }]);
  expect(plane.tunnels.used[3]).toBe(0);
  expect(plane.byIndex.find(0x1234_0007)).toBe(-1);
  expect(plane.byMux[1]).toBe(-1);
  expect(plane.routes.lookup4(parsePrefix("198.51.100.1/32")!.w3)).toBe(-1);
  // Nobody listens: then it is an error, and not as if all were well.
  expect(() => apply(plane, message)).toThrow("The key of row 3 was refused: errno 22.");
  // The row can be used afterwards, and what it never had is removed without harm.
  expect(apply(plane, { kind: "remove", index: 3, routes: [] })).toBe(true);
  apply(plane, { kind: "session", session: session({ key: good }) });
  expect([plane.tunnels.used[3], plane.byIndex.find(0x1234_0007)]).toEqual([1, 3]);
});

test("a further sender of a client's session: the session stays, the sender is unknown", () => {
  const plane = planeOf(IN_CLIENT);
  apply(plane, { kind: "session", session: session({ end: "client", key: good }) });
  const refusals: KeyRefused[] = [];
  apply(
    plane,
    { kind: "sender", index: 3, senderId: 9, slot: 7, key: equal },
    { refused: (refused) => refusals.push(refused) },
  );
  expect(refusals).toEqual([{ index: 3, errno: EINVAL }]);
  expect(plane.tunnels.used[3]).toBe(1);
  expect(plane.sendersOf.get(3)).toEqual([[1, 3]]);
});

/** What is left of the key in each slot: whether it still seals. */
function sealsWith(plane: Plane, slots: readonly number[]): boolean[] {
  const { output, crypto } = plane;
  slots.forEach((slot, i) => {
    for (const [column, value] of [
      [output.verdict, LIVE],
      [output.key, slot],
      [output.at, OUT_BASE + i * SLOT_BYTES],
      [output.type, -1],
      [output.seg, 0],
    ] as const)
      column[i] = value;
  });
  crypto.seal(slots.length);
  return slots.map((_, i) => output.verdict[i] === LIVE);
}

const sender = (senderId: number, slot: number): ToShard => ({ kind: "sender", index: 3, senderId, slot, key: good });
const classic = messages[2][1] as Extract<ToShard, { kind: "add" }>;
const keyed = { ...satp, cipherLen: 16, masterKey: key(1).slice(0, 16), masterSalt: key(1).slice(0, 14) } as const;

test.each<[string, number, readonly ToShard[], readonly number[]]>([
  ["a node's session", IN_NODE, [{ kind: "session", session: session({ key: good }) }], [3]],
  ["a client's session", IN_CLIENT, [{ kind: "session", session: session({ end: "client", key: good }) }], [3]],
  [
    "a client's session with more senders, one of which has started anew",
    IN_CLIENT,
    [{ kind: "session", session: session({ end: "client", key: good }) }, sender(8, 6), sender(9, 7), sender(9, 8)],
    [3, 6, 7, 8],
  ],
  ["a classic tunnel", NO_SESSION, [{ kind: "add", tunnel: { ...classic.tunnel, key: keyed } }], [3]],
])("the keys of %s are gone with it", (_what, sessions, setUp, slots) => {
  const plane = planeOf(sessions);
  for (const message of setUp) apply(plane, message);
  expect(sealsWith(plane, slots)).toEqual(slots.map(() => true));
  apply(plane, { kind: "remove", index: 3, routes: [] });
  expect(sealsWith(plane, slots)).toEqual(slots.map(() => false));
  expect(plane.sendersOf.size).toBe(0);
});

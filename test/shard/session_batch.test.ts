/** Sessions packed for a shard come out as they went in. */

import { expect, test } from "vitest";
import { remoteOf } from "../../src/base/ip.ts";
import { parsePrefix } from "../../src/base/prefix.ts";
import type { SessionSetup } from "../../src/shard/messages.ts";
import { BATCH_SESSIONS, SessionBatch, sessionsOf } from "../../src/shard/session_batch.ts";

const setupOf = (n: number, more: Partial<SessionSetup> = {}): SessionSetup => ({
  ...{
    index: n,
    owner: 1_000_000 + n,
    end: "node",
    sessionIndex: 0x7ffffff0 - n,
    receiver: 0x7fff - n,
    senderId: 65535,
  },
  key: { algorithm: 1, sealKey: new Uint8Array(32).fill(n), openKey: new Uint8Array(32).fill(n + 1) },
  ...{ window: 2048, keepaliveMs: 25_000, innerMtu: 1400, pending: true, foreign: false },
  routes: ["10.9.0.2/32", "2001:db8:9::2/128"].map((text) => {
    const { family, w0, w1, w2, w3, length } = parsePrefix(text)!;
    return { family, w0, w1, w2, w3, length };
  }),
  endpoint: remoteOf([0x20010db8, 0, 0, -1], 65535, 0x7ffffe01),
  ...more,
});

test("a whole batch, with short keys, no prefixes and every prefix among them", () => {
  const batch = new SessionBatch();
  const short = { algorithm: 0, sealKey: new Uint8Array(16).fill(3), openKey: new Uint8Array(16).fill(4) } as const;
  const setups = Array.from({ length: BATCH_SESSIONS }, (_, n) => setupOf(n));
  setups[3] = setupOf(3, { key: short, routes: [], pending: false, foreign: true });
  setups[4] = setupOf(4, { end: "client", routes: undefined });
  for (const setup of setups) {
    expect(batch.full).toBe(false);
    batch.add(setup);
  }
  expect(batch.full).toBe(true);
  const packed = structuredClone(batch.take());
  expect([...sessionsOf(packed)]).toEqual(setups);
  expect(batch.count).toBe(0);
  batch.add(setupOf(9));
  expect([...sessionsOf(batch.take())]).toEqual([setupOf(9)]);
});

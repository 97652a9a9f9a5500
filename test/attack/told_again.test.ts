/**
 * A member that lies tells a session again, with the same secret: under another timestamp, index or client, after its end, or
 * when its tombstone was forgotten. Each time this node would begin to seal at number 0 once more. Under the same key it
 * must not: what it opens in its data plane never has a key that it opened before.
 */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type LiveRecord, tombstoneOf } from "../../src/cluster/record.ts";
import { PastSessions } from "../../src/control/node/past_sessions.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { sessionsOf } from "../../src/shard/session_batch.ts";
import { CLIENT, oneOfGroup, recordOf } from "../control/one_of_group.ts";
import { hex } from "../handshake/party.ts";

const OTHER = keyPairFromPrivate(new Uint8Array(32).fill(4)).publicKey;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] });
  vi.setSystemTime(1_800_000_000_000);
});
afterEach(() => vi.useRealTimers());

function world() {
  const { node, posted, put, admit, tunnels } = oneOfGroup();
  admit("anna", CLIENT, "10.9.0.2");
  admit("bert", OTHER, "10.9.0.3");
  /** Keys that the data plane was told to seal with, in order. */
  const keys = () =>
    posted.flatMap((message) =>
      message.kind === "sessions" ? [...sessionsOf(message.sessions)].map(({ key }) => hex(key.sealKey)) : [],
    );
  const tell = async (record: LiveRecord) => {
    const before = keys().length;
    put(record);
    await vi.advanceTimersByTimeAsync(1000);
    return keys().length - before;
  };
  const end = async (record: LiveRecord, expiryMs = record.expiryMs) => {
    put(tombstoneOf({ ...record, expiryMs }));
    await vi.advanceTimersByTimeAsync(1000);
  };
  const noneTwice = () => expect(new Set(keys()).size).toBe(keys().length);
  return { node, put, tell, end, noneTwice, keys, tunnels, posted };
}

test("under another timestamp, index or client the same secret makes another key", async () => {
  const { node, tell, noneTwice } = world();
  const first = recordOf();
  expect(await tell(first)).toBe(1);
  expect(await tell({ ...first, created: first.created + 1 })).toBe(1);
  expect(await tell({ ...recordOf(), secret: first.secret, created: first.created + 1 })).toBe(1);
  expect(await tell({ ...recordOf(), secret: first.secret, clientKey: OTHER })).toBe(1);
  // Back to the first.
  expect(await tell({ ...first, clientKey: OTHER, created: first.created + 2 })).toBe(1);
  expect(await tell(first)).toBe(0);
  expect(await tell({ ...first, index: recordOf().index })).toBe(0);
  noneTwice();
  node.stop();
});

test("what has ended does not begin again, also when its tombstone says that it counts for a moment only", async () => {
  const { node, tell, end, noneTwice } = world();
  const first = recordOf();
  expect(await tell(first)).toBe(1);
  await end(first, Date.now() + 1500);
  expect(await tell(first)).toBe(0);
  // The tombstone is forgotten, and the session is told to live on.
  await vi.advanceTimersByTimeAsync(10_000);
  for (const change of [{}, { receiver: 2 }, { aead: 2 as const }, { index: recordOf().index }])
    expect(await tell({ ...first, ...change, expiryMs: Date.now() + 900_000 })).toBe(0);
  expect(await tell({ ...recordOf(), secret: first.secret, created: first.created - 1 })).toBe(0);
  // The client comes again, and is served.
  expect(await tell(recordOf({ created: first.created + 1 }))).toBe(1);
  noneTwice();
  node.stop();
});

test("of sessions that expired and were told to last longer, and of those that a newer one replaced", async () => {
  const { node, tell, noneTwice, keys } = world();
  const first = recordOf({ expiryMs: Date.now() + 60_000 });
  expect(await tell(first)).toBe(1);
  const second = recordOf({ created: 9 });
  expect(await tell(second)).toBe(1);
  await vi.advanceTimersByTimeAsync(700_000);
  for (const record of [first, second]) expect(await tell({ ...record, expiryMs: Date.now() + 900_000 })).toBe(0);
  expect(keys()).toHaveLength(2);
  noneTwice();
  node.stop();
});

test("one that was never confirmed and in which nothing was sealed may come again; one in which something was may not", async () => {
  const { node, tell, posted } = world();
  const quiet = recordOf({ phase: "pending" });
  expect(await tell(quiet)).toBe(1);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(posted.filter(({ kind }) => kind === "remove")).toHaveLength(1);
  expect(await tell({ ...quiet, phase: "up" })).toBe(1);
  const asked = recordOf({ phase: "pending", clientKey: OTHER });
  expect(await tell(asked)).toBe(1);
  // A challenge, as when its packet came here.
  node.tell(asked.index, { kind: 1, token: new Uint8Array(8) });
  await vi.advanceTimersByTimeAsync(20_000);
  expect(await tell({ ...asked, phase: "up" })).toBe(0);
  node.stop();
});

test("beyond its room the memory of what ended shuts out more, never less", () => {
  const past = new PastSessions(2);
  const client = (n: number) => hex(new Uint8Array(32).fill(n));
  past.ended(client(1), 50);
  past.ended(client(1), 40);
  past.ended(client(2), 10);
  expect([1, 2, 3].map((n) => past.greatest(client(n)))).toEqual([50, 10, -1]);
  past.ended(client(3), 20);
  expect([1, 2, 3, 4].map((n) => past.greatest(client(n)))).toEqual([50, 10, 20, 50]);
});

/** Random contents of messages between nodes. */
import fc from "fast-check";
import type { Heartbeat } from "../../src/cluster/heartbeat.ts";
import type { LiveRecord, Tombstone } from "../../src/cluster/record.ts";
import type { Window } from "../../src/cluster/window.ts";
import { creatorOf } from "../../src/crypto/session_index.ts";
import { newIndex } from "../support/new_index.ts";

export const exactly = (n: number) => fc.uint8Array({ minLength: n, maxLength: n });
export const u16 = fc.nat(0xffff);
export const u32 = fc.nat(0xffffffff);
export const time = fc.integer({ min: 0, max: 2 ** 48 - 1 });
export const node = fc.integer({ min: 1, max: 63 });
export const index = fc.tuple(node, exactly(4)).map(([creator, random]) => newIndex(creator, random));
const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const v4 = word.map((w3) => ({ family: 4 as const, w0: 0, w1: 0, w2: 0xffff, w3 }));
// The first word is never zero: it is no IPv4 address.
const v6 = fc
  .tuple(word, word, word, word)
  .map(([w0, w1, w2, w3]) => ({ family: 6 as const, w0: w0 || 1, w1, w2, w3 }));
const asked = fc.option(fc.integer({ min: 1, max: 0xffffffff }), { nil: undefined });
export const endpoint = fc
  .tuple(fc.oneof(v4, v6), u16, asked)
  .map(([address, port, asked]) => ({ ...address, port, asked }));
const prefix = fc.oneof(
  fc.tuple(v4, fc.nat(32)).map(([address, length]) => ({ ...address, length })),
  fc.tuple(v6, fc.nat(128)).map(([address, length]) => ({ ...address, length })),
);

export const live: fc.Arbitrary<LiveRecord> = fc
  .record({
    ...{ phase: fc.constantFrom("pending" as const, "up" as const), index, created: time, clientKey: exactly(32) },
    ...{ instance: exactly(8), receiver: fc.nat(0x7ffe), aead: fc.constantFrom(1 as const, 2 as const, 3 as const) },
    ...{ modes: u16, secret: exactly(32), expiryMs: time, addresses: fc.array(prefix, { maxLength: 16 }), endpoint },
  })
  .map((record) => ({ ...record, creator: creatorOf(record.index) }));

export const tombstone: fc.Arbitrary<Tombstone> = fc
  .record({ phase: fc.constant("ended" as const), index, created: time, expiryMs: time })
  .map((record) => ({ ...record, creator: creatorOf(record.index) }));

export const record = fc.oneof(live, tombstone);

export const heartbeat: fc.Arbitrary<Heartbeat> = fc.record({
  ...{ kind: fc.constant("heartbeat" as const), wallMs: time, sessions: u32, version: time },
  drain: fc.constantFrom("serving" as const, "draining" as const, "leaving" as const),
  deaf: fc.boolean(),
  digest: fc.array(fc.record({ creator: node, count: u32, high: u32, low: u32 }), { maxLength: 64 }),
});

const windowWord = fc.oneof(
  { weight: 4, arbitrary: fc.constant(-1) },
  { weight: 2, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: word },
);
export const window: fc.Arbitrary<Window> = fc.oneof(
  fc.constant({ highest: -1, words: new Int32Array(0) }),
  fc.record({
    highest: u32,
    words: fc.array(windowWord, { maxLength: 256, size: "max" }).map((words) => Int32Array.from(words)),
  }),
);

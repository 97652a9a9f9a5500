/** What nodes write is read again; what is cut, changed or out of range is refused, without an exception. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeClient, encodeClient } from "../../src/cluster/book_record.ts";
import { Reader, Writer } from "../../src/cluster/bytes.ts";
import { ENVELOPE_OVERHEAD, Envelope } from "../../src/cluster/envelope.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import { PAYLOAD_ALONE_MAX, PAYLOAD_MAX } from "../../src/cluster/link.ts";
import {
  FORWARD_MAX,
  INSIDE_MAX,
  LISTED_MAX,
  type LinkMessage,
  PIECE_MAX,
  packMessages,
  SHOUT_MAX,
  unpackMessages,
} from "../../src/cluster/link_message.ts";
import { decodeShouts, encodeShouts, lifeOf, type Shout } from "../../src/cluster/location.ts";
import {
  decodeRecord,
  encodeRecord,
  indexOfKey,
  isGroupIndex,
  merge,
  RECORD_LEN_MAX,
  recordKey,
  type SessionRecord,
  tombstoneOf,
} from "../../src/cluster/record.ts";
import { readWindow, WINDOW_LEN_MAX, WINDOW_WORDS_MAX, type Window, writeWindow } from "../../src/cluster/window.ts";
import { FRESH, NONE, ReplayTable } from "../../src/crypto/replay.ts";
import { creatorOf } from "../../src/crypto/session_index.ts";
import { newIndex } from "../support/new_index.ts";
import * as any from "./arbitrary.ts";

const messageSample = (seed: number): LinkMessage => fc.sample(message, { numRuns: 1, seed })[0];

const name = { index: any.index, created: any.time };
const sessions = fc
  .tuple(any.node, fc.uniqueArray(fc.nat(0xfffff), { maxLength: LISTED_MAX }))
  .map(([creator, all]) => ({
    creator,
    sessions: all
      .map((n) => ({ index: newIndex(creator, Uint8Array.of(n >>> 16, n >>> 8, n)), created: n }))
      .sort((a, b) => a.index - b.index)
      .filter((session, i, list) => i === 0 || session.index !== list[i - 1].index),
  }));
const part = fc.constantFrom("book" as const, "sessions" as const);
const message: fc.Arbitrary<LinkMessage> = fc.oneof(
  any.heartbeat,
  fc.record({ kind: fc.constant("take" as const), ...name, seq: any.u32 }),
  fc.record({
    ...{ kind: fc.constant("taken" as const), ...name, owner: fc.constant(0), window: fc.constant(undefined) },
    result: fc.constantFrom("keep" as const, "stale" as const, "unknown" as const),
  }),
  fc.record({
    ...{ kind: fc.constant("taken" as const), ...name, owner: any.node, window: fc.constant(undefined) },
    result: fc.constant("moved" as const),
  }),
  fc.record({
    ...{ kind: fc.constant("taken" as const), ...name, owner: fc.constant(0), window: any.window },
    result: fc.constant("given" as const),
  }),
  fc.record({ kind: fc.constantFrom("ask" as const, "absent" as const), index: any.index }),
  fc.record({
    ...{ kind: fc.constant("record" as const), encoded: any.record.map((one) => encodeRecord(one)!) },
    owner: fc.nat(63),
    ...{ seq: fc.oneof(fc.constant(-1), any.u32), endpoint: fc.option(any.endpoint, { nil: undefined }) },
  }),
  fc.record({
    ...{ kind: fc.constant("forward" as const), source: any.endpoint, tos: fc.nat(255) },
    datagram: fc.uint8Array({ maxLength: FORWARD_MAX }),
  }),
  fc.record({
    ...{ kind: fc.constant("inside" as const), index: any.index, payload: fc.uint8Array({ maxLength: INSIDE_MAX }) },
  }),
  fc.record({
    ...{ kind: fc.constant("sender_acked" as const), index: any.index, senderId: any.u16, bootId: any.exactly(8) },
  }),
  fc.record({ kind: fc.constant("part" as const), ...name, window: any.window, endpoint: any.endpoint }),
  fc.record({ kind: fc.constant("shout" as const), plain: fc.uint8Array({ maxLength: SHOUT_MAX }) }),
  fc.record({
    ...{
      kind: fc.constant("client" as const),
      clientKey: any.exactly(32).map((key) => Buffer.from(key).toString("hex")),
    },
    value: fc.uint8Array({ maxLength: 1200 }),
  }),
  fc.record({ kind: fc.constant("ticket_key" as const), value: fc.uint8Array({ maxLength: 100 }) }),
  fc.record({ kind: fc.constant("fetch" as const), part, page: any.u32 }),
  fc
    .record({
      ...{ kind: fc.constant("piece" as const), part, page: any.u32, number: fc.nat(254), last: fc.boolean() },
      ...{ more: fc.integer({ min: 1, max: 255 }), plain: fc.uint8Array({ maxLength: PIECE_MAX }) },
    })
    .map(({ more, ...piece }) => ({ ...piece, count: Math.min(255, piece.number + more) })),
  fc.record({
    kind: fc.constant("list" as const),
    creator: any.node,
    after: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
  }),
  fc
    .tuple(sessions, fc.boolean())
    .map(([list, last]) => ({ kind: "listed" as const, ...list, after: (list.sessions[0]?.index ?? 0) - 1, last })),
);

const shout: fc.Arbitrary<Shout> = fc.oneof(
  any.heartbeat,
  fc.record({ kind: fc.constant("moved" as const), ...name, seq: any.u32, owner: any.node, endpoint: any.endpoint }),
  fc.record({
    kind: fc.constant("progress" as const),
    sessions: fc.array(fc.record({ index: any.index, life: any.u16, seq: any.u32 }), { minLength: 1, maxLength: 50 }),
  }),
);

/** Cut at every byte and with every byte changed: what is still read must be written back as it came. */
function hostile<T>(bytes: Uint8Array, decode: (bytes: Uint8Array) => T | undefined, encode: (value: T) => Uint8Array) {
  for (let n = 0; n < bytes.length; n++) {
    const cut = decode(bytes.subarray(0, n));
    if (cut !== undefined) expect(encode(cut)).toEqual(bytes.slice(0, n));
    for (const flip of [1, 0x80, 0xff]) {
      const changed = bytes.slice();
      changed[n] ^= flip;
      const value = decode(changed);
      if (value !== undefined) expect(encode(value)).toEqual(changed);
    }
  }
}

test("session records: at most 400 bytes, strict in every byte", () => {
  fc.assert(
    fc.property(any.record, (record) => {
      const bytes = encodeRecord(record)!;
      expect(bytes.length).toBeLessThanOrEqual(RECORD_LEN_MAX);
      expect(decodeRecord(bytes)).toEqual(record);
      expect(decodeRecord(Uint8Array.of(...bytes, 0))).toBeUndefined();
      for (let n = 0; n < bytes.length; n++) expect(decodeRecord(bytes.subarray(0, n))).toBeUndefined();
    }),
    { numRuns: 50 },
  );
  for (const record of fc.sample(any.record, { numRuns: 20, seed: 3 }))
    hostile(encodeRecord(record)!, decodeRecord, (value) => encodeRecord(value)!);
  const [record] = fc.sample(any.live, { numRuns: 1, seed: 1 });
  expect(encodeRecord(tombstoneOf(record))!.length).toBe(18);
  const address = { family: 6 as const, w0: 1, w1: 0, w2: 0, w3: 0, length: 64 };
  expect(encodeRecord({ ...record, addresses: Array(17).fill(address) })).toBeUndefined();
  expect(encodeRecord({ ...record, addresses: Array(300).fill(address) })).toBeUndefined();
  const bytes = encodeRecord(record)!;
  for (const [at, value] of [
    [0, 1],
    [0, 3],
    [1, 0],
    [1, 4],
    [2, 0x80],
    [58, 0xff],
    [60, 0],
    [60, 4],
  ]) {
    const changed = bytes.slice();
    changed[at] = value;
    expect(decodeRecord(changed), `byte ${at} = ${value}`).toBeUndefined();
  }
});

test("a record says who made its index", () => {
  fc.assert(
    fc.property(any.node, any.exactly(4), (creator, random) => {
      const index = newIndex(creator, random);
      expect(creatorOf(index)).toBe(creator);
      expect(index >>> 25).toBe(creator);
      expect(isGroupIndex(index)).toBe(true);
      expect(indexOfKey(recordKey(index))).toBe(index);
    }),
  );
  expect(isGroupIndex(0x7fff_ffff + 1)).toBe(false);
  expect(isGroupIndex(5)).toBe(false);
  for (const key of ["s.", "s.0000000", "s.02007fff", "s.0200000G", "t.02000000", "s.00000001", "s.020000001"])
    expect(indexOfKey(key), key).toBe(-1);
});

test("merging records is the same in any order and any number of times", () => {
  const few = fc.record({ created: fc.constantFrom(5, 6), expiryMs: fc.constantFrom(1, 2), kind: fc.nat(3) });
  const [sample] = fc.sample(any.live, { numRuns: 1, seed: 2 });
  const some: fc.Arbitrary<SessionRecord> = few.map(({ created, expiryMs, kind }) =>
    kind === 3
      ? tombstoneOf({ ...sample, created, expiryMs })
      : { ...sample, created, expiryMs, phase: kind === 2 ? "up" : "pending", receiver: kind },
  );
  fc.assert(
    fc.property(some, some, some, (a, b, c) => {
      expect(merge(a, b)).toEqual(merge(b, a));
      expect(merge(merge(a, b), c)).toEqual(merge(a, merge(b, c)));
      expect(merge(a, a)).toEqual(a);
      const both = merge(a, b);
      expect(both.created).toBe(Math.max(a.created, b.created));
      if (a.created === b.created && (a.phase === "ended" || b.phase === "ended")) expect(both.phase).toBe("ended");
    }),
  );
  const later = { ...sample, created: 9, phase: "pending" as const };
  expect(merge<SessionRecord>(tombstoneOf({ ...sample, created: 8 }), later)).toBe(later);
});

test("shouts: packed and split", () => {
  fc.assert(
    fc.property(fc.array(shout, { minLength: 1, maxLength: 60 }), (shouts) => {
      const messages = encodeShouts(shouts);
      expect(messages.flatMap((bytes) => decodeShouts(bytes) ?? [])).toEqual(shouts);
      for (const { length } of messages) expect(length).toBeLessThanOrEqual(32_768 - ENVELOPE_OVERHEAD);
    }),
    { numRuns: 50 },
  );
  for (const one of fc.sample(shout, { numRuns: 10, seed: 4 }))
    hostile(encodeShouts([one])[0], decodeShouts, (value) => encodeShouts(value)[0]);
  const many = Array.from({ length: 10_000 }, (_, i) => ({
    index: newIndex(1, Uint8Array.of(0, i >> 8, i)),
    life: 1,
    seq: i,
  }));
  const messages = encodeShouts([{ kind: "progress", sessions: many }]);
  // Four reports a second of one session: the budget of steady synchronization is 100 bytes/s.
  expect((4 * messages.reduce((sum, { length }) => sum + length + ENVELOPE_OVERHEAD, 0)) / 10_000).toBeLessThan(41);
  const read = messages.flatMap((bytes) => decodeShouts(bytes)!);
  expect(read.flatMap((part) => (part.kind === "progress" ? part.sessions : []))).toEqual(many);
  expect(encodeShouts([])).toEqual([]);
  expect(decodeShouts(new Uint8Array(0))).toBeUndefined();
  expect(decodeShouts(Uint8Array.of(1))).toBeUndefined();
  expect(lifeOf(2 ** 48 - 1)).toBe(0xffff);
});

test("messages of the link: several in a payload, a forward alone", () => {
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 30 }), (messages) => {
      const payloads = packMessages(messages);
      const read = payloads.map((payload) => unpackMessages(payload)!);
      expect(read.flat()).toEqual(messages);
      payloads.forEach(({ length }, i) => {
        const alone = read[i].some(({ kind }) => kind === "forward");
        if (alone) expect(read[i].length).toBe(1);
        expect(length).toBeLessThanOrEqual(alone ? PAYLOAD_ALONE_MAX : PAYLOAD_MAX);
      });
    }),
    { numRuns: 100 },
  );
  const takes = fc
    .sample(any.index, { numRuns: 90, seed: 5 })
    .map((index) => ({ kind: "take" as const, index, created: 1, seq: 2 }));
  expect(packMessages(takes).length).toBe(1);
  expect(packMessages([])).toEqual([]);
  expect(unpackMessages(new Uint8Array(0))).toBeUndefined();
  const [source] = fc.sample(any.endpoint, { numRuns: 1, seed: 6 });
  expect(packMessages([{ kind: "forward", source, tos: 0, datagram: new Uint8Array(FORWARD_MAX + 1) }])).toEqual([]);
});

test("messages of the link that are cut or changed are refused, or are others of the same form", () => {
  for (let seed = 0; seed < 40; seed++) {
    const one = messageSample(seed);
    if (one.kind === "taken" || one.kind === "part") continue;
    const [bytes] = packMessages([one]);
    hostile(bytes.subarray(0, 400), unpackMessages, (value) => packMessages(value)[0]);
  }
  // Windows may be written in several ways: they are read, or refused.
  const window = { highest: 5000, words: Int32Array.from({ length: 60 }, (_, i) => [i, -1, 0, 0][i >> 4]) };
  const [bytes] = packMessages([{ kind: "taken", index: 2 ** 25, created: 1, result: "given", owner: 0, window }]);
  for (let n = 0; n < bytes.length; n++) expect(unpackMessages(bytes.subarray(0, n))).toBeUndefined();
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, value) => {
      const changed = bytes.slice();
      changed[at] = value;
      const [read] = unpackMessages(changed) ?? [];
      if (read?.kind === "taken") expect(read.window?.words.length ?? 0).toBeLessThanOrEqual(WINDOW_WORDS_MAX);
    }),
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => void unpackMessages(noise)));
});

test("a list must be in order, of one creator, above its beginning", () => {
  const at = (n: number) => ({ index: newIndex(3, Uint8Array.of(0, n >> 8, n)), created: 1 });
  const listed = (sessions: { index: number; created: number }[], after: number) =>
    unpackMessages(packMessages([{ kind: "listed", creator: 3, after, last: true, sessions }])[0]);
  expect(listed([at(1), at(2)], -1)).toBeDefined();
  expect(listed([at(2), at(1)], -1)).toBeUndefined();
  expect(listed([at(1), at(1)], -1)).toBeUndefined();
  expect(listed([at(1)], at(1).index)).toBeUndefined();
  expect(listed([{ index: newIndex(4, Uint8Array.of(0, 0, 1)), created: 1 }], -1)).toBeUndefined();
});

const through = (window: Window): Window | undefined => {
  const writer = new Writer(WINDOW_LEN_MAX);
  writeWindow(writer, window);
  const reader = new Reader(writer.done());
  return reader.finish(readWindow(reader));
};

test("windows: longer ones lose their oldest words, runs are short", () => {
  fc.assert(fc.property(any.window, (window) => void expect(through(window)).toEqual(window)));
  const noisy = Int32Array.from({ length: 400 }, (_, i) => i * 7 + 1);
  expect(through({ highest: 99_999, words: noisy })).toEqual({ highest: 99_999, words: noisy.slice(0, 256) });
  const alternating = Int32Array.from({ length: 256 }, (_, i) => (i % 2 === 0 ? 5 : -1));
  expect(through({ highest: 1, words: alternating })?.words).toEqual(alternating);
  const writer = new Writer(WINDOW_LEN_MAX);
  writeWindow(writer, { highest: 70_000, words: Int32Array.of(15, ...Array(63).fill(-1)) });
  expect(writer.done().length).toBe(13);
});

test("words of a window say what docs/PROTOCOL.md says of each number", () => {
  fc.assert(
    fc.property(fc.nat(100_000), fc.uniqueArray(fc.nat(500), { maxLength: 100 }), (start, steps) => {
      const table = new ReplayTable({ slots: 1, sendersPerTunnel: 1, bits: 512 });
      const slot = table.create(0, 1);
      for (const step of steps) table.commit(slot, start + step, 512);
      const highest = table.highest(slot);
      fc.pre(highest !== NONE);
      const words = Int32Array.from({ length: 16 }, (_, k) => {
        let word = 0;
        for (let bit = 0; bit < 32; bit++) {
          const number = 32 * ((highest >>> 5) - k) + bit;
          if (number >= 0 && number <= highest && table.check(slot, number, 512) !== FRESH) word |= 1 << bit;
        }
        return word;
      });
      const read = through({ highest, words })!;
      for (let number = Math.max(0, highest - 450); number <= highest; number++) {
        const bit = (read.words[(highest >>> 5) - (number >>> 5)] >>> (number & 31)) & 1;
        expect(bit === 0).toBe(table.check(slot, number, 512) === FRESH);
      }
    }),
    { numRuns: 30 },
  );
});

test("clients of the book", () => {
  const version = fc.record({ stamp: fc.integer({ min: 0, max: 2 ** 52 }), node: any.node });
  const signature = fc.option(fc.uint8Array({ minLength: 64, maxLength: 64 }), { nil: undefined });
  const content = fc.option(fc.uint8Array({ maxLength: 100 }), { nil: undefined });
  fc.assert(
    fc.property(version, version, content, signature, (a, b, content, signature) => {
      const later = a.stamp > b.stamp || (a.stamp === b.stamp && a.node > b.node);
      const [newer, older] = later ? [a, b] : [b, a];
      const client = { version: newer, claimed: content === undefined ? newer : older, content, signature };
      expect(decodeClient(encodeClient(client))).toEqual(client);
      if (content !== undefined && later)
        expect(decodeClient(encodeClient({ ...client, version: older, claimed: newer }))).toBeUndefined();
      hostile(encodeClient(client), decodeClient, encodeClient);
    }),
    { numRuns: 40 },
  );
});

test("envelopes: opened in their place only, by nodes with the fleet key", () => {
  const fleetKey = new FleetKeys(new Uint8Array(32).fill(1));
  const seals = new Envelope(fleetKey, 7, new Uint8Array(8).fill(2));
  const opens = new Envelope(fleetKey, 8, new Uint8Array(8).fill(3));
  fc.assert(
    fc.property(fc.stringMatching(/^[A-Za-z0-9_-]{0,100}$/), fc.uint8Array({ maxLength: 500 }), (key, plain) => {
      const sealed = seals.seal(0, key, plain);
      expect(sealed.length).toBe(plain.length + ENVELOPE_OVERHEAD);
      expect(opens.open(0, 7, key, sealed)).toMatchObject({ node: 7, bootId: new Uint8Array(8).fill(2), plain });
      const otherKey = `${key.startsWith("x") ? "y" : "x"}${key.slice(1)}`;
      expect(opens.open(0, 7, otherKey, sealed)).toBe("wrong_seal");
      expect(opens.open(0, 6, key, sealed)).toBe("wrong_node");
      expect(new Envelope(new FleetKeys(new Uint8Array(32)), 8, new Uint8Array(8)).open(0, 7, key, sealed)).toBe(
        "wrong_seal",
      );
    }),
  );
  const sealed = seals.seal(0, "s.00000001", Uint8Array.of(1, 2, 3));
  for (let n = 0; n < sealed.length; n++) {
    expect(opens.open(0, 7, "s.00000001", sealed.subarray(0, n))).toBe(
      n < ENVELOPE_OVERHEAD ? "malformed" : "wrong_seal",
    );
    const changed = sealed.slice();
    changed[n] ^= 1;
    expect(opens.open(0, 7, "s.00000001", changed)).toBe(
      n === 0 ? "version" : n === 5 || n === 6 ? "wrong_node" : "wrong_seal",
    );
  }
  expect(opens.open(0, 7, "k".repeat(101), sealed)).toBe("malformed");
  expect(opens.open(0, 7, "ä", sealed)).toBe("wrong_seal");
  const counters = [1, 2, 3].map(() => opens.open(0, 7, "", seals.seal(0, "", new Uint8Array(0))));
  expect(counters.map((opened) => typeof opened === "object" && opened.counter)).toEqual(
    [1, 2, 3].map((n) => (opens.open(0, 7, "s.00000001", sealed) as { counter: number }).counter + n),
  );
});

test("envelopes: a flood of starts pushes no key out that opens something, and memory stays", () => {
  const fleetKey = new FleetKeys(new Uint8Array(32).fill(1));
  const opens = new Envelope(fleetKey, 8, new Uint8Array(8));
  for (let i = 0; i < 1000; i++) {
    const bootId = Uint8Array.of(1, 1, 1, 1, 1, 1, i >> 8, i);
    expect(opens.open(0, 7, "k", new Envelope(fleetKey, 7, bootId).seal(0, "k", bootId))).toMatchObject({
      plain: bootId,
    });
  }
});

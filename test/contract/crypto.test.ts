/**
 * The rules of `PacketCrypto`, kept by the addon and by its twin: vectors through the batch interface, hostile rows,
 * diagnosis, and a differential run of random batches where both must leave every byte and every column equal.
 */
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { type SatpContext, satpKeyFromPassphrase, sealSatp } from "../../src/crypto/satp.ts";
import {
  DATAGRAM_MAX,
  IN_ROWS,
  KEY_SLOTS,
  OUT_BASE,
  OUT_ROWS,
  SLAB_BYTES,
  SLOT_BYTES,
} from "../../src/dataplane/layout.ts";
import * as V from "../../src/dataplane/verdict.ts";
import { contexts, headers, peerOf } from "../crypto/arbitrary.ts";
import { hex, packetVectors } from "../crypto/vector_files.ts";
import { bound, clean, native, receive, send, twin } from "./crypto_rows.ts";

const classic = satpKeyFromPassphrase("lantern", { cipherLen: 16, tagLen: 10, kdLen: 16, role: 0 });
const header = { seq: 0xfffffffe, senderId: 0xfffe, mux: 0x1234 };

test("the addon binds", () => {
  expect(bound).toBe(0);
});

describe.each([
  ["native", native],
  ["twin", twin],
])("%s", (_name, { memory, crypto }) => {
  const { slab, input, output } = memory;
  beforeEach(() => clean({ memory, crypto }));

  test("seals and opens every vector", () => {
    for (const { name, context, header: h, payloadType, inner, datagram } of packetVectors()) {
      slab.fill(0xa5);
      crypto.setSatp(0, context);
      crypto.setSatp(1, peerOf(context));
      slab.set(inner, 64);
      send(memory, 0, 64, inner.length, payloadType);
      output.seq[0] = h.seq;
      output.sender[0] = h.senderId;
      output.mux[0] = h.mux;
      crypto.seal(1);
      expect(output.verdict[0], name).toBe(V.LIVE);
      expect(output.len[0], name).toBe(datagram.length);
      expect(hex(slab.subarray(OUT_BASE, OUT_BASE + datagram.length)), name).toBe(hex(datagram));
      expect(slab[OUT_BASE + datagram.length], name).toBe(0xa5);
      expect(hex(slab.subarray(64, 64 + inner.length)), name).toBe(hex(inner));

      receive(memory, 0, datagram);
      crypto.open(1);
      expect(input.verdict[0], name).toBe(V.LIVE);
      expect(input.type[0], name).toBe(payloadType);
      const at = input.at[0];
      expect(hex(slab.subarray(at, at + input.len[0])), name).toBe(hex(inner));
    }
  });

  test("one packet is sealed for several rows; rows that are not live stay as they are", () => {
    crypto.setSatp(0, classic);
    const inner = Uint8Array.from({ length: 100 }, (_, k) => k);
    slab.set(inner, 64);
    for (let i = 0; i < 4; i++) send(memory, i, 64, 100, 0x0800);
    output.seq[1] = 7;
    output.verdict[2] = V.NO_ENDPOINT;
    crypto.seal(3);
    const at = (i: number) => slab.subarray(OUT_BASE + i * SLOT_BYTES, OUT_BASE + i * SLOT_BYTES + 120);
    expect(at(0)).toEqual(sealSatp(classic, header, 0x0800, inner));
    expect(at(1)).toEqual(sealSatp(classic, { ...header, seq: 7 }, 0x0800, inner));
    expect(output.verdict[2]).toBe(V.NO_ENDPOINT);
    for (const i of [2, 3]) expect(at(i).every((byte) => byte === 0xa5)).toBe(true);
    expect([...output.len.subarray(0, 4)]).toEqual([120, 120, 100, 100]);
  });

  test("an empty packet goes out and comes in", () => {
    crypto.setSatp(0, classic);
    crypto.setSatp(1, peerOf(classic));
    send(memory, 0, -1, -1, -1);
    crypto.seal(1);
    expect([output.verdict[0], output.len[0]]).toEqual([V.LIVE, 18]);
    receive(memory, 0, slab.slice(OUT_BASE, OUT_BASE + 18));
    crypto.open(1);
    expect([input.verdict[0], input.type[0], input.len[0]]).toEqual([V.LIVE, -1, 0]);
  });

  test("a datagram cut at any byte or with any flipped bit is refused and left as it is", () => {
    crypto.setSatp(1, peerOf(classic));
    const datagram = sealSatp(classic, header, 0x0800, new Uint8Array(21));
    const broken = Array.from({ length: datagram.length }, (_, n) => datagram.subarray(0, n));
    for (let bit = 0; bit < datagram.length * 8; bit++) {
      const flipped = datagram.slice();
      flipped[bit >> 3] ^= 1 << (bit & 7);
      broken.push(flipped);
    }
    for (const bytes of broken) {
      slab.fill(0xa5, 0, SLOT_BYTES);
      const header8 = new Uint8Array(8);
      header8.set(bytes.subarray(0, 8));
      receive(memory, 0, bytes.length < 8 ? header8 : bytes);
      input.len[0] = bytes.length;
      const before = hex(slab.subarray(0, SLOT_BYTES));
      crypto.open(1);
      expect(input.verdict[0]).toBe(bytes.length < 18 ? V.DATAGRAM_SHORT : V.AUTH_FAILED);
      expect([input.at[0], input.len[0]]).toEqual([0, bytes.length]);
      expect(hex(slab.subarray(0, SLOT_BYTES))).toBe(before);
    }
  });

  test("an empty, cleared or impossible key slot is a tunnel that is gone", () => {
    crypto.setSatp(0, classic);
    crypto.setSatp(1, classic);
    crypto.clear(0);
    crypto.clear(1);
    for (const slot of [0, 1, 2, -1, KEY_SLOTS, 0x7fffffff, -0x80000000]) {
      receive(memory, 0, sealSatp(classic, header, 0x0800, new Uint8Array(30)));
      send(memory, 0, 64, 30, 0x0800);
      input.key[0] = slot;
      output.key[0] = slot;
      crypto.open(1);
      crypto.seal(1);
      expect([input.verdict[0], output.verdict[0]], String(slot)).toEqual([V.TUNNEL_GONE, V.TUNNEL_GONE]);
      expect(crypto.diagnose(0)).toBe(V.TUNNEL_GONE);
    }
    crypto.clear(-1);
    crypto.clear(KEY_SLOTS);
  });

  test("refuses contexts that SATP does not have, and keeps the old one", () => {
    expect(crypto.setSatp(1, peerOf(classic))).toBe(0);
    for (const wrong of [
      { cipherLen: 15 as 16 },
      { kdLen: 8 as 16 },
      { kdLen: 0 as const },
      { tagLen: 21 },
      { tagLen: -2 },
      { role: 2 },
      { role: -1 },
      { masterKey: new Uint8Array(17) },
      { masterSalt: new Uint8Array(15) },
    ])
      expect(crypto.setSatp(1, { ...classic, ...wrong }), JSON.stringify(wrong)).toBeLessThan(0);
    for (const slot of [-1, KEY_SLOTS]) expect(crypto.setSatp(slot, classic)).toBeLessThan(0);
    expect(crypto.setSatp(KEY_SLOTS - 1, classic)).toBe(0);
    receive(memory, 0, sealSatp(classic, header, 0x0800, new Uint8Array(30)));
    crypto.open(1);
    expect(input.verdict[0]).toBe(V.LIVE);
  });

  test("a replaced context is the new one, whatever the caller does to its key bytes", () => {
    const own = { ...peerOf(classic), masterKey: classic.masterKey.slice() };
    crypto.setSatp(1, satpKeyFromPassphrase("other", { cipherLen: 32, tagLen: 4, kdLen: 32, role: 1 }));
    crypto.setSatp(1, own);
    own.masterKey.fill(0);
    receive(memory, 0, sealSatp(classic, header, 0x86dd, new Uint8Array(30)));
    crypto.open(1);
    expect([input.verdict[0], input.type[0]]).toEqual([V.LIVE, 0x86dd]);
  });

  test("rows that point outside of the slab get a verdict", () => {
    crypto.setSatp(0, classic);
    crypto.setSatp(1, classic);
    const edges = [-1, -0x80000000, SLAB_BYTES, SLAB_BYTES - 5, 0x7fffffff];
    for (const edge of edges) {
      receive(memory, 0, new Uint8Array(40));
      input.at[0] = edge;
      crypto.open(1);
      expect(input.verdict[0], `open at ${edge}`).toBe(V.DATAGRAM_SHORT);
      expect(crypto.diagnose(0)).toBe(V.AUTH_FAILED);
      input.verdict[0] = V.LIVE;
      input.at[0] = 8;
      input.len[0] = edge;
      crypto.open(1);
      expect(input.verdict[0], `open of ${edge} bytes`).toBe(V.DATAGRAM_SHORT);
      send(memory, 0, edge, 40, 0x0800);
      crypto.seal(1);
      expect(output.verdict[0], `seal from ${edge}`).toBe(V.INNER_MALFORMED);
      send(memory, 0, 64, 40, 0x0800);
      output.at[0] = edge;
      crypto.seal(1);
      expect(output.verdict[0], `seal to ${edge}`).toBe(V.TOO_BIG);
    }
    for (const [len, verdict] of [
      [-1, V.INNER_MALFORMED],
      [DATAGRAM_MAX - 19, V.TOO_BIG],
      [DATAGRAM_MAX - 20, V.LIVE],
    ]) {
      send(memory, 0, 64, len, 0x0800);
      crypto.seal(1);
      expect(output.verdict[0], `seal ${len} bytes`).toBe(verdict);
    }
    for (const src of [OUT_BASE, OUT_BASE - 39, OUT_BASE + 59]) {
      send(memory, 0, src, 40, 0x0800);
      crypto.seal(1);
      expect(output.verdict[0], `overlap at ${src}`).toBe(V.INNER_MALFORMED);
    }
    send(memory, 0, OUT_BASE + 60, 40, 0x0800);
    crypto.seal(1);
    expect(output.verdict[0]).toBe(V.LIVE);
  });

  test("counts beyond the batch stop at its end", () => {
    for (let i = 0; i < IN_ROWS; i++) input.verdict[i] = V.LIVE;
    for (let i = 0; i < OUT_ROWS; i++) output.verdict[i] = V.LIVE;
    for (const n of [-1, 0, -0x80000000]) {
      crypto.open(n);
      crypto.seal(n);
    }
    expect([input.verdict[0], output.verdict[0]]).toEqual([V.LIVE, V.LIVE]);
    crypto.open(0x7fffffff);
    crypto.seal(0x7fffffff);
    expect(input.verdict.every((v) => v === V.TUNNEL_GONE)).toBe(true);
    expect(output.verdict.every((v) => v === V.TUNNEL_GONE)).toBe(true);
    for (const row of [-1, IN_ROWS, 0x7fffffff]) expect(crypto.diagnose(row)).toBe(V.AUTH_FAILED);
  });

  test("says why a datagram does not open", () => {
    const inner = new Uint8Array(50);
    const own = peerOf(classic);
    const cases: [string, SatpContext, number][] = [
      ["other passphrase", satpKeyFromPassphrase("other", classic), V.AUTH_FAILED],
      ["equal roles", own, V.AUTH_EQUAL_ROLES],
      ["equal roles and tag length", { ...own, tagLen: 20 }, V.AUTH_EQUAL_ROLES],
      ["longest tag", { ...classic, tagLen: 20 }, V.AUTH_TAG_LENGTH],
      ["short tag", { ...classic, tagLen: 4 }, V.AUTH_TAG_LENGTH],
    ];
    crypto.setSatp(1, own);
    for (const [name, peer, verdict] of cases) {
      const datagram = sealSatp(peer, header, 0x0800, inner);
      receive(memory, 0, datagram);
      crypto.open(1);
      expect(input.verdict[0], name).toBe(V.AUTH_FAILED);
      expect(crypto.diagnose(0), name).toBe(verdict);
      expect(hex(slab.subarray(0, datagram.length)), name).toBe(hex(datagram));
    }
    // Shorter than our own header and tag, but whole for the peer.
    receive(memory, 0, sealSatp({ ...classic, tagLen: 6 }, header, -1, inner));
    crypto.open(1);
    expect(input.verdict[0]).toBe(V.DATAGRAM_SHORT);
    expect(crypto.diagnose(0)).toBe(V.AUTH_TAG_LENGTH);
  });
});

/** Both ends of a session, as contexts of slots. */
const sessions = fc
  .record({ algorithm: fc.nat(2), bytes: fc.uint8Array({ minLength: 64, maxLength: 64 }) })
  .filter(({ algorithm, bytes }) => {
    const n = algorithm === 0 ? 16 : 32;
    return hex(bytes.subarray(0, n)) !== hex(bytes.subarray(32, 32 + n));
  })
  .map(({ algorithm, bytes }) => {
    const n = algorithm === 0 ? 16 : 32;
    return { algorithm, sealKey: bytes.slice(0, n), openKey: bytes.slice(32, 32 + n) };
  });

/** Distance of the datagrams of neighbouring rows, more than the longest that is not hostile. */
const PITCH = 4096;
const ROWS_MAX = 40;
const jitter = fc.nat(PITCH - SLOT_BYTES - 100);
const hostile = fc.oneof(fc.integer({ min: SLAB_BYTES - 100, max: SLAB_BYTES + 10 }), fc.integer());
const mostly = <T>(usual: fc.Arbitrary<T>, rare: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 12, arbitrary: usual }, { weight: 1, arbitrary: rare });
const row = (i: number) =>
  fc.record({
    at: mostly(
      jitter.map((j) => OUT_BASE + i * PITCH + j),
      hostile,
    ),
    src: mostly(fc.nat(SLOT_BYTES * 8), hostile),
    len: mostly(fc.oneof(fc.nat(200), fc.integer({ min: 1300, max: SLOT_BYTES })), hostile),
    key: mostly(fc.nat(3), fc.constantFrom(-1, 4, KEY_SLOTS)),
    type: mostly(fc.nat(0xffff), fc.integer()),
    header: headers,
  });
type Row = ReturnType<typeof row> extends fc.Arbitrary<infer R> ? R : never;

/** Drops rows that break the one rule of the port: no datagram overlaps another one, or a source. */
function disjoint(rows: readonly Row[]): Row[] {
  const kept: Row[] = [];
  const meet = (a: number, b: number, len: number, other: number) => a < b + other && b < a + len;
  const room = (r: Row) => Math.max(0, r.len) + 64;
  for (const r of rows) {
    const clash = kept.some(
      (k) =>
        meet(r.at, k.at, room(r), room(k)) ||
        meet(r.at, k.src, room(r), room(k)) ||
        meet(r.src, k.at, room(r), room(k)),
    );
    if (!clash) kept.push(r);
  }
  return kept;
}
const batches = fc
  .nat(ROWS_MAX)
  .chain((n) => fc.tuple(...Array.from({ length: n }, (_, i) => row(i))))
  .map(disjoint);

test("native and twin leave equal bytes and columns after random batches", () => {
  fc.assert(
    fc.property(fc.array(contexts, { minLength: 3, maxLength: 3 }), sessions, batches, (keys, session, batch) => {
      for (const { memory, crypto } of [native, twin]) {
        const { slab, input, output } = memory;
        for (let at = 0; at < SLOT_BYTES * 16; at++) slab[at] = at * 7;
        slab.fill(0xa5, OUT_BASE, OUT_BASE + ROWS_MAX * PITCH);
        for (const columns of [input.columns, output.columns]) columns.fill(0);
        for (const [slot, key] of keys.entries()) crypto.setSatp(slot, key);
        crypto.setAead(3, session);
        batch.forEach((r, i) => {
          const columns = { at: r.at, len: r.len, src: r.src, key: r.key, type: r.type };
          for (const [name, value] of Object.entries(columns)) output[name as keyof typeof columns][i] = value;
          output.seq[i] = r.header.seq;
          output.sender[i] = r.header.senderId;
          output.mux[i] = r.header.mux;
        });
        crypto.seal(batch.length);
        // Opens what was sealed, for some contexts with the wrong role, and reads forged and hostile rows too.
        for (const [slot, key] of keys.entries()) crypto.setSatp(slot, slot === 0 ? key : peerOf(key));
        crypto.setAead(3, { ...session, sealKey: session.openKey, openKey: session.sealKey });
        for (const name of ["at", "len", "key", "seq", "sender", "mux"] as const)
          input[name].set(output[name].subarray(0, IN_ROWS));
        crypto.open(batch.length);
      }
      expect(Buffer.compare(asBytes(native.memory.output.columns), asBytes(twin.memory.output.columns))).toBe(0);
      expect(Buffer.compare(asBytes(native.memory.input.columns), asBytes(twin.memory.input.columns))).toBe(0);
      expect(Buffer.compare(native.memory.slab, twin.memory.slab)).toBe(0);
      for (let i = 0; i < batch.length; i++)
        if (native.memory.input.verdict[i] === V.AUTH_FAILED)
          expect(native.crypto.diagnose(i)).toBe(twin.crypto.diagnose(i));
    }),
    { numRuns: 300 },
  );
});

function asBytes(columns: Int32Array): Uint8Array {
  return new Uint8Array(columns.buffer, columns.byteOffset, columns.byteLength);
}

describe("side by side", () => {
  // SHA-1 pads to blocks of 64 bytes: every remainder, in each of sixteen places, beside longer and shorter ones.
  const key = satpKeyFromPassphrase("lantern", { cipherLen: 0, tagLen: 20, kdLen: 16, role: 0 });
  const inner = Uint8Array.from({ length: 1500 }, (_, k) => k * 11);
  const { slab, output, input } = native.memory;
  const fill = (lengths: readonly number[]): void => {
    clean(native);
    native.crypto.setSatp(0, key);
    native.crypto.setSatp(1, peerOf(key));
    slab.set(inner, 64);
    for (const [i, len] of lengths.entries()) {
      send(native.memory, i, 64, len, 0x0800);
      output.seq[i] = i;
    }
    native.crypto.seal(lengths.length);
  };
  const datagram = (i: number) => slab.slice(output.at[i], output.at[i] + output.len[i]);

  test.each([
    ["growing by one", (i: number) => i],
    ["shrinking", (i: number) => 200 - 3 * i],
    ["equal", () => 77],
    ["one long one", (i: number) => (i === 5 ? 300 : 150)],
    ["too uneven to go together", (i: number) => (i === 5 ? 1400 : 1)],
  ])("rows of lengths %s", (_what, lengthOf) => {
    for (let base = 0; base < 70; base++) {
      const count = 3 + (base % 17);
      const lengths = Array.from({ length: count }, (_, i) => base + lengthOf(i));
      fill(lengths);
      for (const [i, len] of lengths.entries())
        expect(hex(datagram(i)), `${len} bytes in row ${i} of ${count}`).toBe(
          hex(sealSatp(key, { ...header, seq: i }, 0x0800, inner.subarray(0, len))),
        );
    }
  });

  test("a forged row among good ones is the only one that is refused", () => {
    for (let bad = 0; bad < 20; bad++) {
      fill(Array.from({ length: 20 }, (_, i) => 100 + i));
      const datagrams = Array.from({ length: 20 }, (_, i) => datagram(i));
      datagrams[bad][bad] ^= 0x10;
      for (const [i, bytes] of datagrams.entries()) receive(native.memory, i, bytes);
      // The keys come from the parsed number; the tag must catch the byte whatever it belongs to.
      for (let i = 0; i < 20; i++) input.seq[i] = i;
      native.crypto.open(20);
      for (let i = 0; i < 20; i++)
        expect([input.verdict[i], input.len[i]], `row ${i}, bad ${bad}`).toEqual(
          i === bad ? [V.AUTH_FAILED, 130 + i] : [V.LIVE, 100 + i],
        );
    }
  });
});

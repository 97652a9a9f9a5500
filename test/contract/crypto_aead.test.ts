/**
 * Sessions through `PacketCrypto`, kept by the addon and by its twin: what opens, what does not and stays unchanged, and
 * keys that come and go in their slots, many more than the addon has contexts for. Random batches are in crypto.test.ts.
 */
import { beforeEach, describe, expect, test } from "vitest";
import { type AeadContext, sealAead } from "../../src/crypto/aead.ts";
import { satpKeyFromPassphrase, sealSatp } from "../../src/crypto/satp.ts";
import {
  ALG_AES_128_GCM,
  ALG_AES_256_GCM,
  ALG_CHACHA20_POLY1305,
  KEY_SLOTS,
  OUT_BASE,
  SLOT_BYTES,
} from "../../src/dataplane/layout.ts";
import * as V from "../../src/dataplane/verdict.ts";
import { hex } from "../crypto/vector_files.ts";
import { clean, native, receive, send, twin } from "./crypto_rows.ts";

const header = { seq: 0xfffffffe, senderId: 0xfffe, mux: 0x1234 };

/** A session whose keys tell its number. */
function session(algorithm: number, n: number): AeadContext {
  const length = algorithm === ALG_AES_128_GCM ? 16 : 32;
  const key = (salt: number) => Uint8Array.from({ length }, (_, i) => (n >> (8 * (i & 1))) + salt);
  return { algorithm, sealKey: key(1), openKey: key(2) };
}
const peerOf = ({ algorithm, sealKey, openKey }: AeadContext) => ({ algorithm, sealKey: openKey, openKey: sealKey });

describe.each([
  ["native", native],
  ["twin", twin],
])("%s", (_name, { memory, crypto }) => {
  const { slab, input, output } = memory;
  beforeEach(() => clean({ memory, crypto }));
  const sealed = (i = 0) => slab.slice(output.at[i], output.at[i] + output.len[i]);

  describe.each([
    ["AES-128-GCM", ALG_AES_128_GCM],
    ["AES-256-GCM", ALG_AES_256_GCM],
    ["ChaCha20-Poly1305", ALG_CHACHA20_POLY1305],
  ])("%s", (_algorithm, algorithm) => {
    const own = session(algorithm, 1);

    test("seals as the description says, opens what the other end sealed", () => {
      crypto.setAead(0, own);
      crypto.setAead(1, peerOf(own));
      const inner = Uint8Array.from({ length: 1500 }, (_, k) => k * 3);
      slab.set(inner, 64);
      for (const [type, len] of [
        [0x0800, 1],
        [0x86dd, 14],
        [0, 40],
        [0xffff, 1400],
        [0x6558, 1500],
      ]) {
        send(memory, 0, 64, len, type);
        crypto.seal(1);
        expect([output.verdict[0], output.len[0]]).toEqual([V.LIVE, len + 26]);
        expect(hex(sealed())).toBe(hex(sealAead(own, header, type, inner.subarray(0, len))));
        expect(slab[OUT_BASE + len + 26]).toBe(0xa5);
        receive(memory, 0, sealed());
        crypto.open(1);
        expect([input.verdict[0], input.type[0], input.at[0], input.len[0]]).toEqual([V.LIVE, type, 10, len]);
        expect(hex(slab.subarray(10, 10 + len))).toBe(hex(inner.subarray(0, len)));
        slab.set(inner, 64);
        slab.fill(0xa5, OUT_BASE, OUT_BASE + SLOT_BYTES);
      }
    });

    test("an empty packet goes out and comes in", () => {
      crypto.setAead(0, own);
      crypto.setAead(1, peerOf(own));
      send(memory, 0, -1, -1, -1);
      crypto.seal(1);
      expect([output.verdict[0], output.len[0]]).toEqual([V.LIVE, 24]);
      receive(memory, 0, sealed());
      crypto.open(1);
      expect([input.verdict[0], input.type[0], input.len[0]]).toEqual([V.LIVE, -1, 0]);
    });

    test("a datagram cut at any byte or with any flipped bit is refused and left as it is", () => {
      crypto.setAead(1, peerOf(own));
      const datagram = sealAead(own, header, 0x0800, new Uint8Array(21));
      const broken = Array.from({ length: datagram.length }, (_, n) => datagram.slice(0, n));
      for (let bit = 0; bit < datagram.length * 8; bit++) {
        const flipped = datagram.slice();
        flipped[bit >> 3] ^= 1 << (bit & 7);
        broken.push(flipped);
      }
      for (const bytes of broken) {
        slab.fill(0xa5, 0, SLOT_BYTES);
        const atLeastHeader = new Uint8Array(Math.max(8, bytes.length));
        atLeastHeader.set(bytes);
        receive(memory, 0, atLeastHeader);
        input.len[0] = bytes.length;
        const before = hex(slab.subarray(0, SLOT_BYTES));
        crypto.open(1);
        expect(input.verdict[0]).toBe(bytes.length < 24 ? V.DATAGRAM_SHORT : V.AUTH_FAILED);
        expect([input.at[0], input.len[0]]).toEqual([0, bytes.length]);
        expect(hex(slab.subarray(0, SLOT_BYTES))).toBe(before);
      }
      // The context that refused all that still opens the real one.
      receive(memory, 0, datagram);
      crypto.open(1);
      expect(input.verdict[0]).toBe(V.LIVE);
    });

    test("a FOREIGN row is authenticated, and its bytes and columns stay as they are whatever comes of it", () => {
      crypto.setAead(1, peerOf(own));
      for (const [type, len] of [
        [0x0800, 1400],
        [-1, 0],
      ]) {
        const datagram = sealAead(own, header, type, new Uint8Array(len).fill(7));
        for (const broken of [false, true]) {
          const bytes = datagram.slice();
          if (broken) bytes[bytes.length - 1] ^= 1;
          slab.fill(0xa5, 0, SLOT_BYTES);
          receive(memory, 0, bytes);
          input.verdict[0] = V.FOREIGN;
          const before = hex(slab.subarray(0, SLOT_BYTES));
          crypto.open(1);
          expect([input.verdict[0], input.at[0]]).toEqual([broken ? V.AUTH_FAILED : V.FOREIGN, 0]);
          expect(input.len[0]).toBe(bytes.length);
          expect(hex(slab.subarray(0, SLOT_BYTES))).toBe(before);
        }
      }
      // The next row with this key opens as ever.
      receive(memory, 0, sealAead(own, header, 0x0800, new Uint8Array(21)));
      crypto.open(1);
      expect([input.verdict[0], input.len[0]]).toEqual([V.LIVE, 21]);
      receive(memory, 0, new Uint8Array(23));
      input.verdict[0] = V.FOREIGN;
      crypto.open(1);
      expect(input.verdict[0]).toBe(V.DATAGRAM_SHORT);
      receive(memory, 0, sealAead(own, header, 0x0800, new Uint8Array(21)));
      input.key[0] = 5;
      input.verdict[0] = V.FOREIGN;
      crypto.open(1);
      expect(input.verdict[0]).toBe(V.TUNNEL_GONE);
    });

    test("a forged datagram stays whole, so that another key may open it", () => {
      crypto.setAead(1, peerOf(session(algorithm, 9)));
      crypto.setAead(2, peerOf(own));
      const inner = Uint8Array.from({ length: 1400 }, (_, k) => k * 5);
      receive(memory, 0, sealAead(own, header, 0x0800, inner));
      crypto.open(1);
      expect([input.verdict[0], crypto.diagnose(0)]).toEqual([V.AUTH_FAILED, V.AUTH_FAILED]);
      input.verdict[0] = V.LIVE;
      input.key[0] = 2;
      crypto.open(1);
      expect([input.verdict[0], input.type[0]]).toEqual([V.LIVE, 0x0800]);
      expect(hex(slab.subarray(10, 1410))).toBe(hex(inner));
    });

    test("the other direction, and the columns of another packet, do not open it", () => {
      crypto.setAead(1, peerOf(own));
      crypto.setAead(2, own);
      const datagram = sealAead(own, header, 0x0800, new Uint8Array(30));
      for (const [column, value] of [
        [input.key, 2],
        [input.seq, 1],
        [input.sender, 1],
        [input.mux, 1],
      ] as const) {
        receive(memory, 0, datagram);
        column[0] = value;
        crypto.open(1);
        expect(input.verdict[0]).toBe(V.AUTH_FAILED);
      }
    });
  });

  test("a slot changes its kind and its algorithm; a cleared one is a tunnel that is gone", () => {
    const classic = satpKeyFromPassphrase("lantern", { cipherLen: 16, tagLen: 10, kdLen: 16, role: 0 });
    const inner = new Uint8Array(30);
    const keys = [session(ALG_AES_128_GCM, 1), session(ALG_AES_256_GCM, 1), session(ALG_CHACHA20_POLY1305, 1)];
    for (const key of [...keys, keys[0]]) {
      expect(crypto.setAead(1, peerOf(key))).toBe(0);
      receive(memory, 0, sealAead(key, header, 0x0800, inner));
      crypto.open(1);
      expect(input.verdict[0]).toBe(V.LIVE);
      crypto.setSatp(1, { ...classic, role: 1 });
      receive(memory, 0, sealSatp(classic, header, 0x0800, inner));
      receive(memory, 1, sealAead(key, header, 0x0800, inner));
      crypto.open(2);
      expect([input.verdict[0], input.verdict[1]]).toEqual([V.LIVE, V.AUTH_FAILED]);
    }
    crypto.setAead(1, peerOf(keys[0]));
    crypto.clear(1);
    receive(memory, 0, sealAead(keys[0], header, 0x0800, inner));
    crypto.open(1);
    expect([input.verdict[0], crypto.diagnose(0)]).toEqual([V.TUNNEL_GONE, V.TUNNEL_GONE]);
  });

  test("refuses keys that no algorithm has, and keeps the old ones", () => {
    const good = session(ALG_AES_256_GCM, 1);
    expect(crypto.setAead(1, peerOf(good))).toBe(0);
    for (const wrong of [
      { algorithm: -1 },
      { algorithm: 3 },
      { algorithm: ALG_AES_128_GCM },
      { sealKey: new Uint8Array(31) },
      { openKey: new Uint8Array(33) },
      { openKey: good.sealKey.slice() },
    ])
      expect(crypto.setAead(1, { ...good, ...wrong }), JSON.stringify(wrong)).toBeLessThan(0);
    for (const slot of [-1, KEY_SLOTS]) expect(crypto.setAead(slot, good)).toBeLessThan(0);
    receive(memory, 0, sealAead(good, header, 0x0800, new Uint8Array(30)));
    crypto.open(1);
    expect(input.verdict[0]).toBe(V.LIVE);
  });

  test("the caller may change its key bytes afterwards", () => {
    const good = session(ALG_AES_128_GCM, 1);
    const { algorithm, sealKey, openKey } = peerOf(good);
    const own = { algorithm, sealKey: sealKey.slice(), openKey: openKey.slice() };
    crypto.setAead(1, own);
    own.openKey.fill(0);
    receive(memory, 0, sealAead(good, header, 0x0800, new Uint8Array(30)));
    crypto.open(1);
    expect(input.verdict[0]).toBe(V.LIVE);
  });

  test("many more sessions than contexts, in any order, some cleared meanwhile", () => {
    const sessions = 1500;
    const rows = 50;
    const gone = (n: number, round: number) => round === 2 && n % 7 === 0;
    for (let n = 0; n < sessions; n++) crypto.setAead(n, session(n % 3, n));
    slab.set(new Uint8Array(40), 64);
    for (let round = 0; round < 3; round++) {
      if (round === 2) for (let n = 0; n < sessions; n += 7) crypto.clear(n);
      for (let first = 0; first < sessions; first += rows) {
        // Round 1 strides through the sessions, so that each batch takes contexts away from all the others.
        const numberOf = (i: number) => (round === 1 ? ((first + i) * 997) % sessions : first + i);
        for (let i = 0; i < rows; i++) {
          send(memory, i, 64, 40, 0x0800);
          output.key[i] = numberOf(i);
        }
        crypto.seal(rows);
        for (let i = 0; i < rows; i++) {
          const n = numberOf(i);
          expect(output.verdict[i]).toBe(gone(n, round) ? V.TUNNEL_GONE : V.LIVE);
          if (gone(n, round)) continue;
          if (i % 10 === round)
            expect(hex(sealed(i))).toBe(hex(sealAead(session(n % 3, n), header, 0x0800, new Uint8Array(40))));
          receive(memory, i, sealAead(peerOf(session(n % 3, n)), header, 0x0800, new Uint8Array(40)));
          input.key[i] = n;
        }
        crypto.open(rows);
        for (let i = 0; i < rows; i++) if (!gone(numberOf(i), round)) expect(input.verdict[i]).toBe(V.LIVE);
        slab.fill(0, 0, rows * SLOT_BYTES);
      }
    }
    for (let n = 0; n < sessions; n++) crypto.clear(n);
  });
});

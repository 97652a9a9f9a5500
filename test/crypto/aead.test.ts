/**
 * AEAD datagrams of the readable twin: published keystreams where our nonce can take the place of the published one,
 * equality with a plain use of node:crypto for the rest, and everything that must not open.
 */
import { createDecipheriv } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type AeadContext, isValidAead, nonceOf, openAead, sealAead } from "../../src/crypto/aead.ts";
import { headers } from "./arbitrary.ts";
import { hex } from "./vector_files.ts";

const [AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305] = [0, 1, 2];
const KEY_LENS = [16, 32, 32];
const zeroHeader = { seq: 0, senderId: 0, mux: 0 };
const header = { seq: 0x01020304, senderId: 0xa1a2, mux: 0xb1b2 };

function contextOf(algorithm: number, fill = 7): AeadContext {
  const key = (n: number) => Uint8Array.from({ length: KEY_LENS[algorithm] }, (_, i) => n + i);
  return { algorithm, sealKey: key(fill), openKey: key(fill + 100) };
}
const peerOf = ({ algorithm, sealKey, openKey }: AeadContext) => ({ algorithm, sealKey: openKey, openKey: sealKey });

test("the nonce is sender id, mux, zero, sequence number", () => {
  expect(hex(nonceOf(header))).toBe("a1a2b1b20000000001020304");
});

// All-zero key, nonce and plaintext: what the cipher makes of them does not depend on the header that is authenticated.
test.each([
  // McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test cases 2 and 14.
  ["AES-128-GCM", AES_128_GCM, "0388dace60b6a392f328c2b971b2fe78"],
  ["AES-256-GCM", AES_256_GCM, "cea7403d4d606b6e074ec5d3baf39d18"],
  // RFC 8439 appendix A.1, test vector 2.
  [
    "ChaCha20-Poly1305",
    CHACHA20_POLY1305,
    "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed" +
      "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
  ],
])("%s encrypts zeros as published", (_name, algorithm, published) => {
  const zeros = { ...contextOf(algorithm), sealKey: new Uint8Array(KEY_LENS[algorithm]) };
  const datagram = sealAead(zeros, zeroHeader, 0, new Uint8Array(published.length / 2 - 2));
  expect(hex(datagram.subarray(8, -16))).toBe(published);
});

describe.each([
  ["AES-128-GCM", AES_128_GCM, "aes-128-gcm"],
  ["AES-256-GCM", AES_256_GCM, "aes-256-gcm"],
  ["ChaCha20-Poly1305", CHACHA20_POLY1305, "chacha20-poly1305"],
])("%s", (_name, algorithm, openssl) => {
  const key = contextOf(algorithm);

  test("the datagram is header, encrypted type and packet, tag", () => {
    const datagram = sealAead(key, header, 0x86dd, Uint8Array.of(1, 2, 3));
    expect(hex(datagram.subarray(0, 8))).toBe("01020304a1a2b1b2");
    expect(datagram.length).toBe(8 + 2 + 3 + 16);
    const nonce = Buffer.from("a1a2b1b20000000001020304", "hex");
    const decipher = createDecipheriv(openssl as "aes-128-gcm", key.sealKey, nonce, { authTagLength: 16 });
    decipher.setAAD(datagram.subarray(0, 8));
    decipher.setAuthTag(datagram.subarray(-16));
    const plain = Buffer.concat([decipher.update(datagram.subarray(8, -16)), decipher.final()]);
    expect(hex(plain)).toBe("86dd010203");
  });

  test("opens what the other end sealed, and nothing that it sealed itself", () => {
    fc.assert(
      fc.property(headers, fc.integer({ min: 0, max: 0xffff }), fc.uint8Array({ minLength: 1 }), (h, type, inner) => {
        const datagram = sealAead(key, h, type, inner);
        expect(openAead(peerOf(key), datagram, h)).toEqual({ result: "opened", payloadType: type, inner });
        expect(openAead(key, datagram, h)).toEqual({ result: "forged" });
      }),
    );
  });

  test("an empty packet has no type", () => {
    const datagram = sealAead(key, header, -1, Uint8Array.of(1, 2, 3));
    expect(datagram.length).toBe(24);
    const empty = { result: "opened", payloadType: -1, inner: new Uint8Array(0) };
    expect(openAead(peerOf(key), datagram, header)).toEqual(empty);
    expect(openAead(peerOf(key), sealAead(key, header, 0x0800, new Uint8Array(0)), header)).toEqual(empty);
  });

  test("refuses every flipped bit, every shorter length, another header and another key", () => {
    const datagram = sealAead(key, header, 0x0800, new Uint8Array(5));
    const open = (bytes: Uint8Array, h = header, k = peerOf(key)) => openAead(k, bytes, h).result;
    for (let bit = 0; bit < datagram.length * 8; bit++) {
      const flipped = datagram.slice();
      flipped[bit >> 3] ^= 1 << (bit & 7);
      expect(open(flipped), `bit ${bit}`).toBe("forged");
    }
    for (let n = 0; n < datagram.length; n++) expect(open(datagram.slice(0, n))).toBe(n < 24 ? "short" : "forged");
    for (const other of [{ seq: 5 }, { senderId: 5 }, { mux: 5 }])
      expect(open(datagram, { ...header, ...other })).toBe("forged");
    expect(open(datagram, header, peerOf(contextOf(algorithm, 8)))).toBe("forged");
  });

  test("keys have one length and differ", () => {
    expect(isValidAead(key)).toBe(true);
    expect(isValidAead({ ...key, openKey: key.sealKey.slice() })).toBe(false);
    for (const length of [0, KEY_LENS[algorithm] - 1, KEY_LENS[algorithm] + 1]) {
      expect(isValidAead({ ...key, sealKey: new Uint8Array(length) })).toBe(false);
      expect(isValidAead({ ...key, openKey: new Uint8Array(length) })).toBe(false);
    }
  });
});

test("the worked example of the protocol description", () => {
  const key = { ...contextOf(AES_128_GCM), sealKey: Uint8Array.from({ length: 16 }, (_, i) => i) };
  expect(hex(sealAead(key, header, 0x0800, Uint8Array.of(0x45, 1, 2)))).toBe(
    "01020304a1a2b1b2bf6f0406a067dfea2dd1ddf2aa22c9a53184eeadb3",
  );
});

test("there are three algorithms", () => {
  for (const algorithm of [-1, 3, 0.5, Number.NaN]) expect(isValidAead({ ...contextOf(0), algorithm })).toBe(false);
});

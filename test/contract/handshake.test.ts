/** Hashes and seals of handshakes: the addon's are those of crypto/, byte by byte. */
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { blake2s, hashWith, hmac } from "../../src/crypto/blake2s.ts";
import { openChaChaPoly, sealChaChaPoly, sealWith } from "../../src/crypto/chachapoly.ts";
import { nativeHandshake, useNativeHandshake } from "../../src/drivers/native_handshake.ts";

const own = () => {
  hashWith(undefined);
  sealWith(undefined);
};
afterEach(own);

/** What `work` gives without the addon and with it. */
function both<T>(work: () => T): [T, T] {
  own();
  const readable = work();
  useNativeHandshake();
  return [readable, work()];
}

const text = fc.uint8Array({ maxLength: 200 });
const maybe = fc.option(text, { nil: undefined });

test("blake2s of one and two parts, around every block boundary", () => {
  for (let length = 0; length <= 260; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 7 + length) & 255);
    const [readable, native] = both(() => [blake2s(bytes), blake2s(bytes.subarray(0, length >> 1), bytes)]);
    expect(native).toEqual(readable);
  }
});

test("hmac of up to three parts, with keys of any length", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), text, maybe, maybe, (key, a, b, c) => {
      const [readable, native] = both(() => hmac(key, a, b, c));
      expect(native).toEqual(readable);
    }),
  );
});

test("RFC 7693 appendix B: abc", () => {
  useNativeHandshake();
  const digest = blake2s(new TextEncoder().encode("abc"));
  expect(Buffer.from(digest).toString("hex")).toBe("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
});

test("sealed the same; opened the same; nothing opens when one bit is another", () => {
  const sized = (n: number) => fc.uint8Array({ minLength: n, maxLength: n });
  fc.assert(
    fc.property(sized(32), sized(12), text, text, fc.nat(), (key, nonce, aad, plain, bit) => {
      const [readable, native] = both(() => sealChaChaPoly(key, nonce, aad, plain));
      expect(native).toEqual(readable);
      const opened = both(() => openChaChaPoly(key, nonce, aad, native));
      expect(opened).toEqual([plain, plain]);
      const changed = native.slice();
      changed[(bit >> 3) % changed.length]! ^= 1 << (bit & 7);
      expect(both(() => openChaChaPoly(key, nonce, aad, changed))).toEqual([undefined, undefined]);
      const cut = native.subarray(0, bit % native.length);
      expect(both(() => openChaChaPoly(key, nonce, aad, cut))).toEqual([undefined, undefined]);
    }),
  );
});

test("lengths that fit no key, nonce or result are refused, and nothing is written", () => {
  const native = nativeHandshake();
  const [key, nonce, none] = [new Uint8Array(32), new Uint8Array(12), new Uint8Array(0)];
  const out = new Uint8Array(31).fill(0xa5);
  expect(() => native.blake2s(out, none)).toThrow(RangeError);
  expect(() => native.hmac(out, key, none)).toThrow(RangeError);
  expect(() => native.hmac(new Uint8Array(32), new Uint8Array(65), none)).toThrow(RangeError);
  expect(() => native.seal(out, key, nonce, none, new Uint8Array(16))).toThrow(RangeError);
  expect(() => native.seal(new Uint8Array(16), key.subarray(1), nonce, none, none)).toThrow(RangeError);
  expect(() => native.seal(new Uint8Array(16), key, nonce.subarray(1), none, none)).toThrow(RangeError);
  expect(native.open(out, key, nonce, none, new Uint8Array(40))).toBe(false);
  expect(out).toEqual(new Uint8Array(31).fill(0xa5));
});

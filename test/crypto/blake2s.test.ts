/** BLAKE2s and HMAC-BLAKE2s against RFC 7693 and against OpenSSL, at every length around the block boundaries. */
import { createHash, createHmac } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { blake2s, hmac } from "../../src/crypto/blake2s.ts";
import { expand, hkdf2, hkdf3 } from "../../src/crypto/kdf.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const bytes = fc.uint8Array({ maxLength: 300 });

test("RFC 7693 appendix B", () => {
  const abc = new TextEncoder().encode("abc");
  expect(hex(blake2s(abc))).toBe("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
});

test("every length up to three blocks, in one part and in two", () => {
  for (let n = 0; n <= 193; n++) {
    const message = Uint8Array.from({ length: n }, (_, i) => i * 7 + n);
    const expected = createHash("blake2s256").update(message).digest("hex");
    expect(hex(blake2s(message)), `${n} bytes`).toBe(expected);
    expect(hex(blake2s(message.subarray(0, n >> 1), message.subarray(n >> 1))), `${n} bytes, split`).toBe(expected);
  }
});

test("equal to OpenSSL for any input and key", () => {
  fc.assert(
    fc.property(bytes, bytes, bytes, (key, a, b) => {
      expect(hex(blake2s(a, b))).toBe(createHash("blake2s256").update(a).update(b).digest("hex"));
      expect(hex(hmac(key, a, b, a))).toBe(createHmac("blake2s256", key).update(a).update(b).update(a).digest("hex"));
    }),
  );
});

test("HKDF is extract, then expand", () => {
  const mac = (key: Uint8Array, ...parts: Uint8Array[]) =>
    createHmac("blake2s256", key).update(Buffer.concat(parts)).digest();
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), bytes, (key, input) => {
      const temp = mac(key, input);
      const first = mac(temp, Uint8Array.of(1));
      const second = mac(temp, first, Uint8Array.of(2));
      const third = mac(temp, second, Uint8Array.of(3));
      expect(hkdf2(key, input).map(hex)).toEqual([first, second].map(hex));
      expect(hkdf3(key, input).map(hex)).toEqual([first, second, third].map(hex));
      expect(hex(expand(key, "label", input))).toBe(
        hex(mac(key, Buffer.from("anyhop 1 label"), input, Uint8Array.of(1))),
      );
    }),
  );
});

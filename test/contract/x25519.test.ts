/** X25519 of the addon and of node:crypto: equal keys and secrets, equal refusals. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { entropyOf } from "../../src/crypto/entropy.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { nativePairOf } from "../../src/drivers/native_x25519.ts";

const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
/** Points of small order, and one that is not reduced (RFC 7748 section 6.1; Bernstein's list). */
const SMALL = [
  "00".repeat(32),
  `01${"00".repeat(31)}`,
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  `ec${"ff".repeat(30)}7f`,
  `ed${"ff".repeat(30)}7f`,
  `ee${"ff".repeat(30)}7f`,
];

test("any two private keys: the same public keys and secrets, whoever computes them", () => {
  fc.assert(
    fc.property(key, key, (a, b) => {
      const [native, node, other] = [nativePairOf(a), keyPairFromPrivate(a), nativePairOf(b)];
      expect(native.publicKey).toEqual(node.publicKey);
      expect(native.shared(other.publicKey)).toEqual(new Uint8Array(node.shared(other.publicKey)!));
      expect(native.shared(other.publicKey)).toEqual(other.shared(native.publicKey));
    }),
    { numRuns: 50 },
  );
});

test("any public key, also one that is not reduced", () => {
  const [native, node] = [nativePairOf, keyPairFromPrivate].map((pairOf) => pairOf(new Uint8Array(32).fill(9)));
  fc.assert(
    fc.property(key, (remote) => {
      expect(Buffer.from(native!.shared(remote)!)).toEqual(Buffer.from(node!.shared(remote)!));
    }),
    { numRuns: 50 },
  );
});

test.each(SMALL)("%s has small order: no secret, and the pair serves on", (text) => {
  const remote = new Uint8Array(Buffer.from(text, "hex"));
  for (const pairOf of [nativePairOf, keyPairFromPrivate]) {
    const pair = pairOf(new Uint8Array(32).fill(3));
    expect(pair.shared(remote)).toBeUndefined();
    expect(pair.shared(pair.publicKey)).toHaveLength(32);
  }
});

test("RFC 7748 section 5.2", () => {
  const bytes = (text: string) => new Uint8Array(Buffer.from(text, "hex"));
  const pair = nativePairOf(bytes("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"));
  const secret = pair.shared(bytes("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"))!;
  expect(Buffer.from(secret).toString("hex")).toBe("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
});

test.each([nativePairOf, keyPairFromPrivate])("wrong lengths are refused", (pairOf) => {
  expect(() => pairOf(new Uint8Array(31))).toThrow(/32 bytes, not 31/);
  expect(pairOf(new Uint8Array(32).fill(5)).shared(new Uint8Array(31))).toBeUndefined();
});

test("a pair keeps no reference to the bytes that it was made of", () => {
  const raw = new Uint8Array(32).fill(7);
  const pair = nativePairOf(raw);
  const before = pair.shared(pair.publicKey);
  raw.fill(0);
  expect(pair.shared(pair.publicKey)).toEqual(before);
});

test("entropy from the pool: no byte twice, whatever lengths are asked for", () => {
  const entropy = entropyOf(nativePairOf);
  const seen = new Set<string>();
  for (let n = 0; n < 2000; n++)
    seen.add(
      Buffer.from(entropy.bytes(16 + (n % 50)))
        .toString("hex")
        .slice(0, 32),
    );
  expect(seen.size).toBe(2000);
  expect(entropy.bytes(5000)).toHaveLength(5000);
  expect(entropy.keyPair().publicKey).not.toEqual(entropy.keyPair().publicKey);
});

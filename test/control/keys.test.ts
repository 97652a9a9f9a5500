/** Key texts, public keys, sealed keys: vectors, round trips, and everything that is nearly one. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { explainKey, formatKey, parseKey } from "../../src/control/text/keys/key_text.ts";
import { openKey, SEAL_RANDOM_LEN, sealKey } from "../../src/control/text/keys/sealed.ts";
import { isSoundPublicKey, privateKeyFrom, publicKeyOf } from "../../src/control/text/keys/x25519.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";

const hex = (text: string) => new Uint8Array(Buffer.from(text, "hex"));
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
/** The cheapest costs that are accepted: scrypt is slow on purpose. */
const LOG2N = 10;

test.each([
  [
    "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
    "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
  ],
  [
    "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
  ],
])("the private key %s of RFC 7748 section 6.1", (privateKey, publicKey) => {
  expect(publicKeyOf(hex(privateKey))).toEqual(hex(publicKey));
});

describe("texts", () => {
  test("any 32 bytes and back", () => {
    fc.assert(
      fc.property(bytes32, (key) => {
        const text = formatKey(key);
        expect(text).toMatch(/^.{43}=$/);
        expect(parseKey(`  ${text}\r\n`)).toEqual(key);
      }),
    );
  });

  test("one key has one text: bits behind the last byte are refused, and so is every other length", () => {
    const text = formatKey(new Uint8Array(32).fill(7));
    expect(parseKey(`${text.slice(0, 42)}d=`)).toBeUndefined();
    for (let n = 0; n < 44; n++) expect([n, parseKey(text.slice(0, n))]).toEqual([n, undefined]);
    for (const wrong of [`${text}=`, text.replace("B", "-"), `${text} ${text}`, text.replace("=", "A")])
      expect([wrong, parseKey(wrong)]).toEqual([wrong, undefined]);
  });

  test("what is wrong is said without showing it", () => {
    const secret = "c2VjcmV0c2VjcmV0";
    expect(explainKey(secret)).toBe("a key has 44 characters of base64, and this has 16");
    expect(explainKey(" \n")).toBe("there is nothing in it");
    expect(explainKey("!".repeat(44))).not.toContain("!");
  });
});

describe("pairs", () => {
  test("a private key is clamped, and clamping does not change whose it is", () => {
    fc.assert(
      fc.property(bytes32, (random) => {
        const key = privateKeyFrom(random);
        expect([key[0] & 7, key[31] & 192]).toEqual([0, 64]);
        expect(publicKeyOf(key)).toEqual(publicKeyOf(random));
        expect(isSoundPublicKey(publicKeyOf(key))).toBe(true);
      }),
      { numRuns: 50 },
    );
    expect(() => privateKeyFrom(new Uint8Array(31))).toThrow(RangeError);
  });

  test.each([
    ["0", "00".repeat(32)],
    ["1", `01${"00".repeat(31)}`],
    ["of order 8", "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"],
    ["the other of order 8", "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"],
    ["p - 1", `ec${"ff".repeat(30)}7f`],
    ["p", `ed${"ff".repeat(30)}7f`],
    ["p + 1", `ee${"ff".repeat(30)}7f`],
  ])("the point %s is no public key, with either top bit: X25519 refuses it too", (_what, text) => {
    for (const top of [0, 128]) {
      const point = hex(text);
      point[31] |= top;
      expect(isSoundPublicKey(point)).toBe(false);
      expect(keyPairFromPrivate(new Uint8Array(32).fill(64)).shared(point)).toBeUndefined();
    }
  });

  test("a point that X25519 agrees on is a public key", () => {
    fc.assert(
      fc.property(bytes32, (point) => {
        const agreed = keyPairFromPrivate(new Uint8Array(32).fill(64)).shared(point) !== undefined;
        expect(isSoundPublicKey(point)).toBe(agreed);
      }),
      { numRuns: 50 },
    );
  });
});

describe("sealed", () => {
  const key = new Uint8Array(32).map((_, i) => i);
  const random = new Uint8Array(SEAL_RANDOM_LEN).map((_, i) => 100 + i);
  const sealed = sealKey(key, "correct horse", random, LOG2N);

  test("opens with its passphrase only, and shows nothing of the key", () => {
    expect(openKey(sealed, "correct horse")).toEqual(key);
    expect(openKey(sealed.trimEnd(), "correct horse")).toEqual(key);
    expect(openKey(sealed, "correct horse ")).toContain("the passphrase is wrong");
    expect(sealed).not.toContain(formatKey(key).slice(0, 16));
  });

  test("the format is the one of the head comment", () => {
    const [first, second, third, ...rest] = sealed.split("\n");
    expect(first).toBe("anyhop-sealed-key 1");
    expect(second).toBe(`scrypt 10 8 1 ${Buffer.from(random.subarray(0, 16)).toString("base64")}`);
    expect(third).toMatch(/^aes-256-gcm [A-Za-z0-9+/]{16} [A-Za-z0-9+/]{64}$/);
    expect(rest).toEqual([""]);
  });

  test("cut off anywhere, or with any character changed, it is refused with a sentence", () => {
    for (let n = 0; n < sealed.length - 1; n++)
      expect([n, typeof openKey(sealed.slice(0, n), "correct horse")]).toEqual([n, "string"]);
    for (let n = 0; n < sealed.length - 1; n++) {
      const other = sealed[n] === "0" ? "9" : "0";
      const changed = sealed.slice(0, n) + other + sealed.slice(n + 1);
      expect([n, typeof openKey(changed, "correct horse")]).toEqual([n, "string"]);
    }
  });

  test.each(["9 8 1", "21 8 1", "99 8 1", "10 9 1", "10 8 0", "10 8 5"])("costs %s are out of range", (costs) => {
    expect(openKey(sealed.replace("10 8 1", costs), "x")).toContain("out of range");
  });
});

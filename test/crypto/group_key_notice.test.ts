/** Notices of group keys: what is signed is read back, nothing else is, and who knows which key goes where. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { signingKeyFrom } from "../../src/crypto/ed25519.ts";
import {
  GROUP_KEYS_MAX,
  keyInForce,
  NOTICE_LEN_MAX,
  readNotice,
  signNotice,
  successorOf,
} from "../../src/crypto/group_key_notice.ts";

const operator = signingKeyFrom(new Uint8Array(32).fill(1));
const other = signingKeyFrom(new Uint8Array(32).fill(2));
const key = (n: number) => new Uint8Array(32).fill(n);
const notice = (keys: Uint8Array[], version = keys.length) => ({ version, operator: operator.publicKey, keys });
const read = (text: string) => readNotice(text, operator.publicKey);

describe("a notice", () => {
  test("with one to eight keys is read back as it was signed, and stays within its bound", () => {
    for (let n = 1; n <= GROUP_KEYS_MAX; n++) {
      const keys = Array.from({ length: n }, (_, k) => key(k + 1));
      const text = signNotice(notice(keys, 4294967295), operator);
      expect(text.length).toBeLessThanOrEqual(NOTICE_LEN_MAX);
      expect(read(text)).toEqual({ version: 4294967295, operator: operator.publicKey, keys, text });
    }
    expect(() => signNotice(notice([]), operator)).toThrow(RangeError);
    expect(() =>
      signNotice(
        notice(
          Array.from({ length: 9 }, (_, k) => key(k)),
          9,
        ),
        operator,
      ),
    ).toThrow(RangeError);
  });

  test("of another operator, or with another signature, is refused in a sentence", () => {
    const forged = signNotice({ ...notice([key(1), key(2)]), operator: other.publicKey }, other);
    expect(read(forged)).toMatch(/another operator/);
    expect(read(signNotice(notice([key(1), key(2)]), other))).toMatch(/signature is wrong/);
  });

  test("with any character changed, added or left out is refused", () => {
    const text = signNotice(notice([key(1), key(2)]), operator);
    fc.assert(
      fc.property(
        fc.nat(text.length - 1),
        fc.constantFrom("", "A", " ", "\n", "0", "="),
        fc.boolean(),
        (at, put, keep) => {
          const changed = text.slice(0, at) + put + text.slice(keep ? at : at + 1);
          fc.pre(changed !== text);
          expect(typeof read(changed)).toBe("string");
        },
      ),
      { numRuns: 2000 },
    );
  });

  test.each([
    ["nothing", ""],
    ["a signature alone", "signature AAAA\n"],
    ["a long text", "x".repeat(NOTICE_LEN_MAX + 1)],
    ["version 0", "anyhop group keys 1\nversion 0\n"],
  ])("is not: %s", (_what, text) => expect(typeof read(text)).toBe("string"));

  test("never lists a key twice", () => {
    expect(typeof read(signNotice(notice([key(1), key(1)]), operator))).toBe("string");
  });
});

describe("a client", () => {
  const three = notice([key(1), key(2), key(3)]);
  test("that knows any earlier key goes on to the one in force", () => {
    expect(keyInForce(three)).toEqual(key(3));
    expect(successorOf(three, key(1))).toEqual(key(3));
    expect(successorOf(three, key(2))).toEqual(key(3));
  });
  test("that has the one in force, a later one or one of another group stays", () => {
    expect(successorOf(three, key(3))).toBeUndefined();
    expect(successorOf(notice([key(1), key(2)]), key(3))).toBeUndefined();
    expect(successorOf(three, key(9))).toBeUndefined();
  });
});

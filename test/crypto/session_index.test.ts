/** The layout of session indices and the keyed check that tells strangers from clients. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { creatorOf, IndexKeys, indexKeyOf, NODE_MAX, SESSION_NUMBERS } from "../../src/crypto/session_index.ts";
import { Prng } from "../support/prng.ts";

const [KEY, OTHER] = [1, 2].map((fill) => indexKeyOf(new Uint8Array(32).fill(fill)));
const creator = fc.nat(NODE_MAX);
const session = fc.nat(SESSION_NUMBERS - 1);

test("what a node makes is a positive number of 31 bits with its number, accepted under the key and never mux 0xFFFF", () => {
  const keys = new IndexKeys([KEY]);
  fc.assert(
    fc.property(creator, session, (node, number) => {
      const index = keys.make(node, number);
      if (index < 0) return;
      expect(index).toBeLessThan(2 ** 31);
      expect(creatorOf(index)).toBe(node);
      expect((index >>> 8) & (SESSION_NUMBERS - 1)).toBe(number);
      expect(index & 0x7fff).not.toBe(0x7fff);
      expect(keys.accepts(index)).toBe(true);
    }),
  );
});

test("the example of docs/PROTOCOL.md", () => {
  expect(new IndexKeys([new Uint8Array(8).fill(6)]).make(5, 7)).toBe(0x0a0007db);
});

test("of all sessions of a node, about 4 of 131072 have no index, and no two have the same one", () => {
  const keys = new IndexKeys([KEY]);
  const made = Array.from({ length: SESSION_NUMBERS }, (_, number) => keys.make(3, number)).filter(
    (index) => index >= 0,
  );
  expect(made.length).toBeGreaterThan(SESSION_NUMBERS - 20);
  expect(new Set(made).size).toBe(made.length);
});

test("of strangers' indices 1 of 256 passes, 2 of 256 while the key before counts too, none without a key", () => {
  const prng = new Prng(1);
  const drawn = Array.from({ length: 1 << 18 }, () => prng.nextU32() >>> 1);
  const passed = (keys: IndexKeys) => drawn.filter((index) => keys.accepts(index)).length;
  const share = drawn.length / 256;
  expect(Math.abs(passed(new IndexKeys([KEY])) - share)).toBeLessThan(share / 5);
  expect(Math.abs(passed(new IndexKeys([OTHER, KEY])) - 2 * share)).toBeLessThan(share / 5);
  expect(passed(new IndexKeys())).toBe(0);
});

test("after a change of keys: the index of before is accepted, new ones are made with the new key", () => {
  const keys = new IndexKeys([KEY]);
  const before = keys.make(5, 77);
  keys.set([OTHER, KEY]);
  const after = keys.make(5, 77);
  expect(keys.accepts(before)).toBe(true);
  expect(after).toBe(new IndexKeys([OTHER]).make(5, 77));
  keys.set([OTHER]);
  expect(keys.accepts(before)).toBe(before === after);
  expect(keys.accepts(after)).toBe(true);
});

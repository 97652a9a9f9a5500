/** The map from session indices to rows, against a JavaScript Map. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { IndexMap, NONE } from "../../src/table/index_map.ts";

const CAPACITY = 16;
/** Keys whose home is the slot of key 0: the inverse of the hash, modulo 2^32, times numbers that fit below the shift. */
const CROWD = Array.from({ length: 24 }, (_, k) => Math.imul(k, inverse(0x9e3779b1)));

/** Multiplicative inverse of an odd number modulo 2^32, by Newton's iteration. */
function inverse(odd: number): number {
  let x = odd;
  for (let k = 0; k < 5; k++) x = Math.imul(x, 2 - Math.imul(odd, x));
  return x;
}

const key = fc.oneof(
  fc.constantFrom(...CROWD),
  fc.constantFrom(0, -1, 1, 2 ** 31 - 1, -(2 ** 31)),
  fc.integer({ min: 0, max: 40 }),
  fc.integer(),
);
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant("set" as const), key, value: fc.nat(4095) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), key, value: fc.constant(0) }) },
);

function expectSame(map: IndexMap, model: ReadonlyMap<number, number>, asked: Iterable<number>): void {
  expect(map.size).toBe(model.size);
  for (const [k, value] of model) expect(map.find(k)).toBe(value);
  for (const k of asked) expect(map.find(k)).toBe(model.get(k) ?? NONE);
}

describe("IndexMap", () => {
  test("the crowd shares one home", () => {
    expect(Math.imul(inverse(0x9e3779b1), 0x9e3779b1)).toBe(1);
    expect(new Set(CROWD.map((k) => Math.imul(k, 0x9e3779b1) >>> (32 - 5)))).toEqual(new Set([0]));
  });

  test("says what a Map says after any adding, replacing and removing, and refuses only when it is full", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const map = new IndexMap(CAPACITY);
        const model = new Map<number, number>();
        for (const { do: what, key, value } of steps) {
          if (what === "remove") {
            map.remove(key);
            model.delete(key);
          } else {
            const fits = model.has(key) || model.size < CAPACITY;
            expect(map.set(key, value)).toBe(fits);
            if (fits) model.set(key, value);
          }
        }
        expectSame(
          map,
          model,
          steps.map((s) => s.key),
        );
      }),
      { numRuns: 500 },
    );
  });

  test("a hole in a crowd hides nobody behind it, wherever it is", () => {
    const crowd = CROWD.slice(0, CAPACITY);
    for (const gone of crowd) {
      const map = new IndexMap(CAPACITY);
      const model = new Map(crowd.map((k, row) => [k, row]));
      for (const [k, row] of model) expect(map.set(k, row)).toBe(true);
      map.remove(gone);
      model.delete(gone);
      expectSame(map, model, crowd);
    }
  });

  test("full: a new key is refused, a known one is replaced, and after a removal there is room", () => {
    const map = new IndexMap(CAPACITY);
    for (let k = 0; k < CAPACITY; k++) expect(map.set(k * 7919, k)).toBe(true);
    expect(map.set(-5, 1)).toBe(false);
    expect(map.find(-5)).toBe(NONE);
    expect(map.set(7919, 99)).toBe(true);
    expect(map.find(7919)).toBe(99);
    map.remove(0);
    expect(map.set(-5, 1)).toBe(true);
    expect([map.size, map.find(-5), map.find(0)]).toEqual([CAPACITY, 1, NONE]);
  });

  test("a key is its 32 bits, signed or not", () => {
    const map = new IndexMap(CAPACITY);
    map.set(2 ** 32 - 2, 5);
    expect([map.find(-2), map.find(2 ** 32 - 2)]).toEqual([5, 5]);
    map.remove(-2);
    expect(map.size).toBe(0);
  });
});

import { describe, expect, it } from "vitest";
import { Prng } from "./prng.ts";

/** sfc32 on BigInt, word by word as its author describes it. */
function* reference(seed: number): Generator<number> {
  const u32 = (v: bigint) => BigInt.asUintN(32, v);
  let [a, b, c, counter] = [0n, u32(BigInt(seed)), u32(BigInt(seed) >> 32n), 1n];
  for (let i = 0; ; i++) {
    const result = u32(a + b + counter);
    counter = u32(counter + 1n);
    a = b ^ (b >> 9n);
    b = u32(c + u32(c << 3n));
    c = u32(u32((c << 21n) | (c >> 11n)) + result);
    if (i >= 12) yield Number(result);
  }
}

describe("Prng", () => {
  it.each([0, 1, -1, 2 ** 31, 2 ** 32, 2 ** 53 - 1])("seed %i gives the numbers of sfc32", (seed) => {
    const prng = new Prng(seed);
    const expected = reference(seed);
    for (let i = 0; i < 1000; i++) expect(prng.nextU32()).toBe(expected.next().value);
  });

  it("has other numbers for another seed, also for its upper half", () => {
    const first = (seed: number) =>
      Array.from(
        { length: 4 },
        (
          (p) => () =>
            p.nextU32()
        )(new Prng(seed)),
      ).join();
    expect(new Set([0, 1, 2, 2 ** 32, 2 ** 33].map(first)).size).toBe(5);
  });

  it("draws every number below n about equally often", () => {
    const prng = new Prng(7);
    const counts = new Int32Array(7);
    for (let i = 0; i < 70_000; i++) counts[prng.nextBelow(7)]++;
    // Five standard deviations around 10,000.
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(470);
  });

  it("is fair for an n that does not divide 2^32", () => {
    // With a plain remainder, two thirds of the draws would fall into the lower half.
    const prng = new Prng(8);
    const n = 3 * 2 ** 30;
    let low = 0;
    for (let i = 0; i < 10_000; i++) if (prng.nextBelow(n) < n / 2) low++;
    expect(Math.abs(low - 5000)).toBeLessThan(250);
  });

  it("takes 1 and 2^32 as limits", () => {
    const prng = new Prng(9);
    expect(prng.nextBelow(1)).toBe(0);
    for (let i = 0; i < 100; i++) expect(prng.nextBelow(2 ** 32)).toBeLessThan(2 ** 32);
  });
});

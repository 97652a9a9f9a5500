/** Medians, spreads and ratios, against definitions written out. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { best, isWide, median, ratioOf, spreadOf } from "../../src/bench/statistics.ts";

const numbers = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 1, maxLength: 9 });

describe("median", () => {
  it.each([
    [[3], 3],
    [[5, 1, 9], 5],
    [[10, 9, 2, 1], 5.5],
    [[2, 10, 100], 10],
  ])("of %j is %d", (values, expected) => expect(median(values)).toBe(expected));

  it("has as many values below as above", () => {
    fc.assert(
      fc.property(numbers, (values) => {
        const m = median(values);
        const below = values.filter((value) => value < m).length;
        const above = values.filter((value) => value > m).length;
        expect(below).toBeLessThanOrEqual(values.length / 2);
        expect(above).toBeLessThanOrEqual(values.length / 2);
      }),
    );
  });

  it("leaves its argument as it is", () => {
    const values = [3, 1, 2];
    median(values);
    expect(values).toEqual([3, 1, 2]);
  });

  it("of nothing is no number", () => expect(median([])).toBeNaN());
});

describe("spread", () => {
  it("has the ends and the middle", () => {
    expect(spreadOf([4, 2, 9])).toEqual({ median: 4, min: 2, max: 9, rounds: 3 });
    expect(spreadOf([])).toBeUndefined();
  });

  it("is wide from a quarter of the median on", () => {
    expect(isWide(spreadOf([90, 100, 115])!)).toBe(false);
    expect(isWide(spreadOf([90, 100, 116])!)).toBe(true);
    expect(isWide(spreadOf([7])!)).toBe(false);
  });
});

it("the best round is the smallest", () => {
  expect(best([5, 3, 4])).toBe(3);
  expect(best([])).toBeNaN();
});

describe("ratio", () => {
  const rounds = (...values: (number | undefined)[]) =>
    new Map(values.flatMap((value, i) => (value === undefined ? [] : [[i + 1, value] as const])));

  it("is taken round by round: drift that hits both cancels out", () => {
    expect(ratioOf(rounds(20, 200, 2), rounds(10, 100, 1))).toEqual({ median: 2, min: 2, max: 2, rounds: 3 });
  });

  it("uses the rounds that both have", () => {
    expect(ratioOf(rounds(20, undefined, 90), rounds(10, 100, 30))?.rounds).toBe(2);
    expect(ratioOf(rounds(20, undefined), rounds(undefined, 10))).toBeUndefined();
  });

  it("does not divide by nothing", () => expect(ratioOf(rounds(20), rounds(0))).toBeUndefined());
});

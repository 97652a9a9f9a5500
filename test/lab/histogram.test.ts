/** Percentiles from buckets against the sorted list. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Histogram } from "../../src/lab/histogram.ts";

test("nothing added, nothing known", () => {
  expect(new Histogram().summary()).toBeUndefined();
});

test("one value is every summary of itself", () => {
  const histogram = new Histogram();
  histogram.add(1.5);
  expect(histogram.summary()).toEqual({ min: 1.5, avg: 1.5, max: 1.5, p50: 1.5, p99: 1.5 });
});

test("property: least, greatest and mean are exact, percentiles within two percent", () => {
  const value = fc.double({ min: 0.002, max: 100_000, noNaN: true });
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 300 }), (values) => {
      const histogram = new Histogram();
      for (const ms of values) histogram.add(ms);
      const sorted = values.toSorted((a, b) => a - b);
      const exact = (share: number) => sorted[Math.ceil(sorted.length * share) - 1]!;
      const summary = histogram.summary()!;
      expect(summary.min).toBe(sorted[0]);
      expect(summary.max).toBe(sorted.at(-1));
      expect(summary.avg).toBeCloseTo(values.reduce((sum, ms) => sum + ms, 0) / values.length, 2);
      for (const [key, share] of [
        ["p50", 0.5],
        ["p99", 0.99],
      ] as const) {
        expect(summary[key]).toBeGreaterThanOrEqual(exact(share) * 0.98 - 0.001);
        expect(summary[key]).toBeLessThanOrEqual(exact(share) * 1.0201 + 0.001);
      }
    }),
  );
});

test("values beyond the buckets stay within what was seen", () => {
  const histogram = new Histogram();
  histogram.add(0);
  histogram.add(1e9);
  expect(histogram.summary()).toMatchObject({ min: 0, max: 1e9 });
  expect(histogram.summary()!.p99).toBeLessThanOrEqual(1e9);
});

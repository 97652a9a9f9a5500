/** Whole groups on virtual time: a smoke set of seeds. `npm run sim` runs as many as one likes. */
import { describe, expect, test } from "vitest";
import { runSeed } from "../../src/sim/run.ts";

describe("from a seed", () => {
  test.each([1, 25, 49, 73])("24 seeds from %i on: everything holds", async (first) => {
    for (let seed = first; seed < first + 24; seed++) {
      const { failures } = await runSeed(seed);
      expect(failures, `npm run sim -- --seeds ${seed} --verbose`).toEqual([]);
    }
  });

  test("the same seed is the same run", async () => {
    const [one, two] = [await runSeed(11), await runSeed(11)];
    expect(two).toEqual(one);
    expect((await runSeed(12)).trace).not.toBe(one.trace);
  });
});

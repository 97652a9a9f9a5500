/** The bounded map against a list that is searched. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Recent } from "../../src/handshake/recent.ts";

test("holds what was put last, as a list would", () => {
  const puts = fc.array(fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer()), { maxLength: 60 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), puts, (max, entries) => {
      const recent = new Recent<number>(max);
      let model: [string, number][] = [];
      for (const [name, value] of entries) {
        const key = String(name);
        recent.put(key, value);
        model = [...model.filter(([other]) => other !== key), [key, value] as [string, number]].slice(-max);
        for (let n = 0; n <= 9; n++) {
          expect(recent.get(String(n))).toBe(model.find(([other]) => other === String(n))?.[1]);
        }
      }
    }),
  );
});

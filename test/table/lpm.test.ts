import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Lpm, NONE } from "../../src/table/lpm.ts";
import { Prng } from "../support/prng.ts";

type Words = readonly [number, number, number, number];

/** The simple twin: a list of prefixes, searched from end to end. Bits are text. */
class LinearScan {
  readonly routes = new Map<string, number>();

  insert(bits: string, value: number): void {
    this.routes.set(bits, value);
  }

  remove(bits: string): boolean {
    return this.routes.delete(bits);
  }

  lookup(bits: string): number {
    let best = NONE;
    let longest = -1;
    for (const [route, value] of this.routes) {
      if (route.length > longest && bits.startsWith(route)) {
        longest = route.length;
        best = value;
      }
    }
    return best;
  }
}

const bits = (words: readonly number[]) => words.map((w) => (w >>> 0).toString(2).padStart(32, "0")).join("");

/** One family of an Lpm, with words of any sign and host bits as they come. */
interface Family {
  readonly max: number;
  insert(t: Lpm, w: Words, length: number, value: number): void;
  remove(t: Lpm, w: Words, length: number): boolean;
  lookup(t: Lpm, w: Words): number;
  key(w: Words): string;
}

const four: Family = {
  max: 32,
  insert: (t, w, length, value) => t.insert4(w[0], length, value),
  remove: (t, w, length) => t.remove4(w[0], length),
  lookup: (t, w) => t.lookup4(w[0]),
  key: (w) => bits([w[0]]),
};
const six: Family = {
  max: 128,
  insert: (t, w, length, value) => t.insert6(w[0], w[1], w[2], w[3], length, value),
  remove: (t, w, length) => t.remove6(w[0], w[1], w[2], w[3], length),
  lookup: (t, w) => t.lookup6(w[0], w[1], w[2], w[3]),
  key: bits,
};

/** Words that share many leading bits, so that prefixes contain each other. */
const word = fc.oneof(
  fc.constantFrom(0, -1, 0x80000000, 0x7fffffff, 0x0a090000, 0x20010db8),
  fc.integer({ min: 0, max: 3 }),
  fc.nat(31).map((b) => 1 << b),
  fc.integer({ min: 0, max: 0xffffffff }),
);
const words: fc.Arbitrary<Words> = fc.tuple(word, word, word, word);

describe.each([
  ["IPv4", four],
  ["IPv6", six],
])("%s", (_, family) => {
  const change = fc.record({
    add: fc.boolean(),
    w: words,
    length: fc.nat(family.max),
    value: fc.nat(0x7fffffff),
  });

  it("equals a linear scan after any inserts, replacements and removals", () => {
    fc.assert(
      fc.property(
        fc.array(change, { maxLength: 60, size: "max" }),
        fc.array(words, { minLength: 10, maxLength: 20 }),
        (changes, probes) => {
          const table = new Lpm();
          const scan = new LinearScan();
          for (const { add, w, length, value } of changes) {
            const route = family.key(w).slice(0, length);
            if (add) {
              family.insert(table, w, length, value);
              scan.insert(route, value);
            } else {
              expect(family.remove(table, w, length)).toBe(scan.remove(route));
            }
            expect(table.size).toBe(scan.routes.size);
            expect(family.lookup(table, w)).toBe(scan.lookup(family.key(w)));
          }
          for (const w of [...probes, ...changes.map((c) => c.w)]) {
            expect(family.lookup(table, w)).toBe(scan.lookup(family.key(w)));
          }
          // Whatever order they came in, they can all go again.
          for (const route of [...scan.routes.keys()]) {
            const full = route.padEnd(128, "0");
            const w = [0, 32, 64, 96].map((i) => Number.parseInt(full.slice(i, i + 32), 2)) as unknown as Words;
            expect(family.remove(table, w, route.length)).toBe(true);
            scan.remove(route);
            for (const probe of probes.slice(0, 5)) {
              expect(family.lookup(table, probe)).toBe(scan.lookup(family.key(probe)));
            }
          }
          expect(table.size).toBe(0);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("has the right route for every length when all nest, in any order", () => {
    for (const seed of [1, 2, 3]) {
      const prng = new Prng(seed);
      const w: Words = [prng.nextU32(), prng.nextU32(), prng.nextU32(), prng.nextU32()];
      const order = Array.from({ length: family.max + 1 }, (_, length) => length);
      const shuffle = () => {
        for (let i = order.length - 1; i > 0; i--) {
          const j = prng.nextBelow(i + 1);
          [order[i], order[j]] = [order[j], order[i]];
        }
      };
      const table = new Lpm();
      shuffle();
      for (const length of order) family.insert(table, w, length, 1000 + length);
      expect(table.size).toBe(family.max + 1);
      for (let length = 0; length <= family.max; length++) {
        // An address that leaves the path right after `length` bits.
        const probe = [...w] as [number, number, number, number];
        if (length < family.max) probe[length >> 5] ^= 1 << (31 - (length & 31));
        expect(family.lookup(table, probe)).toBe(1000 + length);
      }
      shuffle();
      const left = new Set(order);
      for (const length of order) {
        expect(family.remove(table, w, length)).toBe(true);
        expect(family.remove(table, w, length)).toBe(false);
        left.delete(length);
        expect(family.lookup(table, w)).toBe(left.size === 0 ? NONE : 1000 + Math.max(...left));
      }
    }
  });

  it("finds 10,000 random routes, and in half a table what a half scan finds", () => {
    const prng = new Prng(family.max);
    const table = new Lpm();
    const scan = new Map<string, number>();
    const routes = Array.from({ length: 10_000 }, (_, value) => {
      const w: Words = [prng.nextU32(), prng.nextU32(), prng.nextU32(), prng.nextU32()];
      return { w, length: prng.nextBelow(family.max + 1), value };
    });
    const wrong = () =>
      routes.filter(({ w }) => {
        const key = family.key(w);
        let expected = NONE;
        for (let length = 0; length <= family.max; length++) expected = scan.get(key.slice(0, length)) ?? expected;
        return family.lookup(table, w) !== expected;
      });
    for (const { w, length, value } of routes) {
      family.insert(table, w, length, value);
      scan.set(family.key(w).slice(0, length), value);
    }
    expect(table.size).toBe(scan.size);
    expect(wrong()).toEqual([]);
    for (const { w, length, value } of routes) {
      if (value % 2 === 0) continue;
      expect(family.remove(table, w, length)).toBe(scan.delete(family.key(w).slice(0, length)));
    }
    expect(table.size).toBe(scan.size);
    expect(wrong()).toEqual([]);
    expect(table.bytes).toBeLessThan(2_500_000);
  });

  it("uses the memory of withdrawn routes again, also for other routes", () => {
    const prng = new Prng(5);
    const table = new Lpm();
    let first = 0;
    for (let round = 0; round < 100; round++) {
      // Half of them close together: routes inside routes, full nodes.
      const routes = Array.from({ length: 500 }, (_, i) => {
        const near = i % 2 === 0;
        const w: Words = [near ? prng.nextBelow(4096) << 18 : prng.nextU32(), prng.nextU32(), 0, 0];
        return { w, length: near ? 6 + prng.nextBelow(10) : 1 + prng.nextBelow(family.max) };
      });
      routes.forEach((r, i) => {
        family.insert(table, r.w, r.length, i);
      });
      if (round === 0) first = table.bytes;
      for (const r of routes) family.remove(table, r.w, r.length);
      expect(table.size).toBe(0);
      expect(routes.filter((r) => family.lookup(table, r.w) !== NONE)).toEqual([]);
    }
    // One doubling of luck.
    expect(table.bytes).toBeLessThanOrEqual(2 * first);
  });

  it("refuses lengths and values that cannot be", () => {
    const table = new Lpm();
    for (const length of [-1, family.max + 1, 1.5, Number.NaN]) {
      expect(() => family.insert(table, [0, 0, 0, 0], length, 1)).toThrow(/prefix length must be 0 to/);
      expect(() => family.remove(table, [0, 0, 0, 0], length)).toThrow(RangeError);
    }
    for (const value of [-1, 2 ** 31, 0.5]) {
      expect(() => family.insert(table, [0, 0, 0, 0], 8, value)).toThrow(/value of a prefix/);
    }
    expect(table.size).toBe(0);
  });
});

describe("Lpm", () => {
  it("keeps the families apart", () => {
    const table = new Lpm();
    table.insert4(0, 0, 4);
    expect(table.lookup6(0, 0, 0xffff, 0x0a090001)).toBe(NONE);
    table.insert6(0, 0, 0, 0, 0, 6);
    expect([table.lookup4(0x0a090001), table.lookup6(0, 0, 0, 1), table.size]).toEqual([4, 6, 2]);
    table.remove4(0, 0);
    expect([table.lookup4(0x0a090001), table.lookup6(0, 0, 0, 1), table.size]).toEqual([NONE, 6, 1]);
  });

  it("takes addresses of either sign", () => {
    const table = new Lpm();
    table.insert4(0xc0000200, 24, 7);
    table.insert4(0xcb007100 | 0, 24, 8);
    for (const address of [0xc0000201, 0xc0000201 | 0]) expect(table.lookup4(address)).toBe(7);
    for (const address of [0xcb0071ff, 0xcb0071ff | 0]) expect(table.lookup4(address)).toBe(8);
    expect(table.remove4(0xc0000200 | 0, 24)).toBe(true);
    expect(table.lookup4(0xc0000201)).toBe(NONE);
  });

  it("is empty and small after clear, and works on", () => {
    const table = new Lpm({ initialNodes: 1 });
    const before = table.bytes;
    for (let i = 0; i < 1000; i++) table.insert4(i << 8, 24, i);
    table.insert6(0x20010db8, 0, 0, 0, 32, 1);
    expect(table.bytes).toBeGreaterThan(before);
    table.clear();
    expect([table.size, table.bytes, table.lookup4(0x100), table.lookup6(0x20010db8, 0, 0, 1)]).toEqual([
      0,
      before,
      NONE,
      NONE,
    ]);
    table.insert4(0x100, 24, 9);
    expect(table.lookup4(0x1ff)).toBe(9);
  });

  it("refuses to begin without room", () => {
    expect(() => new Lpm({ initialNodes: 0 })).toThrow(/initialNodes must be at least 1/);
  });
});

/** Addresses out of a pool, against a model that looks at every address. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AddressPool } from "../../src/control/text/address_pool.ts";

const take = (pool: AddressPool): string => {
  try {
    return pool.take().join(" ");
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe("what is given", () => {
  test("the lowest free host, one of each family, never network or broadcast", () => {
    const pool = new AddressPool(["10.9.0.0/29", "2001:db8:9::/64"]);
    pool.reserve("10.9.0.1/32");
    pool.reserve("2001:db8:9::1/128");
    const given = Array.from({ length: 6 }, () => take(pool));
    expect(given).toEqual([...[2, 3, 4, 5, 6].map((n) => `10.9.0.${n} 2001:db8:9::${n}`), "pool_exhausted"]);
  });

  test("when one family has none left, the other loses none", () => {
    const pool = new AddressPool(["10.9.0.0/30", "2001:db8:9::/64"]);
    expect([take(pool), take(pool), take(pool)]).toEqual([
      "10.9.0.1 2001:db8:9::1",
      "10.9.0.2 2001:db8:9::2",
      "pool_exhausted",
    ]);
    pool.release("10.9.0.1");
    expect(take(pool)).toBe("10.9.0.1 2001:db8:9::3");
  });

  test("the next prefix of a family goes on", () => {
    const pool = new AddressPool(["10.9.0.0/30", "10.9.8.0/30"]);
    expect(Array.from({ length: 5 }, () => take(pool))).toEqual([
      ...["10.9.0.1", "10.9.0.2", "10.9.8.1", "10.9.8.2"],
      "pool_exhausted",
    ]);
  });

  test("networks inside are left out, wherever they are", () => {
    const pool = new AddressPool(["2001:db8:9::/48"]);
    pool.reserve("2001:db8:9:1::/64");
    pool.reserve("2001:db8:9::/126");
    pool.reserve("192.0.2.0/24");
    expect(take(pool)).toBe("2001:db8:9::4");
    pool.reserve("2001:db8::/32");
    expect(take(pool)).toBe("pool_exhausted");
    pool.release("2001:db8::/32");
    expect(take(pool)).toBe("2001:db8:9::5");
  });

  test("no pool is another error than an empty one", () => expect(take(new AddressPool([]))).toBe("no_pool"));

  test("the error names the prefixes", () => {
    const pool = new AddressPool(["10.9.0.0/30"]);
    pool.reserve("10.9.0.0/30");
    expect(() => pool.take()).toThrow("10.9.0.0/30");
  });
});

test("like a model that tries every address", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("take" as const) }),
    fc.record({ kind: fc.constant("release" as const), host: fc.nat(15) }),
    fc.record({ kind: fc.constant("reserve" as const), host: fc.nat(15) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const pool = new AddressPool(["10.9.0.16/28"]);
      const taken = new Set<number>();
      for (const one of steps) {
        if (one.kind === "take") {
          const free = Array.from({ length: 14 }, (_, i) => i + 1).find((host) => !taken.has(host));
          expect(take(pool)).toBe(free === undefined ? "pool_exhausted" : `10.9.0.${16 + free}`);
          if (free !== undefined) taken.add(free);
        } else if (one.kind === "release") {
          pool.release(`10.9.0.${16 + one.host}`);
          taken.delete(one.host);
        } else {
          pool.reserve(`10.9.0.${16 + one.host}/32`);
          taken.add(one.host);
        }
      }
    }),
  );
});

test("100,000 clients get an address each, without looking at those that are taken again and again", () => {
  const pool = new AddressPool(["10.0.0.0/8", "2001:db8:9::/64"]);
  const seen = new Set(Array.from({ length: 100_000 }, () => take(pool)));
  expect(seen.size).toBe(100_000);
});

describe("several nodes give out of one pool", () => {
  const poolsOf = (prefixes: readonly string[], nodes: number) =>
    Array.from({ length: nodes }, (_, rank) => new AddressPool(prefixes, { rank, nodes }));

  test("without asking each other: no address twice while their parts last", () => {
    const pools = poolsOf(["10.9.0.0/24", "2001:db8:9::/64"], 3);
    const given = pools.map((pool) => Array.from({ length: 80 }, () => pool.take()));
    expect(given.map(([first]) => first)).toEqual([
      ["10.9.0.3", "2001:db8:9::3"],
      ["10.9.0.1", "2001:db8:9::1"],
      ["10.9.0.2", "2001:db8:9::2"],
    ]);
    expect(new Set(given.flat(2)).size).toBe(3 * 80 * 2);
  });

  test("a part that is full: the next node's, from the top, so that its owner comes there last", () => {
    const [one, two] = poolsOf(["10.9.0.0/28"], 2);
    const own = Array.from({ length: 7 }, () => take(one));
    expect(own).toEqual([2, 4, 6, 8, 10, 12, 14].map((n) => `10.9.0.${n}`));
    expect([take(one), take(one), take(two), take(two)]).toEqual([13, 11, 1, 3].map((n) => `10.9.0.${n}`));
  });

  test("every address of the pool is given in the end, by whoever asks, and none twice", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 7 }), fc.nat(6), fc.array(fc.nat(1000)), (nodes, asks, released) => {
        const pool = new AddressPool(["10.9.0.0/27", "10.9.1.0/29"], { rank: asks % nodes, nodes });
        const all = Array.from({ length: 36 }, () => take(pool));
        expect(new Set(all).size).toBe(36);
        expect(take(pool)).toBe("pool_exhausted");
        const back = new Set(released.map((k) => all[k % 36]));
        for (const address of back) pool.release(address);
        expect(new Set(Array.from(back, () => take(pool)))).toEqual(back);
        expect(take(pool)).toBe("pool_exhausted");
      }),
    );
  });

  test("a client of the file gets the lowest of all, the same at each node", () => {
    expect(poolsOf(["10.9.0.0/24"], 5).map((pool) => pool.take(true))).toEqual(Array(5).fill(["10.9.0.1"]));
  });
});

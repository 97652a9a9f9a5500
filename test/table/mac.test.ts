import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  AGE_MS,
  EXPIRE_SLOTS,
  FULL,
  MacTable,
  MOVE_LIMITED,
  MOVED,
  MOVES_PER_SECOND,
  NONE,
  OK,
} from "../../src/table/mac.ts";

const DEVICE = -1;

describe("MacTable", () => {
  it("learns, refreshes and moves", () => {
    const table = new MacTable(8, 8);
    expect(table.lookup(0x0200, 1, 0)).toBe(NONE);
    expect(table.learn(0x0200, 1, 3, 0)).toBe(OK);
    expect(table.learn(0x0200, 1, 3, 1)).toBe(OK);
    expect(table.lookup(0x0200, 1, 1)).toBe(3);
    expect(table.learn(0x0200, 1, DEVICE, 2)).toBe(MOVED);
    expect(table.lookup(0x0200, 1, 2)).toBe(DEVICE);
    expect([table.size, table.countOf(3), table.countOf(DEVICE)]).toEqual([1, 0, 1]);
  });

  it("tells addresses apart that differ in either part, of either sign", () => {
    const table = new MacTable(8, 8);
    table.learn(0x0200, 0x80000001, 1, 0);
    table.learn(0x0201, 0x80000001, 2, 0);
    table.learn(0x0200, 0x80000002 | 0, 3, 0);
    expect(table.lookup(0x0200, 0x80000001 | 0, 0)).toBe(1);
    expect(table.lookup(0x0201, 0x80000001, 0)).toBe(2);
    expect(table.lookup(0x0200, 0x80000002, 0)).toBe(3);
    expect(table.lookup(0x0000, 0, 0)).toBe(NONE);
  });

  it("forgets an address that was silent for longer than its age", () => {
    const table = new MacTable(8, 8);
    table.learn(0x0200, 1, 3, 1000);
    table.learn(0x0200, 1, 3, 2000);
    expect(table.lookup(0x0200, 1, 2000 + AGE_MS)).toBe(3);
    expect(table.lookup(0x0200, 1, 2001 + AGE_MS)).toBe(NONE);
    expect(table.size).toBe(1);
    expect(table.expire(2000 + AGE_MS)).toBe(0);
    expect(table.expire(2001 + AGE_MS)).toBe(1);
    expect([table.size, table.countOf(3)]).toEqual([0, 0]);
  });

  it("does not call it a move when an aged address comes back elsewhere", () => {
    const table = new MacTable(8, 8);
    table.learn(0x0200, 1, 3, 0);
    expect(table.learn(0x0200, 1, 4, AGE_MS + 1)).toBe(OK);
    expect(table.lookup(0x0200, 1, AGE_MS + 1)).toBe(4);
    expect([table.countOf(3), table.countOf(4)]).toEqual([0, 1]);
  });

  it("counts times beyond 2^31 ms right", () => {
    const table = new MacTable(8, 8);
    const now = 2 ** 33 + 0.5;
    table.learn(0x0200, 1, 3, now);
    expect(table.lookup(0x0200, 1, now + AGE_MS)).toBe(3);
    expect(table.lookup(0x0200, 1, now + AGE_MS + 1)).toBe(NONE);
  });

  it("keeps an address where it is when it moves too often", () => {
    const table = new MacTable(8, 8);
    table.learn(0x0200, 1, 0, 0);
    for (let i = 1; i <= MOVES_PER_SECOND; i++) expect(table.learn(0x0200, 1, i, 10 * i)).toBe(MOVED);
    expect(table.learn(0x0200, 1, 100, 900)).toBe(MOVE_LIMITED);
    expect(table.lookup(0x0200, 1, 900)).toBe(MOVES_PER_SECOND);
    expect(table.countOf(100)).toBe(0);
    // The owner that it stays with may still refresh it.
    expect(table.learn(0x0200, 1, MOVES_PER_SECOND, 950)).toBe(OK);
    expect(table.learn(0x0200, 1, 100, 1009)).toBe(MOVE_LIMITED);
    expect(table.learn(0x0200, 1, 100, 1010)).toBe(MOVED);
    expect(table.lookup(0x0200, 1, 1010)).toBe(100);
  });

  it("holds as many addresses as its capacity", () => {
    const table = new MacTable(16, 16);
    for (let i = 0; i < 16; i++) expect(table.learn(0x0200, i, 1, 0)).toBe(OK);
    expect(table.learn(0x0200, 16, DEVICE, 0)).toBe(FULL);
    expect(table.lookup(0x0200, 16, 0)).toBe(NONE);
    for (let i = 0; i < 16; i++) expect(table.lookup(0x0200, i, 0)).toBe(1);
    expect(table.learn(0x0200, 3, 2, 0)).toBe(MOVED);
    expect(table.size).toBe(16);
  });

  it("gives a tunnel its share only, by learning or by moving, and the device the rest", () => {
    const table = new MacTable(16, 4);
    for (let i = 0; i < 4; i++) expect(table.learn(0x0200, i, 1, 0)).toBe(OK);
    expect(table.learn(0x0200, 4, 1, 0)).toBe(FULL);
    expect(table.learn(0x0200, 0, 1, 0)).toBe(OK);
    for (let i = 10; i < 22; i++) expect(table.learn(0x0200, i, DEVICE, 0)).toBe(OK);
    expect(table.learn(0x0200, 10, 1, 0)).toBe(FULL);
    expect(table.lookup(0x0200, 10, 0)).toBe(DEVICE);
    expect(table.learn(0x0200, 0, 2, 0)).toBe(MOVED);
    expect(table.learn(0x0200, 10, 1, 0)).toBe(MOVED);
    expect(table.countOf(1)).toBe(4);
  });

  it("refuses owners that it has no row for", () => {
    const table = new MacTable(16, 4, 2);
    expect(table.learn(0x0200, 1, 1, 0)).toBe(OK);
    expect(table.learn(0x0200, 2, 2, 0)).toBe(FULL);
  });

  it("expires a large table in constant steps", () => {
    const table = new MacTable(1024, 1024);
    for (let i = 0; i < 1024; i++) table.learn(0x0200, i, 1, i < 1000 ? 0 : AGE_MS);
    const steps = 2048 / EXPIRE_SLOTS;
    let removed = 0;
    for (let i = 0; i < steps; i++) {
      const step = table.expire(AGE_MS + 1);
      expect(step).toBeLessThan(1000);
      removed += step;
    }
    expect(removed).toBe(1000);
    expect(table.size).toBe(24);
    for (let i = 1000; i < 1024; i++) expect(table.lookup(0x0200, i, AGE_MS + 1)).toBe(1);
  });

  it("refuses a capacity that is not a power of two", () => {
    for (const capacity of [0, 3, 1.5, -4, 2 ** 25]) {
      expect(() => new MacTable(capacity, 1)).toThrow(/capacity of a MAC table must be a power of two/);
    }
  });

  it("equals a Map under any learning, ageing and removal, for any seed", () => {
    const step = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({ kind: fc.constant("learn"), mac: fc.nat(23), owner: fc.integer({ min: -1, max: 3 }) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant("remove"), mac: fc.nat(23), owner: fc.integer({ min: -1, max: 3 }) }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("age"), mac: fc.nat(1), owner: fc.constant(0) }) },
    );
    fc.assert(
      fc.property(fc.integer(), fc.array(step, { maxLength: 120, size: "max" }), (seed, steps) => {
        const perOwnerMax = 6;
        const table = new MacTable(16, perOwnerMax, 8, seed);
        const model = new Map<number, { owner: number; seen: number }>();
        const countOf = (owner: number) => [...model.values()].filter((e) => e.owner === owner).length;
        let now = 0;
        for (const { kind, mac, owner } of steps) {
          // Two seconds a step: moves are never limited here.
          now += 2000;
          const [hi, lo] = [0x0200 + (mac % 3), mac];
          if (kind === "learn") {
            const entry = model.get(mac);
            const room = owner === DEVICE || countOf(owner) < perOwnerMax;
            let expected = OK;
            if (entry === undefined && (model.size === 16 || !room)) expected = FULL;
            else if (entry !== undefined && entry.owner !== owner) expected = room ? MOVED : FULL;
            if (entry !== undefined && expected === MOVED && now - entry.seen > AGE_MS) expected = OK;
            if (expected !== FULL) model.set(mac, { owner, seen: now });
            expect(table.learn(hi, lo, owner, now)).toBe(expected);
          } else if (kind === "remove") {
            const before = model.size;
            for (const [key, e] of model) if (e.owner === owner) model.delete(key);
            expect(table.removeOwner(owner)).toBe(before - model.size);
          } else {
            now += AGE_MS / 2;
            const before = model.size;
            if (mac === 1) {
              for (const [key, e] of model) if (now - e.seen > AGE_MS) model.delete(key);
              expect(table.expire(now)).toBe(before - model.size);
            }
          }
          expect(table.size).toBe(model.size);
          const owners = Array.from({ length: 24 }, (_, m) => {
            const e = model.get(m);
            return e === undefined || now - e.seen > AGE_MS ? NONE : e.owner;
          });
          expect(owners.map((_, m) => table.lookup(0x0200 + (m % 3), m, now))).toEqual(owners);
          expect([-1, 0, 1, 2, 3].map((o) => table.countOf(o))).toEqual([-1, 0, 1, 2, 3].map(countOf));
        }
      }),
      { numRuns: 200 },
    );
  });
});

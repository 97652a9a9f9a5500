/** Replay windows against a model that keeps a plain Set of numbers, and the table of senders against a Map. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DUPLICATE, FRESH, NONE, OLD, ReplayTable, windowWords } from "../../src/crypto/replay.ts";

/** The rules of docs/PROTOCOL.md, "Replay window", word for word. */
class Model {
  highest = NONE;
  readonly seen = new Set<number>();
  receive(seq: number, window: number): number {
    if (this.highest === NONE) return this.take(seq, window);
    const half = 2 ** 31 - 1;
    const shift = this.highest < window ? half : this.highest > 2 ** 32 - 1 - window ? -half : 0;
    const shifted = (v: number) => (v + shift + 2 ** 32) % 2 ** 32;
    const s = shifted(seq);
    const m = shifted(this.highest);
    if (s > m) return this.take(seq, window);
    if (window === 0) return FRESH;
    if (s < m - window + 1) return OLD;
    if (this.seen.has(seq)) return DUPLICATE;
    this.seen.add(seq);
    return FRESH;
  }
  private take(seq: number, window: number): number {
    this.highest = seq;
    for (const one of this.seen) if ((seq - one + 2 ** 32) % 2 ** 32 >= window) this.seen.delete(one);
    this.seen.add(seq);
    return FRESH;
  }
}

const windows = fc.constantFrom(0, 1, 2, 31, 32, 33, 63, 64, 100, 128);
const starts = fc.oneof(
  fc.constantFrom(0, 1, 63, 64, 2 ** 31, 2 ** 32 - 1, 2 ** 32 - 64, 2 ** 32 - 200),
  fc.nat(2 ** 32 - 1),
);
// Steps from the highest number: mostly near it, rarely far. A forward jump of 2^32 or more cannot exist.
const steps = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: -140, max: 10 }) },
    { weight: 2, arbitrary: fc.integer({ min: -400, max: 300 }) },
    { weight: 1, arbitrary: fc.constantFrom(5000, 2 ** 31 - 1, 2 ** 31, -(2 ** 31)) },
  ),
  { maxLength: 400 },
);

describe("one window", () => {
  test("accepts what the model accepts", () => {
    fc.assert(
      fc.property(windows, starts, steps, (window, start, path) => {
        const table = new ReplayTable({ slots: 4, sendersPerTunnel: 4, bits: 128 });
        const slot = table.create(1, 2);
        const model = new Model();
        let seq = start;
        for (const step of [0, ...path]) {
          seq = ((model.highest === NONE ? start : model.highest) + step + 2 ** 33) % 2 ** 32;
          // Columns are signed: the table must not care.
          const checked = table.check(slot, seq | 0, window);
          const expected = model.receive(seq, window);
          expect(table.commit(slot, seq | 0, window)).toBe(expected);
          expect(checked).toBe(expected);
          expect(table.highest(slot)).toBe(model.highest);
          if (window > 0) expect(table.check(slot, seq, window)).not.toBe(FRESH);
        }
      }),
      { numRuns: 400, examples: [[64, 0, [-52, 124, -138, -38]]] },
    );
  });

  test("the written examples", () => {
    const table = new ReplayTable({ slots: 1, sendersPerTunnel: 1, bits: 64 });
    const slot = table.create(0, 0);
    expect(table.highest(slot)).toBe(NONE);
    table.commit(slot, 201, 64);
    expect(table.check(slot, 200, 64)).toBe(FRESH);
    expect(table.check(slot, 138, 64)).toBe(FRESH);
    expect(table.check(slot, 137, 64)).toBe(OLD);
    expect(table.check(slot, 201, 64)).toBe(DUPLICATE);
    // No half-space rule away from the ends: a far number is accepted, then small ones are dead.
    expect(table.commit(slot, 0x90000000, 64)).toBe(FRESH);
    expect(table.check(slot, 202, 64)).toBe(OLD);
    table.reset(slot, 5);
    expect(table.check(slot, 0x80000000, 64)).toBe(FRESH);
    expect(table.check(slot, 0x80000001, 64)).toBe(OLD);
    expect(table.check(slot, 0xffffffff, 64)).toBe(FRESH);
    expect(table.check(slot, 5, 64)).toBe(DUPLICATE);
    table.reset(slot, 0xffffffff);
    expect(table.commit(slot, 0, 64)).toBe(FRESH);
    expect(table.check(slot, 0xffffffff, 64)).toBe(DUPLICATE);
  });
});

describe("a window that moves to another table", () => {
  const table = (bits: number) => {
    const made = new ReplayTable({ slots: 4, sendersPerTunnel: 4, bits });
    // Not the first slot, and with bits of an earlier life in it.
    made.create(1, 1);
    const slot = made.create(1, 2);
    for (let seq = 0; seq < 300; seq += 3) made.commit(slot, seq, 64);
    made.restart(slot);
    return { made, slot };
  };
  const receive = ({ made, slot }: ReturnType<typeof table>, start: number, path: number[], window: number) =>
    path.map((step) => {
      const highest = made.highest(slot);
      const seq = ((highest === NONE ? start : highest) + step + 2 ** 33) % 2 ** 32;
      return made.commit(slot, seq, window);
    });
  /** From `from`'s window of `window` packets into another table. */
  const move = (from: ReturnType<typeof table>, window: number, to: ReturnType<typeof table>) => {
    const words = new Int32Array(windowWords(window)).fill(0x5a5a5a5a);
    to.made.install(to.slot, from.made.read(from.slot, window, words), words);
  };
  const sizes = fc.constantFrom(1, 2, 31, 32, 33, 63, 64, 65, 100, 128);

  test("knows of every number what it knew before, and goes on alike", () => {
    fc.assert(
      fc.property(sizes, fc.constantFrom(128, 1000), starts, steps, steps, (window, bits, start, before, after) => {
        const [old, other] = [table(128), table(bits)];
        receive(old, start, [0, ...before], window);
        move(old, window, other);
        const highest = old.made.highest(old.slot);
        expect(other.made.highest(other.slot)).toBe(highest);
        for (let d = -70; d < 300; d++)
          expect(other.made.check(other.slot, highest - d, window)).toBe(old.made.check(old.slot, highest - d, window));
        expect(receive(other, start, after, window)).toEqual(receive(old, start, after, window));
      }),
      { numRuns: 300 },
    );
  });

  test("between windows of two sizes: the smaller one decides, nothing below it comes in", () => {
    fc.assert(
      fc.property(sizes, sizes, starts, steps, (window, later, start, path) => {
        const [old, other] = [table(128), table(later)];
        receive(old, start, [0, ...path], window);
        move(old, window, other);
        const highest = old.made.highest(old.slot);
        for (let d = 0; d < 300; d++) {
          // Across 0 the order wraps only near it: there such a number is far ahead, whatever was received.
          if (other.made.isNewest(other.slot, highest - d, later)) continue;
          const result = other.made.check(other.slot, highest - d, later);
          if (d >= later) expect(result).toBe(OLD);
          else if (d >= window) expect(result).toBe(DUPLICATE);
          else expect(result).toBe(old.made.check(old.slot, highest - d, window));
        }
      }),
      { numRuns: 300 },
    );
  });

  test("before its first packet is empty, and begins with any number", () => {
    const [old, other] = [table(64), table(64)];
    const words = new Int32Array(windowWords(64));
    expect(old.made.read(old.slot, 64, words)).toBe(NONE);
    expect([...words]).toEqual([0, 0, 0]);
    other.made.commit(other.slot, 900, 64);
    other.made.install(other.slot, NONE, words);
    expect(other.made.highest(other.slot)).toBe(NONE);
    expect(other.made.commit(other.slot, 5, 64)).toBe(FRESH);
  });

  test("the written example: newest word first, bit n & 31, and the highest number counts as received", () => {
    const { made, slot } = table(64);
    for (const seq of [100, 98, 64, 40]) made.commit(slot, seq, 64);
    const words = new Int32Array(4);
    expect(made.read(slot, 64, words)).toBe(100);
    // 96-100, 64-95, 37-63 and what lies below the window of 64.
    expect([...words]).toEqual([0b10100, 1, 0b1_0001_1111, -1]);
    made.install(slot, 70, new Int32Array(0));
    expect([69, 70, 71].map((seq) => made.check(slot, seq, 64))).toEqual([DUPLICATE, DUPLICATE, FRESH]);
    made.install(slot, 70, new Int32Array([0]));
    expect([63, 69, 70, 71].map((seq) => made.check(slot, seq, 64))).toEqual([DUPLICATE, FRESH, DUPLICATE, FRESH]);
  });
});

describe("the table of senders", () => {
  const commands = fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.tuple(fc.constant("create" as const), fc.nat(5), fc.nat(7)) },
      { weight: 1, arbitrary: fc.tuple(fc.constant("remove" as const), fc.nat(5), fc.constant(0)) },
    ),
    { maxLength: 200 },
  );

  test("finds what a Map finds, with limits for the table and for each tunnel", () => {
    fc.assert(
      fc.property(commands, (path) => {
        const table = new ReplayTable({ slots: 16, sendersPerTunnel: 5, bits: 64 });
        const model = new Map<string, number>();
        const ofTunnel = (tunnel: number) => [...model.keys()].filter((name) => name.startsWith(`${tunnel}/`));
        for (const [what, tunnel, sender] of path) {
          const name = `${tunnel}/${sender}`;
          if (what === "remove") {
            table.removeTunnel(tunnel);
            for (const gone of ofTunnel(tunnel)) model.delete(gone);
          } else if (model.has(name) || (model.size < 16 && ofTunnel(tunnel).length < 5)) {
            const isNew = !model.has(name);
            const slot = table.create(tunnel, sender);
            expect(slot).not.toBe(NONE);
            if (isNew) expect(table.highest(slot)).toBe(NONE);
            table.commit(slot, 77, 64);
            model.set(name, slot);
          } else {
            expect(table.create(tunnel, sender)).toBe(NONE);
          }
          expect(new Set(model.values()).size).toBe(model.size);
          for (let t = 0; t < 6; t++)
            for (let s = 0; s < 8; s++) expect(table.find(t, s)).toBe(model.get(`${t}/${s}`) ?? NONE);
        }
      }),
      { numRuns: 200 },
    );
  });

  test("tells tunnels apart that differ above their lower 16 bits", () => {
    const table = new ReplayTable({ slots: 8, sendersPerTunnel: 2, bits: 64 });
    const slots = [1, 65_537, 131_073].map((tunnel) => table.create(tunnel, 7));
    expect(new Set(slots).size).toBe(3);
    table.removeTunnel(65_537);
    expect([1, 65_537, 131_073].map((tunnel) => table.find(tunnel, 7))).toEqual([slots[0], NONE, slots[2]]);
  });

  test("refuses numbers out of range and sizes that it cannot hold", () => {
    const table = new ReplayTable({ slots: 2, sendersPerTunnel: 2, bits: 64 });
    expect(table.create(2 ** 18, 0)).toBe(NONE);
    expect(table.find(2 ** 18 - 1, 0)).toBe(NONE);
    expect(table.create(-1, 0)).toBe(NONE);
    expect(table.create(0, 65_536)).toBe(NONE);
    expect(table.create(65_535, 65_535)).not.toBe(NONE);
    const make = (slots: number, sendersPerTunnel: number, bits: number) => () =>
      new ReplayTable({ slots, sendersPerTunnel, bits });
    expect(make(3, 1, 64)).toThrow(/power of two/);
    expect(make(4, 0, 64)).toThrow(/at least one sender/);
    expect(make(4, 1, 0)).toThrow(/1 to 2\^20/);
  });
});

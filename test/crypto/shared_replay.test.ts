/**
 * Windows that shards keep together. The main tests interleave several shards at every single atomic operation and check
 * that no packet is accepted twice, while the windows also begin anew. A shard cannot be stopped in the middle, so each step runs it again
 * from its beginning: what its atomic operations returned before is played back from a log, one more is really done, and
 * the next one ends the step. The code under test is the real one; it depends on nothing but those results.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createFloorMemory, type FloorMemory, FloorTable } from "../../src/crypto/floor.ts";
import { DUPLICATE, FRESH, NONE, ReplayTable } from "../../src/crypto/replay.ts";
import { createRestartMemory, RESTART_ZONE, type RestartMemory, RestartTable } from "../../src/crypto/restart.ts";
import { SharedReplayTable } from "../../src/crypto/shared_replay.ts";

const WINDOW = 64;
const CELLS = 4;
const OPTIONS = { slots: 2, sendersPerTunnel: 2, bits: WINDOW };

class Pause extends Error {}

/** Plays back `log`, then does one more operation for each unit of `credit`, then stops the shard. */
class PacedFloor extends FloorTable {
  credit = 0;
  #at = 0;
  readonly #log: unknown[];

  constructor(memory: FloorMemory, log: unknown[]) {
    super(memory);
    this.#log = log;
  }

  paced<T>(operation: () => T): T {
    if (this.#at === this.#log.length) {
      if (this.credit-- <= 0) throw new Pause();
      this.#log.push(operation());
    }
    return this.#log[this.#at++] as T;
  }

  protected override keyOf(cell: number): number {
    return this.paced(() => super.keyOf(cell));
  }
  protected override take(cell: number, key: number): number {
    return this.paced(() => super.take(cell, key));
  }
  override life(cell: number): number {
    return this.paced(() => super.life(cell));
  }
  override lifeNearly(cell: number): number {
    return this.paced(() => super.lifeNearly(cell));
  }
  override top(cell: number): number {
    return this.paced(() => super.top(cell));
  }
  override raise(cell: number, from: number, to: number): boolean {
    return this.paced(() => super.raise(cell, from, to));
  }
  override lock(cell: number, life: number): boolean {
    return this.paced(() => super.lock(cell, life));
  }
  override setTop(cell: number, top: number): void {
    this.paced(() => super.setTop(cell, top));
  }
  override setLife(cell: number, life: number): void {
    this.paced(() => super.setLife(cell, life));
  }
}

/** The same for the memory of restarts; looking for a packet and noting it are an operation each. */
class PacedRestart extends RestartTable {
  readonly #floor: PacedFloor;
  constructor(memory: RestartMemory, floor: PacedFloor) {
    super({ slots: CELLS, memory });
    this.#floor = floor;
  }
  protected override knows(slot: number, seq: number, hi: number, lo: number): boolean {
    return this.#floor.paced(() => super.knows(slot, seq, hi, lo));
  }
  protected override note(slot: number, seq: number, hi: number, lo: number): void {
    this.#floor.paced(() => super.note(slot, seq, hi, lo));
  }
}

/** A packet that arrives: its number, and which of several packets with that number it is. */
type Packet = readonly [seq: number, copy: number];

/** What a receiver does with a packet (head of restart.ts), but that every refused one may be a restart. */
function accepts(replay: SharedReplayTable, restart: RestartTable, [seq, copy]: Packet): boolean {
  const slot = replay.create(1, 2);
  if (slot === NONE) return false;
  const cell = replay.cell(slot);
  if (replay.check(slot, seq, WINDOW) === FRESH)
    return restart.remember(cell, seq, 77, copy) && replay.commit(slot, seq, WINDOW) === FRESH;
  if (seq >= RESTART_ZONE || !replay.lock(slot)) return false;
  if (restart.remember(cell, seq, 77, copy)) {
    replay.reset(slot, seq);
    return true;
  }
  replay.unlock(slot);
  return false;
}

interface Common {
  readonly floor: FloorMemory;
  readonly restart: RestartMemory;
}

class PacedShard {
  readonly #memory: Common;
  readonly #packets: readonly Packet[];
  readonly #log: unknown[] = [];
  accepted: string[] = [];
  done = false;

  constructor(memory: Common, packets: readonly Packet[]) {
    this.#memory = memory;
    this.#packets = packets;
  }

  /** Goes on by `credit` atomic operations. */
  run(credit: number): void {
    if (this.done || credit === 0) return;
    const floor = new PacedFloor(this.#memory.floor, this.#log);
    floor.credit = credit;
    const replay = new SharedReplayTable(OPTIONS, floor);
    const restart = new PacedRestart(this.#memory.restart, floor);
    this.accepted = [];
    try {
      for (const packet of this.#packets) if (accepts(replay, restart, packet)) this.accepted.push(packet.join("/"));
      this.done = true;
    } catch (e) {
      if (!(e instanceof Pause)) throw e;
    }
  }
}

/** Shards with these packets, run in these turns of [shard, operations], then to the end. What they accepted. */
function race(scripts: readonly (readonly Packet[])[], turns: readonly (readonly [number, number])[]): string[] {
  const memory = { floor: createFloorMemory(CELLS), restart: createRestartMemory(CELLS) };
  const shards = scripts.map((packets) => new PacedShard(memory, packets));
  for (const [which, operations] of turns) shards[which % shards.length].run(operations);
  for (const shard of shards) shard.run(Number.MAX_SAFE_INTEGER);
  expect(shards.every((shard) => shard.done)).toBe(true);
  return shards.flatMap((shard) => shard.accepted);
}

function expectOnce(accepted: readonly string[], how: string): void {
  expect(new Set(accepted).size, `${accepted.join(", ")} with ${how}`).toBe(accepted.length);
}

const rising = (...seqs: number[]): Packet[] => seqs.map((seq) => [seq, 0]);
const once = (seq: number, copy: number): Packet => [seq, copy];

// The first shard is stopped twice, the second once, at every point of their work.
test.each([
  ["the first packet", rising(7), rising(7)],
  ["the first packet above the zone", rising(700), rising(700)],
  ["the next packets", rising(70, 71, 72), rising(71, 72)],
  ["a packet that the other one jumped over", rising(70, 73, 72), rising(74, 72)],
  ["a packet that is late here and a restart there", rising(3, 10, 5), rising(5)],
  ["a restart and copies of it", [once(9, 0), once(2, 1)], [once(2, 1), once(3, 1)]],
  ["two restarts", [once(9, 0), once(2, 1), once(8, 0)], [once(2, 2), once(8, 0)]],
])("no packet is accepted twice: %s", (_what, a, b) => {
  for (let first = 0; first <= 24; first++)
    for (let second = 1; second <= 24; second++)
      for (const third of [0, 1, 2, 4, 7]) {
        const turns = [
          [0, first],
          [1, second],
          [0, third],
          [1, 99],
        ] as const;
        expectOnce(race([a, b], turns), `${turns.join(" ")}`);
      }
});

test("no packet is accepted twice, however the atomic operations of three shards interleave", () => {
  // Inside the zone or above it: a packet from above may come again after a restart, as with one shard.
  const packet = fc.tuple(fc.integer({ min: 0, max: 9 }), fc.nat(1));
  // Copies come close together: every shard gets nearly the same packets in nearly the same order.
  const scripts = fc
    .array(packet, { minLength: 3, maxLength: 8 })
    .chain((packets) =>
      fc.tuple(...[0, 1, 2].map(() => fc.shuffledSubarray(packets).map((some) => [...packets.slice(0, 3), ...some]))),
    );
  const turns = fc.array(fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 4 })), { maxLength: 80 });
  fc.assert(
    fc.property(fc.constantFrom(0, 100, 2 ** 31 - 5, 2 ** 32 - 20), scripts, turns, (start, relative, schedule) => {
      const moved = relative.map((packets) =>
        packets.map(([seq, copy]): Packet => [start + seq, start === 0 ? copy : 0]),
      );
      const accepted = race(moved, schedule);
      expectOnce(accepted, String(schedule));
      expect(accepted.length).toBeGreaterThan(0);
    }),
    { numRuns: 500 },
  );
});

/** A packet in one go. */
function receive(table: SharedReplayTable, slot: number, seq: number): boolean {
  return table.check(slot, seq, WINDOW) === FRESH && table.commit(slot, seq, WINDOW) === FRESH;
}

describe("one step after the other", () => {
  const starts = fc.constantFrom(0, 100, 2 ** 31 - 5, 2 ** 32 - 8);
  const path = starts.chain((start) =>
    fc.array(fc.tuple(fc.nat(2), fc.integer({ min: -90, max: 40 })), { maxLength: 120 }).map((moves) => ({
      start,
      moves,
    })),
  );
  const newShards = (n: number) => {
    const memory = createFloorMemory(16);
    return Array.from({ length: n }, () => new SharedReplayTable(OPTIONS, new FloorTable(memory)));
  };

  test("one shard is a ReplayTable", () => {
    fc.assert(
      fc.property(path, ({ start, moves }) => {
        const [shared] = newShards(1);
        const single = new ReplayTable(OPTIONS);
        const slot = shared.create(1, 2);
        single.create(1, 2);
        for (const [, move] of moves) {
          const seq = ((single.highest(0) === NONE ? start : single.highest(0)) + move + 2 ** 32) % 2 ** 32;
          expect(shared.check(slot, seq | 0, WINDOW)).toBe(single.check(0, seq, WINDOW));
          expect(shared.commit(slot, seq | 0, WINDOW)).toBe(single.commit(0, seq, WINDOW));
          expect(shared.highest(slot)).toBe(single.highest(0));
        }
      }),
    );
  });

  test("several shards accept every newest number, and nothing that one window would refuse", () => {
    fc.assert(
      fc.property(path, ({ start, moves }) => {
        const shards = newShards(3);
        const single = new ReplayTable(OPTIONS);
        single.create(1, 2);
        for (const [which, move] of moves) {
          const highest = single.highest(0);
          const seq = ((highest === NONE ? start : highest) + move + 2 ** 32) % 2 ** 32;
          const isNewest = single.isNewest(0, seq, WINDOW);
          const shard = shards[which];
          const slot = shard.create(1, 2);
          const fresh = receive(shard, slot, seq);
          if (isNewest) expect(fresh).toBe(true);
          if (fresh) expect(single.commit(0, seq, WINDOW)).toBe(FRESH);
          if (fresh) expect(shard.check(slot, seq, WINDOW)).not.toBe(FRESH);
          expect(shard.highest(slot)).toBe(single.highest(0));
        }
      }),
    );
  });

  test("the late packet of a shard that stayed is accepted, at another shard it is not", () => {
    const [a, b] = newShards(2);
    const slot = a.create(1, 2);
    const slotB = b.create(1, 2);
    for (const seq of [10, 13]) expect(receive(a, slot, seq)).toBe(true);
    expect(receive(b, slotB, 11)).toBe(false);
    expect(receive(a, slot, 11)).toBe(true);
    expect(receive(b, slotB, 20)).toBe(true);
    expect(receive(a, slot, 15)).toBe(false);
    expect(receive(b, slotB, 15)).toBe(true);
    // A number of a jump of its own, although another shard has moved on since.
    expect(receive(a, slot, 12)).toBe(true);
    expect(receive(a, slot, 12)).toBe(false);
  });

  test("a restart at one shard is one at all", () => {
    const [a, b] = newShards(2);
    const slot = a.create(1, 2);
    const slotB = b.create(1, 2);
    receive(a, slot, 5000);
    expect(b.check(slotB, 3, WINDOW)).not.toBe(FRESH);
    expect(b.lock(slotB)).toBe(true);
    // While it is locked nothing is accepted, and nobody else can lock it.
    expect(receive(a, slot, 5001)).toBe(false);
    expect(a.lock(slot)).toBe(false);
    b.reset(slotB, 3);
    expect(receive(a, slot, 3)).toBe(false);
    expect(receive(a, slot, 4)).toBe(true);
    expect(receive(b, slotB, 5)).toBe(true);
    expect([a.highest(slot), b.highest(slotB)]).toEqual([4, 5]);
  });

  test("without a window nothing is refused", () => {
    const [a, b] = newShards(2);
    for (const table of [a, b, a]) {
      const slot = table.create(1, 2);
      expect(table.check(slot, 9, 0)).toBe(FRESH);
      expect(table.commit(slot, 9, 0)).toBe(FRESH);
    }
  });
});

describe("the table of cells", () => {
  test("finds one cell for each sender, the same in all shards, until it is full", () => {
    const memory = createFloorMemory(64);
    const [a, b] = [new FloorTable(memory), new FloorTable(memory)];
    const cells = new Set<number>();
    for (let sender = 0; sender < 64; sender++) {
      const cell = (sender % 2 === 0 ? a : b).find(sender % 5, sender);
      expect(cell).not.toBe(NONE);
      cells.add(cell);
    }
    expect(cells.size).toBe(64);
    for (let sender = 0; sender < 64; sender++) expect(a.find(sender % 5, sender)).toBe(b.find(sender % 5, sender));
    expect(a.find(9, 9)).toBe(NONE);
    expect(new SharedReplayTable(OPTIONS, a).create(9, 9)).toBe(NONE);
  });

  test("a table of one cell, and the one sender that has none", () => {
    const table = new FloorTable(createFloorMemory(1));
    expect(table.find(65_535, 65_535)).toBe(NONE);
    expect(table.find(65_535, 65_534)).toBe(0);
    expect(table.find(65_535, 65_534)).toBe(0);
    expect(table.find(0, 0)).toBe(NONE);
  });

  test("numbers out of range get no window, and a peer with too many senders gets no more cells", () => {
    const floor = new FloorTable(createFloorMemory(4));
    const table = new SharedReplayTable({ ...OPTIONS, slots: 4 }, floor);
    for (const [tunnel, sender] of [
      [-1, 0],
      [65_536, 0],
      [0, 65_536],
    ])
      expect(table.create(tunnel, sender)).toBe(NONE);
    expect([table.create(0, 1), table.create(0, 2)]).not.toContain(NONE);
    for (let sender = 3; sender < 20; sender++) expect(table.create(0, sender)).toBe(NONE);
    expect([floor.find(1, 1), floor.find(1, 2)]).not.toContain(NONE);
  });

  test("a forgotten tunnel begins anew, others do not", () => {
    const floor = new FloorTable(createFloorMemory(16));
    const before = new SharedReplayTable(OPTIONS, floor);
    for (const tunnel of [1, 2]) receive(before, before.create(tunnel, 7), 500);
    for (const tunnel of [1, 2]) before.removeTunnel(tunnel);
    floor.forget(1);
    const after = new SharedReplayTable(OPTIONS, floor);
    expect(receive(after, after.create(1, 7), 3)).toBe(true);
    expect(receive(after, after.create(2, 7), 3)).toBe(false);
  });
});

describe("restarted peers of several shards", () => {
  const newTables = () => {
    const memory = createRestartMemory(4);
    return [0, 1].map(() => new RestartTable({ slots: 4, memory }));
  };

  test("a packet of the zone that one shard accepted is no sign of a restart at another", () => {
    const [a, b] = newTables();
    expect(a.remember(2, 5, 11, 22)).toBe(true);
    a.accepted(2, 1000);
    expect(b.mayBeRestart(2, 5, 1100)).toBe(false);
    expect(b.mayBeRestart(2, 5, 1300)).toBe(true);
    expect(b.confirm(2, 5, 11, 22, 1300, true)).toBe(false);
    expect(b.confirm(2, 5, 11, 23, 1300, true)).toBe(true);
    // The other shard knows of the restart, too.
    expect(a.mayBeRestart(2, 6, 1400)).toBe(false);
    expect(a.remember(2, 5, 11, 23)).toBe(false);
  });

  test("windows of other senders are not touched", () => {
    const [a, b] = newTables();
    a.remember(1, 5, 11, 22);
    expect(b.remember(2, 5, 11, 22)).toBe(true);
    b.open(2);
    expect(a.remember(2, 5, 11, 22)).toBe(true);
    expect(a.remember(1, 5, 11, 22)).toBe(false);
  });
});

describe("a window that begins anew between a shard's look and its step", () => {
  /** Does something once, when its shard is about to move the shared number. */
  class InterruptedFloor extends FloorTable {
    interrupt: () => void = () => {};
    override raise(cell: number, from: number, to: number): boolean {
      const interrupt = this.interrupt;
      this.interrupt = () => {};
      interrupt();
      return super.raise(cell, from, to);
    }
  }

  /** A shard at `highest` commits `seq`; meanwhile another one begins the window anew at `anew`, if that is a number. */
  function interrupted(highest: number, seq: number, anew: number | undefined): number {
    const memory = createFloorMemory(16);
    const floor = new InterruptedFloor(memory);
    const [shard, other] = [floor, new FloorTable(memory)].map((table) => new SharedReplayTable(OPTIONS, table));
    const [slot, otherSlot] = [shard.create(1, 2), other.create(1, 2)];
    receive(shard, slot, highest);
    other.check(otherSlot, highest, WINDOW);
    floor.interrupt = () => {
      if (anew === undefined) return;
      expect(other.lock(otherSlot)).toBe(true);
      other.reset(otherSlot, anew);
    };
    expect(shard.check(slot, seq, WINDOW)).toBe(FRESH);
    return shard.commit(slot, seq, WINDOW);
  }

  test.each([
    ["not at all", 5, 6, undefined, FRESH],
    ["at the same number, in the zone", 5, 6, 5, DUPLICATE],
    ["at the same number, far ahead in the zone", 5, RESTART_ZONE - 1, 5, DUPLICATE],
    ["at another number", 5, 6, 3, DUPLICATE],
    ["at the number itself", 5, 6, 6, DUPLICATE],
    // Above the zone no restart can bring the number again, see restart.ts.
    ["at the same number, to one above the zone", 5, RESTART_ZONE, 5, FRESH],
    ["at another number, to one above the zone", 5000, 5001, 3, DUPLICATE],
  ])("%s", (_when, highest, seq, anew, result) => {
    expect(interrupted(highest, seq, anew)).toBe(result);
  });
});

/**
 * What the shards of one daemon agree on about each (tunnel, sender): the highest sequence number that any of them
 * accepted, and how often the sender's window began anew. Cells in shared memory, found by open addressing; every method
 * is one access (but `find`, a few, and `forget`), and nobody ever waits. What the numbers mean, and why no
 * number can be accepted by two shards, is in `shared_replay.ts`, the only user; one shard alone needs neither file.
 *
 * A cell belongs to its sender for ever: with removal, two shards that add the same sender at the same moment could put
 * it into two cells. `forget` empties the cells of a tunnel for the next tunnel of the same number.
 */
import { NONE } from "./replay.ts";

// Columns of a cell: the sender (0 = free), the life, the highest number. Four integers so that none straddles a line.
const KEY = 0;
const LIFE = 1;
const TOP = 2;
const CELL_INTS = 4;

const TUNNEL_LAST = 0xffff;

/** Cells that are looked at before the table counts as full; with one cell in two in use, a chance of about 2^-30. */
const PROBES_MAX = 128;

/** Memory of one table, for all shards; transferable to a worker as it is. */
export interface FloorMemory {
  /** Cells, a power of two. About twice as many as senders. */
  readonly capacity: number;
  readonly cells: SharedArrayBuffer;
}

export function createFloorMemory(capacity: number): FloorMemory {
  return { capacity, cells: new SharedArrayBuffer(4 * CELL_INTS * capacity) };
}

/** One shard's view of the table. Numbers are 32-bit integers, signed or not. */
export class FloorTable {
  readonly capacity: number;
  readonly #cells: Int32Array;
  readonly #shift: number;

  constructor(memory: FloorMemory) {
    this.capacity = memory.capacity;
    this.#cells = new Int32Array(memory.cells);
    this.#shift = 32 - Math.log2(memory.capacity);
  }

  /**
   * The cell of a sender, taken if it has none. NONE when there is no room near its place. Tunnel 65535 with sender
   * 65535 has no cell, because its key marks free ones; nor have tunnels above, for which the key has no bits.
   */
  find(tunnel: number, sender: number): number {
    if (tunnel > TUNNEL_LAST) return NONE;
    const key = ~((tunnel << 16) | sender);
    if (key === 0) return NONE;
    const mask = this.capacity - 1;
    let cell = this.#shift === 32 ? 0 : Math.imul(key, 0x9e3779b1) >>> this.#shift;
    for (let probe = Math.min(PROBES_MAX, this.capacity); probe > 0; probe--) {
      let owner = this.keyOf(cell);
      if (owner === 0) owner = this.take(cell, key);
      if (owner === key) return cell;
      cell = (cell + 1) & mask;
    }
    return NONE;
  }

  /** Key of a cell, 0 when it is free. */
  protected keyOf(cell: number): number {
    return Atomics.load(this.#cells, cell * CELL_INTS + KEY);
  }

  /** Gives a free cell to a key. Returns whose it is now. */
  protected take(cell: number, key: number): number {
    return Atomics.compareExchange(this.#cells, cell * CELL_INTS + KEY, 0, key) || key;
  }

  /** 0: nothing was ever accepted. Odd: a shard is beginning the next life. Else the number of the life, times two. */
  life(cell: number): number {
    return Atomics.load(this.#cells, cell * CELL_INTS + LIFE);
  }

  /** `life`, perhaps of a moment ago: a plain load, where an atomic one is a call of 8 ns (V8 11). */
  lifeNearly(cell: number): number {
    return this.#cells[cell * CELL_INTS + LIFE];
  }

  /** Highest number that was accepted in this life, perhaps of a moment ago; `raise` knows better. */
  top(cell: number): number {
    return this.#cells[cell * CELL_INTS + TOP];
  }

  /** Moves the highest number from `from` to `to`. False: it was not `from`. */
  raise(cell: number, from: number, to: number): boolean {
    return Atomics.compareExchange(this.#cells, cell * CELL_INTS + TOP, from, to) === (from | 0);
  }

  /** Makes this shard the one that may end `life`, which is even. False: it is not the present one. */
  lock(cell: number, life: number): boolean {
    return Atomics.compareExchange(this.#cells, cell * CELL_INTS + LIFE, life, life + 1) === life;
  }

  /** Sets the highest number. Only between `lock` and `setLife`. */
  setTop(cell: number, top: number): void {
    Atomics.store(this.#cells, cell * CELL_INTS + TOP, top);
  }

  /** Begins a life (even), or goes on with the locked one. Only after `lock`. */
  setLife(cell: number, life: number): void {
    Atomics.store(this.#cells, cell * CELL_INTS + LIFE, life);
  }

  /** Empties the cells of a tunnel. Only when no shard has the tunnel any more. Slow: looks at every cell. */
  forget(tunnel: number): void {
    for (let cell = 0; cell < this.capacity; cell++) {
      const key = this.keyOf(cell);
      if (key === 0 || ~key >>> 16 !== tunnel) continue;
      this.setTop(cell, 0);
      this.setLife(cell, 0);
    }
  }
}

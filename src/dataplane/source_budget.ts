/**
 * What the senders of one network may have held of sessions that this node does not know: nothing of such a datagram is
 * proven, so one network that floods must leave room for the others. A network is a /24, or a /48 of IPv6, in one of a fixed
 * number of cells that a keyed hash chooses: two share a cell now and then, and can't aim at one.
 */
import { isMapped } from "../base/ip.ts";

const CELLS = 4096;
/** A session at 100 Mbit/s for 80 ms, many times what a question to the group takes. */
const BURST = 1 << 20;
const PER_MS = 512;

export class SourceBudget {
  /** Bytes that are used, which grow less with time; 0 in memory that nobody wrote yet. */
  private readonly used = new Float64Array(CELLS);
  private readonly usedAt = new Float64Array(CELLS);
  private readonly seed: number;

  /** `seed`: 32 bits that strangers do not know. */
  constructor(seed: number) {
    this.seed = seed;
  }

  /** Takes `bytes` from the budget of a source; false when there are not so many. `now`: monotonic ms. */
  take(w0: number, w1: number, w2: number, w3: number, bytes: number, now: number): boolean {
    const cell = isMapped(w0, w1, w2) ? this.cellOf(~w2, w3 >>> 8) : this.cellOf(w0, w1 >>> 16);
    const used = Math.max(0, this.used[cell] - (now - this.usedAt[cell]) * PER_MS) + bytes;
    if (used > BURST) return false;
    this.used[cell] = used;
    this.usedAt[cell] = now;
    return true;
  }

  private cellOf(high: number, low: number): number {
    let hash = Math.imul(this.seed ^ high, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ low, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 16), 0x27d4eb2f);
    return (hash ^ (hash >>> 15)) & (CELLS - 1);
  }
}

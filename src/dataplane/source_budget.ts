/**
 * Limits, for each network that datagrams come from, how many bytes of unknown sessions this node holds. Such a datagram proves
 * nothing about its sender, so a network that floods must leave room for others. A network is a /24 of IPv4 or a /48 of IPv6. A
 * keyed hash assigns each network to one of a fixed number of cells: two networks share a cell now and then, but nobody who lacks
 * the key can choose to share the cell of another one.
 */
import { isMapped } from "../base/ip.ts";

const CELLS = 4096;
/** Bytes at once: a session at 100 Mbit/s for 80 ms. A question to the group is answered in a small part of that time. */
const BURST = 1 << 20;
const PER_MS = 512;

export class SourceBudget {
  /** Bytes charged to each cell as of `usedAt`; PER_MS of them are given back each millisecond. */
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

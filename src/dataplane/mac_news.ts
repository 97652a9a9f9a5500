/**
 * MAC addresses that this shard has learnt and the others should know, or frames to them would be flooded for ever: a
 * bounded list that the loop passes on with every tick. An address is named again after a while, because the others
 * forget what they don't hear of; until then a small cache keeps it from being named with every frame. Losing an entry
 * costs floods until the address is seen again.
 */

/** One address: first 16 bits, other 32 bits, owner (tunnel, or -1 for the device). */
export const NEWS_WORDS = 3;
/** Addresses of one message. */
const NEWS_MAX = 1024;
/** An address that is in use is named again after this; well below the age at which tables forget it. */
const REPEAT_MS = 60_000;
/** Entries of the cache, a power of two. Addresses that share one are named more often, nothing else. */
const RECENT = 4096;

export class MacNews {
  /** Addresses that wait. */
  count = 0;
  private readonly words = new Int32Array(NEWS_MAX * NEWS_WORDS);
  private readonly hi = new Int32Array(RECENT).fill(-1);
  private readonly lo = new Int32Array(RECENT);
  private readonly owner = new Int32Array(RECENT);
  private readonly namedAt = new Float64Array(RECENT);

  /** A frame from this address came from `owner`. */
  note(hi16: number, lo32: number, owner: number, now: number): void {
    const low = lo32 | 0;
    const k = place(hi16, low);
    const same = this.hi[k] === hi16 && this.lo[k] === low && this.owner[k] === owner;
    if ((same && now - this.namedAt[k] < REPEAT_MS) || this.count === NEWS_MAX) return;
    this.hi[k] = hi16;
    this.lo[k] = low;
    this.owner[k] = owner;
    this.namedAt[k] = now;
    const at = this.count++ * NEWS_WORDS;
    this.words[at] = hi16;
    this.words[at + 1] = low;
    this.words[at + 2] = owner;
  }

  /** Another shard named this address: if it is seen here again, the others must hear so at once. */
  forget(hi16: number, lo32: number): void {
    this.hi[place(hi16, lo32)] = -1;
  }

  /** Copies what waits, NEWS_WORDS an address, and empties the list. */
  drain(): Int32Array {
    const copy = this.words.slice(0, this.count * NEWS_WORDS);
    this.count = 0;
    return copy;
  }
}

function place(hi16: number, lo32: number): number {
  return (Math.imul(lo32 ^ hi16, 0x9e3779b1) >>> 16) & (RECENT - 1);
}

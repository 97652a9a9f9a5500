/**
 * The Ethernet learning table: behind which tunnel, or the device, a MAC address was last seen. Open addressing with
 * linear probing over flat arrays, at most half full; deletion shifts followers back, so there are no tombstones and
 * nothing to rebuild. Bounded against peers that invent addresses: a share per tunnel, a rate for moves. Never sees
 * group addresses: the caller neither learns nor looks them up.
 */

/** The address is not known. Not -1, which is the device as an owner. */
export const NONE = -2;

// Results of `learn`.
/** Learnt or refreshed. */
export const OK = 0;
/** Was behind another owner until now. */
export const MOVED = 1;
/** Not learnt: the table is full, or the tunnel has used its share. */
export const FULL = 2;
/** Not moved: this address changes its owner too often (a loop, or two hosts with one address). */
export const MOVE_LIMITED = 3;

/** An address not seen as a source for this long is forgotten (IEEE 802.1D-2004 section 7.9.2). */
export const AGE_MS = 300_000;
/** Moves of one address that are believed in one second. A roaming host moves once, a loop thousands of times. */
export const MOVES_PER_SECOND = 5;
/** Slots that one `expire` looks at. */
export const EXPIRE_SLOTS = 256;

export class MacTable {
  /** Addresses known, aged ones included until `expire` finds them. */
  size = 0;
  readonly capacity: number;
  readonly perOwnerMax: number;
  private readonly slotMask: number;
  private readonly seed: number;
  /** First 16 bits of the address, -1 = the slot is free. */
  private readonly hi: Int32Array;
  private readonly lo: Int32Array;
  private readonly owner: Int32Array;
  private readonly seenAt: Float64Array;
  /** Beginning of the second in which `moves` are counted. */
  private readonly movesFrom: Float64Array;
  private readonly moves: Int32Array;
  /** Addresses by owner + 1. */
  private readonly counts: Int32Array;
  private cursor = 0;

  /**
   * `capacity`: addresses, a power of two. `perOwnerMax`: addresses of one tunnel; the device may fill the table.
   * `owners`: tunnels are 0 to owners - 1. `seed`: any integer, so that strangers cannot choose colliding addresses.
   */
  constructor(capacity: number, perOwnerMax: number, owners = 16384, seed = 0) {
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > 2 ** 24 || (capacity & (capacity - 1)) !== 0) {
      throw new RangeError(`The capacity of a MAC table must be a power of two up to 2^24, not ${capacity}.`);
    }
    const slots = 2 * capacity;
    this.capacity = capacity;
    this.perOwnerMax = perOwnerMax;
    this.slotMask = slots - 1;
    this.seed = seed | 0;
    this.hi = new Int32Array(slots).fill(-1);
    this.lo = new Int32Array(slots);
    this.owner = new Int32Array(slots);
    this.seenAt = new Float64Array(slots);
    this.movesFrom = new Float64Array(slots);
    this.moves = new Int32Array(slots);
    this.counts = new Int32Array(owners + 1);
  }

  /**
   * A frame from MAC `hi16`:`lo32` (either sign) came from `owner`, -1 = the device, at `now` (monotonic ms). Returns OK,
   * MOVED, FULL or MOVE_LIMITED; after the last two the table is as before.
   */
  learn(hi16: number, lo32: number, owner: number, now: number): number {
    const low = lo32 | 0;
    const slot = this.find(hi16, low);
    if (this.hi[slot] === -1) {
      if (this.size === this.capacity || !this.hasRoom(owner)) return FULL;
      this.hi[slot] = hi16;
      this.lo[slot] = low;
      this.owner[slot] = owner;
      this.seenAt[slot] = now;
      this.moves[slot] = 0;
      this.counts[owner + 1]++;
      this.size++;
      return OK;
    }
    if (this.owner[slot] === owner) {
      this.seenAt[slot] = now;
      return OK;
    }
    return this.move(slot, owner, now);
  }

  private move(slot: number, owner: number, now: number): number {
    const aged = now - this.seenAt[slot] > AGE_MS;
    const sameSecond = this.moves[slot] > 0 && now - this.movesFrom[slot] < 1000;
    if (sameSecond && this.moves[slot] >= MOVES_PER_SECOND) return MOVE_LIMITED;
    if (!this.hasRoom(owner)) return FULL;
    if (!sameSecond) {
      this.movesFrom[slot] = now;
      this.moves[slot] = 0;
    }
    this.counts[this.owner[slot] + 1]--;
    this.counts[owner + 1]++;
    this.owner[slot] = owner;
    this.seenAt[slot] = now;
    if (aged) return OK;
    this.moves[slot]++;
    return MOVED;
  }

  private hasRoom(owner: number): boolean {
    return owner === -1 || (owner < this.counts.length - 1 && this.counts[owner + 1] < this.perOwnerMax);
  }

  /** The owner of an address (-1 = the device), or NONE. */
  lookup(hi16: number, lo32: number, now: number): number {
    const slot = this.find(hi16, lo32 | 0);
    return this.hi[slot] === -1 || now - this.seenAt[slot] > AGE_MS ? NONE : this.owner[slot];
  }

  /** Addresses behind `owner`, aged ones included until `expire` finds them. */
  countOf(owner: number): number {
    return this.counts[owner + 1];
  }

  /**
   * Forgets aged addresses in the next EXPIRE_SLOTS slots and returns how many: constant work for each turn of the loop.
   * 2 * capacity / EXPIRE_SLOTS calls see the whole table.
   */
  expire(now: number): number {
    const before = this.size;
    for (let i = Math.min(EXPIRE_SLOTS, this.slotMask + 1); i > 0; i--) {
      // Another address may have shifted into the slot: look again.
      while (this.hi[this.cursor] !== -1 && now - this.seenAt[this.cursor] > AGE_MS) this.release(this.cursor);
      this.cursor = (this.cursor + 1) & this.slotMask;
    }
    return before - this.size;
  }

  /** Forgets all addresses of a tunnel that is gone, or of the device (-1). Returns how many. Walks the whole table. */
  removeOwner(owner: number): number {
    const before = this.size;
    for (let slot = 0; slot <= this.slotMask; slot++) {
      while (this.hi[slot] !== -1 && this.owner[slot] === owner) this.release(slot);
    }
    return before - this.size;
  }

  /** The slot of the address, or the free slot where it belongs. The table is never full, so there is one. */
  private find(hi16: number, low: number): number {
    let slot = this.home(hi16, low);
    while (this.hi[slot] !== -1 && (this.lo[slot] !== low || this.hi[slot] !== hi16)) slot = (slot + 1) & this.slotMask;
    return slot;
  }

  /** First slot to try. The mixing steps are those of MurmurHash3's finalizer. */
  private home(hi16: number, low: number): number {
    let h = Math.imul(low ^ this.seed, 0x85ebca6b) ^ hi16;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return (h ^ (h >>> 16)) & this.slotMask;
  }

  /** Frees a slot and shifts back every follower that would no longer be found. */
  private release(slot: number): void {
    this.counts[this.owner[slot] + 1]--;
    this.size--;
    let hole = slot;
    for (let next = (hole + 1) & this.slotMask; this.hi[next] !== -1; next = (next + 1) & this.slotMask) {
      const distance = (next - this.home(this.hi[next], this.lo[next])) & this.slotMask;
      if (distance < ((next - hole) & this.slotMask)) continue;
      this.hi[hole] = this.hi[next];
      this.lo[hole] = this.lo[next];
      this.owner[hole] = this.owner[next];
      this.seenAt[hole] = this.seenAt[next];
      this.movesFrom[hole] = this.movesFrom[next];
      this.moves[hole] = this.moves[next];
      hole = next;
    }
    this.hi[hole] = -1;
  }
}

/**
 * Numbers to rows: 32-bit keys in open addressing with linear probing, at most half full, deletion by shifting back.
 * For session indices and for (row, sender id) pairs. Keys are drawn by the group or bounded per row, so a stranger can't
 * choose them.
 */
export const NONE = -1;

export class IndexMap {
  /** Entries. */
  size = 0;
  private readonly keys: Int32Array;
  /** Value + 1, so that memory which nobody wrote yet is a free slot and costs nothing. */
  private readonly values: Int32Array;
  private readonly mask: number;
  private readonly shift: number;

  /** `capacity`: entries, a power of two. */
  constructor(capacity: number) {
    const slots = 2 * capacity;
    this.keys = new Int32Array(slots);
    this.values = new Int32Array(slots);
    this.mask = slots - 1;
    this.shift = 32 - Math.log2(slots);
  }

  /** The value of a key, or NONE. */
  find(key: number): number {
    for (let slot = this.home(key); ; slot = (slot + 1) & this.mask) {
      if (this.values[slot] === 0) return NONE;
      if (this.keys[slot] === (key | 0)) return this.values[slot] - 1;
    }
  }

  /** Adds or replaces; `value` >= 0. False: full. */
  set(key: number, value: number): boolean {
    let slot = this.home(key);
    for (; this.values[slot] !== 0; slot = (slot + 1) & this.mask) {
      if (this.keys[slot] !== (key | 0)) continue;
      this.values[slot] = value + 1;
      return true;
    }
    if (this.size * 2 >= this.keys.length) return false;
    this.size++;
    this.keys[slot] = key;
    this.values[slot] = value + 1;
    return true;
  }

  /** Removes a key; one that is not there changes nothing. */
  remove(key: number): void {
    let hole = this.home(key);
    for (; ; hole = (hole + 1) & this.mask) {
      if (this.values[hole] === 0) return;
      if (this.keys[hole] === (key | 0)) break;
    }
    this.size--;
    for (let slot = (hole + 1) & this.mask; this.values[slot] !== 0; slot = (slot + 1) & this.mask) {
      // An entry may move to the hole when its home is not between the hole and itself.
      if (((slot - this.home(this.keys[slot])) & this.mask) < ((slot - hole) & this.mask)) continue;
      this.keys[hole] = this.keys[slot];
      this.values[hole] = this.values[slot];
      hole = slot;
    }
    this.values[hole] = 0;
  }

  private home(key: number): number {
    return Math.imul(key, 0x9e3779b1) >>> this.shift;
  }
}

/**
 * A list of prefixes for each row of the tunnel table, in one growing array: a prefix is 28 bytes here and about 150 as an
 * object, and a node has one or two for each of 100,000 clients. Read with `first` and `next` and the columns below.
 */
const NEXT = 0;
/** Columns of an entry: 4 or 6, four words (IPv4 in the last alone), length. */
export const FAMILY = 1;
export const WORD0 = 2;
export const WORD1 = 3;
export const WORD2 = 4;
export const WORD3 = 5;
export const LENGTH = 6;
const ENTRY_INTS = 7;

/** No further entry. */
export const NONE = -1;

export class PrefixLists {
  /** Entries; replaced when it grows, so read it anew after `add`. */
  words = new Int32Array(16 * ENTRY_INTS);
  /** By row: first entry + 1, 0 = none. */
  private readonly heads: Int32Array;
  private used = 0;
  /** First freed entry + 1. */
  private freed = 0;

  constructor(rows: number) {
    this.heads = new Int32Array(rows);
  }

  /** First entry of a row, as an offset into `words`, or NONE. */
  first(row: number): number {
    return this.heads[row] - 1;
  }

  next(entry: number): number {
    return this.words[entry + NEXT] - 1;
  }

  add(row: number, family: 4 | 6, w0: number, w1: number, w2: number, w3: number, length: number): void {
    const entry = this.take();
    const { words } = this;
    words[entry + NEXT] = this.heads[row];
    words[entry + FAMILY] = family;
    words[entry + WORD0] = w0;
    words[entry + WORD1] = w1;
    words[entry + WORD2] = w2;
    words[entry + WORD3] = w3;
    words[entry + LENGTH] = length;
    this.heads[row] = entry + 1;
  }

  clear(row: number): void {
    for (let entry = this.first(row); entry !== NONE; ) {
      const next = this.next(entry);
      this.words[entry + NEXT] = this.freed;
      this.freed = entry + 1;
      entry = next;
    }
    this.heads[row] = 0;
  }

  private take(): number {
    if (this.freed > 0) {
      const entry = this.freed - 1;
      this.freed = this.words[entry + NEXT];
      return entry;
    }
    const entry = this.used;
    this.used += ENTRY_INTS;
    if (this.used > this.words.length) {
      const bigger = new Int32Array(2 * this.words.length);
      bigger.set(this.words);
      this.words = bigger;
    }
    return entry;
  }
}

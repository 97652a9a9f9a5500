/**
 * Replay windows, one per (tunnel, sender id), in flat arrays. Checked before a packet is authenticated and committed
 * after, so a forged packet never moves a window. Same rules as anytun's and uanytun's windows (docs/PROTOCOL.md,
 * "Replay window"), kept as a ring of bits that moves by whole words (the idea of RFC 6479). It never decides about
 * restarted peers: that is `restart.ts`. Windows that several shards keep together are `shared_replay.ts`.
 *
 * All arrays are made by the constructor; nothing here allocates afterwards. Senders are found by open addressing with
 * linear probing over an index twice as large as the table; slots themselves never move, so they can be used as keys.
 *
 * Memory that nobody wrote costs nothing, so nothing is written before it is needed: references are kept plus one (0 =
 * none), and a window whose numbers all lie in one word has no ring. A ring is 512 bytes with 2048 bits, and a session
 * that only keeps alive stays in its first word for minutes: 100,000 of them without rings are 50 MB less.
 */
import { AnyhopError } from "../base/errors.ts";

export const FRESH = 0;
export const OLD = 1;
export const DUPLICATE = 2;

/** No such sender, or no room for one. */
export const NONE = -1;

/** Tunnels are numbers below this, senders below 65536. */
const TUNNELS_MAX = 2 ** 18;
const HALF = 0x7fffffff;
const SEQ_MAX = 0xffffffff;

export interface ReplayOptions {
  /** Windows in all; a power of two up to 2^24. */
  readonly slots: number;
  /** Windows that one tunnel may have. */
  readonly sendersPerTunnel: number;
  /** Largest window that `check` may be asked for, up to 2^20. */
  readonly bits: number;
}

export class ReplayTable {
  readonly bits: number;
  readonly #sendersPerTunnel: number;
  /** Words of one ring: a power of two, so that ring positions stay right when sequence numbers wrap at 2^32. */
  readonly #words: number;
  readonly #ring: Int32Array;
  /** Ring of a window + 1; 0: none yet, `#word` is all there is. */
  readonly #ringOf: Int32Array;
  /** Bits of the word that the highest number is in. Meaningful without a ring. */
  readonly #word: Int32Array;
  /** Highest accepted sequence number, meaningful when #started. */
  readonly #highest: Uint32Array;
  readonly #started: Uint8Array;
  readonly #slotTunnel: Int32Array;
  readonly #slotSender: Uint16Array;
  /** Next window of the same tunnel + 1, or next freed slot + 1. */
  readonly #next: Int32Array;
  /** Slots + 1. */
  readonly #index: Int32Array;
  readonly #indexShift: number;
  /** Slot + 1. */
  readonly #tunnelHead: Int32Array;
  readonly #tunnelCount: Int32Array;
  readonly #slots: number;
  /** First freed slot + 1, and slots that were ever used; the same of rings, linked through their first word. */
  #freed = 0;
  #used = 0;
  #ringFreed = 0;
  #ringsUsed = 0;

  constructor(options: ReplayOptions) {
    const { slots, sendersPerTunnel, bits } = options;
    if (!Number.isInteger(Math.log2(slots)) || slots < 1 || slots > 2 ** 24)
      throw new AnyhopError("replay_slots", `The replay table needs a power of two up to 2^24 as slots, not ${slots}.`);
    if (!Number.isInteger(sendersPerTunnel) || sendersPerTunnel < 1)
      throw new AnyhopError("replay_senders", `A tunnel needs room for at least one sender, not ${sendersPerTunnel}.`);
    if (!Number.isInteger(bits) || bits < 1 || bits > 2 ** 20)
      throw new AnyhopError("replay_bits", `The replay window must be 1 to 2^20 packets, not ${bits}.`);
    this.bits = bits;
    this.#sendersPerTunnel = sendersPerTunnel;
    // One word more than the window: its oldest and its newest word are both only partly used.
    this.#words = 2 ** Math.ceil(Math.log2(Math.ceil(bits / 32) + 1));
    this.#slots = slots;
    this.#ring = new Int32Array(slots * this.#words);
    this.#ringOf = new Int32Array(slots);
    this.#word = new Int32Array(slots);
    this.#highest = new Uint32Array(slots);
    this.#started = new Uint8Array(slots);
    this.#slotTunnel = new Int32Array(slots);
    this.#slotSender = new Uint16Array(slots);
    this.#next = new Int32Array(slots);
    this.#index = new Int32Array(slots * 2);
    this.#indexShift = 32 - Math.log2(slots * 2);
    this.#tunnelHead = new Int32Array(TUNNELS_MAX);
    this.#tunnelCount = new Int32Array(TUNNELS_MAX);
  }

  /** The window of a sender, or NONE. */
  find(tunnel: number, sender: number): number {
    const mask = this.#index.length - 1;
    for (let h = this.#home(tunnel, sender); ; h = (h + 1) & mask) {
      const slot = this.#index[h] - 1;
      if (slot < 0 || (this.#slotTunnel[slot] === tunnel && this.#slotSender[slot] === sender)) return slot;
    }
  }

  /**
   * The window of a sender, made empty if it is new. NONE when the table is full, the tunnel has all its senders, or
   * the numbers are out of range.
   */
  create(tunnel: number, sender: number): number {
    if (!hasWindow(tunnel, sender)) return NONE;
    const known = this.find(tunnel, sender);
    if (known !== NONE) return known;
    if (!this.hasRoom(tunnel)) return NONE;
    const slot = this.#freed > 0 ? this.#freed - 1 : this.#used++;
    if (this.#freed > 0) this.#freed = this.#next[slot];
    this.#next[slot] = this.#tunnelHead[tunnel];
    this.#tunnelHead[tunnel] = slot + 1;
    this.#tunnelCount[tunnel]++;
    this.#slotTunnel[slot] = tunnel;
    this.#slotSender[slot] = sender;
    this.#started[slot] = 0;
    const mask = this.#index.length - 1;
    let h = this.#home(tunnel, sender);
    while (this.#index[h] !== 0) h = (h + 1) & mask;
    this.#index[h] = slot + 1;
    return slot;
  }

  /** Whether one more sender of a tunnel would get a window. */
  hasRoom(tunnel: number): boolean {
    return (this.#freed > 0 || this.#used < this.#slots) && this.#tunnelCount[tunnel] < this.#sendersPerTunnel;
  }

  /** FRESH, OLD or DUPLICATE; changes nothing. `window` is 0 (off: everything is FRESH) to `bits`. */
  check(slot: number, seq: number, window: number): number {
    if (window === 0 || this.#started[slot] === 0) return FRESH;
    const highest = this.#highest[slot];
    const s = seq >>> 0;
    if (isAhead(s, highest, window)) return FRESH;
    if ((highest - s) >>> 0 >= window) return OLD;
    const ring = this.#ringOf[slot];
    // Without a ring nothing outside the word of the highest number was received.
    if (ring === 0 && s >>> 5 !== highest >>> 5) return FRESH;
    const word = ring === 0 ? this.#word[slot] : this.#ring[(ring - 1) * this.#words + ((s >>> 5) & (this.#words - 1))];
    return (word >>> (s & 31)) & 1 ? DUPLICATE : FRESH;
  }

  /** Like `check`, and marks a FRESH number as received. With window 0 it only keeps track of the highest. */
  commit(slot: number, seq: number, window: number): number {
    const result = this.check(slot, seq, window);
    if (result !== FRESH) return result;
    const s = seq >>> 0;
    if (this.#started[slot] === 0) this.reset(slot, seq);
    else if (isAhead(s, this.#highest[slot], window)) this.#advance(slot, s);
    else if (window !== 0) this.#mark(slot, s);
    return FRESH;
  }

  /** Whether a number would become the highest; true before the first. Changes nothing. */
  isNewest(slot: number, seq: number, window: number): boolean {
    return this.#started[slot] === 0 || isAhead(seq >>> 0, this.#highest[slot], window);
  }

  /** Highest accepted sequence number, or NONE before the first. */
  highest(slot: number): number {
    return this.#started[slot] === 0 ? NONE : this.#highest[slot];
  }

  /** Begins a window anew at `seq`, which counts as received; nothing else does. */
  reset(slot: number, seq: number): void {
    this.#dropRing(slot);
    this.#word[slot] = 1 << (seq & 31);
    this.#started[slot] = 1;
    this.#highest[slot] = seq >>> 0;
  }

  /** Begins a window anew in which every number up to `seq` counts as received. */
  close(slot: number, seq: number): void {
    const base = this.#ringAt(slot);
    this.#ring.fill(-1, base, base + this.#words);
    this.#started[slot] = 1;
    this.#highest[slot] = seq >>> 0;
    this.#endWord(slot, seq >>> 0);
  }

  /** Moves the window forward to `seq`; the numbers that it passes, and `seq`, count as received. */
  skip(slot: number, seq: number): void {
    const base = this.#ringAt(slot);
    const mask = this.#words - 1;
    const s = seq >>> 0;
    const highest = this.#highest[slot];
    const from = highest >>> 5;
    const skipped = Math.min(((s >>> 5) - from) & 0x7ffffff, this.#words);
    // Bits above the highest number; shifting in two steps because a shift by 32 is one by 0.
    this.#ring[base + (from & mask)] |= (-1 << (highest & 31)) << 1;
    for (let k = 1; k <= skipped; k++) this.#ring[base + ((from + k) & mask)] = -1;
    this.#highest[slot] = s;
    this.#endWord(slot, s);
  }

  /**
   * Copies a window of `window` packets (1 or more) to `into`, for `install` in another table. Returns the highest number,
   * or NONE before the first, with which nothing is copied. Newest word first, aligned: bit (n & 31) of word
   * (highest >>> 5) - (n >>> 5) says whether number n was received. What lies below the window is said to be received,
   * because it is refused too. `windowWords(window)` words hold all of it.
   */
  read(slot: number, window: number, into: Int32Array): number {
    if (this.#started[slot] === 0) return NONE;
    const highest = this.#highest[slot];
    const ring = this.#ringOf[slot];
    const base = (ring - 1) * this.#words;
    const oldest = (highest - window + 1) & 31;
    const last = (window + 30 - (highest & 31)) >> 5;
    for (let k = 0; k < into.length; k++) {
      if (k > last) into[k] = -1;
      else if (ring === 0) into[k] = k === 0 ? this.#word[slot] : 0;
      else into[k] = this.#ring[base + (((highest >>> 5) - k) & (this.#words - 1))];
    }
    if (last < into.length) into[last] |= (1 << oldest) - 1;
    return highest;
  }

  /**
   * Begins a window anew as `read` told it. Numbers that `words` do not hold, because the other window was smaller, count
   * as received; words that this table has no room for are left out. `highest` NONE: empty.
   */
  install(slot: number, highest: number, words: Int32Array): void {
    if (highest === NONE) {
      this.restart(slot);
      return;
    }
    this.close(slot, highest);
    const base = this.#ringAt(slot);
    const count = Math.min(words.length, this.#words);
    for (let k = 0; k < count; k++) this.#ring[base + (((highest >>> 5) - k) & (this.#words - 1))] = words[k];
    this.#mark(slot, highest >>> 0);
    this.#endWord(slot, highest >>> 0);
  }

  /** Forgets what a window has seen: its sender counts under another key from now on. */
  restart(slot: number): void {
    this.#started[slot] = 0;
  }

  /** Frees all windows of a tunnel. */
  removeTunnel(tunnel: number): void {
    if (tunnel < 0 || tunnel >= TUNNELS_MAX) return;
    let slot = this.#tunnelHead[tunnel] - 1;
    this.#tunnelHead[tunnel] = 0;
    this.#tunnelCount[tunnel] = 0;
    while (slot >= 0) {
      const next = this.#next[slot] - 1;
      this.#unindex(slot);
      this.#dropRing(slot);
      this.#started[slot] = 0;
      this.#next[slot] = this.#freed;
      this.#freed = slot + 1;
      slot = next;
    }
  }

  #home(tunnel: number, sender: number): number {
    return (Math.imul(tunnel, 0x9e3779b1) + Math.imul(sender, 0x85ebca6b)) >>> this.#indexShift;
  }

  /** Where the ring of a window begins; one that has none gets it, with the bits that it has so far. */
  #ringAt(slot: number): number {
    const ring = this.#ringOf[slot];
    if (ring !== 0) return (ring - 1) * this.#words;
    // There are as many rings as windows.
    const taken = this.#ringFreed > 0 ? this.#ringFreed - 1 : this.#ringsUsed++;
    const base = taken * this.#words;
    if (this.#ringFreed > 0) {
      this.#ringFreed = this.#ring[base];
      this.#ring.fill(0, base, base + this.#words);
    }
    this.#ringOf[slot] = taken + 1;
    this.#ring[base + ((this.#highest[slot] >>> 5) & (this.#words - 1))] = this.#word[slot];
    return base;
  }

  #dropRing(slot: number): void {
    const ring = this.#ringOf[slot];
    if (ring === 0) return;
    this.#ring[(ring - 1) * this.#words] = this.#ringFreed;
    this.#ringFreed = ring;
    this.#ringOf[slot] = 0;
  }

  #mark(slot: number, s: number): void {
    if (this.#ringOf[slot] === 0 && s >>> 5 === this.#highest[slot] >>> 5) this.#word[slot] |= 1 << (s & 31);
    else this.#ring[this.#ringAt(slot) + ((s >>> 5) & (this.#words - 1))] |= 1 << (s & 31);
  }

  /** Clears the bits above the highest number in its word. */
  #endWord(slot: number, s: number): void {
    this.#ring[this.#ringAt(slot) + ((s >>> 5) & (this.#words - 1))] &= ~((-1 << (s & 31)) << 1);
  }

  /** Moves the window to a higher number: clears the words in between, at most the whole ring. */
  #advance(slot: number, s: number): void {
    if (this.#ringOf[slot] === 0 && s >>> 5 === this.#highest[slot] >>> 5) {
      this.#highest[slot] = s;
      this.#word[slot] |= 1 << (s & 31);
      return;
    }
    const base = this.#ringAt(slot);
    const mask = this.#words - 1;
    const from = this.#highest[slot] >>> 5;
    const skipped = Math.min(((s >>> 5) - from) & 0x7ffffff, this.#words);
    for (let k = 1; k <= skipped; k++) this.#ring[base + ((from + k) & mask)] = 0;
    this.#highest[slot] = s;
    this.#mark(slot, s);
  }

  /** Takes a window out of the index and moves later ones of its probe sequence up (no tombstones). */
  #unindex(gone: number): void {
    const mask = this.#index.length - 1;
    let hole = this.#home(this.#slotTunnel[gone], this.#slotSender[gone]);
    while (this.#index[hole] !== gone + 1) hole = (hole + 1) & mask;
    for (let h = (hole + 1) & mask; this.#index[h] !== 0; h = (h + 1) & mask) {
      const slot = this.#index[h] - 1;
      const home = this.#home(this.#slotTunnel[slot], this.#slotSender[slot]);
      if (((h - home) & mask) < ((h - hole) & mask)) continue;
      this.#index[hole] = slot + 1;
      hole = h;
    }
    this.#index[hole] = 0;
  }
}

/** Words that `read` needs for a window of so many packets: its first and its last one may be partly used. */
export function windowWords(window: number): number {
  return Math.ceil(window / 32) + 1;
}

/** Whether a table could hold a window for these numbers. */
export function hasWindow(tunnel: number, sender: number): boolean {
  return tunnel >= 0 && tunnel < TUNNELS_MAX && sender >= 0 && sender <= 0xffff;
}

/**
 * Whether `s` lies ahead of `highest`. Plain unsigned order, except near the ends of the number space, where both are
 * first moved by half of it: only there does the order wrap. So 2^31 and more ahead is still "ahead".
 */
function isAhead(s: number, highest: number, window: number): boolean {
  if (highest < window) return (s + HALF) >>> 0 > highest + HALF;
  if (highest > SEQ_MAX - window) return (s - HALF) >>> 0 > highest - HALF;
  return s > highest;
}

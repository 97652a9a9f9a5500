/**
 * Counts one probed path: which sequence numbers were sent, answered, answered twice or lost, and the round-trip times
 * since the last report. Pure: times come in as milliseconds of any one clock.
 */

/** Packets without an answer after this long count as lost; a later answer takes that back. */
export const LOST_AFTER_MS = 1000;
/** Sequence numbers remembered, a power of two: more than can be sent within LOST_AFTER_MS at any sensible rate. */
const REMEMBERED = 1 << 14;

const UNANSWERED = 1;
const ANSWERED = 2;
const LOST = 3;

export interface Reading {
  readonly sent: number;
  readonly received: number;
  /** Without an answer for LOST_AFTER_MS or more; what is under way is not in here. */
  readonly lost: number;
  readonly duplicates: number;
  /** Longest time from an answer (or the first packet) to the next answer, or to the last packet without one. */
  readonly gapMs: number;
  /** Round-trip times in milliseconds since the previous reading. */
  readonly rttMs: readonly number[];
}

export class Meter {
  readonly #fate = new Uint8Array(REMEMBERED);
  readonly #sentAt = new Float64Array(REMEMBERED);
  /** The next sequence number; those in [#settled, #next) are still waited for, unless they are answered already. */
  #next = 0;
  #settled = 0;
  #received = 0;
  #lost = 0;
  #duplicates = 0;
  #heardAt = 0;
  #gapMs = 0;
  #rttMs: number[] = [];

  get sent(): number {
    return this.#next;
  }

  /** Packets under way or lost. */
  get unanswered(): number {
    return this.#next - this.#received;
  }

  /** The sequence number of a packet that leaves at `now`. */
  send(now: number): number {
    this.#settle(now);
    // A full memory gives the oldest up early instead of counting two packets in one cell.
    if (this.#next - this.#settled === REMEMBERED) this.#giveUp();
    const cell = this.#next % REMEMBERED;
    this.#fate[cell] = UNANSWERED;
    this.#sentAt[cell] = now;
    if (this.#next === 0) this.#heardAt = now;
    // Only while packets leave: what comes after the last one is no silence of the path.
    this.#gapMs = Math.max(this.#gapMs, now - this.#heardAt);
    return this.#next++;
  }

  /** An answer came at `now`. Numbers that were never sent, or are long forgotten, are not counted. */
  answer(seq: number, now: number): void {
    if (seq >= this.#next || seq < this.#next - REMEMBERED) return;
    const cell = seq % REMEMBERED;
    if (this.#fate[cell] === ANSWERED) {
      this.#duplicates++;
      return;
    }
    if (this.#fate[cell] === LOST) this.#lost--;
    this.#fate[cell] = ANSWERED;
    this.#received++;
    this.#gapMs = Math.max(this.#gapMs, now - this.#heardAt);
    this.#heardAt = now;
    this.#rttMs.push(Math.round((now - this.#sentAt[cell]!) * 1000) / 1000);
  }

  read(now: number): Reading {
    this.#settle(now);
    const rttMs = this.#rttMs;
    this.#rttMs = [];
    const gapMs = Math.round(this.#gapMs * 10) / 10;
    return { sent: this.#next, received: this.#received, lost: this.#lost, duplicates: this.#duplicates, gapMs, rttMs };
  }

  #settle(now: number): void {
    while (this.#settled < this.#next && now - this.#sentAt[this.#settled % REMEMBERED]! >= LOST_AFTER_MS) {
      this.#giveUp();
    }
  }

  #giveUp(): void {
    const cell = this.#settled % REMEMBERED;
    if (this.#fate[cell] === UNANSWERED) {
      this.#fate[cell] = LOST;
      this.#lost++;
    }
    this.#settled++;
  }
}

/**
 * Replay window over a 48-bit counter of one sender in one life, which never wraps. For messages between nodes; packets
 * have `replay.ts`. Checked before a message is authenticated, committed after.
 */
/** One word more than the window: its oldest and its newest word are both only partly used. */
const WORDS = 33;
/** How far behind the highest a number may arrive. */
export const COUNTER_WINDOW = (WORDS - 1) * 32;

export class CounterWindow {
  readonly #ring = new Int32Array(WORDS);
  #highest = -1;

  /** Not seen, and not too old. Changes nothing. */
  isFresh(counter: number): boolean {
    if (counter > this.#highest) return true;
    if (this.#highest - counter >= COUNTER_WINDOW) return false;
    return ((this.#ring[Math.floor(counter / 32) % WORDS] >>> (counter % 32)) & 1) === 0;
  }

  /** Marks a fresh counter as seen. */
  commit(counter: number): void {
    if (counter > this.#highest) {
      const from = Math.floor(this.#highest / 32);
      const to = Math.floor(counter / 32);
      for (let word = Math.max(from + 1, to - WORDS + 1); word <= to; word++) this.#ring[word % WORDS] = 0;
      this.#highest = counter;
    }
    this.#ring[Math.floor(counter / 32) % WORDS] |= 1 << (counter % 32);
  }
}

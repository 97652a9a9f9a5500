/**
 * What a client remembers of the datagrams that it sealed lately, so that only someone who saw one of them can make it
 * believe that the group has lost its session. Three stores per packet, no allocation.
 */
export const SENT_RING = 1024;

export class SentRing {
  readonly #seq = new Uint32Array(SENT_RING);
  readonly #high = new Int32Array(SENT_RING);
  readonly #low = new Int32Array(SENT_RING);
  readonly #used = new Uint8Array(SENT_RING);

  /** A datagram was sealed: its seq, and its bytes 8-15 as two big-endian words. */
  note(seq: number, high: number, low: number): void {
    const i = seq & (SENT_RING - 1);
    this.#seq[i] = seq;
    this.#high[i] = high;
    this.#low[i] = low;
    this.#used[i] = 1;
  }

  /** True when such a datagram is among the last 1024. */
  has(seq: number, high: number, low: number): boolean {
    const i = seq & (SENT_RING - 1);
    return (
      this.#used[i] === 1 && this.#seq[i] === seq >>> 0 && this.#high[i] === (high | 0) && this.#low[i] === (low | 0)
    );
  }

  /** Another session begins: its sequence numbers start anew. */
  clear(): void {
    this.#used.fill(0);
  }
}

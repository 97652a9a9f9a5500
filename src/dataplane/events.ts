/**
 * What the control plane should hear of, as numbers in a bounded ring: an endpoint moved, a peer restarted, a packet
 * failed in a way that a person can mend. Stages append, the shard drains between turns. A full ring loses events and
 * counts them; packets are never held up.
 */
export const ENDPOINT_MOVED = 1;
export const PEER_RESTARTED = 2;
/** `detail` is the verdict. */
export const PROBLEM = 3;
export const PATH_MTU = 4;
/** First authentic packet of a session: the client has it. */
export const CONFIRMED = 5;

/** Words of one event. */
export const EVENT_WORDS = 8;

export class EventRing {
  readonly capacity: number;
  /** Events that found the ring full since the start. */
  lost = 0;
  /** Events waiting. */
  count = 0;
  /** True when something waits that others wait for. */
  urgent = false;
  private readonly words: Int32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.words = new Int32Array(capacity * EVENT_WORDS);
  }

  /** False: full, the event is lost. */
  push(
    kind: number,
    tunnel: number,
    detail: number,
    a0: number,
    a1: number,
    a2: number,
    a3: number,
    port: number,
  ): boolean {
    if (this.count === this.capacity) {
      this.lost++;
      return false;
    }
    if (kind === CONFIRMED) this.urgent = true;
    const at = this.count++ * EVENT_WORDS;
    const w = this.words;
    w[at] = kind;
    w[at + 1] = tunnel;
    w[at + 2] = detail;
    w[at + 3] = a0;
    w[at + 4] = a1;
    w[at + 5] = a2;
    w[at + 6] = a3;
    w[at + 7] = port;
    return true;
  }

  /** Copies the waiting events, eight words each (kind, tunnel, detail, address x 4, port), and empties the ring. */
  drain(): Int32Array {
    const copy = this.words.slice(0, this.count * EVENT_WORDS);
    this.count = 0;
    this.urgent = false;
    return copy;
  }
}

/**
 * Which sessions this start of the node has sealed in and does not have any more. Numbers of a session that came back would
 * begin at 0 under the same key, so none comes back, whatever other nodes tell: of each client only sessions count whose
 * request is later than that of the last one that ended. docs/PROTOCOL.md, "No nonce twice".
 */

/** More clients than a group has. */
const CLIENTS_MAX = 262_144;
/** 52 bits of a public key. Two clients share them once in 10^5 groups of 100,000; then a session of one may be refused. */
const MARK_DIGITS = 13;

const markOf = (clientKey: string): number => Number.parseInt(clientKey.slice(0, MARK_DIGITS), 16);

export class PastSessions {
  readonly #clientsMax: number;
  /** By mark of the client's key, the one that ended last at the end: greatest timestamp of a session that ended. */
  readonly #greatest = new Map<number, number>();
  /** What counts for clients that are not among these: the greatest timestamp that was forgotten. */
  #forgotten = -1;

  constructor(clientsMax = CLIENTS_MAX) {
    this.#clientsMax = clientsMax;
  }

  /** A session that was sealed in has ended. `clientKey` in hex; `created`: timestamp of the request that made it. */
  ended(clientKey: string, created: number): void {
    const mark = markOf(clientKey);
    const before = this.#greatest.get(mark) ?? -1;
    this.#greatest.delete(mark);
    this.#greatest.set(mark, Math.max(before, created));
    if (this.#greatest.size <= this.#clientsMax) return;
    const [oldest, timestamp] = this.#greatest.entries().next().value!;
    this.#greatest.delete(oldest);
    this.#forgotten = Math.max(this.#forgotten, timestamp);
  }

  /** A session of this client must be later than this, -1 = any may come. `clientKey` in hex. */
  greatest(clientKey: string): number {
    return this.#greatest.get(markOf(clientKey)) ?? this.#forgotten;
  }
}

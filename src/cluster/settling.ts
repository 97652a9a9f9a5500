/**
 * Two clients say that they have one address, network or name: the older claim keeps it, everywhere alike, and the other
 * client is to be written anew without it. One node does that: the one that wrote the loser; when that one is not heard, or
 * does not do it, the living one with the lowest number. Should two do it in a cut group, the later writer wins as always.
 */
import type { Book } from "./book.ts";
import type { Core } from "./core.ts";

/** Between two looks while something is contested. */
const LOOK_MS = 1000;
/** How long the writer of the loser may take, when it is not heard and when it is. */
const SILENT_WRITER_MS = 3000;
const WRITER_MS = 15_000;
/** A node that begins first hears what others have settled. */
const BEGIN_MS = 3000;

export class Settling {
  readonly #core: Core;
  readonly #book: Book;
  /** Since when a client has lost something, monotonic ms. */
  readonly #sinceMs = new Map<string, number>();
  readonly #beginMs: number;
  #nextMs = Number.POSITIVE_INFINITY;

  constructor(core: Core, book: Book) {
    this.#core = core;
    this.#book = book;
    this.#beginMs = core.now.ms + BEGIN_MS;
  }

  /** Something is contested now, or not any more. */
  changed(): void {
    this.#nextMs = Math.min(this.#nextMs, Math.max(this.#core.now.ms, this.#beginMs));
  }

  tick(): void {
    const { ms } = this.#core.now;
    if (ms < this.#nextMs) return;
    const losers = new Set(this.#book.conflicts().flatMap(({ others }) => others));
    for (const clientKey of this.#sinceMs.keys()) if (!losers.has(clientKey)) this.#sinceMs.delete(clientKey);
    this.#nextMs = losers.size > 0 ? ms + LOOK_MS : Number.POSITIVE_INFINITY;
    for (const clientKey of losers) {
      const since = this.#sinceMs.get(clientKey) ?? ms;
      this.#sinceMs.set(clientKey, since);
      if (this.#isOurs(clientKey, ms - since)) this.#core.emit({ kind: "settle", clientKey });
    }
  }

  nextTimeout(): number {
    return this.#nextMs;
  }

  #isOurs(clientKey: string, forMs: number): boolean {
    const { config } = this.#core;
    const writer = this.#book.client(clientKey)!.version.node;
    if (writer === config.node) return true;
    const living = this.#core.living();
    if (forMs < (living.includes(writer) ? WRITER_MS : SILENT_WRITER_MS)) return false;
    return living.every((node) => node > config.node);
  }
}

/**
 * A node that begins knows nothing. Another one tells it over the link, page by page, what the group knows: 100,000 records
 * come several times faster in full datagrams than one by one through the engine, and they come without an engine, too.
 * What changes meanwhile is told over the link as to every node that no bus reaches. Then the bus begins, which has the
 * rest: what was told wrong, too late or not at all. docs/PROTOCOL.md, "A node begins".
 */
import type { Core } from "./core.ts";
import { Deadlines, type Due } from "./deadlines.ts";
import type { Part, Piece } from "./link_message.ts";

/** How long the other nodes may take to say that they are there. */
const CALL_MS = 600;
const RETRY_MS = 400;
const TRIES = 4;
/** Pages on their way: at first, and at most, which is what a socket keeps with the kernel's usual limits. */
const AHEAD = 2;
const AHEAD_MAX = 8;

interface Page extends Due {
  readonly number: number;
  /** Numbers of the pieces that came. */
  readonly pieces: Set<number>;
  tries: number;
}

export class Joining {
  readonly #core: Core;
  /** Sessions of those that can be asked. */
  readonly #heard = new Map<number, number>();
  readonly #asked = new Set<number>();
  /** From the first tick on. */
  #callUntilMs: number | undefined;
  readonly #deadlines = new Deadlines<Page>();
  readonly #pages = new Map<number, Page>();
  #teller: number | undefined;
  #part: Part = "book";
  #nextPage = 0;
  #lastPage = Number.POSITIVE_INFINITY;
  #ahead = AHEAD;
  #done = false;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Nobody is asked any more, and the bus begins. */
  get done(): boolean {
    return this.#done;
  }

  /** A living node says that it knows so many sessions. */
  heard(node: number, sessions: number): void {
    if (this.#done || this.#teller !== undefined) return;
    this.#heard.set(node, sessions);
    if (this.#heard.size === this.#core.peers.size) this.#choose();
  }

  /** It can't be asked any more. */
  lost(node: number): void {
    this.#heard.delete(node);
    if (this.#teller === node) this.#choose();
  }

  /** A piece of a page. False: it is of no use, as it is here already, or behind the end, or was never asked for. */
  piece(node: number, { part, page: number, number: piece, count, last }: Piece): boolean {
    // What one that was asked before still has on its way is no surprise.
    if (!this.#asked.has(node)) this.#core.outcomes.add("answer_unexpected");
    const page = node === this.#teller && part === this.#part ? this.#pages.get(number) : undefined;
    if (page === undefined || page.pieces.has(piece)) return false;
    page.pieces.add(piece);
    if (last) this.#lastPage = Math.min(this.#lastPage, number);
    if (page.pieces.size === count) {
      this.#core.outcomes.add("fetched");
      this.#end(page);
      this.#ahead = Math.min(AHEAD_MAX, this.#ahead + 1);
      this.#fetch();
    }
    return true;
  }

  tick(): void {
    const { now, peers } = this.#core;
    if (this.#done) return;
    this.#callUntilMs ??= now.ms + CALL_MS;
    if (this.#teller === undefined && (now.ms >= this.#callUntilMs || peers.size === 0)) this.#choose();
    for (let page = this.#deadlines.take(now.ms); page !== undefined; page = this.#deadlines.take(now.ms)) {
      this.#ahead = Math.max(1, this.#ahead >>> 1);
      if (page.tries === TRIES) this.#choose();
      else this.#ask(page);
    }
  }

  nextTimeout(): number {
    if (this.#done) return Number.POSITIVE_INFINITY;
    return this.#teller === undefined ? (this.#callUntilMs ?? 0) : this.#deadlines.next();
  }

  /** Asks who knows most of those that were not asked before. */
  #choose(): void {
    for (const page of this.#pages.values()) this.#deadlines.clear(page);
    let best: number | undefined;
    for (const [node, sessions] of this.#heard)
      if (!this.#asked.has(node) && (best === undefined || sessions > this.#heard.get(best)!)) best = node;
    this.#teller = best;
    if (best === undefined) {
      this.#finish(false);
      return;
    }
    this.#asked.add(best);
    this.#begin("book");
  }

  /** Clients first, because a session is of no use without. */
  #begin(part: Part): void {
    this.#part = part;
    this.#pages.clear();
    this.#nextPage = 0;
    this.#lastPage = Number.POSITIVE_INFINITY;
    this.#fetch();
  }

  #fetch(): void {
    while (this.#pages.size < this.#ahead && this.#nextPage <= this.#lastPage) {
      const page = { number: this.#nextPage++, pieces: new Set<number>(), tries: 0, dueMs: 0, waitMs: undefined };
      this.#pages.set(page.number, page);
      this.#ask(page);
    }
    for (const page of [...this.#pages.values()]) if (page.number > this.#lastPage) this.#end(page);
    if (this.#pages.size > 0) return;
    if (this.#part === "book") this.#begin("sessions");
    else this.#finish(true);
  }

  #ask(page: Page): void {
    page.tries++;
    this.#core.say(this.#teller!, { kind: "fetch", part: this.#part, page: page.number });
    this.#deadlines.set(this.#core.now.ms, RETRY_MS, page);
  }

  #end(page: Page): void {
    this.#deadlines.clear(page);
    this.#pages.delete(page.number);
  }

  #finish(informed: boolean): void {
    this.#done = true;
    this.#teller = undefined;
    this.#core.busBegun = true;
    this.#core.emit({ kind: "follow", informed });
  }
}

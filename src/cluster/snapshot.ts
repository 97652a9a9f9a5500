/**
 * What this node knows, in pages, for one that begins (`joining.ts`): the book and the sessions, each in places that stay.
 * Nothing is remembered of who fetches. docs/PROTOCOL.md, "A node begins".
 */
import type { Book } from "./book.ts";
import type { Core } from "./core.ts";
import { type LinkMessage, type PageName, PIECE_MAX, packMessages } from "./link_message.ts";

/** Places of one page: about twenty datagrams. */
export const PAGE = 128;

export class Snapshot {
  readonly #core: Core;
  readonly #book: Book;

  constructor(core: Core, book: Book) {
    this.#core = core;
    this.#book = book;
  }

  /** Another node begins and wants this page. */
  fetched(node: number, { part, page }: PageName): void {
    this.#core.outcomes.add("told");
    const first = page * PAGE;
    const places = part === "book" ? this.#book.places : this.#core.table.end;
    const plains = packMessages([...(part === "book" ? this.#clients(first) : this.#sessions(first))], PIECE_MAX);
    const last = first + PAGE >= places;
    const count = Math.max(1, plains.length);
    for (let number = 0; number < count; number++)
      this.#core.say(node, { kind: "piece", part, page, number, count, last, plain: plains[number] ?? NOTHING });
  }

  *#clients(first: number): IterableIterator<LinkMessage> {
    if (first === 0)
      for (const value of this.#book.encodedTicketKeys(this.#core.now.wallMs)) yield { kind: "ticket_key", value };
    for (const client of this.#book.page(first, PAGE)) yield { kind: "client", ...client };
  }

  *#sessions(first: number): IterableIterator<LinkMessage> {
    const { table } = this.#core;
    for (let row = first; row < Math.min(table.end, first + PAGE); row++)
      if (table.phase[row] !== 0) yield table.asTold(row);
  }
}

const NOTHING = new Uint8Array(0);

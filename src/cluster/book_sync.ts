/**
 * Nodes that hear each other compare their books and tell what the other has missed, whatever the engine: each says the sums
 * of its buckets, answers other sums with a list of what it has in that bucket, and answers a list with the entries that are
 * not in it, or are other ones there. Both do, and of two entries both take the newer, so both end with the same. Nothing is
 * remembered of who asked. docs/PROTOCOL.md, "What a node missed of the book".
 */
import type { Book } from "./book.ts";
import { BUCKETS } from "./book_sums.ts";
import type { Core } from "./core.ts";
import { type BookList, type BookSumsMessage, LIST_MAX } from "./link_message.ts";

const SUMS_MS = 2000;
/** Lists of one answer: with 100,000 clients some 400 KB; the rest follows with the next sums. */
const LISTS_MAX = 64;
/** Entries that one node is told between two sums. */
const TOLD_MAX = 2000;
/** Hexadecimal digits of a client's key that stand in a list. */
const PREFIX = 16;

export class BookSync {
  readonly #core: Core;
  readonly #book: Book;
  #nextMs: number;
  /** The next answer begins with this bucket. */
  #first = 0;
  readonly #told = new Map<number, number>();

  constructor(core: Core, book: Book) {
    this.#core = core;
    this.#book = book;
    this.#nextMs = core.now.ms + SUMS_MS;
  }

  tick(): void {
    const { now } = this.#core;
    if (now.ms < this.#nextMs) return;
    this.#nextMs = now.ms + SUMS_MS;
    this.#told.clear();
    for (const node of this.#core.living()) this.compare(node);
  }

  nextTimeout(): number {
    return this.#nextMs;
  }

  /** Says this node's sums. */
  compare(node: number): void {
    const { now } = this.#core;
    const keys = this.#book.ticketKeySum(now.wallMs);
    this.#core.say(node, { kind: "book_sums", keys, sums: this.#book.sums.sums.slice() });
  }

  /** Another node's sums. */
  sums(node: number, { keys, sums }: BookSumsMessage): void {
    const { now, outcomes } = this.#core;
    if (keys !== this.#book.ticketKeySum(now.wallMs)) this.tellKeys(node);
    const own = this.#book.sums.sums;
    let lists = 0;
    for (let k = 0; k < BUCKETS && lists < LISTS_MAX; k++) {
      const bucket = (this.#first + k) % BUCKETS;
      if (own[bucket] === sums[bucket]) continue;
      lists++;
      this.#tellList(node, bucket);
      if (lists === LISTS_MAX) this.#first = (bucket + 1) % BUCKETS;
    }
    if (lists > 0) outcomes.add("book_compared");
  }

  tellKeys(node: number): void {
    for (const value of this.#book.encodedTicketKeys(this.#core.now.wallMs))
      this.#core.say(node, { kind: "ticket_key", value });
  }

  /** What another node has of one bucket. */
  list(node: number, { bucket, after, last, entries }: BookList): void {
    const theirs = new Map(entries.map(({ prefix, hash }) => [prefix, hash]));
    const end = last ? undefined : entries.at(-1)?.prefix;
    let told = this.#told.get(node) ?? 0;
    for (const { prefix, hash, clientKeys } of this.#entries(bucket)) {
      if (prefix <= after || (end !== undefined && prefix > end) || theirs.get(prefix) === hash) continue;
      if (told >= TOLD_MAX) break;
      told += clientKeys.length;
      for (const clientKey of clientKeys)
        this.#core.say(node, { kind: "client", clientKey, value: this.#book.encoded(clientKey)! });
    }
    this.#told.set(node, told);
  }

  #tellList(node: number, bucket: number): void {
    const all = this.#entries(bucket);
    for (let at = 0, after = ""; at === 0 || at < all.length; at += LIST_MAX) {
      const entries = all.slice(at, at + LIST_MAX).map(({ prefix, hash }) => ({ prefix, hash }));
      const last = at + LIST_MAX >= all.length;
      this.#core.say(node, { kind: "book_list", bucket, after, last, entries });
      after = entries.at(-1)?.prefix ?? after;
    }
  }

  /** In order of prefixes. Keys with one prefix (nobody's are, but for those that are made up) are one entry. */
  #entries(bucket: number): { prefix: string; hash: number; clientKeys: string[] }[] {
    const entries: { prefix: string; hash: number; clientKeys: string[] }[] = [];
    for (const clientKey of this.#book.sums.keys(bucket)) {
      const prefix = clientKey.slice(0, PREFIX);
      const hash = this.#book.hashOf(clientKey)!;
      const last = entries.at(-1);
      if (last?.prefix !== prefix) entries.push({ prefix, hash, clientKeys: [clientKey] });
      else {
        last.hash = (last.hash + hash) >>> 0;
        last.clientKeys.push(clientKey);
      }
    }
    return entries;
  }
}

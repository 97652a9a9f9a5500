/**
 * Who has signed the entries of the book that this node holds already: those from its disk, and those of a node whose place in
 * the roster has changed. They count meanwhile, as they were taken when that was right. Looked at a few at a time, so that
 * the control thread is never busy for long. What no member has signed (its writer was put out, has another key, or was not
 * here since there is a roster) a member signs in its own name, or nodes that begin would never hear of it: the living one
 * with the lowest number first. docs/PROTOCOL.md, "What nodes sign".
 */
import { NODE_MAX } from "../crypto/session_index.ts";
import type { Book, BookOutput } from "./book.ts";
import { compareBytes } from "./bytes.ts";
import type { Core } from "./core.ts";

/** Three milliseconds of work every ten, so 10,000 entries take 3 s. */
const SLICE = 32;
const GAP_MS = 10;
/** For the writer, and for each living member with a lower number. */
const RANK_MS = 15_000;

export class Vouching {
  readonly #core: Core;
  readonly #book: Book;
  readonly #with: (act: (out: BookOutput[]) => void) => void;
  /** Of the roster that was looked at last. */
  #version = 0;
  /** Of each member in it. */
  #keys = new Map<number, Uint8Array>();
  /** When it came into force, or this node began. */
  #sinceMs = 0;
  #nextMs = 0;
  /** Since they were said last. */
  #adopted = 0;

  /** `act` is given a list for what is to be done. */
  constructor(core: Core, book: Book, act: (act: (out: BookOutput[]) => void) => void) {
    this.#core = core;
    this.#book = book;
    this.#with = act;
  }

  tick(): void {
    const { now } = this.#core;
    if (now.ms < this.nextTimeout()) return;
    if (this.#core.trust.version !== this.#version) this.#rostered();
    this.#nextMs = now.ms + GAP_MS;
    // Whom the roster does not have signs for nobody.
    if (!this.#keys.has(this.#core.config.node)) return;
    if (this.#book.unsigned.unchecked > 0) this.#with((out) => this.#book.check(now.wallMs, SLICE, out));
    else if (this.#book.unsigned.orphans > 0 && now.ms >= this.#adoptsMs()) this.#adopt();
  }

  nextTimeout(): number {
    const { trust, config } = this.#core;
    if (!trust.signatures.areOn) return Number.POSITIVE_INFINITY;
    if (trust.version !== this.#version) return 0;
    const { unchecked, orphans } = this.#book.unsigned;
    if (unchecked + orphans === 0 || !this.#keys.has(config.node)) return Number.POSITIVE_INFINITY;
    return unchecked > 0 ? this.#nextMs : Math.max(this.#nextMs, this.#adoptsMs());
  }

  #adoptsMs(): number {
    const { config } = this.#core;
    const before = this.#core.living().filter((node) => node < config.node).length;
    return this.#sinceMs + (before + 1) * RANK_MS;
  }

  #adopt(): void {
    const { now, outcomes } = this.#core;
    let done = 0;
    this.#with((out) => {
      done = this.#book.adopt(now.wallMs, SLICE, out);
    });
    outcomes.add("book_adopted", done);
    this.#adopted += done;
    if (this.#book.unsigned.orphans > 0) return;
    const said = `${this.#adopted} entries of the group's book that no member of the roster had signed are signed by this node`;
    this.#core.emit({ kind: "notice", level: "notice", code: "book_adopted", text: `${said} now.` });
    this.#adopted = 0;
  }

  /** Another roster is in force: whom does it concern? */
  #rostered(): void {
    const { trust, now } = this.#core;
    const before = this.#keys;
    this.#version = trust.version;
    this.#keys = new Map();
    for (let node = 1; node <= NODE_MAX; node++) {
      const key = trust.signatures.keyOf(node);
      if (key !== undefined) this.#keys.set(node, key);
    }
    const changed = [...before].filter(([node, key]) => compareBytes(key, this.#keys.get(node) ?? NO_KEY) !== 0);
    this.#book.doubt(new Set(changed.map(([node]) => node)));
    this.#sinceMs = now.ms;
  }
}

const NO_KEY = new Uint8Array(0);

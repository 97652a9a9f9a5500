/**
 * The receiving half of a channel: puts the pages of one message together, whatever their order, and delivers each message
 * once. Only the message that is expected is collected, so what an end must remember when nothing is under way is one
 * number.
 */

import type { ControlOutcomeName } from "./outcomes.ts";
import type { Page } from "./page.ts";

/** Memory of unfinished messages of all channels together. */
export class PageMemory {
  readonly #max: number;
  #used = 0;

  /** In bytes. */
  constructor(max: number) {
    this.#max = max;
  }

  get used(): number {
    return this.#used;
  }

  take(bytes: number): boolean {
    if (this.#used + bytes > this.#max) return false;
    this.#used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }
}

/** An unfinished message is forgotten when no new page came for so long, or it is not whole after the whole time. */
export const PROGRESS_MS = 30_000;
export const WHOLE_MS = 120_000;
/** What a page costs beside its bytes. */
const PAGE_COST = 64;
/** And a page that has not come. */
const PLACE_COST = 8;

interface Partial {
  readonly kind: number;
  readonly size: number;
  readonly pages: (Uint8Array | undefined)[];
  missing: number;
  bytes: number;
  readonly beganMs: number;
  progressMs: number;
}

export interface Message {
  readonly kind: number;
  readonly content: Uint8Array;
}

export class Incoming {
  readonly #memory: PageMemory;
  #next: number;
  #partial: Partial | undefined;

  /** `next`: number of the message that is expected. */
  constructor(memory: PageMemory, next: number) {
    this.#memory = memory;
    this.#next = next;
  }

  get next(): number {
    return this.#next;
  }

  get isIdle(): boolean {
    return this.#partial === undefined;
  }

  /** Which pages of the expected message have come, lowest bit first. */
  get seen(): Uint8Array {
    const pages = this.#partial?.pages ?? [];
    const seen = new Uint8Array(Math.ceil(pages.length / 8));
    for (let k = 0; k < pages.length; k++) if (pages[k] !== undefined) seen[k >>> 3] |= 1 << (k & 7);
    return seen;
  }

  /** Takes a copy of a page. A message when it was the last one that was missing. */
  take(nowMs: number, page: Page): Message | ControlOutcomeName {
    if (page.number < this.#next) return "repeated";
    if (page.number > this.#next || this.#next === LAST) return "ahead";
    if (page.pages === 1 && this.#partial === undefined) {
      this.#next++;
      return { kind: page.kind, content: page.content.slice() };
    }
    this.#partial ??= this.#begin(nowMs, page);
    const partial = this.#partial;
    if (partial === undefined) return "memory_full";
    const fits = page.kind === partial.kind && page.size === partial.size && page.pages === partial.pages.length;
    if (!fits) return "contradicts";
    if (partial.pages[page.page] !== undefined) return "repeated";
    const cost = page.content.length + PAGE_COST;
    if (!this.#memory.take(cost)) return "memory_full";
    partial.pages[page.page] = page.content.slice();
    partial.bytes += cost;
    partial.missing--;
    partial.progressMs = nowMs;
    if (partial.missing > 0) return "page";
    this.#next++;
    const content = joined(partial.pages as Uint8Array[]);
    this.forget();
    return { kind: partial.kind, content };
  }

  #begin(nowMs: number, { kind, size, pages }: Page): Partial | undefined {
    const bytes = pages * PLACE_COST;
    if (!this.#memory.take(bytes)) return undefined;
    const places = Array<Uint8Array | undefined>(pages).fill(undefined);
    return { kind, size, pages: places, missing: pages, bytes, beganMs: nowMs, progressMs: nowMs };
  }

  /** Monotonic time at which the unfinished message is forgotten. */
  get dueMs(): number {
    const partial = this.#partial;
    if (partial === undefined) return Number.POSITIVE_INFINITY;
    return Math.min(partial.progressMs + PROGRESS_MS, partial.beganMs + WHOLE_MS);
  }

  /** Forgets what is unfinished. The other end hears from the next acknowledgement that it must begin anew. */
  forget(): void {
    if (this.#partial !== undefined) this.#memory.give(this.#partial.bytes);
    this.#partial = undefined;
  }
}

/** No session comes so far; nothing is taken beyond it. */
const LAST = 0xffffffff;

function joined(pages: readonly Uint8Array[]): Uint8Array {
  const content = new Uint8Array(pages.reduce((sum, page) => sum + page.length, 0));
  let at = 0;
  for (const page of pages) {
    content.set(page, at);
    at += page.length;
  }
  return content;
}

/**
 * The sending half of a channel: one message is under way at a time, in pages of which up to WINDOW are unacknowledged. What the
 * other end says of the message that it expects is the truth: a page that it has lost is sent again, however often. It never
 * gives up; a channel ends with its session.
 */
import type { ControlOutcomeName } from "./outcomes.ts";
import { type NodeStart, PAGE_SIZE, type Page, type PageAck } from "./page.ts";

/** Pages under way at once. */
const WINDOW = 16;
/** Behind a page that has come, so many later ones: then one that has not come is lost. */
const REORDER = 3;
const RETRY_FIRST_MS = 400;
const RETRY_MAX_MS = 8000;
/** 32 pages at once and 160 a second: well below what the other end takes of one session (dataplane/control_ring.ts). */
const PAGE_MS = 1000 / 160;
const BURST_MS = 32 * PAGE_MS;
const QUEUE_MAX = 32;

// What is known of a page.
const UNSENT = 0;
const SENT = 1;
/** To be sent again because later ones came: once in each retry time. */
const HURRIED = 2;
const SENT_AGAIN = 3;
const SEEN = 4;

/** Content in parts, so that what many clients are told alike is in memory once. */
export type Parts = readonly Uint8Array[];

interface Waiting {
  readonly kind: number;
  readonly parts: Parts;
}

interface Flight extends Waiting {
  readonly length: number;
  readonly pages: Uint8Array;
  /** Pages below this were sent at least once. */
  sentTo: number;
  retryMs: number;
  dueMs: number;
}

export class Outgoing {
  #number: number;
  #queue: Waiting[] = [];
  #flight: Flight | undefined;
  /** When the allowance for pages would be whole again, monotonic. */
  #paceMs = 0;

  /** `number`: of the first message. */
  constructor(number: number) {
    this.#number = number;
  }

  /** Of the message under way, or of the next one. */
  get number(): number {
    return this.#number;
  }

  get isIdle(): boolean {
    return this.#flight === undefined && this.#queue.length === 0;
  }

  /**
   * False: too many wait. `newest`: of messages of this kind that wait, only the newest is worth sending.
   */
  add(kind: number, parts: Parts, newest: boolean): boolean {
    if (newest) this.#queue = this.#queue.filter((waiting) => waiting.kind !== kind);
    if (this.#queue.length >= QUEUE_MAX) return false;
    this.#queue.push({ kind, parts });
    return true;
  }

  /** "sent": the message under way has come whole. */
  acknowledged(nowMs: number, { next, seen }: PageAck): ControlOutcomeName {
    if (next < this.#number) return "acknowledged";
    const flight = this.#flight;
    if (flight === undefined || flight.sentTo === 0)
      return next === this.#number && seen.length === 0 ? "acknowledged" : "ack_unsent";
    if (next === this.#number + 1 && flight.sentTo === flight.pages.length) {
      this.#number++;
      this.#flight = undefined;
      return "sent";
    }
    if (next > this.#number || seen.length > Math.ceil(flight.pages.length / 8)) return "ack_unsent";
    return this.#seen(nowMs, flight, seen);
  }

  #seen(nowMs: number, flight: Flight, seen: Uint8Array): ControlOutcomeName {
    const { pages, sentTo } = flight;
    const has = (k: number) => (seen[k >>> 3] & (1 << (k & 7))) !== 0;
    for (let k = 0; k < seen.length * 8; k++) if (has(k) && k >= sentTo) return "ack_unsent";
    let last = -1;
    let isProgress = false;
    for (let k = 0; k < pages.length; k++) {
      if (!has(k)) {
        // It had come, and the other end has forgotten it.
        if (pages[k] === SEEN) pages[k] = UNSENT;
        continue;
      }
      isProgress ||= pages[k] !== SEEN;
      pages[k] = SEEN;
      last = k;
    }
    for (let k = 0; k < last - REORDER; k++) if (pages[k] === SENT) pages[k] = HURRIED;
    if (isProgress) {
      flight.retryMs = RETRY_FIRST_MS;
      flight.dueMs = nowMs + RETRY_FIRST_MS;
    }
    return "acknowledged";
  }

  /** Appends the pages that may go now. */
  pump(nowMs: number, name: NodeStart, out: Page[]): void {
    this.#flight ??= this.#begin(nowMs);
    const flight = this.#flight;
    if (flight === undefined) return;
    const { pages } = flight;
    if (nowMs >= flight.dueMs) {
      for (let k = 0; k < pages.length; k++) if (pages[k] !== SEEN) pages[k] = UNSENT;
      flight.retryMs = Math.min(RETRY_MAX_MS, 2 * flight.retryMs);
      flight.dueMs = nowMs + flight.retryMs;
    }
    let underWay = underWayOf(pages);
    for (let k = 0; k < pages.length && underWay < WINDOW; k++) {
      if (pages[k] !== UNSENT && pages[k] !== HURRIED) continue;
      if (!this.#mayGo(nowMs)) return;
      pages[k] = pages[k] === HURRIED ? SENT_AGAIN : SENT;
      flight.sentTo = Math.max(flight.sentTo, k + 1);
      underWay++;
      out.push(this.#page(name, flight, k));
    }
  }

  /** Monotonic time at which `pump` is due though nothing was heard. */
  dueMs(nowMs: number): number {
    if (this.#flight === undefined) return this.#queue.length > 0 ? nowMs : Number.POSITIVE_INFINITY;
    const { pages, dueMs } = this.#flight;
    const waits = underWayOf(pages) < WINDOW && pages.some((state) => state === UNSENT || state === HURRIED);
    return waits ? Math.min(dueMs, Math.max(nowMs, this.#paceMs + PAGE_MS - BURST_MS)) : dueMs;
  }

  #begin(nowMs: number): Flight | undefined {
    const waiting = this.#queue.shift();
    if (waiting === undefined) return undefined;
    const length = waiting.parts.reduce((sum, part) => sum + part.length, 0);
    const pages = new Uint8Array(Math.max(1, Math.ceil(length / PAGE_SIZE)));
    return { ...waiting, length, pages, sentTo: 0, retryMs: RETRY_FIRST_MS, dueMs: nowMs + RETRY_FIRST_MS };
  }

  #mayGo(nowMs: number): boolean {
    const pace = Math.max(this.#paceMs, nowMs) + PAGE_MS;
    if (pace > nowMs + BURST_MS) return false;
    this.#paceMs = pace;
    return true;
  }

  #page(name: NodeStart, { kind, parts, length, pages }: Flight, page: number): Page {
    const content = cut(parts, page * PAGE_SIZE, Math.min(length, (page + 1) * PAGE_SIZE));
    const size = pages.length === 1 ? length : PAGE_SIZE;
    return { node: name.node, start: name.start, number: this.#number, kind, page, pages: pages.length, size, content };
  }
}

function underWayOf(pages: Uint8Array): number {
  let count = 0;
  for (const state of pages) if (state === SENT || state === SENT_AGAIN) count++;
  return count;
}

/** Bytes [from, to) of the parts together. */
function cut(parts: Parts, from: number, to: number): Uint8Array {
  const content = new Uint8Array(to - from);
  let begin = 0;
  for (const part of parts) {
    const piece = part.subarray(Math.max(0, from - begin), Math.max(0, to - begin));
    if (piece.length > 0) content.set(piece, Math.max(0, begin - from));
    begin += part.length;
  }
  return content;
}

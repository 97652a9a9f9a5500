/**
 * Whose grants could not list this start of this node. A node lists the senders that it hears, so what it answered before
 * it and this node first heard each other, or while they did not, is of clients that do not know this one.
 */
import { creatorOf } from "../crypto/session_index.ts";
import type { Core } from "./core.ts";

/** How far clocks and the two ends of one contact may be apart. */
const SLACK_MS = 1000;
/** Of one node; more become one that is longer. */
const GAPS_MAX = 8;

/** Wall clock of this node, ms. */
interface Gap {
  readonly fromMs: number;
  readonly untilMs: number;
}

export class Contacts {
  readonly #core: Core;
  /** By node, oldest first. */
  readonly #gaps = new Map<number, Gap[]>();
  /** When each node that is not heard now was heard last. */
  readonly #lostMs = new Map<number, number>();
  /** Heard again, and what it answered meanwhile was not looked at yet. */
  readonly #fresh = new Set<number>();

  constructor(core: Core) {
    this.#core = core;
  }

  /** A node is heard again, or another start of it. */
  met(node: number): void {
    const { now, config } = this.#core;
    const lostMs = this.#lostMs.get(node) ?? this.#heardMs(node);
    this.#lostMs.delete(node);
    const gap = { fromMs: lostMs - SLACK_MS, untilMs: now.wallMs + SLACK_MS };
    const gaps = (this.#gaps.get(node) ?? []).filter(({ untilMs }) => untilMs > now.wallMs - config.sessionLifeMs);
    gaps.push(gap);
    if (gaps.length > GAPS_MAX) gaps.splice(0, 2, { fromMs: gaps[0].fromMs, untilMs: gaps[1].untilMs });
    this.#gaps.set(node, gaps);
    this.#fresh.add(node);
  }

  /** A node is not heard any more. */
  lost(node: number): void {
    this.#lostMs.set(node, this.#heardMs(node));
  }

  /** Once after `met`, when its clock is known: sessions that came from elsewhere meanwhile are to be looked at. */
  takeFresh(node: number): boolean {
    return this.#core.link.clockOffsetMs(node) !== undefined && this.#fresh.delete(node);
  }

  /** Whether the grant of a session can have listed this start of this node. */
  isListed(index: number, expiryMs: number): boolean {
    const creator = creatorOf(index);
    const offsetMs = this.#core.link.clockOffsetMs(creator);
    if (!this.#core.alive(creator) || offsetMs === undefined) return false;
    const answeredMs = expiryMs - this.#core.config.sessionLifeMs - offsetMs;
    return this.#gaps.get(creator)!.every(({ fromMs, untilMs }) => answeredMs < fromMs || answeredMs > untilMs);
  }

  /** When a node was heard last; never = before all sessions. */
  #heardMs(node: number): number {
    const { now, heardMs } = this.#core;
    const ms = heardMs.get(node);
    return ms === undefined ? Number.NEGATIVE_INFINITY : now.wallMs - (now.ms - ms);
  }
}

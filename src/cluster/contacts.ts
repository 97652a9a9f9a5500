/**
 * Remembers during which times another node did not hear this one. A node that grants a session lists in the grant the nodes that
 * it hears, so that the client accepts packets of these. Clients whose session was granted during such a gap do not know this node,
 * and it has to introduce itself to them (introductions.ts).
 */
import { creatorOf } from "../crypto/session_index.ts";
import type { Core } from "./core.ts";

/** Added at both ends of a gap: clocks differ, and the two nodes do not notice a loss at the same moment. */
const SLACK_MS = 1000;
/** Gaps that are kept of one node. When there are more, the two oldest become one that spans both. */
const GAPS_MAX = 8;

/** A time without contact; both ends by the wall clock of this node, ms since 1970. */
interface Gap {
  readonly fromMs: number;
  readonly untilMs: number;
}

export class Contacts {
  readonly #core: Core;
  /** By number of the other node; its gaps, oldest first. */
  readonly #gaps = new Map<number, Gap[]>();
  /** When each node that is not heard now was heard last. */
  readonly #lostMs = new Map<number, number>();
  /** Nodes that are heard again, and whose sessions of the gap were not looked through yet. */
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

  /**
   * True once after each `met`, as soon as the clock of the other node is known. Then the caller looks for sessions which
   * that node granted during the gap.
   */
  takeFresh(node: number): boolean {
    return this.#core.link.clockOffsetMs(node) !== undefined && this.#fresh.delete(node);
  }

  /** Whether the node that granted a session may have listed this start of this node: it was granted outside of all gaps. */
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

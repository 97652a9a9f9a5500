/**
 * What was written in the book while another node was silent: each side took its own changes then, without asking. When both
 * did, a person should look whether two people did one thing twice. Counts only.
 */
import type { Alarms } from "./alarms.ts";
import type { Now } from "./now.ts";

/** Clocks of nodes that nobody complains about may differ by so much. */
const SKEW_MS = 5000;
const STAMPS_PER_MS = 256;
/** What the other side wrote comes within this when it is back. */
const NEWS_MS = 60_000;

interface Cut {
  readonly fromMs: number;
  /** undefined: it is still silent. */
  untilMs: number | undefined;
  here: number;
  there: number;
}

export class Cuts {
  readonly #alarms: Alarms;
  readonly #cuts = new Map<number, Cut>();

  constructor(alarms: Alarms) {
    this.#alarms = alarms;
  }

  silent(now: Now, node: number): void {
    this.#cuts.set(node, { fromMs: now.wallMs, untilMs: undefined, here: 0, there: 0 });
  }

  heard(now: Now, node: number): void {
    const cut = this.#cuts.get(node);
    if (cut !== undefined) cut.untilMs ??= now.wallMs;
  }

  /** This node has written. */
  wrote(): void {
    for (const cut of this.#cuts.values()) if (cut.untilMs === undefined) cut.here++;
  }

  /** An entry of `node` with this stamp was new here. */
  learnt(now: Now, node: number, stamp: number): void {
    const cut = this.#cuts.get(node);
    if (cut === undefined) return;
    const { fromMs, untilMs, here } = cut;
    const writtenMs = stamp / STAMPS_PER_MS;
    const end = untilMs ?? now.wallMs;
    if (untilMs !== undefined && now.wallMs - untilMs > NEWS_MS) this.#cuts.delete(node);
    if (writtenMs < fromMs - SKEW_MS || writtenMs > end) return;
    cut.there++;
    if (here === 0) return;
    const seconds = Math.max(1, Math.round((end - fromMs) / 1000));
    const text =
      `this node and node ${node} did not hear each other for ${seconds} s, and clients were added or removed on both sides ` +
      `meanwhile (${here} here, ${cut.there} there): compare anyhop clients list with what was meant`;
    this.#alarms.add(now, "cut_changes", String(node), text, false);
  }
}

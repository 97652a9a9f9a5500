/**
 * When two nodes disagree about which sessions there are for longer than they may: this node says so, and asks for the
 * other's list, piece by piece, and for what it misses. Both do, so both end with the same. Walks the table only then.
 */
import { creatorOf } from "../crypto/session_index.ts";
import type { Core } from "./core.ts";
import { Deadlines, type Due } from "./deadlines.ts";
import { Comparison, type Disagreement } from "./digest.ts";
import { LISTED_MAX, type LinkMessage, type Listed } from "./link_message.ts";
import { encodeRecord, type SessionName } from "./record.ts";
import type { Records } from "./records.ts";
import { NONE, UP } from "./session_table.ts";

type List = Extract<LinkMessage, { kind: "list" }>;

const LOOK_MS = 1000;
const RETRY_MS = 100;
const TRIES = 5;
/** Between two lists of one creator from one node. */
const AGAIN_MS = 3000;
/** A sorted list serves the pieces that are asked for within this time. */
const LIST_MS = 2000;

interface Run extends Due {
  readonly node: number;
  readonly creator: number;
  after: number;
  tries: number;
}

export class Resync {
  readonly comparison: Comparison;
  readonly #core: Core;
  readonly #records: Records;
  readonly #runs = new Map<string, Run>();
  readonly #deadlines = new Deadlines<Run>();
  readonly #againMs = new Map<string, number>();
  #list = { creator: NONE, madeMs: 0, indices: new Uint32Array(0) };
  #lookMs: number;
  #disagreements: readonly Disagreement[] = [];

  constructor(core: Core, records: Records) {
    this.#core = core;
    this.#records = records;
    this.comparison = new Comparison(core.digest);
    this.#lookMs = core.now.ms + LOOK_MS;
  }

  /** Those that last too long, at the last look. */
  get disagreements(): readonly Disagreement[] {
    return this.#disagreements;
  }

  tick(): void {
    const { now } = this.#core;
    for (let run = this.#deadlines.take(now.ms); run !== undefined; run = this.#deadlines.take(now.ms)) this.#ask(run);
    if (now.ms < this.#lookMs) return;
    this.#lookMs = now.ms + LOOK_MS;
    const known = new Set(this.#disagreements.map(({ node }) => node));
    this.#disagreements = this.comparison.disagreements(now.ms);
    for (const disagreement of this.#disagreements) {
      if (!known.has(disagreement.node)) this.#alarm(disagreement);
      known.add(disagreement.node);
      this.begin(disagreement.node, disagreement.creator);
    }
    for (const node of known) {
      if (this.#disagreements.some((one) => one.node === node)) continue;
      this.#core.emit({
        ...{ kind: "notice", level: "notice" },
        code: "digest_agrees",
        text: `Node ${node} and this one know the same sessions again.`,
      });
    }
  }

  nextTimeout(): number {
    return Math.min(this.#lookMs, this.#deadlines.next());
  }

  /** Asks a node which sessions of a creator it knows. */
  begin(node: number, creator: number): void {
    const { now, outcomes } = this.#core;
    const name = `${node}/${creator}`;
    if (this.#runs.has(name) || (this.#againMs.get(name) ?? 0) > now.ms || !this.#core.alive(node)) return;
    this.#againMs.set(name, now.ms + AGAIN_MS);
    const run: Run = { node, creator, after: NONE, tries: 0, dueMs: 0, waitMs: undefined };
    this.#runs.set(name, run);
    outcomes.add("resynced");
    this.#ask(run);
  }

  /** Asks a node for all of its lists now, whether they are known to differ or not. Returns how many. */
  all(node: number): number {
    const { config, peers, digest } = this.#core;
    const creators = new Set([config.node, ...peers, ...digest.creators()]);
    if (!this.#core.alive(node)) return 0;
    for (const creator of creators) {
      this.#againMs.delete(`${node}/${creator}`);
      this.begin(node, creator);
    }
    return creators.size;
  }

  /** Another node wants our list. */
  list(node: number, { creator, after }: List): void {
    const { table, now } = this.#core;
    if (after === NONE || this.#list.creator !== creator || now.ms - this.#list.madeMs > LIST_MS) this.#sort(creator);
    const { indices } = this.#list;
    let at = 0;
    for (let end = indices.length; at < end; ) {
      const middle = (at + end) >>> 1;
      if (indices[middle] <= after) at = middle + 1;
      else end = middle;
    }
    const sessions: SessionName[] = [];
    for (; at < indices.length && sessions.length < LISTED_MAX; at++) {
      const row = table.find(indices[at]);
      if (row !== NONE) sessions.push({ index: indices[at], created: table.created[row] });
    }
    this.#core.say(node, { kind: "listed", creator, after, last: at === indices.length, sessions });
  }

  /** A piece of the list that was asked for. */
  listed(node: number, { creator, after, last, sessions }: Listed): void {
    const name = `${node}/${creator}`;
    const run = this.#runs.get(name);
    if (run === undefined || run.after !== after) {
      this.#core.outcomes.add("answer_unexpected");
      return;
    }
    for (const session of sessions) this.#compare(node, session);
    const end = sessions.at(-1)?.index;
    if (last || end === undefined) {
      this.#deadlines.clear(run);
      this.#runs.delete(name);
      return;
    }
    run.after = end;
    run.tries = 0;
    this.#ask(run);
  }

  forget(node: number): void {
    this.comparison.forget(node);
  }

  #compare(node: number, session: SessionName): void {
    const { table } = this.#core;
    const row = table.find(session.index);
    if (this.#records.hasEnded(session)) {
      const encoded = encodeRecord(this.#records.tombstone(session.index)!)!;
      this.#core.say(node, { kind: "record", encoded, owner: 0, seq: NONE, endpoint: undefined });
    } else if (row === NONE || table.phase[row] !== UP || table.created[row] < session.created) {
      this.#core.say(node, { kind: "ask", index: session.index });
    }
  }

  #ask(run: Run): void {
    const { node, creator, after } = run;
    if (run.tries >= TRIES || !this.#core.alive(node)) {
      this.#runs.delete(`${node}/${creator}`);
      return;
    }
    run.tries++;
    this.#core.say(node, { kind: "list", creator, after });
    this.#deadlines.set(this.#core.now.ms, RETRY_MS, run);
  }

  #sort(creator: number): void {
    const { table, now } = this.#core;
    const found: number[] = [];
    for (let row = 0; row < table.end; row++) {
      if (table.phase[row] !== UP) continue;
      const index = table.index[row];
      if (creatorOf(index) === creator) found.push(index);
    }
    this.#list = { creator, madeMs: now.ms, indices: Uint32Array.from(found).sort() };
  }

  #alarm({ node, creator, forMs, ours, theirs }: Disagreement): void {
    const seconds = Math.round(forMs / 1000);
    const text =
      `This node and node ${node} have disagreed for ${seconds} s about the sessions that node ${creator} made: ` +
      `${ours.count} here, ${theirs.count} there. Asking node ${node} for its list.`;
    this.#core.emit({ kind: "notice", level: "warning", code: "digest_differs", text });
  }
}

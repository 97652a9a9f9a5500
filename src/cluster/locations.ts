/**
 * Where sessions are, as nodes tell each other: lossy, newest by the client's own number. Only the client can make a newer
 * number, so no late or repeated message wins, and after a partition all nodes come to the same.
 */
import { isReachable } from "./client_numbers.ts";
import type { Core } from "./core.ts";
import { type Endpoint, sameEndpoint } from "./endpoint.ts";
import { nextRate } from "./forecast.ts";
import type { Handover } from "./handover.ts";
import { lifeOf, type Moved, type Progress } from "./location.ts";
import type { Ownership } from "./ownership.ts";
import type { Records } from "./records.ts";
import { NOBODY, NONE } from "./session_table.ts";

/** Reports after a move that say where the client is, since any may be lost; later each one of TOLD_END - TOLD_AGAIN. */
const TOLD_AGAIN = 4;
const TOLD_END = 20;

/** An own session that advanced, as the data plane sees it. */
export interface Advanced {
  readonly index: number;
  readonly seqHigh: number;
}

export class Locations {
  readonly #core: Core;
  readonly #records: Records;
  readonly #ownership: Ownership;
  readonly #handover: Handover;
  /** Called when another node says where a client is. */
  onLocated: (row: number) => void = () => {};

  constructor(core: Core, records: Records, ownership: Ownership, handover: Handover) {
    this.#core = core;
    this.#records = records;
    this.#ownership = ownership;
    this.#handover = handover;
  }

  /** Own sessions that advanced since the last time. */
  advanced(advanced: Iterable<Advanced>): void {
    const { table, config } = this.#core;
    const sessions: Progress[] = [];
    for (const { index, seqHigh: seq } of advanced) {
      const row = table.find(index);
      if (row === NONE || table.owner[row] !== config.node || seq <= table.high[row]) continue;
      this.#raise(row, seq);
      table.bounces[row] = 0;
      const created = table.created[row];
      if (this.#isTurn(row))
        this.#core.shout({ kind: "moved", index, created, seq, owner: config.node, endpoint: table.endpoint(row) });
      else sessions.push({ index, life: lifeOf(created), seq });
    }
    if (sessions.length > 0) this.#core.shout({ kind: "progress", sessions });
  }

  /** The client of an own session is at another endpoint since packet `seq`. */
  roamed(index: number, endpoint: Endpoint, seq: number): void {
    const { table, config } = this.#core;
    const row = table.find(index);
    if (row === NONE) return;
    // Also when another node has it by now: the shard seals to there until it is told better.
    table.setEndpoint(row, endpoint);
    if (table.owner[row] !== config.node) return;
    table.told[row] = 0;
    this.#raise(row, seq);
    const created = table.created[row];
    this.#core.shout({ kind: "moved", index, created, seq, owner: config.node, endpoint });
  }

  /** `node` reports sessions that it owns. */
  progress(node: number, sessions: readonly Progress[]): void {
    const { table } = this.#core;
    for (const { index, life, seq } of sessions) {
      const row = table.find(index);
      if (row === NONE || lifeOf(table.created[row]) !== life || seq <= table.high[row]) continue;
      if (isReachable(this.#core, row, seq)) this.#newer(row, node, seq);
      else this.#core.outcomes.add("number_impossible");
    }
  }

  /** `node` took a session over, or its client roamed there. */
  moved(node: number, moved: Moved): void {
    const { table, outcomes } = this.#core;
    if (moved.owner !== node) {
      outcomes.add("record_misplaced");
      return;
    }
    const row = this.#records.rowOf(moved);
    if (row === NONE || moved.seq <= table.high[row]) return;
    if (!isReachable(this.#core, row, moved.seq)) {
      outcomes.add("number_impossible");
      return;
    }
    if (!this.#newer(row, node, moved.seq, moved.endpoint)) return;
    if (!sameEndpoint(table.endpoint(row), moved.endpoint)) {
      table.setEndpoint(row, moved.endpoint);
      this.#core.emit({ kind: "locate", index: moved.index, endpoint: moved.endpoint });
    }
    this.onLocated(row);
  }

  /** What a node that was asked knows of a session. `byOwner`: it says that it is its own. */
  told(row: number, owner: number, seq: number, endpoint: Endpoint | undefined, byOwner: boolean): void {
    if (!isReachable(this.#core, row, seq)) {
      this.#core.outcomes.add("number_impossible");
      return;
    }
    const { table, config } = this.#core;
    if (table.owner[row] === config.node || owner === config.node) return;
    if (owner === NOBODY && seq > table.high[row]) this.#raise(row, seq);
    // A window that is handed over unasked goes without a newer number of the client, and so without news.
    const isNews = seq > table.high[row] || (byOwner && seq !== NONE && seq === table.high[row]);
    if (owner !== NOBODY && (isNews || table.owner[row] === NOBODY)) {
      this.#core.setOwner(row, owner);
      if (seq > table.high[row]) this.#raise(row, seq);
      if (endpoint !== undefined) {
        // Else it was installed with it just now.
        if (!table.isAt(row, endpoint)) {
          table.setEndpoint(row, endpoint);
          this.#core.emit({ kind: "locate", index: table.index[row], endpoint });
        }
        this.onLocated(row);
      }
    }
    this.#ownership.located(row, byOwner);
  }

  /** Whether the present report of an own session says where its client is. */
  #isTurn(row: number): boolean {
    const { told } = this.#core.table;
    const n = told[row];
    const isLast = n === TOLD_END - 1;
    told[row] = isLast ? TOLD_AGAIN : n + 1;
    return isLast || n < TOLD_AGAIN;
  }

  /** False: this node owns it, and asks its shard who is right. */
  #newer(row: number, node: number, seq: number, endpoint?: Endpoint): boolean {
    const { table, config } = this.#core;
    if (table.owner[row] === config.node) {
      this.#handover.claimed(row, node, seq, endpoint);
      return false;
    }
    this.#core.setOwner(row, node);
    this.#raise(row, seq);
    this.#ownership.located(row);
    return true;
  }

  #raise(row: number, seq: number): void {
    const { table, now } = this.#core;
    const high = table.high[row];
    if (seq <= high) return;
    const elapsedMs = now.ms - table.highAtMs[row];
    table.rate[row] = nextRate(table.rate[row], high === NONE ? seq + 1 : seq - high, high === NONE ? 0 : elapsedMs);
    table.high[row] = seq;
    table.highAtMs[row] = now.ms;
  }
}

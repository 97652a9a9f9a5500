/**
 * Which sessions there are: records from this node, the bus and the link, merged. A session that ended stays ended: its
 * tombstone is kept as long as an older record of it may still come. Consequences (a newer session replaces an older one of
 * its client) are not replicated: every node draws them from the same records.
 */
import { creatorOf } from "../crypto/session_index.ts";
import type { Contacts } from "./contacts.ts";
import type { Core } from "./core.ts";
import type { Endpoint } from "./endpoint.ts";
import { type EndReason, live } from "./group_types.ts";
import {
  encodeRecord,
  type LiveRecord,
  recordKey,
  type SessionName,
  type SessionRecord,
  type Tombstone,
  tombstoneOf,
} from "./record.ts";
import { NOBODY, NONE, PENDING, STRANGE, UP } from "./session_table.ts";

/**
 * A node takes no request of a client that is more than 10 minutes ahead of its clock. Another 10 for clocks of nodes, which
 * are complained about when they are 5 s apart.
 */
const CREATED_AHEAD_MS = 1_200_000;
/** By so much a clock may be wrong before the sessions of its node are not believed. */
const CLOCKS_MS = 86_400_000;
/** Sessions that ended, at most; the oldest are forgotten first. */
const TOMBSTONES_MAX = 131_072;

export class Records {
  readonly #core: Core;
  readonly #contacts: Contacts;
  /** By index, in the order of their ends: `created` of the last session that ended, and how long that counts. */
  readonly #ended = new Map<number, { readonly created: number; readonly expiryMs: number }>();
  /** Called before a session leaves the table. */
  onEnd: (row: number) => void = () => {};

  constructor(core: Core, contacts: Contacts) {
    this.#core = core;
    this.#contacts = contacts;
  }

  get tombstones(): number {
    return this.#ended.size;
  }

  /** This node answered for a session: it is its first owner. */
  answered(record: LiveRecord): void {
    const { table, outcomes, config } = this.#core;
    const known = table.find(record.index);
    if (known !== NONE) this.#drop(known, "superseded");
    const encoded = encodeRecord(record);
    if (encoded === undefined || table.add(record, encoded, config.node, this.#core.now.wallMs) === NONE)
      outcomes.add(encoded === undefined ? "record_too_long" : "table_full");
    else this.#put(record, encoded);
  }

  /** The client's first authentic packet came in at this node. */
  confirmed(index: number): void {
    const { table } = this.#core;
    const row = table.find(index);
    if (row === NONE || table.phase[row] === UP) return;
    this.#up(row);
    this.#put(table.record(row), table.encoded(row));
  }

  /** A session of this node's own ended; `created` says which of its index. */
  ended(index: number, created: number, reason: EndReason): void {
    const row = this.#rowOf({ index, created });
    if (row === NONE) return;
    const expiryMs = this.#core.table.expiryMs[row];
    this.#drop(row, reason);
    if (reason !== "closed" && reason !== "removed") return;
    const tombstone = tombstoneOf({ index, created, expiryMs });
    this.#put(tombstone, encodeRecord(tombstone)!);
  }

  /** Row of exactly this session, or NONE. */
  rowOf(name: SessionName): number {
    return this.#rowOf(name);
  }

  /** Whether exactly this session, or a later one of its index, has ended here. */
  hasEnded(name: SessionName): boolean {
    return (this.#ended.get(name.index)?.created ?? -1) >= name.created;
  }

  /** The tombstone of an index, for a node that missed it. */
  tombstone(index: number): Tombstone | undefined {
    const ended = this.#ended.get(index);
    return ended && { phase: "ended", creator: creatorOf(index), index, ...ended };
  }

  /**
   * A record from another node, which probably owns the session if nothing else is known. True when it told something.
   * `encoded`: the same as bytes.
   */
  learn(record: SessionRecord, encoded: Uint8Array, owner: number, endpoint: Endpoint | undefined): boolean {
    const { table, outcomes } = this.#core;
    if (record.expiryMs <= this.#core.now.wallMs) return this.#old();
    if (!this.#isPlausible(record)) {
      outcomes.add("record_implausible");
      return false;
    }
    const row = table.find(record.index);
    if (row !== NONE && table.created[row] > record.created) return this.#old();
    if (!live(record)) return this.#learnEnd(row, record);
    if (this.hasEnded(record)) return this.#old();
    if (row !== NONE && table.created[row] === record.created) return this.#learnPhase(row, record, owner);
    if (this.#core.ports.superseded(record)) return this.#old();
    if (row !== NONE) this.#retire(row, "superseded");
    const added = table.isFullForOthers ? NONE : table.add(record, encoded, owner, this.#core.now.wallMs);
    if (added === NONE) {
      outcomes.add("table_full");
      return false;
    }
    if (endpoint !== undefined) table.setEndpoint(added, endpoint);
    if (record.phase === "up") this.#core.digest.add(this.#core.now.ms, record.index, record.created);
    if (!this.#contacts.isListed(record.index, record.expiryMs)) table.flags[added] |= STRANGE;
    this.#core.emit({ kind: "install", record, endpoint: table.endpoint(added) });
    return true;
  }

  /** What no node of this version says, whoever says it: it would shut a client out, or last for ever. */
  #isPlausible({ created, expiryMs, creator }: SessionRecord): boolean {
    const { now, config, trust } = this.#core;
    if (created > now.wallMs + CREATED_AHEAD_MS) return false;
    if (expiryMs > now.wallMs + config.sessionLifeMs + CLOCKS_MS) return false;
    return trust.isListed(creator);
  }

  #learnPhase(row: number, record: LiveRecord, owner: number): boolean {
    const { table } = this.#core;
    if (table.owner[row] === NOBODY) this.#core.setOwner(row, owner);
    if (table.phase[row] !== PENDING || record.phase !== "up") return false;
    if (table.high[row] === NONE && table.owner[row] !== this.#core.config.node) this.#core.setOwner(row, owner);
    this.#up(row);
    this.#core.emit({ kind: "up", index: record.index });
    return true;
  }

  #learnEnd(row: number, record: SessionRecord): boolean {
    const fresh = !this.hasEnded(record);
    this.#bury(record.index, record.created, record.expiryMs);
    if (row !== NONE) this.#retire(row, "closed");
    return fresh;
  }

  #old(): boolean {
    this.#core.outcomes.add("record_old");
    return false;
  }

  #up(row: number): void {
    const { table, digest } = this.#core;
    table.up(row);
    digest.add(this.#core.now.ms, table.index[row], table.created[row]);
  }

  #retire(row: number, reason: EndReason): void {
    const [index, created] = [this.#core.table.index[row], this.#core.table.created[row]];
    this.#drop(row, reason);
    this.#core.emit({ kind: "retire", index, created, reason });
  }

  #drop(row: number, reason: EndReason): void {
    const { table, digest } = this.#core;
    const [index, created, expiryMs] = [table.index[row], table.created[row], table.expiryMs[row]];
    this.onEnd(row);
    if (table.phase[row] === UP) digest.remove(this.#core.now.ms, index, created);
    table.remove(row);
    // One that was only never confirmed here may have been confirmed elsewhere: its record may come again.
    if (reason !== "unconfirmed") this.#bury(index, created, expiryMs);
  }

  #bury(index: number, created: number, expiryMs: number): void {
    if (this.hasEnded({ index, created })) return;
    this.#ended.delete(index);
    this.#ended.set(index, { created, expiryMs });
    if (this.#ended.size > TOMBSTONES_MAX) this.#ended.delete(this.#ended.keys().next().value!);
  }

  /** Rows of sessions of a node whose clients turn out not to know this start of this node. Walks the table. */
  *unlisted(creator: number): IterableIterator<number> {
    const { table } = this.#core;
    for (let row = 0; row < table.end; row++) {
      if (table.phase[row] === 0 || creatorOf(table.index[row]) !== creator) continue;
      if (this.#contacts.isListed(table.index[row], table.expiryMs[row])) continue;
      table.flags[row] |= STRANGE;
      yield row;
    }
  }

  /** Forgets tombstones of sessions that have expired anyway; a few at a time. */
  tick(): void {
    for (const [index, { expiryMs }] of this.#ended) {
      if (expiryMs > this.#core.now.wallMs) return;
      this.#ended.delete(index);
    }
  }

  #put(record: SessionRecord, encoded: Uint8Array): void {
    this.#core.put(recordKey(record.index), encoded);
    const owner = live(record) ? this.#core.config.node : NOBODY;
    for (const node of this.#core.toldOverLink())
      this.#core.say(node, { kind: "record", encoded, owner, seq: NONE, endpoint: undefined });
  }

  #rowOf({ index, created }: SessionName): number {
    const { table } = this.#core;
    const row = table.find(index);
    return row !== NONE && table.created[row] === created ? row : NONE;
  }
}

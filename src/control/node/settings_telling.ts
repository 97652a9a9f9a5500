/**
 * Which settings the clients of a node have, and telling them others: those that had no room in the grant, when the client asks
 * for them; to all clients that this node owns, when its file says something else; to one, when its addresses change; and to a
 * client that comes from another node, for as long as a session may be older than the last change. What the owner of a session
 * says counts.
 */
import { SETTINGS } from "../../channel/kinds.ts";
import type { SessionChannels } from "../instance/session_channels.ts";
import type { ClientSettings } from "./node_clients.ts";

/** Bytes of SETTINGS that begin their way in one tick: 4 MB/s, and 2,000 clients a second with few networks. */
const BYTES_PER_TICK = 400_000;
const CLIENTS_PER_TICK = 200;
/** Rows that are looked at in a tick. */
const ROWS_PER_TICK = 4000;
/** A client that asks again and again is answered so often. */
const WANTED_MS = 1000;
const APPLIED_LEN = 5;

export interface SettingsTellingPorts {
  /** Monotonic ms. */
  now(): number;
  readonly channels: Pick<SessionChannels, "send" | "isSending">;
  /** What the client of the session in this row is to have; undefined: there is none that counts. */
  settingsOf(row: number): ClientSettings | undefined;
  /** The client sends to this node. */
  owns(row: number): boolean;
  /** Above every row that a session ever had. */
  rowsEnd(): number;
  /** The client could not do all that it was told. */
  failed(row: number): void;
}

export class SettingsTelling {
  readonly #use: SettingsTellingPorts;
  readonly #first: number;
  readonly #lifeMs: number;
  /** From row `#first` on: version that the client has, 0 = not known here. */
  readonly #has: Uint32Array;
  /** Rows to look at, beside those of the walk. */
  readonly #due = new Set<number>();
  /** Rows that asked lately, and when they may again; in the order of time. */
  readonly #askedMs = new Map<number, number>();
  /** Next row to look at because of a change; Infinity: none. */
  #walk = Number.POSITIVE_INFINITY;
  #changedMs = Number.NEGATIVE_INFINITY;

  /** Sessions are in rows [first, first + rows) and live for `lifeMs`. */
  constructor(first: number, rows: number, lifeMs: number, ports: SettingsTellingPorts) {
    this.#use = ports;
    this.#first = first;
    this.#lifeMs = lifeMs;
    this.#has = new Uint32Array(rows);
  }

  /** Version that the client of a row has, and whether it is the one that it is to have. */
  stateOf(row: number): { readonly version: number; readonly current: boolean } | undefined {
    const version = this.#has[row - this.#first];
    return version === 0 ? undefined : { version, current: version === this.#use.settingsOf(row)?.version };
  }

  /** The answer to the client had all of this version; 0: it had not. */
  granted(row: number, version: number): void {
    if (this.#has[row - this.#first] !== version) this.#has[row - this.#first] = version;
  }

  /** The client lacks what its grant named. */
  wanted(row: number): void {
    const nowMs = this.#use.now();
    if (nowMs < (this.#askedMs.get(row) ?? 0)) return;
    this.#askedMs.set(row, nowMs + WANTED_MS);
    this.#has[row - this.#first] = 0;
    this.#due.add(row);
    this.#tell();
  }

  /** SETTINGS_APPLIED came. False: it is none. */
  applied(row: number, content: Uint8Array): boolean {
    if (content.length !== APPLIED_LEN || content[4] > 1) return false;
    this.#has[row - this.#first] = new DataView(content.buffer, content.byteOffset).getUint32(0);
    if (content[4] === 1) this.#use.failed(row);
    return true;
  }

  /** Clients are to have something else than before. */
  changed(): void {
    this.#changedMs = this.#use.now();
    this.#walk = this.#first;
  }

  /** The client of this row alone is. */
  changedOf(row: number): void {
    this.#due.add(row);
  }

  /** The client came from another node, which may have told it something else. */
  owned(row: number): void {
    if (this.#use.now() - this.#changedMs <= this.#lifeMs) this.#due.add(row);
  }

  ended(row: number): void {
    this.#due.delete(row);
    this.#askedMs.delete(row);
    if (this.#has[row - this.#first] !== 0) this.#has[row - this.#first] = 0;
  }

  tick(): void {
    const end = Math.min(this.#walk + ROWS_PER_TICK, this.#use.rowsEnd());
    for (; this.#walk < end && this.#due.size < ROWS_PER_TICK; this.#walk++) this.#due.add(this.#walk);
    if (this.#walk >= this.#use.rowsEnd()) this.#walk = Number.POSITIVE_INFINITY;
    const nowMs = this.#use.now();
    for (const [row, untilMs] of this.#askedMs) {
      if (untilMs > nowMs) break;
      this.#askedMs.delete(row);
    }
    this.#tell();
  }

  /** Tells those that are due, as many as may begin now. */
  #tell(): void {
    let [bytes, clients] = [0, 0];
    for (const row of this.#due) {
      if (bytes >= BYTES_PER_TICK || clients >= CLIENTS_PER_TICK) return;
      this.#due.delete(row);
      const settings = this.#use.owns(row) ? this.#use.settingsOf(row) : undefined;
      if (settings === undefined || settings.version === this.#has[row - this.#first]) continue;
      const { parts } = settings;
      this.#use.channels.send(row, SETTINGS, parts, true);
      bytes += parts.reduce((sum, part) => sum + part.length, 0);
      clients++;
    }
  }
}

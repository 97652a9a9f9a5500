/**
 * The sessions of the group as one node knows them: what was agreed (the record) and where each is now (owner, client's
 * sequence numbers, endpoint). Columns of numbers instead of objects: 100,000 sessions are the normal case. Everything is
 * found by index or row at once; nothing here walks.
 */
import { isMapped } from "../base/ip.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Told } from "./link_message.ts";
import type { LiveRecord } from "./record.ts";
import { RecordSlab } from "./record_slab.ts";

/** No such session, or no room. */
export const NONE = -1;

export const PENDING = 1;
export const UP = 2;

/** The node that owns a session is not known. */
export const NOBODY = 0;

/** In `flags`: the client does not know this start of this node as a sender yet, as far as can be told. */
export const STRANGE = 1;

const ROWS_AT_START = 1024;
/** Of all rows, one in so many is kept for sessions that this node answers itself: however many others tell of. */
const KEPT_SHARE = 8;
/** Counting stops here: more than a client that moves each second for 18 hours. */
const MOVES_MAX = 0xffff;

/** At which node a client is, as this node has seen it. */
export interface Holding {
  /** NOBODY: not known now. */
  readonly node: number;
  /** Since when the node that was known last has it, ms since 1970, in whole seconds. */
  readonly sinceMs: number;
  /** How often another node has taken the client over. */
  readonly moves: number;
}

export class SessionTable {
  readonly #max: number;
  readonly #rows = new Map<number, number>();
  readonly #free: number[] = [];
  #used = 0;

  /** Of the record, where it is looked for often. */
  index = new Int32Array(ROWS_AT_START);
  created = new Float64Array(ROWS_AT_START);
  expiryMs = new Float64Array(ROWS_AT_START);
  readonly #records = new RecordSlab(ROWS_AT_START);
  /** PENDING or UP; 0 in a free row. */
  phase = new Uint8Array(ROWS_AT_START);
  flags = new Uint8Array(ROWS_AT_START);
  /** Node that has it, or NOBODY. Written by `setOwner`, which counts. */
  owner = new Uint16Array(ROWS_AT_START);
  /** The last owner that was not NOBODY, since when (s since 1970), and how often it became another one: 8 bytes a session. */
  #holder = new Uint16Array(ROWS_AT_START);
  #heldSinceS = new Uint32Array(ROWS_AT_START);
  #moves = new Uint16Array(ROWS_AT_START);
  /** Since when this node owns it, monotonic ms. */
  ownedAtMs = new Float64Array(ROWS_AT_START);
  /** Greatest authentic sequence number that the group told of, or -1; when it was heard; numbers per ms. */
  high = new Float64Array(ROWS_AT_START);
  highAtMs = new Float64Array(ROWS_AT_START);
  rate = new Float64Array(ROWS_AT_START);
  /** Of an own session: how often the others were told of it since its client moved, see `locations.ts`. */
  told = new Uint8Array(ROWS_AT_START);
  /** Until when packets go to the owner without a question, monotonic ms: it said that it keeps the session. */
  keptUntilMs = new Float64Array(ROWS_AT_START);
  /** Packets that the data plane handed back although this node owns the session, since the last sign that it knows. */
  bounces = new Uint8Array(ROWS_AT_START);
  #address = new Int32Array(4 * ROWS_AT_START);
  #port = new Uint16Array(ROWS_AT_START);
  #asked = new Uint32Array(ROWS_AT_START);

  /** `max`: sessions at most. */
  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Rows from 0 to here may be in use; for lists in pieces. */
  get end(): number {
    return this.#used;
  }

  /** No row is free for sessions that other nodes tell of. */
  get isFullForOthers(): boolean {
    return this.#rows.size >= this.#max - Math.floor(this.#max / KEPT_SHARE);
  }

  find(index: number): number {
    return this.#rows.get(index) ?? NONE;
  }

  /**
   * A new row, or NONE when the table is full. Its index must not be there yet. `encoded`: the record, which is copied.
   * `wallMs`: the time now, ms since 1970.
   */
  add(record: LiveRecord, encoded: Uint8Array, owner: number, wallMs: number): number {
    if (this.#rows.size >= this.#max) return NONE;
    const row = this.#free.pop() ?? this.#used++;
    if (row >= this.phase.length) this.#grow();
    this.#rows.set(record.index, row);
    this.index[row] = record.index;
    this.created[row] = record.created;
    this.expiryMs[row] = record.expiryMs;
    this.#records.put(row, encoded);
    this.phase[row] = record.phase === "up" ? UP : PENDING;
    this.flags[row] = 0;
    this.#holder[row] = NOBODY;
    this.#heldSinceS[row] = 0;
    this.#moves[row] = 0;
    this.setOwner(row, owner, wallMs);
    this.ownedAtMs[row] = Number.NEGATIVE_INFINITY;
    this.high[row] = NONE;
    this.highAtMs[row] = 0;
    this.rate[row] = 0;
    this.told[row] = 0;
    this.keptUntilMs[row] = Number.NEGATIVE_INFINITY;
    this.bounces[row] = 0;
    this.setEndpoint(row, record.endpoint);
    return row;
  }

  /** `node` has it from now on (`wallMs`, ms since 1970). NOBODY: who has it is not known for a while, which is no move. */
  setOwner(row: number, node: number, wallMs: number): void {
    this.owner[row] = node;
    const before = this.#holder[row];
    if (node === NOBODY || node === before) return;
    this.#holder[row] = node;
    this.#heldSinceS[row] = wallMs / 1000;
    if (before !== NOBODY) this.#countMoves(row, 1);
  }

  /** `row` is the next session of the client that had `before`: its moves are counted on, as the client is the same. */
  continueCount(row: number, before: number): void {
    const moved = this.#holder[row] !== this.#holder[before];
    if (!moved && this.#moves[row] === 0) this.#heldSinceS[row] = this.#heldSinceS[before];
    this.#countMoves(row, this.#moves[before] + (moved ? 1 : 0));
  }

  holding(row: number): Holding {
    return { node: this.owner[row], sinceMs: this.#heldSinceS[row] * 1000, moves: this.#moves[row] };
  }

  #countMoves(row: number, more: number): void {
    this.#moves[row] = Math.min(MOVES_MAX, this.#moves[row] + more);
  }

  remove(row: number): void {
    this.#rows.delete(this.index[row]);
    this.#records.remove(row);
    this.phase[row] = 0;
    this.#free.push(row);
  }

  /** Its client has confirmed it. */
  up(row: number): void {
    this.phase[row] = UP;
    this.#records.up(row);
  }

  /** The record with the phase that counts now. The row must be in use. */
  record(row: number): LiveRecord {
    return this.#records.get(row);
  }

  /** The same as `encodeRecord` makes it. */
  encoded(row: number): Uint8Array {
    return this.#records.copy(row);
  }

  /** All that is known of it, for another node. The row must be in use. */
  asTold(row: number): Told {
    const [owner, seq, endpoint] = [this.owner[row], this.high[row], this.endpoint(row)];
    return { kind: "record", encoded: this.encoded(row), owner, seq, endpoint };
  }

  setEndpoint(row: number, { w0, w1, w2, w3, port, asked }: Endpoint): void {
    this.#address[4 * row] = w0;
    this.#address[4 * row + 1] = w1;
    this.#address[4 * row + 2] = w2;
    this.#address[4 * row + 3] = w3;
    this.#port[row] = port;
    this.#asked[row] = asked ?? 0;
  }

  isAt(row: number, { w0, w1, w2, w3, port, asked }: Endpoint): boolean {
    const address = this.#address;
    const at = 4 * row;
    const isSame = address[at] === w0 && address[at + 1] === w1 && address[at + 2] === w2 && address[at + 3] === w3;
    return isSame && this.#port[row] === port && this.#asked[row] === (asked ?? 0);
  }

  endpoint(row: number): Endpoint {
    const [w0, w1, w2, w3] = this.#address.subarray(4 * row, 4 * row + 4);
    return { family: isMapped(w0, w1, w2) ? 4 : 6, w0, w1, w2, w3, port: this.#port[row], asked: this.#asked[row] };
  }

  /** Twice the rows; amortized one copy a session. */
  #grow(): void {
    const rows = this.phase.length * 2;
    const larger = <T extends { set(from: T): void }>(column: T, empty: T): T => {
      empty.set(column);
      return empty;
    };
    this.index = larger(this.index, new Int32Array(rows));
    this.created = larger(this.created, new Float64Array(rows));
    this.expiryMs = larger(this.expiryMs, new Float64Array(rows));
    this.#records.grow(rows);
    this.phase = larger(this.phase, new Uint8Array(rows));
    this.flags = larger(this.flags, new Uint8Array(rows));
    this.owner = larger(this.owner, new Uint16Array(rows));
    this.#holder = larger(this.#holder, new Uint16Array(rows));
    this.#heldSinceS = larger(this.#heldSinceS, new Uint32Array(rows));
    this.#moves = larger(this.#moves, new Uint16Array(rows));
    this.ownedAtMs = larger(this.ownedAtMs, new Float64Array(rows));
    this.high = larger(this.high, new Float64Array(rows));
    this.highAtMs = larger(this.highAtMs, new Float64Array(rows));
    this.rate = larger(this.rate, new Float64Array(rows));
    this.told = larger(this.told, new Uint8Array(rows));
    this.keptUntilMs = larger(this.keptUntilMs, new Float64Array(rows));
    this.bounces = larger(this.bounces, new Uint8Array(rows));
    this.#address = larger(this.#address, new Int32Array(4 * rows));
    this.#port = larger(this.#port, new Uint16Array(rows));
    this.#asked = larger(this.#asked, new Uint32Array(rows));
  }
}

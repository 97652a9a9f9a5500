/**
 * Memory of a node's sessions: one row each in columns of numbers, about 250 bytes where objects take 1,100. Memory of
 * rows that were never used costs nothing. Finds rows by session index and by client, and keeps them in one queue per
 * phase; what phases mean is `node_sessions.ts`.
 */
import type { Remote } from "../base/ip.ts";
import { IndexMap, NONE } from "../table/index_map.ts";
import type { Aead, SessionIdentity } from "./keys.ts";
import type { Settings } from "./settings.ts";

/** One session, as the node that answered for it knows it. */
export interface NodeSession {
  readonly index: number;
  /** 15 bits that the client chose: mux without its top bit in packets to it. */
  readonly receiver: number;
  /** The client's static key in hex. */
  readonly clientKey: string;
  readonly clientName: string;
  /** In hex: which start of the client. */
  readonly instance: string;
  readonly aead: Aead;
  readonly modes: number;
  /** 32 bytes, for `clientKey` and `groupKey` of keys.ts. */
  readonly secret: Uint8Array;
  readonly settings: Settings;
  /** Where the request came from. */
  readonly from: Remote;
  readonly timestamp: number;
  readonly resumed: boolean;
}

/** What its client knows of it, too. */
export const identityOf = ({ index, timestamp, clientKey }: NodeSession): SessionIdentity => ({
  ...{ index, created: timestamp, client: Buffer.from(clientKey, "hex") },
});

export type Phase = "pending" | "up" | "retiring";
export const PHASES: readonly Phase[] = ["pending", "up", "retiring"];

// Integers of a row.
const INDEX = 0;
const RECEIVER = 1;
const AEAD = 2;
const MODES = 3;
const RESUMED = 4;
const FAMILY = 5;
/** Four words of the address. */
const ADDRESS = 6;
const PORT = 10;
const SOCK = 11;
/** Number in PHASES. */
const PHASE = 12;
/** Neighbours in the queue of the phase, and the next row with the same hash of the client's key: row + 1, 0 = none. */
const BEFORE = 13;
const AFTER = 14;
const NEXT_OF_CLIENT = 15;
const ROW_INTS = 16;

// Bytes of a row.
const KEY = 0;
const KEY_LEN = 32;
const INSTANCE = 32;
const INSTANCE_LEN = 8;
const SECRET = 40;
const SECRET_LEN = 32;
/** The secret of both static keys, all zero when it is not known: X25519 is never agreed on zero. */
const STATIC_SHARED = 72;
const ROW_BYTES = 104;

export class SessionRows {
  size = 0;
  readonly #capacity: number;
  readonly #ints: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #timestamps: Float64Array;
  readonly #dues: Float64Array;
  readonly #names: string[] = [];
  readonly #settings: (Settings | undefined)[] = [];
  readonly #byIndex: IndexMap;
  readonly #byClient: IndexMap;
  /** First and last row + 1 of each phase's queue. */
  readonly #first = [0, 0, 0];
  readonly #last = [0, 0, 0];
  #used = 0;
  /** First freed row + 1, linked through AFTER. */
  #freed = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#ints = new Int32Array(ROW_INTS * capacity);
    this.#bytes = new Uint8Array(ROW_BYTES * capacity);
    this.#timestamps = new Float64Array(capacity);
    this.#dues = new Float64Array(capacity);
    const entries = 2 ** Math.ceil(Math.log2(Math.max(2, capacity)));
    this.#byIndex = new IndexMap(entries);
    this.#byClient = new IndexMap(entries);
  }

  /** Row of a session index, or NONE. */
  find(index: number): number {
    return this.#byIndex.find(index);
  }

  indexOf(row: number): number {
    return this.#ints[row * ROW_INTS + INDEX];
  }

  phaseOf(row: number): Phase {
    return PHASES[this.#ints[row * ROW_INTS + PHASE]];
  }

  timestampOf(row: number): number {
    return this.#timestamps[row];
  }

  dueOf(row: number): number {
    return this.#dues[row];
  }

  nameOf(row: number): string {
    return this.#names[row];
  }

  /** In hex. */
  clientKeyOf(row: number): string {
    return this.#hex(row * ROW_BYTES + KEY, KEY_LEN);
  }

  sameInstance(a: number, b: number): boolean {
    for (let k = INSTANCE; k < INSTANCE + INSTANCE_LEN; k++)
      if (this.#bytes[a * ROW_BYTES + k] !== this.#bytes[b * ROW_BYTES + k]) return false;
    return true;
  }

  /** The rows of one client, oldest first. `clientKey` in hex. */
  ofClient(clientKey: string): number[] {
    return this.ofKey(Buffer.from(clientKey, "hex"));
  }

  /** The rows of one client, oldest first. `clientKey`: 32 bytes. */
  ofKey(clientKey: Uint8Array): number[] {
    return this.#withKey(hashOf(clientKey, 0), clientKey, 0);
  }

  /** The rows of the client that row `row` belongs to, itself included, oldest first. */
  sameClient(row: number): number[] {
    const at = row * ROW_BYTES + KEY;
    return this.#withKey(hashOf(this.#bytes, at), this.#bytes, at);
  }

  /** The first of a phase's queue, or NONE. */
  firstOf(phase: Phase): number {
    return this.#first[PHASES.indexOf(phase)] - 1;
  }

  /** The row behind it in the queue of its phase, or NONE. */
  after(row: number): number {
    return this.#ints[row * ROW_INTS + AFTER] - 1;
  }

  /** See NodeSessions.add. */
  staticSharedOf(row: number): Uint8Array | undefined {
    const at = row * ROW_BYTES + STATIC_SHARED;
    const secret = this.#bytes.slice(at, at + SECRET_LEN);
    return secret.some((byte) => byte !== 0) ? secret : undefined;
  }

  forgetStaticShared(): void {
    for (let at = STATIC_SHARED; at < this.#bytes.length; at += ROW_BYTES) this.#bytes.fill(0, at, at + SECRET_LEN);
  }

  /** Copies a session into a free row, pending. Throws RangeError when there is none. */
  add(session: NodeSession, dueMs: number, staticShared?: Uint8Array): number {
    const row = this.#freed > 0 ? this.#freed - 1 : this.#used;
    if (row === this.#capacity) throw new RangeError(`There is no room for more than ${this.#capacity} sessions.`);
    if (row === this.#used) this.#used++;
    else this.#freed = this.#ints[row * ROW_INTS + AFTER];
    const at = row * ROW_INTS;
    const { from } = session;
    const ints = this.#ints;
    ints[at + INDEX] = session.index;
    ints[at + RECEIVER] = session.receiver;
    ints[at + AEAD] = session.aead;
    ints[at + MODES] = session.modes;
    ints[at + RESUMED] = session.resumed ? 1 : 0;
    ints[at + FAMILY] = from.family;
    ints[at + ADDRESS] = from.w0;
    ints[at + ADDRESS + 1] = from.w1;
    ints[at + ADDRESS + 2] = from.w2;
    ints[at + ADDRESS + 3] = from.w3;
    ints[at + PORT] = from.port;
    ints[at + SOCK] = from.sock;
    ints[at + NEXT_OF_CLIENT] = 0;
    const byte = row * ROW_BYTES;
    this.#bytes.set(Buffer.from(session.clientKey, "hex"), byte + KEY);
    this.#bytes.set(Buffer.from(session.instance, "hex"), byte + INSTANCE);
    this.#bytes.set(session.secret, byte + SECRET);
    if (staticShared !== undefined) this.#bytes.set(staticShared, byte + STATIC_SHARED);
    this.#timestamps[row] = session.timestamp;
    this.#names[row] = session.clientName;
    this.#settings[row] = session.settings;
    this.#byIndex.set(session.index, row);
    this.#chain(row);
    this.#enqueue(row, 0, dueMs);
    this.size++;
    return row;
  }

  /** Puts a row at the end of another phase's queue. */
  move(row: number, phase: Phase, dueMs: number): void {
    this.#dequeue(row);
    this.#enqueue(row, PHASES.indexOf(phase), dueMs);
  }

  /** Frees a row and wipes its secrets. */
  remove(row: number): void {
    const at = row * ROW_INTS;
    this.#dequeue(row);
    this.#byIndex.remove(this.#ints[at + INDEX]);
    this.#unchain(row);
    this.#bytes.fill(0, row * ROW_BYTES, (row + 1) * ROW_BYTES);
    this.#names[row] = "";
    this.#settings[row] = undefined;
    this.#ints[at + AFTER] = this.#freed;
    this.#freed = row + 1;
    this.size--;
  }

  /** A copy of what `add` was given. */
  read(row: number): NodeSession {
    const ints = this.#ints;
    const at = row * ROW_INTS;
    return {
      index: ints[at + INDEX],
      receiver: ints[at + RECEIVER],
      clientKey: this.clientKeyOf(row),
      clientName: this.#names[row],
      instance: this.#hex(row * ROW_BYTES + INSTANCE, INSTANCE_LEN),
      aead: ints[at + AEAD] as Aead,
      modes: ints[at + MODES],
      secret: this.#bytes.slice(row * ROW_BYTES + SECRET, row * ROW_BYTES + SECRET + SECRET_LEN),
      settings: this.#settings[row]!,
      from: {
        family: ints[at + FAMILY] === 4 ? 4 : 6,
        w0: ints[at + ADDRESS],
        w1: ints[at + ADDRESS + 1],
        w2: ints[at + ADDRESS + 2],
        w3: ints[at + ADDRESS + 3],
        port: ints[at + PORT],
        sock: ints[at + SOCK],
      },
      timestamp: this.#timestamps[row],
      resumed: ints[at + RESUMED] === 1,
    };
  }

  #hex(at: number, length: number): string {
    return Buffer.from(this.#bytes.buffer, at, length).toString("hex");
  }

  #withKey(hash: number, key: Uint8Array, keyAt: number): number[] {
    const rows: number[] = [];
    for (let row = this.#byClient.find(hash); row !== NONE; row = this.#ints[row * ROW_INTS + NEXT_OF_CLIENT] - 1) {
      let k = 0;
      while (k < KEY_LEN && this.#bytes[row * ROW_BYTES + KEY + k] === key[keyAt + k]) k++;
      if (k === KEY_LEN) rows.push(row);
    }
    return rows;
  }

  #chain(row: number): void {
    const hash = hashOf(this.#bytes, row * ROW_BYTES + KEY);
    let last = this.#byClient.find(hash);
    if (last === NONE) {
      this.#byClient.set(hash, row);
      return;
    }
    for (let next = last; next >= 0; next = this.#ints[last * ROW_INTS + NEXT_OF_CLIENT] - 1) last = next;
    this.#ints[last * ROW_INTS + NEXT_OF_CLIENT] = row + 1;
  }

  #unchain(row: number): void {
    const hash = hashOf(this.#bytes, row * ROW_BYTES + KEY);
    const next = this.#ints[row * ROW_INTS + NEXT_OF_CLIENT];
    let before = this.#byClient.find(hash);
    if (before === row) {
      if (next === 0) this.#byClient.remove(hash);
      else this.#byClient.set(hash, next - 1);
      return;
    }
    while (this.#ints[before * ROW_INTS + NEXT_OF_CLIENT] !== row + 1)
      before = this.#ints[before * ROW_INTS + NEXT_OF_CLIENT] - 1;
    this.#ints[before * ROW_INTS + NEXT_OF_CLIENT] = next;
  }

  #enqueue(row: number, phase: number, dueMs: number): void {
    const at = row * ROW_INTS;
    this.#dues[row] = dueMs;
    this.#ints[at + PHASE] = phase;
    this.#ints[at + BEFORE] = this.#last[phase];
    this.#ints[at + AFTER] = 0;
    if (this.#last[phase] === 0) this.#first[phase] = row + 1;
    else this.#ints[(this.#last[phase] - 1) * ROW_INTS + AFTER] = row + 1;
    this.#last[phase] = row + 1;
  }

  #dequeue(row: number): void {
    const at = row * ROW_INTS;
    const phase = this.#ints[at + PHASE];
    const before = this.#ints[at + BEFORE];
    const after = this.#ints[at + AFTER];
    if (before === 0) this.#first[phase] = after;
    else this.#ints[(before - 1) * ROW_INTS + AFTER] = after;
    if (after === 0) this.#last[phase] = before;
    else this.#ints[(after - 1) * ROW_INTS + BEFORE] = before;
  }
}

/** 32 bits of a client's key. Keys that share them share a chain, so this is only about speed. */
const hashOf = (bytes: Uint8Array, at: number): number =>
  bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);

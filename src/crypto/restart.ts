/**
 * Lets a restarted peer back in. Classic peers begin at sequence number 0 in every process, so a receiver with a replay
 * window would refuse them until they pass the old maximum. Consulted only for packets that the window refuses and for
 * authentic packets of the zone (seq < 64). Rules, reasons and what an attacker still can do: docs/PROTOCOL.md,
 * "Restarted peers". It never moves a window itself and never decides about endpoints.
 *
 * Order for one packet:
 *   r = replay.check()                                  r refuses and !mayBeRestart(): drop
 *   fingerprintHi/Lo() when r refuses or seq < 64       before open, which changes the bytes
 *   open: authenticate and decrypt                      failed: drop
 *   r fresh:    seq < 64 and !remember(): drop;         then replay.commit(), accepted()
 *   r refuses:  !confirm(): drop;                       then replay.reset(), accepted()
 *
 * Several shards use one table: what they remember lies in shared memory, slots are then `SharedReplayTable.cell()`, and
 * `confirm` stands between `lock` and `reset` or `unlock` of that table. A fingerprint is written before the shard that
 * accepts looks at the life again, and read after the shard that restarts has locked it: so of two shards that hold
 * copies of one packet, at least one sees the other.
 */

/** Sequence numbers below this are the restart zone. */
export const RESTART_ZONE = 64;
/** Fingerprints kept for each number of the zone: that of the last so many lives of a peer. */
export const RESTART_EPOCHS = 8;
/** A sender that was heard within this time did not restart. */
export const RESTART_PAUSE_MS = 200;
/** Refused packets per second and window that are worth an authentication. */
export const RESTART_TRIES_PER_SECOND = 32;
/** Default of the second rule: after this silence any authentic packet is a restart. */
export const RESTART_QUIET_MS = 30_000;

export interface RestartOptions {
  /** Windows of the replay table. */
  readonly slots: number;
  /** Silence after which an authentic packet below the window is a restart; 0 = never; default RESTART_QUIET_MS. */
  readonly quietMs?: number;
  /** Of as many slots; shared with other tables. Without it the table has memory of its own. */
  readonly memory?: RestartMemory;
}

/** What several tables remember together; transferable to a worker as it is. */
export interface RestartMemory {
  /** When the last packet was accepted, `Float64Array(slots)`. */
  readonly heard: SharedArrayBuffer;
  /** Fingerprints, [slot][seq][epoch] pairs of 32 bits. */
  readonly prints: SharedArrayBuffer;
  /** How many fingerprints were ever written, [slot][seq]. */
  readonly written: SharedArrayBuffer;
}

/** Bytes of a slot that are used only when a packet of the zone is accepted; the system gives them then. */
const PRINT_BYTES = 4 * 2 * RESTART_ZONE * RESTART_EPOCHS;
/**
 * Without shared memory the fingerprints of so many slots (a power of two) are one piece, made when the first of them
 * remembers something. Sessions never do, so a table for 100,000 of them needs no gigabyte of address space.
 */
const PIECE_SLOTS = 64;

export function createRestartMemory(slots: number): RestartMemory {
  return {
    heard: new SharedArrayBuffer(8 * slots),
    prints: new SharedArrayBuffer(PRINT_BYTES * slots),
    written: new SharedArrayBuffer(4 * RESTART_ZONE * slots),
  };
}

export class RestartTable {
  readonly #quietMs: number;
  /** When the last packet was accepted. */
  readonly #heardMs: Float64Array;
  /** By piece of `#pieceSlots` slots. */
  readonly #prints: (Int32Array | undefined)[];
  readonly #written: (Int32Array | undefined)[];
  readonly #pieceSlots: number;
  // Of this table alone: each shard has its own budget.
  readonly #budgetFromMs: Float64Array;
  readonly #tries: Uint8Array;

  constructor(options: RestartOptions) {
    this.#quietMs = options.quietMs ?? RESTART_QUIET_MS;
    const { memory, slots } = options;
    this.#heardMs = memory ? new Float64Array(memory.heard) : new Float64Array(slots);
    this.#pieceSlots = memory ? slots : PIECE_SLOTS;
    const pieces = Math.ceil(slots / this.#pieceSlots);
    this.#prints = memory ? [new Int32Array(memory.prints)] : new Array(pieces).fill(undefined);
    this.#written = memory ? [new Int32Array(memory.written)] : new Array(pieces).fill(undefined);
    this.#budgetFromMs = new Float64Array(options.slots);
    this.#tries = new Uint8Array(options.slots);
  }

  /** A window was created in this slot: forgets what was known of its former owner. In no shard may it be in use. */
  open(slot: number): void {
    this.#heardMs[slot] = 0;
    this.#budgetFromMs[slot] = 0;
    this.#tries[slot] = 0;
    const inPiece = slot % this.#pieceSlots;
    const written = this.#written[(slot - inPiece) / this.#pieceSlots];
    written?.fill(0, inPiece * RESTART_ZONE, (inPiece + 1) * RESTART_ZONE);
  }

  /** A packet was accepted. Hot: one store. */
  accepted(slot: number, nowMs: number): void {
    this.#heardMs[slot] = nowMs;
  }

  /** Whether a packet that the window refuses is worth authenticating. Takes one of the window's tries if so. */
  mayBeRestart(slot: number, seq: number, nowMs: number): boolean {
    if (!this.#inTime(slot, seq, nowMs, true)) return false;
    if (nowMs - this.#budgetFromMs[slot] >= 1000) {
      this.#budgetFromMs[slot] = nowMs;
      this.#tries[slot] = 0;
    }
    if (this.#tries[slot] >= RESTART_TRIES_PER_SECOND) return false;
    this.#tries[slot]++;
    return true;
  }

  /**
   * Whether a packet that the window refuses, and that opened, proves a restart. True: it is remembered, and the caller
   * resets the window to `seq`. `authentic`: the tunnel's packets carry a tag of at least one byte; without one only
   * silence counts.
   */
  confirm(slot: number, seq: number, hi: number, lo: number, nowMs: number, authentic: boolean): boolean {
    if (!this.#inTime(slot, seq, nowMs, authentic)) return false;
    if (!this.remember(slot, seq, hi, lo)) return false;
    this.#heardMs[slot] = nowMs;
    return true;
  }

  /**
   * Notes an authentic packet with seq < 64 that is about to be accepted. False: exactly this packet was accepted
   * before, maybe in an earlier life of the peer, and must be dropped as a duplicate. Packets outside the zone are true.
   */
  remember(slot: number, seq: number, hi: number, lo: number): boolean {
    const s = seq >>> 0;
    if (s >= RESTART_ZONE) return true;
    if (this.knows(slot, s, hi, lo)) return false;
    this.note(slot, s, hi, lo);
    return true;
  }

  /** Whether a packet of the zone is remembered. */
  protected knows(slot: number, s: number, hi: number, lo: number): boolean {
    const inPiece = slot % this.#pieceSlots;
    const piece = (slot - inPiece) / this.#pieceSlots;
    const prints = this.#prints[piece];
    const written = this.#written[piece];
    if (prints === undefined || written === undefined) return false;
    const counter = inPiece * RESTART_ZONE + s;
    const base = counter * RESTART_EPOCHS * 2;
    const known = Math.min(Atomics.load(written, counter) >>> 0, RESTART_EPOCHS);
    for (let k = base; k < base + known * 2; k += 2) {
      if (Atomics.load(prints, k) === (hi | 0) && Atomics.load(prints, k + 1) === (lo | 0)) return true;
    }
    return false;
  }

  /** Remembers a packet of the zone, in the place of the oldest when there are RESTART_EPOCHS. */
  protected note(slot: number, s: number, hi: number, lo: number): void {
    const inPiece = slot % this.#pieceSlots;
    const piece = (slot - inPiece) / this.#pieceSlots;
    const counter = inPiece * RESTART_ZONE + s;
    this.#prints[piece] ??= new Int32Array((PRINT_BYTES / 4) * PIECE_SLOTS);
    this.#written[piece] ??= new Int32Array(RESTART_ZONE * PIECE_SLOTS);
    const prints = this.#prints[piece];
    const written = this.#written[piece];
    // A place of its own first, then the print: two shards never write into one place.
    const at = (counter * RESTART_EPOCHS + ((Atomics.add(written, counter, 1) >>> 0) % RESTART_EPOCHS)) * 2;
    Atomics.store(prints, at, hi);
    Atomics.store(prints, at + 1, lo);
  }

  #inTime(slot: number, seq: number, nowMs: number, authentic: boolean): boolean {
    const pauseMs = nowMs - this.#heardMs[slot];
    if (authentic && seq >>> 0 < RESTART_ZONE && pauseMs >= RESTART_PAUSE_MS) return true;
    return this.#quietMs > 0 && pauseMs >= this.#quietMs;
  }
}

/**
 * The two halves of 64 bits that name a sealed datagram. Take them before `open`, which decrypts in place. Not
 * cryptographic, and need not be: whoever can only replay cannot choose the bytes, and a chance match costs one packet.
 */
export function fingerprintHi(slab: Uint8Array, at: number, len: number): number {
  let hash = 0x811c9dc5 | 0;
  for (let i = at; i < at + len; i++) hash = Math.imul(hash ^ slab[i], 0x01000193);
  return hash;
}

/** See `fingerprintHi`: another multiplier and a shift, so that both halves do not collide together. */
export function fingerprintLo(slab: Uint8Array, at: number, len: number): number {
  let hash = 0x9dc5811c | 0;
  for (let i = at; i < at + len; i++) {
    hash = Math.imul(hash ^ slab[i], 0x5bd1e995);
    hash ^= hash >>> 15;
  }
  return hash;
}

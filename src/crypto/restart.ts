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
}

/** Fingerprints of one window: [seq][epoch] pairs of 32 bits, and how many were ever written per seq. */
interface Zone {
  readonly prints: Int32Array;
  readonly written: Uint32Array;
}

export class RestartTable {
  readonly #quietMs: number;
  /** When the last packet was accepted. */
  readonly #heardMs: Float64Array;
  readonly #budgetFromMs: Float64Array;
  readonly #tries: Uint8Array;
  /** Made when the first packet of the zone is accepted: 4 KiB for each sender that began its life under our eyes. */
  readonly #zones: (Zone | undefined)[];

  constructor(options: RestartOptions) {
    this.#quietMs = options.quietMs ?? RESTART_QUIET_MS;
    this.#heardMs = new Float64Array(options.slots);
    this.#budgetFromMs = new Float64Array(options.slots);
    this.#tries = new Uint8Array(options.slots);
    this.#zones = new Array<Zone | undefined>(options.slots).fill(undefined);
  }

  /** A window was created in this slot: forgets what was known of its former owner. */
  open(slot: number): void {
    this.#heardMs[slot] = 0;
    this.#budgetFromMs[slot] = 0;
    this.#tries[slot] = 0;
    this.#zones[slot] = undefined;
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
    let zone = this.#zones[slot];
    if (zone === undefined) {
      zone = {
        prints: new Int32Array(RESTART_ZONE * RESTART_EPOCHS * 2),
        written: new Uint32Array(RESTART_ZONE),
      };
      this.#zones[slot] = zone;
    }
    const base = s * RESTART_EPOCHS * 2;
    const known = Math.min(zone.written[s], RESTART_EPOCHS);
    for (let k = 0; k < known; k++) {
      if (zone.prints[base + k * 2] === (hi | 0) && zone.prints[base + k * 2 + 1] === (lo | 0)) return false;
    }
    const at = base + (zone.written[s] % RESTART_EPOCHS) * 2;
    zone.prints[at] = hi;
    zone.prints[at + 1] = lo;
    zone.written[s]++;
    return true;
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

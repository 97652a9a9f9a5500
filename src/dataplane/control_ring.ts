/**
 * What the control plane must see: control datagrams, control payloads of sessions, datagrams of unknown sessions, and in
 * a group whole datagrams that wait for the state of their session. Stages copy into this bounded ring, the shard takes
 * all of it out after the turn. Full or over budget: the packet is dropped and counted, never waited for.
 *
 * Held datagrams and all others have room and budget of their own, so a flood of the one never starves the other. The
 * bytes lie in the slab, one entry after the other, because a copy inside one array needs no view object.
 */
import { AUTHENTIC, ControlBudget, kindOfDatagram, UNKNOWN } from "./control_budget.ts";
import { HANDED_BASE, HANDED_BYTES } from "./layout.ts";

/** A datagram with mux 0xFFFF. */
export const CONTROL_DATAGRAM = 1;
/** The first bytes of a datagram whose session this node does not know. */
export const UNKNOWN_SESSION = 2;
/** The payload of an authentic packet with a payload type of session control; `detail` = the type, `row` = the session. */
export const SESSION_CONTROL = 3;
/** A whole datagram, unopened, of a session that another node of the group owns: `row`; `detail` = seq as 32 bits. */
export const HELD = 4;
/** The same of a session that this node of a group does not know; `row` = -1. */
export const HELD_UNKNOWN = 5;

export const CONTROL_BYTES = 1280;
const CONTROL_ENTRIES = 128;
/** The rest of the room is for what is authentic. */
const ENTRIES_OF_STRANGERS = 96;
/** kind, row, detail, length, address x 4, port, sock, TOS. */
export const CONTROL_WORDS = 11;

/** Longest datagram that is held. */
export const HELD_BYTES_MAX = 2048;
const HELD_ENTRIES = 2048;
/** 884,736 bytes: more than what two sockets deliver in one turn at a path MTU of 1500. */
const HELD_ROOM = HANDED_BYTES - CONTROL_ENTRIES * CONTROL_BYTES;
/**
 * What may be held at once, and each second from then on. 12 ms at 5 Gbit/s, which is longer than a hold lasts; a
 * session that is held for longer has packets at two nodes at once, and a network that does so is not worth more.
 */
const HELD_BURST = 8 << 20;
const HELD_PER_SECOND = 64 << 20;
/** The same for unknown sessions: a node without any state must take as much at once, but a stranger can send these. */
const UNKNOWN_PER_SECOND = 8 << 20;
/** Added to the bytes of each held datagram: small ones cost the control plane as much as large ones. */
const HELD_COST = 256;

// Places in `budgets`.
const OF_OWNED = 0;
const OF_UNKNOWN = 1;

/** The columns of a batch that say where a packet came from. */
export interface Origins {
  readonly addr0: Int32Array;
  readonly addr1: Int32Array;
  readonly addr2: Int32Array;
  readonly addr3: Int32Array;
  readonly port: Int32Array;
  readonly sock: Int32Array;
  readonly tos: Int32Array;
}

export class ControlRing {
  /** Entries that wait. */
  count = 0;
  private held = 0;
  private heldBytes = 0;
  private used = 0;
  private readonly slab: Uint8Array;
  private readonly words = new Int32Array((CONTROL_ENTRIES + HELD_ENTRIES) * CONTROL_WORDS);
  /** Bytes that may be held now, and when that was so (monotonic ms). */
  private readonly budgets = new Float64Array([HELD_BURST, HELD_BURST]);
  private readonly budgetsAt = new Float64Array(2);
  /** What keeps a flood from drowning the control plane. */
  private readonly budget = new ControlBudget();

  /** `slab`: the one that packets are in. */
  constructor(slab: Uint8Array) {
    this.slab = slab;
  }

  /**
   * Copies one entry in, up to CONTROL_BYTES of it. `i`: row of the columns. False: no room, or too many this second.
   */
  push(
    columns: Origins,
    i: number,
    kind: number,
    row: number,
    detail: number,
    at: number,
    len: number,
    now: number,
  ): boolean {
    const room = kind === SESSION_CONTROL ? CONTROL_ENTRIES : ENTRIES_OF_STRANGERS;
    if (this.count - this.held >= room || !this.budget.take(shareOf(this.slab, kind, at, len), now)) return false;
    this.append(columns, i, kind, row, detail, at, Math.min(len, CONTROL_BYTES));
    return true;
  }

  /** Copies a whole datagram in, as HELD (`row` >= 0) or HELD_UNKNOWN. False: no room, over budget, or too long. */
  hold(columns: Origins, i: number, row: number, seq: number, at: number, len: number, now: number): boolean {
    const isKnown = row >= 0;
    if (len > HELD_BYTES_MAX || this.held === HELD_ENTRIES || this.heldBytes + len > HELD_ROOM) return false;
    const b = isKnown ? OF_OWNED : OF_UNKNOWN;
    const gained = ((now - this.budgetsAt[b]) * (isKnown ? HELD_PER_SECOND : UNKNOWN_PER_SECOND)) / 1000;
    const budget = Math.min(HELD_BURST, this.budgets[b] + gained) - len - HELD_COST;
    if (budget < 0) return false;
    this.budgets[b] = budget;
    this.budgetsAt[b] = now;
    this.held++;
    this.heldBytes += len;
    this.append(columns, i, isKnown ? HELD : HELD_UNKNOWN, row, seq, at, len);
    return true;
  }

  /** Takes everything out: words of all entries, and their bytes one after the other without gaps. */
  drain(): { words: Int32Array<ArrayBuffer>; bytes: Uint8Array<ArrayBuffer> } {
    const words = this.words.slice(0, this.count * CONTROL_WORDS);
    const bytes = this.slab.slice(HANDED_BASE, HANDED_BASE + this.used);
    this.count = 0;
    this.held = 0;
    this.heldBytes = 0;
    this.used = 0;
    return { words, bytes };
  }

  private append(
    columns: Origins,
    i: number,
    kind: number,
    row: number,
    detail: number,
    at: number,
    len: number,
  ): void {
    const w = this.words;
    const o = this.count++ * CONTROL_WORDS;
    w[o] = kind;
    w[o + 1] = row;
    w[o + 2] = detail;
    w[o + 3] = len;
    w[o + 4] = columns.addr0[i];
    w[o + 5] = columns.addr1[i];
    w[o + 6] = columns.addr2[i];
    w[o + 7] = columns.addr3[i];
    w[o + 8] = columns.port[i];
    w[o + 9] = columns.sock[i];
    w[o + 10] = columns.tos[i];
    this.slab.copyWithin(HANDED_BASE + this.used, at, at + len);
    this.used += len;
  }
}

function shareOf(slab: Uint8Array, kind: number, at: number, len: number): number {
  if (kind === SESSION_CONTROL) return AUTHENTIC;
  return kind === UNKNOWN_SESSION ? UNKNOWN : kindOfDatagram(slab, at, len);
}

/**
 * Carries what the control plane must see: control datagrams, control payloads of sessions, datagrams of unknown sessions, and
 * in a group whole datagrams that are held until the state of their session arrives. Stages copy entries into this ring of fixed
 * size, and the shard empties it after the turn. When the ring is full or a budget is used up, the packet is dropped and counted;
 * no stage waits.
 *
 * Held datagrams have room and budgets of their own, apart from all other entries, so a flood of one sort never takes the room of
 * the other. Budgets for each session keep one session from taking the room of another (session_budget.ts). The bytes of entries
 * lie one after the other in the slab that also holds the packets, because a copy within one array needs no view object.
 */
import { AUTHENTIC, ControlBudget, OF_SESSION, PROVEN_ASK } from "./control_budget.ts";
import { HANDED_BASE, HANDED_BYTES } from "./layout.ts";
import { OWN_SHARE, REFUSED, SessionBudget, type SessionRates } from "./session_budget.ts";
import { SourceBudget } from "./source_budget.ts";
import { CONTROL, CONTROL_LIMIT, PUNT_FULL } from "./verdict.ts";

/** A datagram with mux 0xFFFF. */
export const CONTROL_DATAGRAM = 1;
/** The first bytes of a datagram whose session this node does not know. */
export const UNKNOWN_SESSION = 2;
/**
 * The payload of an authentic packet with payload type TYPE_CONTROL; `row` = the session, `detail` = the sender id of its header
 * << 16 | length of the payload, of which CONTROL_BYTES are here.
 */
export const SESSION_CONTROL = 3;
/** A whole datagram, unopened, of a session that another node of the group owns: `row`; `detail` = seq as 32 bits. */
export const HELD = 4;
/** The same of a session that this node of a group does not know; `row` = -1. */
export const HELD_UNKNOWN = 5;

export const CONTROL_BYTES = 1280;
/** Entries beside held datagrams: as many as one socket delivers in a turn, so the first packets of sessions find room. */
const CONTROL_ENTRIES = 256;
/**
 * Of these entries, how many may come from senders that have proven nothing. The rest is for authentic messages and requests
 * with a cookie.
 */
const ENTRIES_OF_STRANGERS = 96;
/** kind, row, detail, length, address x 4, port, sock, TOS. */
export const CONTROL_WORDS = 11;

/** Longest datagram that is held. */
export const HELD_BYTES_MAX = 2048;
const HELD_ENTRIES = 2048;
/** Bytes for held datagrams: 983,040, which is more than two sockets deliver in one turn at a path MTU of 1500. */
const HELD_ROOM = HANDED_BYTES - CONTROL_ENTRIES * CONTROL_BYTES;
/**
 * Bytes of known sessions that may be held at once, and a second from then on. 8 MiB are 12 ms at 5 Gbit/s, and a hold lasts
 * less than that. Only when the network keeps sending one session's packets to two nodes, they are held for longer; then the lower
 * rate must do.
 */
const HELD_BURST = 8 << 20;
const HELD_PER_SECOND = 64 << 20;
/**
 * Bytes a second of unknown sessions. A node that just started must take as much at once (HELD_BURST), but strangers can send
 * these, too.
 */
const UNKNOWN_PER_SECOND = 2 << 20;
/** The part of HELD_ROOM that unknown sessions may fill. The rest is for authentic datagrams of known sessions. */
const UNKNOWN_SHARE = 0.5;
/**
 * Bytes kept apart for the first packets of each session that another node owns (its own share, session_budget.ts). The packet
 * that proves that the client is here now is among them, and must find room while another session floods.
 */
const RESERVE_BURST = 2 << 20;
const RESERVE_PER_SECOND = 16 << 20;
/**
 * Bytes that each held datagram is charged beyond its own, because a small one costs the control plane as much work as a large
 * one.
 */
const HELD_COST = 256;

// Places in `budgets`.
const OF_OWNED = 0;
const OF_UNKNOWN = 1;
const OF_RESERVE = 2;
const BURST = Float64Array.of(HELD_BURST, HELD_BURST, RESERVE_BURST);
const PER_SECOND = Float64Array.of(HELD_PER_SECOND, UNKNOWN_PER_SECOND, RESERVE_PER_SECOND);

/** A message of the channel comes in up to 64 pages at once (channel/channel.ts); a client that pings sends a few a second. */
const INSIDE: SessionRates = { ownBurst: 16, ownPerSecond: 16, mostBurst: 96, mostPerSecond: 300 };
/**
 * Held datagrams of one session: at once as many as fit the common budget at full size, then 4,000 a second (45 Mbit/s) when the
 * network keeps sending the session to two nodes. Somebody who replays recorded datagrams can't make the node hold more than that.
 */
const HOLD: SessionRates = { ownBurst: 32, ownPerSecond: 64, mostBurst: 8192, mostPerSecond: 4000 };

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
  private unknown = 0;
  private unknownBytes = 0;
  private used = 0;
  private readonly slab: Uint8Array;
  private readonly words = new Int32Array((CONTROL_ENTRIES + HELD_ENTRIES) * CONTROL_WORDS);
  /** Bytes that may be held now, and when that was so (monotonic ms). */
  private readonly budgets = BURST.slice();
  private readonly budgetsAt = new Float64Array(BURST.length);
  /** What keeps a flood from drowning the control plane. */
  private readonly budget = new ControlBudget();
  private readonly inside: SessionBudget;
  private readonly holds: SessionBudget;
  private readonly sources: SourceBudget;

  /** `slab`: the one that packets are in. `rows`: of the tunnel table. `seed`: 32 bits that strangers do not know. */
  constructor(slab: Uint8Array, rows: number, seed: number) {
    this.sources = new SourceBudget(seed);
    this.slab = slab;
    this.inside = new SessionBudget(rows, INSIDE);
    this.holds = new SessionBudget(rows, HOLD);
  }

  /**
   * Copies one entry of a stranger in, CONTROL_DATAGRAM or UNKNOWN_SESSION, up to CONTROL_BYTES of it. `i`: row of the
   * columns; `share`: its kind in control_budget.ts. False: no room, or too many this second.
   */
  push(
    columns: Origins,
    i: number,
    kind: number,
    share: number,
    detail: number,
    at: number,
    len: number,
    now: number,
  ): boolean {
    const room = share === PROVEN_ASK ? CONTROL_ENTRIES : ENTRIES_OF_STRANGERS;
    if (this.count - this.held >= room || !this.budget.take(share, now)) return false;
    this.append(columns, i, kind, -1, detail, at, Math.min(len, CONTROL_BYTES));
    return true;
  }

  /** Copies a control payload of the session in `row` in, as SESSION_CONTROL. Its verdict: CONTROL, CONTROL_LIMIT or PUNT_FULL. */
  pushInside(columns: Origins, i: number, row: number, sender: number, at: number, len: number, now: number): number {
    const share = this.inside.take(row, now);
    if (share === REFUSED) return CONTROL_LIMIT;
    const isOwn = share === OWN_SHARE && this.budget.take(OF_SESSION, now);
    if (!isOwn && !this.budget.take(AUTHENTIC, now)) return PUNT_FULL;
    if (this.count - this.held >= (isOwn ? CONTROL_ENTRIES : ENTRIES_OF_STRANGERS)) return PUNT_FULL;
    const detail = (sender << 16) | Math.min(len, 0xffff);
    this.append(columns, i, SESSION_CONTROL, row, detail, at, Math.min(len, CONTROL_BYTES));
    return CONTROL;
  }

  /** Copies a whole datagram in, as HELD (`row` >= 0) or HELD_UNKNOWN. False: no room, over budget, or too long. */
  hold(columns: Origins, i: number, row: number, seq: number, at: number, len: number, now: number): boolean {
    const isKnown = row >= 0;
    if (len > HELD_BYTES_MAX || this.held === HELD_ENTRIES || this.heldBytes + len > HELD_ROOM) return false;
    if (isKnown ? !this.maySpend(row, len, now) : !this.mayAsk(columns, i, len, now)) return false;
    this.held++;
    this.heldBytes += len;
    this.append(columns, i, isKnown ? HELD : HELD_UNKNOWN, row, seq, at, len);
    return true;
  }

  /** From the reserve for the own share of the session, or from what all sessions have together. */
  private maySpend(row: number, len: number, now: number): boolean {
    const share = this.holds.take(row, now);
    if (share === REFUSED) return false;
    return (share === OWN_SHARE && this.spend(OF_RESERVE, len, now)) || this.spend(OF_OWNED, len, now);
  }

  /** Of an unknown session: in their part of the room, and within the budgets of its network and of all. */
  private mayAsk(columns: Origins, i: number, len: number, now: number): boolean {
    if (this.unknown >= HELD_ENTRIES * UNKNOWN_SHARE || this.unknownBytes + len > HELD_ROOM * UNKNOWN_SHARE)
      return false;
    const { addr0, addr1, addr2, addr3 } = columns;
    if (!this.sources.take(addr0[i], addr1[i], addr2[i], addr3[i], len + HELD_COST, now)) return false;
    if (!this.spend(OF_UNKNOWN, len, now)) return false;
    this.unknown++;
    this.unknownBytes += len;
    return true;
  }

  /** Takes everything out: words of all entries, and their bytes one after the other without gaps. */
  drain(): { words: Int32Array<ArrayBuffer>; bytes: Uint8Array<ArrayBuffer> } {
    const words = this.words.slice(0, this.count * CONTROL_WORDS);
    const bytes = this.slab.slice(HANDED_BASE, HANDED_BASE + this.used);
    this.count = 0;
    this.held = 0;
    this.heldBytes = 0;
    this.unknown = 0;
    this.unknownBytes = 0;
    this.used = 0;
    return { words, bytes };
  }

  /** Takes a datagram from the budget `b` of held ones; false when it has no room. */
  private spend(b: number, len: number, now: number): boolean {
    const gained = ((now - this.budgetsAt[b]) * PER_SECOND[b]) / 1000;
    const left = Math.min(BURST[b], this.budgets[b] + gained) - len - HELD_COST;
    if (left < 0) return false;
    this.budgets[b] = left;
    this.budgetsAt[b] = now;
    return true;
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

/**
 * What the control plane must see: control datagrams, control payloads of sessions, datagrams of unknown sessions. Stages
 * copy into this bounded ring, the shard takes all of it out after the turn. Full or over budget: the packet is dropped
 * and counted, never waited for.
 */
import { AUTHENTIC, ControlBudget, kindOfDatagram, UNKNOWN } from "./control_budget.ts";

/** A datagram with mux 0xFFFF. */
export const CONTROL_DATAGRAM = 1;
/** The first bytes of a datagram whose session this node does not know. */
export const UNKNOWN_SESSION = 2;
/** The payload of an authentic packet with a payload type of session control; `detail` = the type, `row` = the session. */
export const SESSION_CONTROL = 3;

export const CONTROL_BYTES = 1280;
const ENTRIES = 128;
/** The rest of the ring is for what is authentic. */
const ENTRIES_OF_STRANGERS = 96;
/** kind, row, detail, length, address x 4, port, sock. */
export const CONTROL_WORDS = 10;

export class ControlRing {
  count = 0;
  private readonly bytes = new Uint8Array(ENTRIES * CONTROL_BYTES);
  private readonly words = new Int32Array(ENTRIES * CONTROL_WORDS);
  /** What keeps a flood from drowning the control plane. */
  private readonly budget = new ControlBudget();

  /** Copies one entry in. `row`: input row with the address columns. False: no room, or too many this second. */
  push(
    slab: Uint8Array,
    columns: {
      readonly addr0: Int32Array;
      readonly addr1: Int32Array;
      readonly addr2: Int32Array;
      readonly addr3: Int32Array;
      readonly port: Int32Array;
      readonly sock: Int32Array;
    },
    i: number,
    kind: number,
    row: number,
    detail: number,
    at: number,
    len: number,
    now: number,
  ): boolean {
    const room = kind === SESSION_CONTROL ? ENTRIES : ENTRIES_OF_STRANGERS;
    if (this.count >= room || !this.budget.take(shareOf(slab, kind, at, len), now)) return false;
    const entry = this.count++;
    const w = this.words;
    const o = entry * CONTROL_WORDS;
    const copied = Math.min(len, CONTROL_BYTES);
    w[o] = kind;
    w[o + 1] = row;
    w[o + 2] = detail;
    w[o + 3] = copied;
    w[o + 4] = columns.addr0[i];
    w[o + 5] = columns.addr1[i];
    w[o + 6] = columns.addr2[i];
    w[o + 7] = columns.addr3[i];
    w[o + 8] = columns.port[i];
    w[o + 9] = columns.sock[i];
    const to = entry * CONTROL_BYTES;
    // The one allocation, and only for what leaves the data plane: a loop over the bytes takes ten times as long.
    this.bytes.set(slab.subarray(at, at + copied), to);
    return true;
  }

  /** Takes everything out: words of all entries, and their bytes one after the other without gaps. */
  drain(): { words: Int32Array; bytes: Uint8Array } {
    const words = this.words.slice(0, this.count * CONTROL_WORDS);
    let total = 0;
    for (let e = 0; e < this.count; e++) total += words[e * CONTROL_WORDS + 3];
    const bytes = new Uint8Array(total);
    let at = 0;
    for (let e = 0; e < this.count; e++) {
      const len = words[e * CONTROL_WORDS + 3];
      bytes.set(this.bytes.subarray(e * CONTROL_BYTES, e * CONTROL_BYTES + len), at);
      at += len;
    }
    this.count = 0;
    return { words, bytes };
  }
}

function shareOf(slab: Uint8Array, kind: number, at: number, len: number): number {
  if (kind === SESSION_CONTROL) return AUTHENTIC;
  return kind === UNKNOWN_SESSION ? UNKNOWN : kindOfDatagram(slab, at, len);
}

/**
 * The tunnel table: one row a tunnel, columns in shared memory. The shard that owns the table is its only writer, but
 * for `seqLimit`, which the control thread raises after it has put the numbers on disk; the control thread reads all
 * columns for `status`. A tunnel of a classic peer and, later, a session are rows of the same table.
 */
import { VERDICTS } from "./verdict.ts";

const INTS = 27;
const FLOATS = 13;

// Values of `session`.
export const NO_SESSION = 0;
export const IN_NODE = 1;
export const IN_CLIENT = 2;

/** Memory of one table; transferable to a worker as it is. */
export interface TunnelMemory {
  readonly capacity: number;
  readonly ints: SharedArrayBuffer;
  readonly floats: SharedArrayBuffer;
  readonly drops: SharedArrayBuffer;
  /** Counter per verdict for all packets of the shard, `Float64Array(VERDICTS)`. */
  readonly verdicts: SharedArrayBuffer;
}

export function createTunnelMemory(capacity: number): TunnelMemory {
  return {
    capacity,
    ints: new SharedArrayBuffer(4 * INTS * capacity),
    floats: new SharedArrayBuffer(8 * FLOATS * capacity),
    drops: new SharedArrayBuffer(8 * VERDICTS * capacity),
    verdicts: new SharedArrayBuffer(8 * VERDICTS),
  };
}

export class TunnelTable {
  readonly capacity: number;
  /** 1 when the row is a tunnel. */
  readonly used: Int32Array;
  readonly mux: Int32Array;
  /** Slot of the crypto context. */
  readonly key: Int32Array;
  readonly senderId: Int32Array;
  /** Tag bytes, 0 when there is no authentication. */
  readonly tagLen: Int32Array;
  /** Replay window in packets, 0 = off. */
  readonly window: Int32Array;
  /** 1: the datagrams prove who sent them, so they may move the endpoint. */
  readonly authentic: Int32Array;
  /** 1: every inner source is the peer's (the only tunnel of an instance, without routes). */
  readonly anySource: Int32Array;
  readonly keepaliveMs: Int32Array;
  /** Largest inner packet that is known to pass, and the configured one. */
  readonly innerMtu: Int32Array;
  readonly configuredMtu: Int32Array;
  // The peer's endpoint. `known` 0: not yet.
  readonly known: Int32Array;
  readonly addr0: Int32Array;
  readonly addr1: Int32Array;
  readonly addr2: Int32Array;
  readonly addr3: Int32Array;
  readonly port: Int32Array;
  readonly sock: Int32Array;
  /** NO_SESSION for a classic tunnel; IN_NODE or IN_CLIENT: which end of a session this is. */
  readonly session: Int32Array;
  /** Session index (in a node) or receiver index (in a client). */
  readonly index: Int32Array;
  /** Rows of one owner stand for one peer: a session and the one that replaces it. */
  readonly owner: Int32Array;
  /** 1: nothing authentic has come yet, so nothing may be sent. */
  readonly pending: Int32Array;
  /** 1: another node of the group owns the session's replay window; what comes is held, what goes is sealed as ever. */
  readonly foreign: Int32Array;
  /** Sender ids seen from the peer. */
  readonly senders: Int32Array;
  /** Sender id of the last authentic packet; `lastRx` says whether there was one. */
  readonly lastSender: Int32Array;
  // Last authentication problem: verdict number and how often.
  readonly problem: Int32Array;
  readonly problems: Int32Array;
  /** Next sequence number to seal with, 0 to 2^32. */
  readonly seqNext: Float64Array;
  /** Numbers below this are on disk as used. Written by the control thread. */
  readonly seqLimit: Float64Array;
  readonly rxPackets: Float64Array;
  readonly rxBytes: Float64Array;
  readonly txPackets: Float64Array;
  readonly txBytes: Float64Array;
  /** Monotonic ms of the last authentic packet, of the last one sent, and of the last path MTU change; 0 = never. */
  readonly lastRx: Float64Array;
  readonly lastTx: Float64Array;
  readonly mtuAt: Float64Array;
  /** Monotonic ms of the last packet with payload from the peer; 0 = never. */
  readonly lastData: Float64Array;
  /** A session in a node: highest authentic sequence number of the client that this node accepted, plus 1; 0 = none. */
  readonly seqHigh: Float64Array;
  readonly floodTokens: Float64Array;
  readonly floodAt: Float64Array;
  /** `drops[tunnel * VERDICTS + verdict]`. */
  readonly drops: Float64Array;

  constructor(memory: TunnelMemory) {
    const capacity = memory.capacity;
    this.capacity = capacity;
    const int = (c: number) => new Int32Array(memory.ints, 4 * c * capacity, capacity);
    const float = (c: number) => new Float64Array(memory.floats, 8 * c * capacity, capacity);
    this.used = int(0);
    this.mux = int(1);
    this.key = int(2);
    this.senderId = int(3);
    this.tagLen = int(4);
    this.window = int(5);
    this.authentic = int(6);
    this.anySource = int(7);
    this.keepaliveMs = int(8);
    this.innerMtu = int(9);
    this.configuredMtu = int(10);
    this.known = int(11);
    this.addr0 = int(12);
    this.addr1 = int(13);
    this.addr2 = int(14);
    this.addr3 = int(15);
    this.port = int(16);
    this.sock = int(17);
    this.senders = int(18);
    this.problem = int(19);
    this.problems = int(20);
    this.session = int(21);
    this.index = int(22);
    this.owner = int(23);
    this.pending = int(24);
    this.foreign = int(25);
    this.lastSender = int(26);
    this.seqNext = float(0);
    this.seqLimit = float(1);
    this.rxPackets = float(2);
    this.rxBytes = float(3);
    this.txPackets = float(4);
    this.txBytes = float(5);
    this.lastRx = float(6);
    this.lastTx = float(7);
    this.mtuAt = float(8);
    this.floodTokens = float(9);
    this.floodAt = float(10);
    this.lastData = float(11);
    this.seqHigh = float(12);
    this.drops = new Float64Array(memory.drops);
  }

  /** Clears what an earlier tunnel left in row `t`; `seqLimit` is the control thread's and stays. */
  reset(t: number): void {
    for (const column of [this.known, this.senders, this.problem, this.problems]) column[t] = 0;
    for (const column of [this.session, this.pending, this.foreign]) column[t] = 0;
    for (const column of [this.rxPackets, this.rxBytes, this.txPackets, this.txBytes, this.seqHigh]) column[t] = 0;
    for (const column of [this.lastRx, this.lastTx, this.lastData, this.mtuAt, this.floodAt]) column[t] = 0;
    // Memory that was never written stays the system's: most rows never drop a packet.
    for (let at = t * VERDICTS; at < (t + 1) * VERDICTS; at++) if (this.drops[at] !== 0) this.drops[at] = 0;
  }

  /** Sets the endpoint of tunnel `t` to what row columns say. */
  moveTo(t: number, a0: number, a1: number, a2: number, a3: number, port: number, sock: number): void {
    this.addr0[t] = a0;
    this.addr1[t] = a1;
    this.addr2[t] = a2;
    this.addr3[t] = a3;
    this.port[t] = port;
    this.sock[t] = sock;
    this.known[t] = 1;
  }
}

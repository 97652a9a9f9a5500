/**
 * A network without an operating system: sockets that reach each other by address and port, and one virtual clock.
 * Deterministic; nothing is random unless a hook makes it so. Storage is made when a socket opens and nothing is
 * allocated per packet, so the zero-allocation test of the pipeline can stand on it.
 */
import { SLOT_BYTES } from "../dataplane/layout.ts";

/** Bounded queue of packets with their origin. A packet longer than a slot is kept beside it, the one case that allocates. */
export class PacketRing {
  readonly capacity: number;
  readonly bytes: Uint8Array;
  readonly len: Int32Array;
  /** Row by row: remote address (four words), remote port, TOS, number of the local address; of a device, see below. */
  readonly facts: Int32Array;
  /** Packets longer than a slot, by slot. */
  private readonly long = new Map<number, Uint8Array>();
  first = 0;
  count = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.bytes = new Uint8Array(capacity * SLOT_BYTES);
    this.len = new Int32Array(capacity);
    this.facts = new Int32Array(capacity * FACTS);
  }

  /** Copies a packet in and returns its slot, or -1 when the ring is full. The caller fills the facts. */
  push(source: Uint8Array, at: number, len: number): number {
    if (this.count === this.capacity) return -1;
    const slot = (this.first + this.count++) % this.capacity;
    if (len > SLOT_BYTES) this.long.set(slot, source.slice(at, at + len));
    else copyBytes(source, at, this.bytes, slot * SLOT_BYTES, len);
    this.len[slot] = len;
    return slot;
  }

  /** Length of the oldest packet, or -1: empty. */
  nextLen(): number {
    return this.count === 0 ? -1 : this.len[this.first];
  }

  /** Copies the oldest packet to `target` and forgets it. Returns its slot, whose facts are still there, or -1: empty. */
  shift(target: Uint8Array, at: number): number {
    if (this.count === 0) return -1;
    const slot = this.first;
    const len = this.len[slot];
    if (len > SLOT_BYTES) {
      target.set(this.long.get(slot)!, at);
      this.long.delete(slot);
    } else {
      copyBytes(this.bytes, slot * SLOT_BYTES, target, at, len);
    }
    this.first = (slot + 1) % this.capacity;
    this.count--;
    return slot;
  }
}

/** Columns of `PacketRing.facts`: fact k of slot s is at s * FACTS + k. */
export const FACTS = 7;
export const FACT_PORT = 4;
export const FACT_TOS = 5;
export const FACT_LOCAL = 6;
/** Of a packet that the host gave to its device: COL_SEG and COL_HDR. */
export const FACT_SEG = 0;
export const FACT_HDR = 1;

/** A loop, because `set(subarray())` makes one view object for each packet. */
function copyBytes(source: Uint8Array, from: number, target: Uint8Array, to: number, len: number): void {
  for (let k = 0; k < len; k++) target[to + k] = source[from + k];
}

/** The addresses of one host, four words each; position k has the local number k + 1. */
export type HostAddresses = readonly (readonly [number, number, number, number])[];

/** One open socket. `address` undefined: all addresses of the host in its family. */
export interface MemorySocket {
  readonly host: HostAddresses;
  readonly family: 4 | 6;
  readonly address: readonly [number, number, number, number] | undefined;
  readonly port: number;
  readonly queue: PacketRing;
}

export class MemoryNetwork {
  /** The virtual clock, monotonic milliseconds. Moves by assignment and by a `poll` that waits in vain. */
  nowMs = 0;
  /** Path MTU between all hosts: outer IP packet in bytes. */
  mtuBytes = 1500;
  /** Datagrams that met no socket, a full queue, or a `carries` that said no. */
  lost = 0;
  /**
   * Asked for each socket that has the destination, in order of opening; the first one that it grants gets the
   * datagram. Loss, partitions and anycast catchments (several hosts with one address) are made of this.
   */
  carries: (from: MemorySocket, to: MemorySocket) => boolean = () => true;
  /** Whether the sender's routing table knows the destination; false makes the row SEND_UNREACHABLE. */
  hasRoute: (w0: number, w1: number, w2: number, w3: number) => boolean = () => true;
  readonly sockets: MemorySocket[] = [];

  /** Hands a datagram to whoever has the destination. Returns false when it was lost, which the sender never learns. */
  deliver(
    from: MemorySocket,
    source: readonly [number, number, number, number],
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    port: number,
    bytes: Uint8Array,
    at: number,
    len: number,
    tos: number,
  ): boolean {
    for (let k = 0; k < this.sockets.length; k++) {
      const to = this.sockets[k];
      if (to.port !== port) continue;
      const local = localNumber(to, w0, w1, w2, w3);
      if (local < 0 || !this.carries(from, to)) continue;
      const slot = to.queue.push(bytes, at, len);
      if (slot < 0) break;
      const facts = to.queue.facts;
      const base = slot * FACTS;
      facts[base] = source[0];
      facts[base + 1] = source[1];
      facts[base + 2] = source[2];
      facts[base + 3] = source[3];
      facts[base + FACT_PORT] = from.port;
      facts[base + FACT_TOS] = tos;
      facts[base + FACT_LOCAL] = to.address === undefined ? local : 0;
      return true;
    }
    this.lost++;
    return false;
  }
}

/** Number (from 1) of the host's address that equals the words, when the socket is bound to it; -1: not this socket. */
function localNumber(socket: MemorySocket, w0: number, w1: number, w2: number, w3: number): number {
  const bound = socket.address;
  if (bound !== undefined && !(bound[0] === w0 && bound[1] === w1 && bound[2] === w2 && bound[3] === w3)) return -1;
  for (let k = 0; k < socket.host.length; k++) {
    const a = socket.host[k];
    if (a[0] !== w0 || a[1] !== w1 || a[2] !== w2 || a[3] !== w3) continue;
    return (socket.family === 4) === isMappedWords(a) ? k + 1 : -1;
  }
  return -1;
}

/** True for ::ffff:a.b.c.d. */
export function isMappedWords(a: readonly [number, number, number, number]): boolean {
  return a[0] === 0 && a[1] === 0 && a[2] === 0xffff;
}

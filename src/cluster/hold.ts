/**
 * Packets that wait for the state of their session: first in, first out per session; bounded in packets, bytes,
 * sessions and time. Whoever takes packets out counts what becomes of them.
 */

export interface HoldLimits {
  /** Packets of one session. */
  readonly perSession: number;
  readonly packets: number;
  readonly bytes: number;
  readonly sessions: number;
}

export const holdRefusals = {
  session_full: "More packets of one session than may wait for its state.",
  packets_full: "More packets than may wait for the state of their sessions.",
  bytes_full: "More bytes than may wait for the state of their sessions.",
  sessions_full: "More sessions than may wait for their state.",
} as const;
export type HoldRefusal = keyof typeof holdRefusals;

interface Waiting<T> {
  readonly packets: T[];
  dueMs: number;
}

export class HoldQueue<T extends { readonly datagram: Uint8Array }> {
  /** By reason, since the start. */
  readonly refused: Record<HoldRefusal, number> = { session_full: 0, packets_full: 0, bytes_full: 0, sessions_full: 0 };
  readonly #limits: HoldLimits;
  readonly #sessions = new Map<number, Waiting<T>>();
  #packets = 0;
  #bytes = 0;
  /** No session is due before; may be too early, never too late. */
  #nextMs = Number.POSITIVE_INFINITY;

  constructor(limits: HoldLimits) {
    this.#limits = limits;
  }

  get packets(): number {
    return this.#packets;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  /** Undefined = held; else it was refused and counted. `dueMs` (monotonic) counts for the first of a session only. */
  hold(index: number, dueMs: number, packet: T): HoldRefusal | undefined {
    const refusal = this.#refusal(index, packet);
    if (refusal !== undefined) {
      this.refused[refusal]++;
      return refusal;
    }
    const waiting = this.#sessions.get(index);
    if (waiting === undefined) {
      this.#sessions.set(index, { packets: [packet], dueMs });
      this.#nextMs = Math.min(this.#nextMs, dueMs);
    } else {
      waiting.packets.push(packet);
    }
    this.#packets++;
    this.#bytes += packet.datagram.length;
    return undefined;
  }

  #refusal(index: number, packet: T): HoldRefusal | undefined {
    const waiting = this.#sessions.get(index);
    if (waiting !== undefined && waiting.packets.length >= this.#limits.perSession) return "session_full";
    if (waiting === undefined && this.#sessions.size >= this.#limits.sessions) return "sessions_full";
    if (this.#packets >= this.#limits.packets) return "packets_full";
    return this.#bytes + packet.datagram.length > this.#limits.bytes ? "bytes_full" : undefined;
  }

  has(index: number): boolean {
    return this.#sessions.has(index);
  }

  /** The oldest of a session; it stays. */
  first(index: number): T | undefined {
    return this.#sessions.get(index)?.packets[0];
  }

  /** Takes out the oldest of a session. */
  takeFirst(index: number): T | undefined {
    const waiting = this.#sessions.get(index);
    const packet = waiting?.packets.shift();
    if (packet === undefined) return undefined;
    if (waiting!.packets.length === 0) this.#sessions.delete(index);
    this.#packets--;
    this.#bytes -= packet.datagram.length;
    return packet;
  }

  /** Takes out all of a session, oldest first. */
  take(index: number): T[] {
    const waiting = this.#sessions.get(index);
    if (waiting === undefined) return [];
    this.#sessions.delete(index);
    this.#packets -= waiting.packets.length;
    for (const { datagram } of waiting.packets) this.#bytes -= datagram.length;
    return waiting.packets;
  }

  /** Another time limit for what a session has here, and what still comes to it. */
  setDue(index: number, dueMs: number): void {
    const waiting = this.#sessions.get(index);
    if (waiting === undefined) return;
    waiting.dueMs = dueMs;
    this.#nextMs = Math.min(this.#nextMs, dueMs);
  }

  /** Takes out the sessions that are due. */
  expire(nowMs: number): { readonly index: number; readonly packets: T[] }[] {
    if (nowMs < this.#nextMs) return [];
    const due: { index: number; packets: T[] }[] = [];
    this.#nextMs = Number.POSITIVE_INFINITY;
    for (const [index, { dueMs }] of this.#sessions) {
      if (dueMs <= nowMs) due.push({ index, packets: this.take(index) });
      else this.#nextMs = Math.min(this.#nextMs, dueMs);
    }
    return due;
  }

  /** Monotonic time of the next `expire` that may find something. */
  nextTimeout(): number {
    return this.#sessions.size === 0 ? Number.POSITIVE_INFINITY : this.#nextMs;
  }
}

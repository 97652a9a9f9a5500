/**
 * The sessions of a node and their ages: pending (answered, not yet confirmed), up, retiring (replaced by a newer one of
 * the same client). Only the client's first authentic packet makes a session count. docs/PROTOCOL.md, "Life of a session
 * at a node". Says what happens to sessions by outputs; touches no packet.
 */
import type { Now } from "./clock.ts";
import type { Aead } from "./keys.ts";
import type { Endpoint } from "./macs.ts";
import type { CloseReason } from "./session_control.ts";
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
  readonly from: Endpoint;
  readonly timestamp: number;
  readonly resumed: boolean;
}

export type RetireReason = "unconfirmed" | "superseded" | "replaced" | "expired" | "removed" | "closed";

export type NodeOutput =
  | { readonly kind: "send"; readonly datagram: Uint8Array; readonly to: Endpoint }
  /** Open packets with it; seal none yet. */
  | { readonly kind: "pending"; readonly session: NodeSession }
  /** The client has it: seal with it from now on, instead of those it replaces, beginning with an empty packet now. */
  | { readonly kind: "up"; readonly session: NodeSession; readonly replaces: readonly number[] }
  /** Seal CLOSE in it now; `retire` follows. */
  | { readonly kind: "close"; readonly index: number; readonly reason: CloseReason }
  /** Forget it. */
  | { readonly kind: "retire"; readonly index: number; readonly reason: RetireReason }
  /** Another start of the client, or another machine with its key, took over. For the log. */
  | { readonly kind: "takeover"; readonly before: NodeSession; readonly after: NodeSession };

export interface SessionLimits {
  readonly sessionsMax: number;
  readonly pendingMs: number;
  /** How long the old one is still opened after the new one came up. */
  readonly overlapMs: number;
  readonly expireAfterMs: number;
}

const PENDING_PER_CLIENT = 4;

interface Held {
  readonly session: NodeSession;
  phase: "pending" | "up" | "retiring";
  dueMs: number;
}

export class NodeSessions {
  readonly #limits: SessionLimits;
  readonly #held = new Map<number, Held>();
  readonly #byClient = new Map<string, Set<Held>>();
  /** One queue per phase. All members of a queue wait equally long, so its first is due first. */
  readonly #queues = { pending: new Set<Held>(), up: new Set<Held>(), retiring: new Set<Held>() };

  constructor(limits: SessionLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#held.size;
  }

  get full(): boolean {
    return this.#held.size >= this.#limits.sessionsMax;
  }

  get(index: number): NodeSession | undefined {
    return this.#held.get(index)?.session;
  }

  phase(index: number): "pending" | "up" | "retiring" | undefined {
    return this.#held.get(index)?.phase;
  }

  /** A session was answered for. Its index must be free. */
  add(now: Now, session: NodeSession, out: NodeOutput[]): void {
    const own = this.#byClient.get(session.clientKey) ?? new Set<Held>();
    const pending = [...own].filter((held) => held.phase === "pending");
    if (pending.length >= PENDING_PER_CLIENT) this.#end(pending[0], "superseded", out);
    const held: Held = { session, phase: "pending", dueMs: 0 };
    this.#held.set(session.index, held);
    own.add(held);
    this.#byClient.set(session.clientKey, own);
    this.#enter(held, "pending", now.ms + this.#limits.pendingMs);
    out.push({ kind: "pending", session });
  }

  /** An authentic packet arrived in this session. Cheap and without effect after the first. */
  authentic(now: Now, index: number, out: NodeOutput[]): void {
    const held = this.#held.get(index);
    if (held?.phase !== "pending") return;
    const { session } = held;
    const replaces: number[] = [];
    for (const other of [...this.#byClient.get(session.clientKey)!]) {
      if (other === held) continue;
      if (other.phase === "pending") {
        if (other.session.timestamp < session.timestamp) this.#end(other, "superseded", out);
      } else if (other.session.instance !== session.instance) {
        out.push({ kind: "takeover", before: other.session, after: session });
        out.push({ kind: "close", index: other.session.index, reason: "replaced" });
        this.#end(other, "replaced", out);
      } else if (other.phase === "up") {
        replaces.push(other.session.index);
        this.#enter(other, "retiring", now.ms + this.#limits.overlapMs);
      }
    }
    this.#enter(held, "up", now.ms + this.#limits.expireAfterMs);
    out.push({ kind: "up", session, replaces });
  }

  /** Ends one session at once. */
  end(index: number, reason: RetireReason, out: NodeOutput[]): void {
    const held = this.#held.get(index);
    if (held !== undefined) this.#end(held, reason, out);
  }

  /** Ends all sessions of a client, telling it. `clientKey` in hex. */
  endClient(clientKey: string, out: NodeOutput[]): void {
    for (const held of [...(this.#byClient.get(clientKey) ?? [])]) {
      out.push({ kind: "close", index: held.session.index, reason: "removed" });
      this.#end(held, "removed", out);
    }
  }

  tick(now: Now, out: NodeOutput[]): void {
    this.#expire(this.#queues.pending, now, "unconfirmed", out);
    this.#expire(this.#queues.retiring, now, "replaced", out);
    this.#expire(this.#queues.up, now, "expired", out);
  }

  /** Monotonic time of the next `tick` that does something. */
  nextTimeout(): number {
    const dues = Object.values(this.#queues).map((queue) => queue.values().next().value?.dueMs);
    return Math.min(...dues.map((due) => due ?? Number.POSITIVE_INFINITY));
  }

  #expire(queue: Set<Held>, now: Now, reason: RetireReason, out: NodeOutput[]): void {
    for (const held of queue) {
      if (held.dueMs > now.ms) return;
      this.#end(held, reason, out);
    }
  }

  #enter(held: Held, phase: Held["phase"], dueMs: number): void {
    this.#queues[held.phase].delete(held);
    held.phase = phase;
    held.dueMs = dueMs;
    this.#queues[phase].add(held);
  }

  #end(held: Held, reason: RetireReason, out: NodeOutput[]): void {
    const { index, clientKey } = held.session;
    this.#queues[held.phase].delete(held);
    this.#held.delete(index);
    const own = this.#byClient.get(clientKey)!;
    own.delete(held);
    if (own.size === 0) this.#byClient.delete(clientKey);
    out.push({ kind: "retire", index, reason });
  }
}

/**
 * The sessions of a node and their ages: pending (answered, not yet confirmed), up, retiring (replaced by a newer one of
 * the same client). Only the client's first authentic packet makes a session count. docs/PROTOCOL.md, "Life of a session
 * at a node". Says what happens to sessions by outputs; touches no packet.
 */
import type { Remote } from "../base/ip.ts";
import type { CloseReason } from "../channel/unnumbered.ts";
import type { Now } from "./clock.ts";
import { type NodeSession, PHASES, type Phase, SessionRows } from "./session_rows.ts";

export type { NodeSession };

export type RetireReason = "unconfirmed" | "superseded" | "replaced" | "expired" | "removed" | "closed";

export type NodeOutput =
  | { readonly kind: "send"; readonly datagram: Uint8Array; readonly to: Remote }
  /** Open packets with it; seal none yet. */
  /** `told`: version of the settings that are in the answer as a whole, 0 = there is more, or none. */
  | { readonly kind: "pending"; readonly session: NodeSession; readonly told: number }
  /** Before "pending": the client of this session asked under an earlier key of the group, and is to hear of the one in force. */
  | { readonly kind: "outdated_key"; readonly index: number }
  /** The client has it: seal with it from now on, instead of those it replaces, beginning with an empty packet now. */
  | { readonly kind: "up"; readonly session: NodeSession; readonly replaces: readonly number[] }
  /** Seal CLOSE in it now; `retire` follows. */
  | { readonly kind: "close"; readonly index: number; readonly reason: CloseReason }
  /** Forget it. */
  | {
      readonly kind: "retire";
      readonly index: number;
      readonly timestamp: number;
      readonly clientName: string;
      /** In hex. */
      readonly clientKey: string;
      /** It was never up. */
      readonly wasPending: boolean;
      readonly reason: RetireReason;
    }
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

export class NodeSessions {
  readonly #limits: SessionLimits;
  /** In one queue per phase. All members of a queue wait equally long, so its first is due first. */
  readonly #rows: SessionRows;

  constructor(limits: SessionLimits) {
    this.#limits = limits;
    this.#rows = new SessionRows(limits.sessionsMax);
  }

  get size(): number {
    return this.#rows.size;
  }

  get full(): boolean {
    return this.#rows.size >= this.#limits.sessionsMax;
  }

  /** A copy of the session; ask `phase`, `nameOf` and `upOf` where they suffice. */
  get(index: number): NodeSession | undefined {
    const row = this.#rows.find(index);
    return row < 0 ? undefined : this.#rows.read(row);
  }

  phase(index: number): Phase | undefined {
    const row = this.#rows.find(index);
    return row < 0 ? undefined : this.#rows.phaseOf(row);
  }

  /** Name of the session's client. */
  nameOf(index: number): string | undefined {
    const row = this.#rows.find(index);
    return row < 0 ? undefined : this.#rows.nameOf(row);
  }

  /** Index of the session of a client that is up, -1 = none. `clientKey` in hex. */
  upOf(clientKey: string): number {
    const row = this.#rows.ofClient(clientKey).find((own) => this.#rows.phaseOf(own) === "up");
    return row === undefined ? -1 : this.#rows.indexOf(row);
  }

  /** Indices of all sessions of a client, in any phase. `clientKey` in hex. */
  indicesOf(clientKey: string): number[] {
    return this.#rows.ofClient(clientKey).map((row) => this.#rows.indexOf(row));
  }

  /** Timestamp of the session of a client that is up, -1 = none. `clientKey`: 32 bytes. */
  upSince(clientKey: Uint8Array): number {
    const row = this.#rows.ofKey(clientKey).find((own) => this.#rows.phaseOf(own) === "up");
    return row === undefined ? -1 : this.#rows.timestampOf(row);
  }

  /** Indices of all sessions that are up, those that are up for longest first. */
  *up(): Generator<number> {
    for (let row = this.#rows.firstOf("up"); row >= 0; row = this.#rows.after(row)) yield this.#rows.indexOf(row);
  }

  /** What `add` was last told of this client, of sessions that are still there. `clientKey` in hex. */
  staticSharedOf(clientKey: string): Uint8Array | undefined {
    const own = this.#rows.ofClient(clientKey);
    for (let k = own.length - 1; k >= 0; k--) {
      const secret = this.#rows.staticSharedOf(own[k]);
      if (secret !== undefined) return secret;
    }
    return undefined;
  }

  /** The group has another static key: what `add` was told of shared secrets is of the one before. */
  forgetStaticShared(): void {
    this.#rows.forgetStaticShared();
  }

  /**
   * A session was answered for. Its index must be free, and the table not full (RangeError). `staticShared`: the secret of
   * the client's static key and the group's, for the client's next handshake. `told`: see NodeOutput.
   */
  add(now: Now, session: NodeSession, out: NodeOutput[], staticShared?: Uint8Array, told = 0): void {
    const own = this.#rows.ofClient(session.clientKey);
    const pending = own.filter((row) => this.#rows.phaseOf(row) === "pending");
    if (pending.length >= PENDING_PER_CLIENT) this.#end(pending[0], "superseded", out);
    this.#rows.add(session, now.ms + this.#limits.pendingMs, staticShared);
    out.push({ kind: "pending", session, told });
  }

  /** Another node answered for it, and if `isUp`, saw its client confirm it. As `add` and `authentic`, without words. */
  takeIn(now: Now, session: NodeSession, isUp: boolean, out: NodeOutput[]): void {
    // Mostly the client has no other.
    if (isUp && this.#rows.ofClient(session.clientKey).length === 0) {
      this.#rows.move(this.#rows.add(session, 0), "up", now.ms + this.#limits.expireAfterMs);
      out.push({ kind: "pending", session, told: 0 });
      return;
    }
    this.add(now, session, out);
    if (isUp) this.authentic(now, session.index, out);
  }

  /** An authentic packet arrived in this session. Cheap and without effect after the first. */
  authentic(now: Now, index: number, out: NodeOutput[]): void {
    const rows = this.#rows;
    const row = rows.find(index);
    if (row < 0 || rows.phaseOf(row) !== "pending") return;
    const session = rows.read(row);
    const replaces: number[] = [];
    for (const other of rows.sameClient(row)) {
      if (other === row) continue;
      const phase = rows.phaseOf(other);
      if (phase === "pending") {
        if (rows.timestampOf(other) < session.timestamp) this.#end(other, "superseded", out);
      } else if (!rows.sameInstance(other, row)) {
        out.push({ kind: "takeover", before: rows.read(other), after: session });
        out.push({ kind: "close", index: rows.indexOf(other), reason: "replaced" });
        this.#end(other, "replaced", out);
      } else if (phase === "up") {
        replaces.push(rows.indexOf(other));
        rows.move(other, "retiring", now.ms + this.#limits.overlapMs);
      }
    }
    rows.move(row, "up", now.ms + this.#limits.expireAfterMs);
    out.push({ kind: "up", session, replaces });
  }

  /** Ends one session at once. */
  end(index: number, reason: RetireReason, out: NodeOutput[]): void {
    const row = this.#rows.find(index);
    if (row >= 0) this.#end(row, reason, out);
  }

  /** Ends all sessions of a client, telling it. `clientKey` in hex. */
  endClient(clientKey: string, out: NodeOutput[]): void {
    for (const row of this.#rows.ofClient(clientKey)) {
      out.push({ kind: "close", index: this.#rows.indexOf(row), reason: "removed" });
      this.#end(row, "removed", out);
    }
  }

  tick(now: Now, out: NodeOutput[]): void {
    this.#expire("pending", now, "unconfirmed", out);
    this.#expire("retiring", now, "replaced", out);
    this.#expire("up", now, "expired", out);
  }

  /** Monotonic time of the next `tick` that does something. */
  nextTimeout(): number {
    const firsts = PHASES.map((phase) => this.#rows.firstOf(phase)).filter((row) => row >= 0);
    return Math.min(Number.POSITIVE_INFINITY, ...firsts.map((row) => this.#rows.dueOf(row)));
  }

  #expire(phase: Phase, now: Now, reason: RetireReason, out: NodeOutput[]): void {
    for (let row = this.#rows.firstOf(phase); row >= 0; row = this.#rows.firstOf(phase)) {
      if (this.#rows.dueOf(row) > now.ms) return;
      this.#end(row, reason, out);
    }
  }

  #end(row: number, reason: RetireReason, out: NodeOutput[]): void {
    const rows = this.#rows;
    const [index, timestamp, clientName] = [rows.indexOf(row), rows.timestampOf(row), rows.nameOf(row)];
    const [clientKey, wasPending] = [rows.clientKeyOf(row), rows.phaseOf(row) === "pending"];
    rows.remove(row);
    out.push({ kind: "retire", index, timestamp, clientName, clientKey, wasPending, reason });
  }
}

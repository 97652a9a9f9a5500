/**
 * The port of the state engine: the durable latest value of each key, and lossy messages. Every node writes a subtree of
 * its own and reads all. Nothing on the packet's path waits for it; with the engine away `put` still returns at once.
 * Drivers know neither what values mean nor the fleet key: values and shouts are sealed (`envelope.ts`).
 */

/** [A-Za-z0-9._-]{1,100}; no dot at either end and no two in a row, so that a key is also a NATS subject. */
export const KEY_LEN_MAX = 100;
export const VALUE_LEN_MAX = 4096;
export const SHOUT_LEN_MAX = 32_768;

/** Keys that begin with one of these last for ever; all others may be forgotten `LIVE_MS` after their last put. */
export const LASTING = ["c.", "t."] as const;
export const LIVE_MS = 900_000;

export interface Entry {
  readonly key: string;
  /** undefined deletes the key. */
  readonly value: Uint8Array | undefined;
}

export interface BusPeer {
  readonly node: number;
  /** Puts of this peer that the engine has and this node has not been given yet; undefined = not known. */
  readonly lag: number | undefined;
  /** Monotonic ms of the last record or shout of it; undefined = none yet. */
  readonly heardMs: number | undefined;
}

export interface BusStatus {
  readonly kind: "memory" | "embedded" | "nats";
  readonly connected: boolean;
  /** Why it is not connected, for people; "" when it is. */
  readonly why: string;
  /** Name and version of the server; "" when there is none. */
  readonly server: string;
  /** The snapshot of the start has been given to the listener whole. */
  readonly caughtUp: boolean;
  /** Keys whose newest value is not with the engine yet. */
  readonly outbox: number;
  readonly peers: readonly BusPeer[];
  /** What went wrong, by stable name, since the start. */
  readonly errors: readonly BusError[];
}

export interface BusError {
  readonly name: string;
  /** Since the start of this node. */
  readonly count: number;
  /** What was said the last time. */
  readonly last: string;
  /** Milliseconds since 1970: the first time since it was over before, and the last time. */
  readonly sinceMs: number;
  readonly lastMs: number;
  /** Its cause is over since then; undefined: it may last. */
  readonly endedMs: number | undefined;
}

/** What a node does. No method throws or waits for the engine; what fails is counted in `status().errors`. */
export interface Bus {
  /**
   * Makes these the latest values of keys of this node's own subtree, durably as soon as the engine can. Several puts of
   * one key while the engine is away become the last one. Arrays are copied before this returns. Entries out of the
   * limits above are refused and counted as "bad_entry".
   */
  put(entries: readonly Entry[]): void;
  /** To all other nodes that are connected now; may be lost, doubled or late, never cut. Copied before this returns. */
  shout(message: Uint8Array): void;
  status(): BusStatus;
  /** Sends what it can within a second, then ends everything. The listener is not called any more. */
  close(): Promise<void>;
}

/**
 * What a node hears; called on the control thread, never from inside a method of `Bus`. Bytes belong to the listener.
 *
 * Records of one (node, key) come in the order of their puts. Delivery is at least once: a value may come again, values in
 * between may be left out, and the last one comes in the end. There is no order between keys or nodes.
 */
export interface BusListener {
  /**
   * `value` undefined = deleted. What this node puts is not given back to it; only at the start, before `caughtUp`, its
   * own subtree comes as `record(ownNode, ...)`.
   */
  record(node: number, key: string, value: Uint8Array | undefined): void;
  /** Never an own one. `node` is what the engine says; who is sure is `Envelope.open`. */
  shout(node: number, message: Uint8Array): void;
  /** At every change, and once at the start. `why` is for people; "" when connected. */
  state(connected: boolean, why: string): void;
  /** Once for each connection, after the last record of the snapshot. */
  caughtUp(): void;
}

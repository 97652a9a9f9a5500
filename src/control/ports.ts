/** What the control plane needs from outside; drivers implement these. */
import type { FromShard, ShardSetup, ToShard } from "../shard/messages.ts";

/** A running shard, wherever it runs. */
export interface ShardHandle {
  post(message: ToShard): void;
  /** One listener; messages arrive in order. */
  onMessage(listener: (message: FromShard) => void): void;
}

export type ShardStarter = (setup: ShardSetup) => ShardHandle;

/**
 * Sequence numbers on disk. A number that `reserve` has returned past is never given out again, whatever happens to
 * the process; that is what keeps a key stream from being used twice.
 */
export interface SeqStore {
  /** First number that was never reserved for this identity; 0 for a new one. */
  next(identity: string): number;
  /** Durably marks everything below `limit` as used, for several identities in one commit. */
  reserve(limits: ReadonlyMap<string, number>): void;
  close(): Promise<void>;
}

/** The host's network configuration. Everything done here hangs on the device and goes away with it. */
export interface HostNetwork {
  /** Sets MTU, addresses and routes of a device and brings it up. Returns what was done, one sentence each. */
  configure(device: {
    readonly name: string;
    readonly mtuBytes: number;
    readonly addresses: readonly string[];
    readonly routes: readonly string[];
  }): Promise<string[]>;
  /** Runs a program to its end; rejects with a sentence when it fails. */
  run(program: string, args: readonly string[]): Promise<void>;
}

/** Names to addresses, as text, best first. Rejects when the name has none. */
export type Resolver = (host: string) => Promise<readonly string[]>;

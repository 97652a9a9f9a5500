/**
 * What the control plane tells a shard, and what a shard tells back. Plain values that structured clone carries to a
 * worker thread. The control plane builds, the shard applies between two batches.
 */
import type { Prefix } from "../dataplane/plane.ts";
import type { AeadKey, Offload, SatpKey } from "../dataplane/ports.ts";
import type { SharedMemory } from "../dataplane/shared.ts";
import type { TunnelMemory } from "../dataplane/tunnels.ts";

export interface ShardSetup {
  readonly tunnels: TunnelMemory;
  /** With several shards: what they share. */
  readonly shared: SharedMemory | undefined;
  /** How this shard opens sockets and device: SHARE_*. With SHARE_JOIN the ports and the name are those of the first. */
  readonly share: number;
  readonly listen: readonly { readonly address: string; readonly port: number }[];
  readonly device: { readonly name: string | undefined; readonly ethernet: boolean };
  readonly fanoutMax: number;
  readonly floodPps: number;
  /** -1 = copy. */
  readonly dscp: number;
  readonly windowMax: number;
  readonly hashSeed: number;
  /** Whether muxes from 0x8000 on are sessions, and which end this is. */
  readonly sessions: "none" | "node" | "client";
}

/** An address or prefix as numbers. */
export type PrefixWords = Prefix;

export interface Endpoint {
  /** Most significant word first; IPv4 as ::ffff:a.b.c.d. */
  readonly words: readonly [number, number, number, number];
  readonly port: number;
  readonly sock: number;
}

export interface TunnelSetup {
  /** Row of the tunnel table, and slot of the crypto context. */
  readonly index: number;
  readonly mux: number;
  readonly senderId: number;
  readonly key: SatpKey;
  readonly window: number;
  readonly keepaliveMs: number;
  readonly innerMtu: number;
  /** Prefixes of the peer; undefined = everything. */
  readonly routes: readonly PrefixWords[] | undefined;
  readonly endpoint: Endpoint | undefined;
  /** First sequence number to use. `seqLimit` is set in the shared table. */
  readonly seqNext: number;
}

/** A session as the data plane needs it. */
export interface SessionSetup {
  /** Row of the tunnel table; also the slot of its first crypto context. */
  readonly index: number;
  /** Rows with the same owner stand for the same peer. */
  readonly owner: number;
  /** In a node: key by session index, sealed with the node's own sender id. In a client: by receiver index. */
  readonly end: "node" | "client";
  readonly sessionIndex: number;
  readonly receiver: number;
  /** The node's sender id; in a client that of the node whose key is in `key`. */
  readonly senderId: number;
  readonly key: AeadKey;
  readonly window: number;
  readonly keepaliveMs: number;
  readonly innerMtu: number;
  /** Prefixes of the peer; undefined = everything. */
  readonly routes: readonly PrefixWords[] | undefined;
  readonly endpoint: Endpoint;
  /** Wait for the peer's first authentic packet before anything is sent. */
  readonly pending: boolean;
}

/** Sessions as numbers; written and read by `session_batch.ts`. */
export interface PackedSessions {
  readonly words: Int32Array;
  readonly keys: Uint8Array;
}

export type ToShard =
  | { readonly kind: "add"; readonly tunnel: TunnelSetup }
  /** `routes` as they were added. */
  | { readonly kind: "remove"; readonly index: number; readonly routes: readonly PrefixWords[] }
  | { readonly kind: "endpoint"; readonly index: number; readonly endpoint: Endpoint }
  /** The node's own inner addresses, and the directed broadcast addresses of its networks. */
  | { readonly kind: "local"; readonly addresses: readonly PrefixWords[]; readonly broadcasts: readonly number[] }
  | { readonly kind: "session"; readonly session: SessionSetup }
  /** Several at once; a node with many clients would spend its time on messages otherwise. */
  | { readonly kind: "sessions"; readonly sessions: PackedSessions }
  /** In a client: another sender of the group, whose packets `openKey` opens. */
  | {
      readonly kind: "sender";
      readonly index: number;
      readonly senderId: number;
      readonly slot: number;
      readonly key: AeadKey;
    }
  /** Seal `payload` as payload type `type` in row `index`; type -1 = empty packet. */
  | { readonly kind: "seal"; readonly index: number; readonly type: number; readonly payload: Uint8Array }
  /** Send a datagram as it is. */
  | { readonly kind: "send"; readonly datagram: Uint8Array; readonly to: Endpoint }
  /** What other shards learnt, NEWS_WORDS an address, see dataplane/mac_news.ts. */
  | { readonly kind: "macs"; readonly words: Int32Array }
  | { readonly kind: "stop" };

export type FromShard =
  | {
      readonly kind: "ready";
      readonly deviceName: string;
      /** In the order of `listen`: socket index, or -1 when the host lacks the family; and the bound port. */
      readonly sockets: readonly number[];
      readonly ports: readonly number[];
      readonly wakeFd: number;
      readonly offloads: readonly Offload[];
    }
  /** Eight words an event, see dataplane/events.ts. */
  | { readonly kind: "events"; readonly words: Int32Array; readonly lost: number }
  /** Entries of dataplane/control_ring.ts. */
  | { readonly kind: "control"; readonly words: Int32Array; readonly bytes: Uint8Array }
  /** For the other shards, as they are to have it. */
  | { readonly kind: "macs"; readonly words: Int32Array }
  | { readonly kind: "failed"; readonly code: string; readonly message: string }
  | { readonly kind: "stopped" };

/**
 * What the control plane tells a shard, and what a shard tells back. Plain values that structured clone carries to a
 * worker thread. The control plane builds, the shard applies between two batches.
 */
import type { Remote } from "../base/ip.ts";
import type { Lease } from "../dataplane/lease.ts";
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
  /** A node that is one of several with the same sessions: what is unknown here is held for control to ask them. */
  readonly group: boolean;
  /** Of a node: 8 bytes each, the present one first (crypto/session_index.ts). */
  readonly indexKeys: readonly Uint8Array[];
  /** Of a node: 8 bytes (crypto/cookie_tags.ts). */
  readonly cookieTagKey: Uint8Array | undefined;
  /** Whether it may act as the owner of sessions, see dataplane/lease.ts; a node of a group has it. */
  readonly lease: Lease | undefined;
}

/** An address or prefix as numbers. */
export type PrefixWords = Prefix;

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
  readonly endpoint: Remote | undefined;
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
  readonly endpoint: Remote;
  /** Wait for the peer's first authentic packet before anything is sent. */
  readonly pending: boolean;
  /** Another node of the group has the replay window: this one seals, and hands over what comes. */
  readonly foreign?: boolean;
}

/** A datagram that another node received, or that was held here. */
export interface InjectedDatagram {
  readonly bytes: Uint8Array;
  /** `sock`: the one here that it is to seem to have come in by, and that answers. */
  readonly from: Remote;
  /** Outer TOS or traffic class byte. */
  readonly tos: number;
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
  | { readonly kind: "endpoint"; readonly index: number; readonly endpoint: Remote }
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
  /** Seal a control message in row `index`; without a payload, an empty packet. `to`: there, instead of to the peer. */
  | {
      readonly kind: "seal";
      readonly index: number;
      readonly payload: Uint8Array;
      readonly to?: Remote;
    }
  /** The peer of the session in row `index` has these prefixes from now on, and no others. */
  | { readonly kind: "prefixes"; readonly index: number; readonly routes: readonly PrefixWords[] }
  /** Send a datagram as it is. */
  | { readonly kind: "send"; readonly datagram: Uint8Array; readonly to: Remote }
  /** What other shards learnt, NEWS_WORDS an address, see dataplane/mac_news.ts. */
  | { readonly kind: "macs"; readonly words: Int32Array }
  // A group of nodes; `index` is a row of a session in a node. What a window's words are: `ReplayTable.read`.
  /** The packet `seq` arrived at another node: give the window up if it is the newest. Answered by "yielded". */
  | { readonly kind: "yield"; readonly index: number; readonly seq: number; readonly token: number }
  /** Be the owner from now on, with this window; highest -1 = nothing was received yet. */
  | { readonly kind: "own"; readonly index: number; readonly highest: number; readonly words: Int32Array }
  /** Be the owner again of a row that "fall" made foreign. Everything up to `floor`, -1 = nothing, counts as received. */
  | { readonly kind: "reclaim"; readonly index: number; readonly floor: number }
  /** Fence `fence` of the lease falls. `yields`: before that all own rows become foreign, and keep their windows. */
  | { readonly kind: "fall"; readonly fence: number; readonly yields: boolean }
  /** Handle these, in this order, as if they came from the socket now. Those of a foreign row are held again. */
  | { readonly kind: "inject"; readonly datagrams: readonly InjectedDatagram[] }
  /** Another node saw the first authentic packet: a pending row becomes the one to send with. */
  | { readonly kind: "activate"; readonly index: number }
  /** Whose session indices are no strangers' from now on: as in the setup. */
  | { readonly kind: "index_keys"; readonly keys: readonly Uint8Array[] }
  | { readonly kind: "stop" };

/**
 * "given": the row is foreign now. "keep": this node goes on owning it, and `seq` is one that it would accept. "stale":
 * it would not, the packet is old or a copy. "moved": it was foreign already, or is not there.
 */
export type Yielded =
  | {
      readonly token: number;
      readonly result: "given";
      /** -1: nothing was received yet, and there are no words. */
      readonly highest: number;
      readonly words: Int32Array<ArrayBuffer>;
    }
  | { readonly token: number; readonly result: "keep" | "stale" | "moved" };

/** The crypto driver did not take a key: row `index` was not made, or a sender not added. */
export interface KeyRefused {
  readonly index: number;
  /** Linux errno: EINVAL is a mistake of whoever made the key, ENOMEM is a full machine. */
  readonly errno: number;
}

export type FromShard =
  | {
      readonly kind: "ready";
      readonly deviceName: string;
      /** In the order of `listen`: socket index, or -1 when the host lacks the family; and the bound port. */
      readonly sockets: readonly number[];
      readonly ports: readonly number[];
      /** Bytes that the kernel keeps for each socket; 0 without one. */
      readonly receiveBuffers: readonly number[];
      readonly wakeFd: number;
      readonly offloads: readonly Offload[];
    }
  /** Eight words an event, see dataplane/events.ts. */
  | { readonly kind: "events"; readonly words: Int32Array; readonly lost: number }
  /** Entries of dataplane/control_ring.ts. */
  | { readonly kind: "control"; readonly words: Int32Array; readonly bytes: Uint8Array }
  /** For the other shards and nodes, as they are to have it; owners are rows of this node. */
  | { readonly kind: "macs"; readonly words: Int32Array }
  /** Answers to "yield" of the same tokens, as many as were asked for between two batches of packets. */
  | { readonly kind: "yielded"; readonly answers: readonly Yielded[] }
  | { readonly kind: "key_refused"; readonly refused: KeyRefused }
  | { readonly kind: "failed"; readonly code: string; readonly message: string }
  | { readonly kind: "stopped" };

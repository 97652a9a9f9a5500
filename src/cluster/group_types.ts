/** What goes into the group's state machine and what comes out of it. */
import type { Entropy } from "../crypto/entropy.ts";
import type { ClientEntry } from "./book.ts";
import type { Entry } from "./bus.ts";
import type { Endpoint } from "./endpoint.ts";
import type { LinkSecrets } from "./lifeline_types.ts";
import type { LinkPeer } from "./link_peer.ts";
import type { LiveRecord, SessionRecord } from "./record.ts";
import type { IdentityOptions } from "./trust_types.ts";
import type { Window } from "./window.ts";

export interface GroupConfig {
  /** 1 to 63, unique in the group. */
  readonly node: number;
  /** 8 random bytes of this start. */
  readonly bootId: Uint8Array;
  /** 32 bytes. */
  readonly fleetKey: Uint8Array;
  /** Undefined: the group has no roster, and whoever has the fleet key is any of its nodes. */
  readonly identity?: IdentityOptions | undefined;
  /** What `agree` was given as fleet keys before this start. */
  readonly fleetKeys?: Uint8Array | undefined;
  /** What `agree` was given as keys of the group before this start. */
  readonly groupKeys?: Uint8Array | undefined;
  /** 32 bytes. */
  readonly groupPublicKey: Uint8Array;
  readonly peers: readonly LinkPeer[];
  /** How long a packet waits for an answer of another node, ms; at least 8. */
  readonly holdMs: number;
  /** From the answer to the handshake to `expiryMs` of its record. */
  readonly sessionLifeMs: number;
  readonly sessionsMax: number;
  /** The bus reaches no other node: records and shouts go over the node link. */
  readonly tellsOverLink: boolean;
}

/** What a held packet says when it is opened with the keys of its session. */
export interface OpenedPacket {
  /** Token of the PONG inside, if it is one. */
  readonly pong: Uint8Array | undefined;
}

export interface GroupPorts {
  readonly entropy: Entropy;
  /** Opens a datagram of the client with the keys of a session; undefined = forged. Must not change the datagram. */
  open(record: LiveRecord, datagram: Uint8Array): OpenedPacket | undefined;
  /**
   * Whether a session of the same client that is newer is up here, or this one or a newer one has been and ended: then the
   * record is of no use any more.
   */
  superseded(record: LiveRecord): boolean;
  /** Puts what the nodes agreed on to disk before it counts; throws when there is no room. Undefined: nothing lasts. */
  agree?(what: "roster" | "fleet_keys" | "group_keys", bytes: Uint8Array): void;
  /** What a client of the book claims, see BookOptions. */
  claimsOf(content: Uint8Array): readonly string[] | undefined;
  /** This node may have been taken for dead: it acts as the owner of nothing, until the lifeline says "unfenced". */
  fenced(): boolean;
}

/** One packet that the data plane did not take. The datagram belongs to the group from now on. */
export interface HeldPacket {
  readonly index: number;
  readonly seq: number;
  readonly datagram: Uint8Array;
  readonly from: Endpoint;
  /** Of the outer header, for its congestion mark. */
  readonly tos: number;
}

/** What a shard answered to `yield`. `moved`: it does not own the row. */
export interface Yielded {
  readonly token: number;
  readonly result: "given" | "keep" | "stale" | "moved";
  /** Of "given". */
  readonly window: Window | undefined;
}

/** "closed" and "removed" are told to the group; the others every node finds out by itself. */
export type EndReason = "unconfirmed" | "superseded" | "replaced" | "expired" | "removed" | "closed";

export interface GroupSender {
  readonly senderId: number;
  readonly bootId: Uint8Array;
}

export type GroupOutput =
  /** The bus may begin: once, before anything for it. `informed`: another node has told all that it knows. */
  | { readonly kind: "follow"; readonly informed: boolean }
  | { readonly kind: "put"; readonly entries: readonly Entry[] }
  | { readonly kind: "shout"; readonly message: Uint8Array }
  /** A datagram from the node link's socket. */
  | { readonly kind: "link"; readonly to: Endpoint; readonly bytes: Uint8Array }
  /** A session that another node answered for: keys, a foreign row; its phase is in the record. */
  | { readonly kind: "install"; readonly record: LiveRecord; readonly endpoint: Endpoint }
  /** Its client has confirmed it, at another node: what `NodeSessions.authentic` is for. */
  | { readonly kind: "up"; readonly index: number }
  /** It ended elsewhere, or another session has its index now. Forget it. */
  | { readonly kind: "retire"; readonly index: number; readonly created: number; readonly reason: EndReason }
  /** Shard: give up the window of this session if `seq` is newer than all in it. Answer: `yielded`. */
  | { readonly kind: "yield"; readonly index: number; readonly seq: number; readonly token: number }
  /** Shard: the row is not foreign any more, this is its window. */
  | { readonly kind: "own"; readonly index: number; readonly window: Window }
  /** Shard: the row is not foreign any more, with the window that it had; everything up to `floor` counts as received. */
  | { readonly kind: "reclaim"; readonly index: number; readonly floor: number }
  /** Shard: fence `fence` falls. `yields`: first all own rows become foreign, and keep their windows. */
  | { readonly kind: "fall"; readonly fence: number; readonly yields: boolean }
  /** To the lifeline: an authentic datagram of this node has just come. */
  | { readonly kind: "heard"; readonly node: number }
  /** Shard: these as if they had just been received, in order. */
  | { readonly kind: "inject"; readonly datagrams: HeldPacket[] }
  /** Seal PING with this token in the session, to where its packet came from. */
  | { readonly kind: "challenge"; readonly index: number; readonly token: Uint8Array; readonly to: Endpoint }
  /** Nobody knows the session: UNKNOWN_SESSION. `datagram`: its first 24 bytes. */
  | { readonly kind: "unknown"; readonly datagram: Uint8Array; readonly from: Endpoint }
  /** The client is here now; seal to it there. */
  | { readonly kind: "locate"; readonly index: number; readonly endpoint: Endpoint }
  /**
   * Introduce this node's sender to the client: once where a packet came from that may be a replayed one, else, where it is
   * known to be (undefined: to the data plane), until it acknowledges.
   */
  | {
      readonly kind: "announceSender";
      readonly index: number;
      readonly to: Endpoint | undefined;
      readonly once: boolean;
    }
  /** A client acknowledged this node's sender, at another node. */
  | { readonly kind: "acked"; readonly index: number; readonly senderId: number; readonly bootId: Uint8Array }
  /** A control payload for this node, which the client of a session sent to another one. */
  | { readonly kind: "inside"; readonly index: number; readonly payload: Uint8Array }
  /** Nodes came, went or started anew: `Group.senders`. */
  | { readonly kind: "senders" }
  | { readonly kind: "client"; readonly client: ClientEntry }
  /** To the disk of this node, as `restoreClient` takes it back; undefined: it is forgotten. */
  | { readonly kind: "keep"; readonly clientKey: string; readonly value: Uint8Array | undefined }
  /** It has lost an address, network or name to an older client, and it is on this node to write it anew without. */
  | { readonly kind: "settle"; readonly clientKey: string }
  | { readonly kind: "conflict"; readonly address: string; readonly keeper: string; readonly others: readonly string[] }
  /** `Group.book` has other ticket keys. */
  | { readonly kind: "ticket_keys" }
  /** The lifeline is with these nodes, and no others, from now on. */
  | { readonly kind: "peers"; readonly peers: readonly LinkPeer[] }
  /** To the lifeline: other secrets are shared with a peer. */
  | { readonly kind: "agreed"; readonly agreed: LinkSecrets }
  /** `Group.fleetKeys` has other keys in use. */
  | { readonly kind: "fleet_keys" }
  /** `Group.groupSecrets` has another key in force. */
  | { readonly kind: "group_keys" }
  /** This node must not go on: it is not who it says. */
  | { readonly kind: "refuse"; readonly code: string; readonly text: string }
  /** For people. `notice`: as it should be; `warning`: somebody should look. */
  | { readonly kind: "notice"; readonly level: "notice" | "warning"; readonly code: string; readonly text: string };

export const live = (record: SessionRecord): record is LiveRecord => record.phase !== "ended";

/** What the control plane needs from outside; drivers implement these. */
import type { Address } from "../../base/ip.ts";
import type { LifelineEvent, LinkSecrets } from "../../cluster/lifeline_types.ts";
import type { WatchStatus } from "../../cluster/lifeline_watch.ts";
import type { LinkPeer } from "../../cluster/link_peer.ts";
import type { Lease } from "../../dataplane/lease.ts";
import type { KeptTicket } from "../../handshake/initiator.ts";
import type { FromShard, ShardSetup, ToShard } from "../../shard/messages.ts";
import type { NodeSpec } from "./instance.ts";

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

/** Who may come, as it is kept on disk. Secret: `psk`. */
export interface ClientRecord {
  readonly name: string;
  /** X25519, 44 characters of base64. */
  readonly publicKey: string;
  /** 44 characters of base64, or undefined: none, or it is in the configuration file. */
  readonly psk: string | undefined;
  /** Inner addresses without length. */
  readonly addresses: readonly string[];
  readonly prefixes: readonly string[];
  readonly modes: readonly ("tunnel" | "open" | "relay")[];
  /** Whether the configuration file or `clients add` speaks of it. */
  readonly origin: "file" | "api";
  /** Milliseconds since 1970. */
  readonly createdMs: number;
}

/** A key that tickets are sealed under. Secret: `key`. */
export interface TicketKey {
  /** Stands in every ticket. */
  readonly id: number;
  readonly key: Uint8Array;
  /** Milliseconds since 1970. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** The ticket of a client as it is kept on disk. Secret: all of it. */
export interface SavedTicket extends KeptTicket {
  /** Milliseconds since 1970. */
  readonly savedMs: number;
  /** Which boot of which machine it was written in. */
  readonly boot: string;
}

/** At a node the group's own; at a client, by name of the kept ticket, what a service has told. */
export type Agreed = "roster" | "fleet_keys" | "group_keys" | `group_keys ${string}`;

/**
 * Everything that a node must not forget. Whatever a call that changes something has returned from is on disk, and
 * survives kill -9 and a loss of power at any moment; each call is one transaction, all or nothing.
 */
export interface Store extends SeqStore {
  /** In the order of names. */
  clients(): ClientRecord[];
  client(name: string): ClientRecord | undefined;
  /** Writes clients (a name that is there is replaced) and removes others, in one commit. */
  changeClients(put: readonly ClientRecord[], remove: readonly string[]): void;
  /** Entries of the group's book by client key (64 hex digits), removed ones included. Secret: there are pre-shared keys in. */
  book(): [clientKey: string, value: Uint8Array][];
  /** Writes entries, and forgets those that are undefined, in one commit. */
  changeBook(entries: ReadonlyMap<string, Uint8Array | undefined>): void;
  /** In the order of ids. */
  ticketKeys(): TicketKey[];
  /** Replaces all of them. */
  setTicketKeys(keys: readonly TicketKey[]): void;
  /** Greatest value that was raised under this name (a handshake's timestamp under the client's public key). */
  highWater(name: string): bigint | undefined;
  /** Raises values; smaller ones than are there change nothing. */
  raiseHighWater(values: ReadonlyMap<string, bigint>): void;
  /** What the nodes of the group agreed on, or the operator signed. Secret: "fleet_keys" and "group_keys". */
  agreed(what: Agreed): Uint8Array | undefined;
  /** Replaces what is there. */
  agree(what: Agreed, bytes: Uint8Array): void;
  savedTicket(name: string): SavedTicket | undefined;
  /** Replaces what is there; undefined: forgets it. */
  saveTicket(name: string, ticket: SavedTicket | undefined): void;
  /** Changes of this host that outlive the process. */
  readonly hostJournal: HostJournal;
}

/** A session as the data plane knows it. */
export interface SessionState {
  /** The session index of docs/PROTOCOL.md. */
  readonly id: number;
  /** Public key of the client, 44 characters of base64. */
  readonly publicKey: string;
  /** Outer address and port, "192.0.2.7:4444". */
  readonly endpoint: string;
  readonly cipher: string;
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  /** Milliseconds since 1970 of the last authentic packet; null: none here. */
  readonly heardMs: number | null;
  /** Another node has its replay window. */
  readonly foreign: boolean;
  /** Node of the group that has it; null: not known, or this node is on its own. */
  readonly owner: number | null;
  /** Milliseconds since 1970, since when that node has it, as far as this node has seen; null where `owner` is. */
  readonly ownerSinceMs: number | null;
  /** How often another node took the client over, as far as this node has seen; null: this node is on its own. */
  readonly moves: number | null;
  /** Settings that the client has, as far as this node was told, and whether it is to have these; null: not known here. */
  readonly settings: { readonly version: number; readonly current: boolean } | null;
  readonly rx: { readonly packets: number; readonly bytes: number };
  readonly tx: { readonly packets: number; readonly bytes: number };
}

/** How often requests for sessions had one end. */
export interface OutcomeCount {
  readonly name: string;
  readonly help: string;
  /** Whether the request got what it asked for. */
  readonly done: boolean;
  readonly count: number;
  /** Monotonic ms of the last one; undefined: none yet, or it is not known. */
  readonly lastMs?: number | undefined;
}

/** Requests for sessions of one sender that were refused for one reason. */
export interface RefusedView {
  /** Name of an outcome of `handshakes`, or unconfirmed. */
  readonly reason: string;
  /** Which refusal a known client was told; null: it was told nothing. */
  readonly detail: string | null;
  readonly help: string;
  /** Name of a client that proved its key; null: a stranger. */
  readonly client: string | null;
  /** 44 characters of base64; a stranger only claims it. null: the request did not say it. */
  readonly publicKey: string | null;
  /** Of the last request. */
  readonly endpoint: string;
  readonly count: number;
  /** Milliseconds since 1970. */
  readonly firstMs: number;
  readonly lastMs: number;
}

/** Answer to a ping. */
export interface Pong {
  readonly rttMs: number;
  /** Node of the group that the answer came through; null: nodes have no numbers here. */
  readonly node: number | null;
}

/** What the control layer asks of the sessions; they live in shards and handshakes. */
export interface Sessions {
  /** Public key of the group that is in force; undefined: that of the node file. */
  readonly groupKey: Uint8Array | undefined;
  /** Since the start; every outcome, also those that never happened. */
  handshakes(): readonly OutcomeCount[];
  /** What became of control messages inside sessions, likewise. */
  controls(): readonly OutcomeCount[];
  /** Who asked lately and got no session, the latest first; bounded. */
  refused(): readonly RefusedView[];
  /** How many there are, those that are not confirmed yet or end soon included. */
  count(): number;
  /** Those that are up, in the order of ids: the first `limit` of those above `after`; all without arguments. */
  list(after?: number, limit?: number): readonly SessionState[];
  get(id: number): SessionState | undefined;
  /** Id of the session of a client. */
  sessionOf(publicKey: string): number | undefined;
  /** Tells the peer, forgets the keys. False when there is no such session. */
  end(id: number): boolean;
  /** A client may come, or has other prefixes or modes than before; its session, if it has one, goes on. */
  admit(client: ClientRecord, psk: Uint8Array | undefined): void;
  /** The file was read again: what later sessions are given. Pool, networks, name servers, keepalive, rekey may differ. */
  reconfigure(spec: NodeSpec): void;
  /** The client may not come any more; its sessions end now. */
  expel(publicKey: string): void;
  /** What is wrong now and wants a person, a sentence each. */
  faults(): readonly string[];
  /** A control ping through the client's session. Rejects with AnyhopError. */
  ping(publicKey: string, timeoutMs: number): Promise<Pong>;
}

/** One thing that is set on this host. Prefixes and addresses are canonical text. */
export type HostItem =
  /**
   * MTU and up. `linkLocal`: the kernel may give it an IPv6 address of its own. `mtuMayChange`: nobody has named the MTU, so it
   * is set to begin with, and stays as somebody sets it afterwards.
   */
  | {
      readonly kind: "link";
      readonly device: string;
      readonly mtuBytes: number;
      readonly linkLocal: boolean;
      readonly mtuMayChange?: boolean;
    }
  /** With prefix length, "10.9.0.2/24". */
  | { readonly kind: "address"; readonly device: string; readonly address: string }
  /** `network`: of an address of the device, so the kernel makes it, and it is set only when somebody has removed it. */
  | { readonly kind: "route"; readonly device: string; readonly prefix: string; readonly network?: true }
  /** Packets for the prefix go nowhere when no better route takes them. */
  | { readonly kind: "unreachable"; readonly prefix: string }
  /**
   * The way to an outer address beside the tunnel: a host route of its own. `way`: "via 192.0.2.254 dev eth0". `replaces`: ours
   * is there already and leads elsewhere.
   */
  | { readonly kind: "pin"; readonly prefix: string; readonly way: string; readonly replaces: boolean };

/** A route of the main table. */
export interface HostRoute {
  /** "10.9.0.0/24", "0.0.0.0/0", "203.0.113.1/32". */
  readonly prefix: string;
  /** unicast; nowhere: unreachable, blackhole or prohibit; other: whatever else there is. */
  readonly type: "unicast" | "nowhere" | "other";
  /** Empty when it has none. */
  readonly device: string;
  /** As `ip route` takes it, of several next hops the first. */
  readonly way: string;
  /** The prefix is a network that the device is connected to. */
  readonly direct: boolean;
  readonly metric: number;
  /** Made by anyhop and not bound to its device: `unreachable` and `pin`. */
  readonly own: boolean;
}

/** What the kernel has. */
export interface HostFacts {
  /** Undefined: it is gone. `addresses`: with prefix length. */
  readonly device:
    | { readonly up: boolean; readonly mtuBytes: number; readonly addresses: readonly string[] }
    | undefined;
  /** IPv6 is switched off on the device. */
  readonly ipv6Off: boolean;
  readonly routes: readonly HostRoute[];
  /** Rules that are asked before the main table, as `ip rule` has them; the kernel's own are left out. */
  readonly rules: readonly string[];
}

/** The network configuration of this host: looks at it, changes it, and tells when somebody else does. */
export interface HostNetwork {
  /** `allRoutes` false: those of the device alone, since a router may have a million others. */
  look(device: string, allRoutes: boolean): Promise<HostFacts>;
  /** Device that a packet to this address leaves by, rules and all tables counted; undefined: none. */
  deviceTo(address: string): Promise<string | undefined>;
  /** Adds each by itself, never in place of what somebody else set. The kernel's complaints, in order. */
  add(items: readonly HostItem[]): Promise<readonly (string | undefined)[]>;
  /** As `add`. What is not there any more is no complaint worth reading. */
  remove(items: readonly HostItem[]): Promise<readonly (string | undefined)[]>;
  /** Calls `changed` whenever links, addresses, routes or rules have changed. Returns what ends it. */
  watch(changed: () => void): () => void;
  /** Runs a program to its end; rejects with a sentence when it fails. `environment`: all of it; PATH alone without. */
  run(program: string, args: readonly string[], environment?: Readonly<Record<string, string>>): Promise<void>;
}

/** What was changed on this host and would stay after `kill -9`, on disk before it is done. */
export interface HostJournal {
  read(): readonly HostItem[];
  write(items: readonly HostItem[]): void;
}

/** The packet driver's numbers of own addresses, and which addresses there are. */
export interface LocalAddresses {
  /** 0: the kernel chooses. */
  numberOf(address: string): number;
  /** Four words; undefined: no such number. */
  addressOf(number: number): Int32Array | undefined;
  /** All addresses of this host as text. */
  ofHost(): readonly string[];
}
/** What the kernel has heard of an address: that nobody listens there, that something on the way refuses, that there is no way. */
export type Reach = "silent" | "port_closed" | "filtered" | "no_route";

/** Tries whether an outer address can be reached; takes a second when nothing is heard. Never rejects. */
export type ReachProbe = (address: string, port: number) => Promise<Reach>;

/** Names to addresses, as text, best first. Rejects when the name has none. */
export type Resolver = (host: string) => Promise<readonly string[]>;

/** The lifeline of this node (cluster/lifeline.ts), wherever it runs. */
export interface LifelinePort {
  /** For the shard. */
  readonly lease: Lease | undefined;
  /** Call once; from then on it runs. */
  onEvent(listener: (event: LifelineEvent) => void): void;
  /** An authentic datagram of this node came over the node link at `ms`, monotonic. */
  heard(node: number, ms: number): void;
  /** These nodes, and no others, belong to the group now beside this one. */
  setPeers(peers: readonly LinkPeer[]): void;
  /** The node link has agreed with a peer on other secrets. */
  agreed(agreed: LinkSecrets): void;
  /** The control thread runs; to be said several times a second, or it counts as one that hangs (HUNG_MS). */
  ran(): void;
  /** This node may act as the owner of nothing now. */
  fenced(): boolean;
  /** By node that is watched, a second old at most. */
  status(): readonly WatchStatus[];
  /** Says farewell, and ends all connections. */
  close(): void;
}

/** The socket of the node link (cluster/link.ts). */
export interface LinkSocket {
  /** Call once. */
  onDatagram(receive: (from: Address & { readonly port: number }, bytes: Uint8Array) => void): void;
  /** May lose the datagram; never throws. */
  send(to: Address & { readonly port: number }, bytes: Uint8Array): void;
  close(): void;
}

/**
 * What can be asked of a running instance, and changed in it: the API's only way in. Views hold no secret. Everything
 * that fails throws an AnyhopError whose code `api/answers.ts` knows.
 */

import type { Change } from "../config/reload.ts";
import type { HostProblem } from "../host/client_host.ts";
import type { HostChange } from "../host/host_keeper.ts";
import type { AnnounceView } from "../routing/announcing.ts";
import type { Mode } from "../spec/instance.ts";
import type { OutcomeCount, Pong, RefusedView, SessionState } from "../spec/ports.ts";
import type { InstanceEvent } from "./event_hub.ts";
import type { NodeGroupView } from "./group_view.ts";
import type { LevelName } from "./log_level.ts";
import type { ClientProblemView } from "./problem_reasons.ts";

export interface ClientView {
  readonly name: string;
  readonly publicKey: string;
  /** Whether there is a pre-shared key; never which. */
  readonly psk: boolean;
  readonly addresses: readonly string[];
  readonly prefixes: readonly string[];
  readonly modes: readonly Mode[];
  readonly origin: "file" | "api";
  readonly createdMs: number;
  /** Index of its session, or null. */
  readonly session: number | null;
}

export interface NewClient {
  readonly name: string;
  readonly publicKey: string;
  /** 44 characters of base64. */
  readonly psk?: string | undefined;
  /** Empty: from the pool. */
  readonly addresses: readonly string[];
  readonly prefixes: readonly string[];
  readonly modes: readonly Mode[];
}

/** What a client needs to know of the group, for its file. */
export interface ServiceView {
  readonly group: string;
  /** The one in force. */
  readonly publicKey: string;
  /** Public key of the group's operator; null: it has none. */
  readonly operator: string | null;
  /** "host:port"; empty when the node does not know. */
  readonly address: readonly string[];
  /** Pool and networks. */
  readonly routes: readonly string[];
  readonly dns: readonly string[];
  readonly mtu: number;
  readonly keepaliveS: number;
  /** Inner addresses of the node, to try the tunnel with. */
  readonly inner: readonly string[];
}

export interface SessionView extends SessionState {
  /** Name of the client. */
  readonly client: string;
}

export interface RouteView {
  readonly prefix: string;
  readonly kind: "client" | "tunnel" | "device";
  /** Name of the client, the tunnel or the device. */
  readonly via: string;
}

export interface ReloadView {
  readonly changes: readonly Change[];
  /** Faults of the file that are no errors. */
  readonly warnings: readonly string[];
}

export interface RosterView {
  /** 0: there is none. */
  readonly version: number;
  readonly members: readonly number[];
  readonly evicted: readonly number[];
  readonly text: string;
}

export interface Control {
  service(): ServiceView;
  /** In the order of names: the first `limit` of those behind `after`; all without arguments. */
  clients(after?: string, limit?: number): readonly ClientView[];
  /** Throws "unknown_client". */
  client(name: string): ClientView;
  addClient(client: NewClient): ClientView;
  /** Cuts the client off. Throws "unknown_client", or "client_in_file" when the file would bring it back. */
  removeClient(name: string): void;
  /**
   * Cuts off whoever has this public key; in a group also one that this node has never heard of. Returns its name, or null
   * when this node knew nobody. Throws "bad_client", "client_in_file", and on a node on its own "unknown_client".
   */
  removeKey(publicKey: string): string | null;
  /** In the order of ids: the first `limit` of those above `after`; all without arguments. */
  sessions(after?: number, limit?: number): readonly SessionView[];
  /** Throws "unknown_session". */
  endSession(id: number): void;
  /** What became of requests for sessions since the start. */
  handshakes(): readonly OutcomeCount[];
  /** What became of control messages inside sessions since the start. */
  controls(): readonly OutcomeCount[];
  /** Who asked lately and got no session, the latest first. */
  refused(): readonly RefusedView[];
  /** Sessions that this node knows. */
  sessionCount(): number;
  routes(): readonly RouteView[];
  /** Reads the file again. Throws "config_faults" and changes nothing when it has errors. */
  reload(): Promise<ReloadView>;
  logLevel(): LevelName;
  setLogLevel(level: LevelName): void;
  /** Throws "unknown_client", "no_session" or "ping_timeout". */
  ping(client: string, timeoutMs: number): Promise<Pong>;
  /** What is wrong now and wants a person, a sentence each. */
  faults(): readonly string[];
  /** This node's view of the group; undefined: it is the whole group. */
  groupStatus(): NodeGroupView | undefined;
  /** Asks another node, or all, which sessions they know. Returns those asked. Throws "no_group" or "peer_away". */
  resync(node: number | undefined): readonly number[];
  /** Which nodes belong to the group. */
  roster(): RosterView;
  /** Takes a newer roster. Throws "no_group" or "roster_refused". */
  applyRoster(text: string): void;
  /**
   * Takes another static key of the group: the operator's notice, and the private key of the one in force (32 bytes, and those
   * before it that a person adds). Throws "no_group" or "group_keys_refused".
   */
  applyGroupKeys(notice: string, privateKeys: readonly Uint8Array[]): number;
  /** Other keys for the group. `now`: tickets of before count no more. Throws "no_group" or "no_roster". */
  rotate(what: "tickets" | "fleet", now: boolean): void;
  /** What routers are told, and how the self-test of the data path goes. */
  announcement(): AnnounceView;
  /** Sends the clients to other nodes; at most `maxMs`. `exit`: the daemon ends afterwards. */
  drain(maxMs: number, exit: boolean): AnnounceView;
  undrain(): AnnounceView;
  /** Returns what ends it. */
  follow(listener: (event: InstanceEvent) => void): () => void;
}

/** A session of a client, as the client sees it. */
export interface ServiceSession {
  readonly id: number;
  /** The one to seal with; others are only opened, until they end. */
  readonly current: boolean;
  /** By ticket, not by a full handshake. */
  readonly resumed: boolean;
  readonly endpoint: string;
  readonly cipher: string;
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  readonly heardMs: number | null;
  /** Until another key is asked for; null: never, it is not the current one. */
  readonly rekeyInMs: number | null;
  /** Senders of the group that it can open packets of. */
  readonly senders: number;
  readonly rx: { readonly packets: number; readonly bytes: number };
  readonly tx: { readonly packets: number; readonly bytes: number };
}

/** A service of a client: what it is connected to, and what the node gave it. */
export interface ServiceStatus {
  readonly name: string;
  /**
   * confirming: a session was granted, but the node was not heard in it yet, or the host is not set up. silent: there is a
   * session, but the node is not heard any more and does not answer. replaced: another machine has the key; it has stopped.
   */
  readonly state: "connecting" | "confirming" | "up" | "silent" | "replaced";
  readonly device: string;
  /** Where requests go; null: no address was found yet. */
  readonly remote: string | null;
  /** Number of the node that was heard last, and since when, milliseconds since 1970; null: none, or it has no number. */
  readonly node: number | null;
  readonly nodeSinceMs: number | null;
  /** How often another node began to answer. */
  readonly moves: number;
  /** Since when packets pass both ways, milliseconds since 1970; null: they don't. */
  readonly upSinceMs: number | null;
  /** When a session was granted last, milliseconds since 1970; null: never. */
  readonly handshakeMs: number | null;
  /** Requests for a session that were not answered with one: since when (milliseconds since 1970), how many. */
  readonly asking: { readonly sinceMs: number; readonly tries: number } | null;
  /** Why it is not up, or was not when it asked last. */
  readonly problem: ClientProblemView | null;
  readonly addresses: readonly string[];
  readonly routes: readonly string[];
  readonly dns: readonly string[];
  readonly mtu: number | null;
  readonly sessions: readonly ServiceSession[];
  /** What was changed on this host, and how each of it is now, by what the kernel says. */
  readonly host: readonly HostChange[];
  /** What hooks did, one sentence each. */
  readonly hooks: readonly string[];
  /** Networks of this host inside of the routes, which stay beside the tunnel: "192.0.2.0/24 dev eth0". */
  readonly beside: readonly string[];
  /** Everything that belongs into the tunnel goes there, or nowhere. False before the first session. */
  readonly protected: boolean;
  /** What is not as the file and the node ask for it. */
  readonly hostProblems: readonly HostProblem[];
}

/** What can be asked of a client. */
export interface ClientControl {
  /** What became of control messages inside the sessions of all services. */
  controls(): readonly OutcomeCount[];
  services(): readonly ServiceStatus[];
  /** Throws "unknown_service", "no_session" or "ping_timeout". */
  ping(service: string, timeoutMs: number): Promise<Pong>;
  /** Returns what ends it. */
  follow(listener: (event: InstanceEvent) => void): () => void;
}

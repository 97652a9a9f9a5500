/**
 * What one daemon runs: the meaning of a configuration file or of an `anyhop classic` command line, after every name
 * was resolved to a number and every secret to bytes. Both front doors (`config.ts`, `classic.ts`) produce it; the
 * supervisor consumes it and knows neither.
 */
import type { AnnounceSpec } from "../../announce/spec.ts";

export interface TunnelSpec {
  /** For people: status, logs. Unique within the instance. */
  readonly name: string;
  readonly mux: number;
  readonly role: "left" | "right";
  /** Key lengths in bytes; 0 = null. */
  readonly cipherLen: 0 | 16 | 24 | 32;
  /** 0-20 bytes of HMAC-SHA1, or -1: no authentication. */
  readonly tagLen: number;
  readonly kdLen: 0 | 16 | 24 | 32;
  /** kdLen bytes; empty when kdLen is 0. */
  readonly masterKey: Uint8Array;
  /** 14 bytes; empty when kdLen is 0. */
  readonly masterSalt: Uint8Array;
  /** Where the peer is; without it the first authentic packet tells. `host` may be a name. */
  readonly remote: { readonly host: string; readonly port: number } | undefined;
  /** Replay window in packets; 0 = off. */
  readonly window: number;
  /** Inner prefixes of the peer ("10.9.0.2/32"); undefined = everything, only possible for the only tunnel. */
  readonly routes: readonly string[] | undefined;
  /** Send an empty packet after this long without sending; 0 = never. */
  readonly keepaliveMs: number;
}

/** Of a device whose MTU nobody has named, in bytes. */
export const MTU_DEFAULT = 1400;

export interface InstanceSpec {
  readonly name: string;
  readonly listen: readonly { readonly address: string; readonly port: number }[];
  readonly senderId: number;
  readonly device: {
    readonly type: "tun" | "tap";
    /** undefined: the kernel picks (tun0, tap0 ...). */
    readonly name: string | undefined;
    readonly mtuBytes: number;
    /** Addresses with prefix length, "10.9.0.1/24". */
    readonly addresses: readonly string[];
    /** Host routes into the device, as prefixes. Removed with the device. */
    readonly hostRoutes: readonly string[];
    /** Program run after the device is up, as `postUp DEVICE /dev/net/tun`. */
    readonly postUp: string | undefined;
  };
  readonly tunnels: readonly TunnelSpec[];
  /** Receivers of one multicast, broadcast or unknown-MAC packet. */
  readonly fanoutMax: number;
  /** Flooded packets per second and tunnel. */
  readonly floodPps: number;
  /** Copy DSCP from inner to outer and set nothing else ("copy"), or always send this value. */
  readonly dscp: "copy" | number;
  /** Worker threads that move packets; "auto" by the number of cores. */
  readonly shards: "auto" | number;
  readonly stateDir: string;
  /** Unix control socket. */
  readonly socketPath: string;
}

/** Ways of a client through the group: into the tunnel network, out to the world, or rewriting for others. */
export type Mode = "tunnel" | "open" | "relay";

/** One [[client]] of a node file. */
export interface NodeClient {
  readonly name: string;
  /** X25519, 44 characters of base64. */
  readonly publicKey: string;
  /** 32 bytes, or undefined: none. */
  readonly psk: Uint8Array | undefined;
  /** Inner addresses without length; empty = from the pool. */
  readonly addresses: readonly string[];
  /** Networks behind the client. */
  readonly prefixes: readonly string[];
  readonly modes: readonly Mode[];
}

/** Where a node's link is. `host` may be a name, but for the own one. */
export interface LinkPlace {
  readonly host: string;
  readonly port: number;
}

/** How nodes share state beside the node link. */
export type EngineSpec =
  | { readonly kind: "embedded" }
  | {
      readonly kind: "nats";
      readonly url: readonly string[];
      /** "SU...", or undefined: the server wants none. Secret. */
      readonly nkeySeed: string | undefined;
      /** PEM texts. `key` is secret. */
      readonly ca: string | undefined;
      readonly cert: string | undefined;
      readonly key: string | undefined;
    };

/** Who this node is to the others, by the operator's word. */
export interface IdentitySpec {
  /** Public key of the operator, 32 bytes, Ed25519. */
  readonly operator: Uint8Array;
  /** Of this node alone, 32 bytes, Ed25519. Secret. */
  readonly signingKey: Uint8Array;
}

/** What makes a node one of several that share the service address. */
export interface ClusterSpec {
  /** 1-63; the instance's sender id, too. */
  readonly node: number;
  /** 32 bytes, the same at each node. */
  readonly fleetKey: Uint8Array;
  /** undefined: whoever has the fleet key is any of the nodes. */
  readonly identity?: IdentitySpec | undefined;
  /** Own unicast address. */
  readonly link: LinkPlace;
  readonly holdMs: number;
  readonly peers: readonly { readonly node: number; readonly link: LinkPlace }[];
  readonly engine: EngineSpec;
}

/** A node of a group: what an `InstanceSpec` says, and who may come. */
export interface NodeSpec {
  /** Listen addresses, sender id, device, limits, paths, and classic tunnels (mux below 0x8000) if there are any. */
  readonly instance: InstanceSpec;
  readonly group: string;
  /** Key pair of the group, 32 bytes each. */
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
  /** Where clients are told to find the group, "host:port"; empty when the file does not say. */
  readonly addresses: readonly string[];
  /** Prefixes that inner addresses are taken from. */
  readonly pool: readonly string[];
  /** Prefixes that clients are told to send into the tunnel, beside the pool. */
  readonly networks: readonly string[];
  /** Inner name servers that clients are told. */
  readonly dns: readonly string[];
  /** What clients are told to use. */
  readonly keepaliveMs: number;
  /** Clients are told to agree new keys after so long. */
  readonly rekeyMs: number;
  readonly clients: readonly NodeClient[];
  /** How routers are told of the service addresses. */
  readonly announce: AnnounceSpec;
  /** undefined: the group has this node only. */
  readonly cluster: ClusterSpec | undefined;
  /** Sessions at a time, 16 to 131072; what each takes is taken when it comes. */
  readonly sessionsMax: number;
}

/** One [[service]] of a client file: a group to connect to, with a device of its own. */
export interface ServiceSpec {
  readonly name: string;
  /** Tried in this order. `host` may be a name. */
  readonly remotes: readonly { readonly host: string; readonly port: number }[];
  /** Of the group, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Public key of the group's operator, whose word counts for other keys of the group; undefined: nobody's does. */
  readonly operator: Uint8Array | undefined;
  /** 32 bytes, or undefined: none. */
  readonly psk: Uint8Array | undefined;
  /** Prefixes into the tunnel, "everything", or undefined: what the node announces. */
  readonly routes: readonly string[] | "everything" | undefined;
  /** Inner addresses with length; undefined: the node gives them. */
  readonly addresses: readonly string[] | undefined;
  /** undefined: the kernel picks. */
  readonly device: string | undefined;
  /** undefined: what the node says. */
  readonly mtuBytes: number | undefined;
  readonly keepaliveMs: number;
  /** Packets for the routes never leave the host outside the tunnel, also while it is down. */
  readonly killSwitch: boolean;
  /** Programs; see `control/host/hooks.ts` for their environment. */
  readonly hooks: {
    readonly dns: string | undefined;
    readonly postUp: string | undefined;
    readonly postDown: string | undefined;
  };
}

/** The client side: one identity, several services. */
export interface ClientSpec {
  readonly name: string;
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
  /** Local UDP port; 0: the kernel picks. */
  readonly port: number;
  readonly services: readonly ServiceSpec[];
  readonly stateDir: string;
  readonly socketPath: string;
}

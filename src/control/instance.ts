/**
 * What one daemon runs: the meaning of a configuration file or of an `anyhop classic` command line, after every name
 * was resolved to a number and every secret to bytes. Both front doors (`config.ts`, `classic.ts`) produce it; the
 * supervisor consumes it and knows neither.
 */

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

/** What [announce] of a node file means, and the three things that a service address can be at a router. */

/** draining: announced with the community of RFC 8326, so that routers prefer any other node. */
export type Phase = "withdrawn" | "announced" | "draining";

export const announceKinds = ["none", "bird", "exabgp", "command"] as const;
export type AnnounceKind = (typeof announceKinds)[number];

export interface AnnounceSpec {
  readonly kind: AnnounceKind;
  /** TUN that holds the service addresses while the daemon lives; undefined: they are on the host already. */
  readonly device: string | undefined;
  /** Service addresses with prefix length, "192.0.2.1/32". */
  readonly addresses: readonly string[];
  /** Prefixes of these addresses, without host bits: what routers see. */
  readonly prefixes: readonly string[];
  /** Control socket of BIRD. */
  readonly socket: string;
  /** Protocols of BIRD that announce, and those that announce with the community. */
  readonly protocols: readonly string[];
  readonly drainProtocols: readonly string[];
  /** Named pipe of ExaBGP. */
  readonly pipe: string;
  /** Next hop of each family for ExaBGP; "self" where there is none. */
  readonly nextHop: { readonly v4: string; readonly v6: string };
  /** Program of kind "command". */
  readonly command: string;
  /** For one answer of BIRD or ExaBGP's reader, or one run of the program. */
  readonly timeoutMs: number;
  /** Self-tests in a row that must be good before it is announced, and bad before it is withdrawn. */
  readonly goodToAnnounce: number;
  readonly badToWithdraw: number;
}

/** Why a service of a client is not up, as programs and people read it. `client_problems.ts` keeps them. */

/** Stable names for programs, each with what it means. docs/OPERATIONS.md has the same table. */
export const problemReasons = {
  no_name: "the name of the service was not found, or has no address of a family that this machine speaks",
  no_route: "this machine has no way to the address",
  port_closed: "the host there says by ICMP that nobody listens on this UDP port",
  filtered: "a router or firewall says by ICMP that it does not let the requests through",
  no_answer: "requests were sent and nothing came back",
  wrong_answer: "an answer came that does not open: another pre-shared key, or somebody forges answers",
  clock: "the group has seen a later time from this key than this machine's clock says",
  refused: "the node knows this client and refuses it, with its reason",
  unconfirmed: "a session was granted, but no packet of the node came in it",
  host: "addresses or routes could not be set on this machine",
  replaced: "another machine came with the key of this client; this one has stopped",
} as const;
export type ProblemReason = keyof typeof problemReasons;

export interface ClientProblemView {
  readonly reason: ProblemReason;
  /** A sentence for people. */
  readonly message: string;
  readonly count: number;
  /** Milliseconds since 1970. */
  readonly firstMs: number;
  readonly lastMs: number;
  /** The service came up afterwards. */
  readonly over: boolean;
}

/** Between the control thread and the lifeline's thread. Plain values that structured clone carries. */
import type { LifelineEvent, LinkSecrets } from "../cluster/lifeline_types.ts";
import type { WatchStatus } from "../cluster/lifeline_watch.ts";
import type { LinkPeer } from "../cluster/link_peer.ts";
import type { Lease } from "../dataplane/lease.ts";

export interface LifelineSetup {
  readonly node: number;
  readonly bootId: Uint8Array;
  readonly peers: readonly LinkPeer[];
  readonly own: { readonly address: string; readonly port: number };
  readonly lease: Lease;
}

export type ToLifeline =
  /** An authentic datagram of this node came over the node link at `ms`, monotonic. */
  | { readonly kind: "heard"; readonly node: number; readonly ms: number }
  | { readonly kind: "peers"; readonly peers: readonly LinkPeer[] }
  | { readonly kind: "agreed"; readonly agreed: LinkSecrets }
  | { readonly kind: "close" };

export type FromLifeline =
  /** Each second, and after each event. */
  | { readonly kind: "status"; readonly watches: readonly WatchStatus[] }
  | { readonly kind: "event"; readonly event: LifelineEvent }
  | { readonly kind: "failed"; readonly reason: string };

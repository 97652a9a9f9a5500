/** What `anyhop status` and metrics say of the group. Plain values. */
import type { Alarm } from "./alarms.ts";
import type { Core } from "./core.ts";
import type { Comparison, Disagreement } from "./digest.ts";
import type { LinkPeerStatus } from "./link.ts";
import type { LinkRefusal } from "./link_peer.ts";
import type { Membership } from "./membership.ts";
import type { OutcomeName } from "./outcomes.ts";

export interface GroupPeerStatus extends LinkPeerStatus {
  /** ms since something of it came through the bus; undefined = nothing yet. */
  readonly syncLagMs: number | undefined;
  /** Number of puts of its present start; undefined = not said yet. */
  readonly version: number | undefined;
  readonly sessions: number | undefined;
  readonly drain: "serving" | "draining" | "leaving" | undefined;
  /** It and this node have compared what they know since it came. */
  readonly compared: boolean;
  /** What it and this node have disagreed about for too long; empty = the same sessions on both. */
  readonly disagreements: readonly Disagreement[];
}

export interface GroupStatus {
  readonly node: number;
  readonly bootId: Uint8Array;
  readonly version: number;
  readonly drain: "serving" | "draining" | "leaving";
  readonly sessions: number;
  readonly tombstones: number;
  /** Sessions moving here now, sessions that are asked about, packets and bytes that wait. */
  readonly moving: number;
  readonly asking: number;
  readonly waitingPackets: number;
  readonly waitingBytes: number;
  /** Clients that this node is still to be introduced to. */
  readonly introductions: number;
  readonly engine: { readonly connected: boolean; readonly caughtUp: boolean };
  /** Nodes are known by keys of their own. */
  readonly identity: boolean;
  /** Version of the roster that is in force; 0 = none. */
  readonly roster: number;
  readonly fleetRotation: number;
  readonly peers: readonly GroupPeerStatus[];
  /** What happened lately that somebody should look at. */
  readonly alarms: readonly Alarm[];
  readonly outcomes: Readonly<Record<OutcomeName, number>>;
  /** Monotonic ms of the last of each. */
  readonly outcomesLastMs: Readonly<Partial<Record<OutcomeName, number>>>;
  /** Clients that were added while running, and removed ones that are remembered. */
  readonly book: { readonly clients: number; readonly tombstones: number };
  /** What the node link refused, of peers and strangers. */
  readonly linkRefusals: Readonly<Partial<Record<LinkRefusal, number>>>;
}

export interface Sizes {
  readonly book: { readonly clients: number; readonly tombstones: number };
  readonly tombstones: number;
  readonly moving: number;
  readonly asking: number;
  readonly askingPackets: number;
  readonly askingBytes: number;
  readonly introductions: number;
  readonly identity: boolean;
  readonly roster: number;
  readonly fleetRotation: number;
}

export function statusOf(
  core: Core,
  membership: Membership,
  resync: { readonly disagreements: readonly Disagreement[]; readonly comparison: Comparison },
  sizes: Sizes,
): GroupStatus {
  const { config, now, table, hold, outcomes, version } = core;
  const { askingPackets, askingBytes, ...rest } = sizes;
  const peers = core.link.status().map((peer): GroupPeerStatus => {
    const member = membership.member(peer.node);
    return {
      ...peer,
      bootId: member?.bootId ?? peer.bootId,
      syncLagMs: member?.busMs === undefined ? undefined : now.ms - member.busMs,
      version: member?.heartbeat?.version,
      sessions: member?.heartbeat?.sessions,
      drain: member?.heartbeat?.drain,
      compared: resync.comparison.has(peer.node),
      disagreements: resync.disagreements.filter(({ node }) => node === peer.node),
    };
  });
  return {
    ...{ node: config.node, bootId: config.bootId, version, drain: membership.drain, sessions: table.size, ...rest },
    ...{
      waitingPackets: hold.packets + askingPackets,
      waitingBytes: hold.bytes + askingBytes,
      peers,
      outcomes: outcomes.all(),
      alarms: core.alarms.list(now),
    },
    ...{ outcomesLastMs: outcomes.last(), book: sizes.book },
    linkRefusals: Object.fromEntries(core.link.refusals()),
    engine: { connected: membership.connected, caughtUp: membership.caughtUp },
  };
}

/** The answer about the group from what the node's part in it knows. */
import { formatEndpoint } from "../base/ip.ts";
import type { NodeGroupView } from "../control/asked/group_view.ts";
import type { GroupStatus, PeerStatus } from "./contract/group.ts";

type Peer = NodeGroupView["group"]["peers"][number];
type Watch = NodeGroupView["lifelines"][number];
type Sum = Peer["disagreements"][number]["ours"];

export function groupStatus(view: NodeGroupView): GroupStatus {
  const { group, bus, lifelines, nowMs, own, foreign, counters, book } = view;
  const { kind, connected, why, server, caughtUp, outbox, errors } = bus;
  return {
    ...{ node: group.node, bootId: hex(group.bootId), drain: group.drain, version: group.version },
    sessions: { known: group.sessions, own, foreign },
    ...{ tombstones: group.tombstones, moving: group.moving, asking: group.asking },
    held: { packets: group.waitingPackets, bytes: group.waitingBytes },
    introductions: group.introductions,
    engine: { kind, connected, why, server, caughtUp, outbox, errors: errors.map(errorOf) },
    book: {
      ...group.book,
      conflicts: book.conflicts.map((one) => ({ ...one, losers: [...one.losers] })),
      settled: book.settled.map((one) => ({ ...one, addresses: [...one.addresses] })),
      refused: book.refused.map((one) => ({ ...one })),
    },
    alarms: group.alarms.map((alarm) => ({ ...alarm })),
    ...{ identity: group.identity, roster: group.roster === 0 ? null : group.roster },
    fleetRotation: group.fleetRotation,
    peers: group.peers.map((peer) => ({
      ...peerStatus(peer, bus.peers.find(({ node }) => node === peer.node)?.lag, nowMs),
      lifeline: lifelineOf(
        lifelines.find(({ node }) => node === peer.node),
        nowMs,
      ),
    })),
    counters: counters.map(({ name, help, done, count, lastMs }) => {
      return { name, count, refused: !done, help, lastAgoMs: lastMs === undefined ? null : Math.round(nowMs - lastMs) };
    }),
  };
}

function peerStatus(peer: Peer, behind: number | undefined, nowMs: number): Omit<PeerStatus, "lifeline"> {
  const { endpoint, disagreements, heardMs } = peer;
  return {
    ...{ node: peer.node, alive: peer.alive, clockApart: peer.clockApart },
    link: formatEndpoint(endpoint.w0, endpoint.w1, endpoint.w2, endpoint.w3, endpoint.port),
    bootId: peer.bootId === undefined ? null : hex(peer.bootId),
    heardAgoMs: heardMs === undefined ? null : Math.max(0, Math.round(nowMs - heardMs)),
    rttMs: peer.rttMs === undefined ? null : Math.round(peer.rttMs * 1000) / 1000,
    clockOffsetMs: peer.clockOffsetMs === undefined ? null : Math.round(peer.clockOffsetMs),
    ...{ drain: peer.drain ?? null, sessions: peer.sessions ?? null, version: peer.version ?? null },
    syncLagMs: peer.syncLagMs === undefined ? null : Math.round(peer.syncLagMs),
    behind: behind ?? null,
    agrees: peer.alive && peer.compared ? disagreements.length === 0 : null,
    disagreements: disagreements.map(({ creator, forMs, ours, theirs }) => {
      return { creator, forMs: Math.round(forMs), ours: digestOf(ours), theirs: digestOf(theirs) };
    }),
    ...{ refusedBy: peer.refusedBy ?? null, refused: { ...peer.refused } },
  };
}

function lifelineOf(watch: Watch | undefined, nowMs: number): PeerStatus["lifeline"] {
  if (watch === undefined) return null;
  const { state, connected, cause, sinceMs, lateMs, patienceMs } = watch;
  return {
    state: state !== "alive" ? state : connected ? "up" : "cut",
    sinceAgoMs: Math.max(0, Math.round(nowMs - sinceMs)),
    cause: cause ?? null,
    ...{ lateMs: Math.round(lateMs * 10) / 10, patienceMs: Math.round(patienceMs) },
  };
}

const errorOf = (error: NodeGroupView["bus"]["errors"][number]) => ({ ...error, endedMs: error.endedMs ?? null });
const digestOf = ({ count, high, low }: Sum) => ({ count, sum: word(high) + word(low) });
const word = (value: number): string => value.toString(16).padStart(8, "0");
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

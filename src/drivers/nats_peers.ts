/**
 * What one node knows of the others' streams: who is alive, how far its own copies are behind, which source has to be made
 * anew. Sans-IO. Each node says its heartbeat twice: through the streams, in the order of its puts, and directly. A direct
 * one that is ahead of the copied one shows how much is still on its way.
 */
import type { BusPeer } from "../cluster/bus.ts";
import type { StreamKind } from "../cluster/bus_subjects.ts";

/** A heartbeat, as JSON. The direct one says where the streams are, too. */
export interface Heartbeat {
  /** Of the sender's process; counters of two lives are not compared. */
  readonly boot: string;
  /** Heartbeats of this boot. */
  readonly n: number;
  /** Puts of this boot that were acknowledged. */
  readonly puts: number;
  readonly domain: string;
  readonly streams: Readonly<Record<StreamKind, string>>;
}

export interface PeerView {
  readonly node: number;
  heardMs: number;
  direct: Heartbeat | undefined;
  /** The latest that came through this node's own copy. */
  copied: Partial<Record<StreamKind, Heartbeat>>;
  /** The first direct one of this connection: what was put before it belongs to the snapshot. */
  goal: Heartbeat | undefined;
  /** Since when the copy of the live stream does not follow. */
  behindSinceMs: number | undefined;
  /** How often a source was made anew without success. */
  renewals: number;
}

/** A peer whose direct heartbeats stop is dead or cut off: its copies are as good as they can be. */
export const PEER_SILENT_MS = 3000;
const BEHIND_HEARTBEATS = 3;
/** A source that copies nothing this long while its peer is alive is made anew; twice as long before copies are dropped. */
export const STALLED_MS = 10_000;

export class PeerViews {
  readonly #peers = new Map<number, PeerView>();

  get(node: number): PeerView {
    const known = this.#peers.get(node);
    if (known !== undefined) return known;
    const fresh: PeerView = {
      ...{ node, heardMs: Number.NEGATIVE_INFINITY, direct: undefined, copied: {}, goal: undefined },
      ...{ behindSinceMs: undefined, renewals: 0 },
    };
    this.#peers.set(node, fresh);
    return fresh;
  }
  all(): PeerView[] {
    return [...this.#peers.values()];
  }
  /** Heard lately, and directly since this connection began: a record that comes first says nothing of where a peer is. */
  alive(nowMs: number): PeerView[] {
    return this.all().filter((peer) => peer.goal !== undefined && nowMs - peer.heardMs < PEER_SILENT_MS);
  }

  /** A new connection: what it must bring is asked anew. */
  restart(): void {
    for (const peer of this.#peers.values()) {
      peer.goal = undefined;
      peer.behindSinceMs = undefined;
      peer.heardMs = Number.NEGATIVE_INFINITY;
    }
  }

  heardDirect(node: number, heartbeat: Heartbeat, nowMs: number): PeerView {
    const peer = this.get(node);
    peer.direct = heartbeat;
    if (peer.goal?.boot !== heartbeat.boot) peer.goal = heartbeat;
    peer.heardMs = nowMs;
    const copied = peer.copied.l;
    const follows = copied?.boot === heartbeat.boot && heartbeat.n - copied.n < BEHIND_HEARTBEATS;
    if (follows) {
      peer.behindSinceMs = undefined;
      peer.renewals = 0;
    } else peer.behindSinceMs ??= nowMs;
    return peer;
  }

  heardCopy(node: number, kind: StreamKind, heartbeat: Heartbeat): void {
    this.get(node).copied[kind] = heartbeat;
  }

  /** True when everything that living peers had put before this connection was copied. */
  complete(nowMs: number): boolean {
    return this.alive(nowMs).every(({ goal, copied }) =>
      [copied.l, copied.b].every((copy) => copy !== undefined && copy.boot === goal!.boot && copy.n >= goal!.n),
    );
  }

  /** Peers whose source should be made anew now; the caller does it. */
  stalled(nowMs: number): PeerView[] {
    return this.alive(nowMs).filter(({ behindSinceMs }) => {
      return behindSinceMs !== undefined && nowMs - behindSinceMs > STALLED_MS;
    });
  }

  status(): BusPeer[] {
    return this.all().map(({ node, heardMs, direct, copied }) => {
      const known = direct !== undefined && copied.l?.boot === direct.boot;
      const lag = known ? Math.max(0, direct.puts - Math.max(copied.l!.puts, copied.b?.puts ?? 0)) : undefined;
      return { node, lag, heardMs: Number.isFinite(heardMs) ? heardMs : undefined };
    });
  }
}

/** Strict; undefined when it is something else. */
export function parseHeartbeat(bytes: Uint8Array): Heartbeat | undefined {
  if (bytes.length > 1024) return undefined;
  try {
    const { boot, n, puts, domain, streams } = JSON.parse(new TextDecoder().decode(bytes));
    const words = [boot, domain, streams.l, streams.b];
    if (!words.every((word) => typeof word === "string" && /^[A-Za-z0-9_~-]*$/.test(word))) return undefined;
    if (!Number.isSafeInteger(n) || !Number.isSafeInteger(puts)) return undefined;
    return { boot, n, puts, domain, streams: { l: streams.l, b: streams.b } };
  } catch {
    return undefined;
  }
}

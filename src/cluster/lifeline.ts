/**
 * The lifeline of one node: whom it watches, who watches it, and whether it may still act as the owner of sessions. Runs in
 * a thread of its own, so neither a busy control thread nor its garbage collection is ever taken for death. Sans-IO:
 * connections are numbers, time is an argument. docs/PROTOCOL.md, "Lifeline".
 *
 * A node that stood still (stopped, starved, suspended) for so long that others may have taken it for dead opens nothing
 * until they have said whether they did: that is the fence. So does one whose control thread hangs: nobody can ask it for a
 * session, and it beats on all the same.
 */
import type { Address } from "../base/ip.ts";
import {
  type ConnectionEnd,
  HUNG_MS,
  type LifelineOptions,
  type LifelineOutput,
  type LinkSecrets,
  PAUSE_MS,
  sameHost,
} from "./lifeline_types.ts";
import { Watch, type WatchStatus } from "./lifeline_watch.ts";
import { Watched } from "./lifeline_watched.ts";
import type { LinkPeer } from "./link_peer.ts";
import type { Now } from "./now.ts";

/** `tick` is due this often, so a longer pause of this node shows. */
export const TICK_MS = 50;
/** Between two ticks; longer, and this node heard nothing because it did not listen. */
const LATE_MS = 2 * TICK_MS;
/** How long the fence waits for nodes that watched this one: they try to connect every 200 ms. */
const FENCE_MS = 1000;

interface Fence {
  readonly number: number;
  readonly sinceMs: number;
  /** Nodes that watched this one before it stood still, and have not said anything since. */
  readonly waiting: Set<number>;
  condemned: boolean;
  /** The control thread hangs: the fence stands as long as it does. */
  hung: boolean;
}

export class Lifeline {
  readonly #options: LifelineOptions;
  readonly #watches = new Map<number, Watch>();
  readonly #watched: Watched;
  readonly #peers = new Map<number, LinkPeer>();
  /** A peer with whom no link stands has none, and so no lifeline. */
  readonly #secrets = new Map<number, readonly Uint8Array[]>();
  #ran: Now;
  #connections = 0;
  #fences = 0;
  #fence: Fence | undefined;
  #out: LifelineOutput[] = [];

  constructor(now: Now, options: LifelineOptions) {
    this.#options = options;
    this.#ran = now;
    this.#watched = new Watched({
      options,
      secretsOf: (node) => this.#secrets.get(node) ?? [],
      onHeard: (node, sentMs) => this.#heardBy(node, sentMs),
      onProven: (nowMs, node, condemned) => this.#proven(nowMs, node, condemned),
    });
    this.setPeers(now, options.peers, []);
  }

  setPeers(now: Now, peers: readonly LinkPeer[], out: LifelineOutput[]): void {
    this.#out = out;
    for (const node of [...this.#peers.keys()]) {
      const peer = peers.find((one) => one.node === node);
      if (peer !== undefined && sameHost(peer.endpoint, this.#peers.get(node)!.endpoint)) continue;
      const connection = this.#watches.get(node)?.connection;
      if (connection !== undefined) out.push({ kind: "close", connection });
      this.#peers.delete(node);
      this.#watches.delete(node);
      this.#watched.forget(node, out);
      if (peer === undefined) this.#secrets.delete(node);
    }
    for (const peer of peers) {
      const { node } = peer;
      this.#peers.set(node, peer);
      if (this.#watches.has(node)) continue;
      const watch = new Watch(now.ms, node, this.#options, () => ++this.#connections);
      this.#watches.set(node, watch);
      const secrets = this.#secrets.get(node);
      if (secrets !== undefined) watch.agreed(now.ms, undefined, secrets[0], out);
    }
  }

  /** The node link has agreed with a peer on other secrets. */
  agreed(now: Now, { node, bootId, secrets }: LinkSecrets, out: LifelineOutput[]): void {
    this.#run(now, out);
    const watch = this.#watches.get(node);
    if (watch === undefined || secrets.length === 0) return;
    this.#secrets.set(node, secrets);
    watch.agreed(now.ms, bootId, secrets[0], out);
    this.#watched.agreed(now.ms, node, out);
  }

  /** Where a peer is to be found. */
  endpointOf(node: number): LinkPeer["endpoint"] | undefined {
    return this.#peers.get(node)?.endpoint;
  }

  /** Somebody connected. Its number; undefined: it is nobody whom this node talks to, and the connection is to be closed. */
  accepted(now: Now, from: Address, out: LifelineOutput[]): number | undefined {
    this.#run(now, out);
    const peer = [...this.#peers.values()].find(({ endpoint }) => sameHost(endpoint, from));
    if (peer === undefined) return undefined;
    const connection = ++this.#connections;
    return this.#watched.accepted(now.ms, connection, peer.node) ? connection : undefined;
  }

  /** A connection that was asked for stands. */
  opened(now: Now, connection: number, out: LifelineOutput[]): void {
    this.#run(now, out);
    this.#watchOf(connection)?.opened(now.ms, out);
  }

  received(now: Now, connection: number, bytes: Uint8Array, out: LifelineOutput[]): void {
    this.#run(now, out);
    if (this.#watched.has(connection)) this.#watched.received(now.ms, connection, bytes, out);
    else this.#watchOf(connection)?.received(now.ms, bytes, out);
  }

  /** Not for connections that this node closes itself. */
  ended(now: Now, connection: number, how: ConnectionEnd, out: LifelineOutput[]): void {
    this.#run(now, out);
    if (this.#watched.has(connection)) this.#watched.ended(connection);
    else this.#watchOf(connection)?.ended(now.ms, how, out);
  }

  /** An authentic datagram of a living start of `node` came over the node link at `ms`, monotonic. */
  heard(node: number, ms: number): void {
    this.#watches.get(node)?.heard(ms);
  }

  /** This node ends, and owns nothing any more. */
  leave(out: LifelineOutput[]): void {
    this.#watched.leave(out);
  }

  /** The control thread has not run for so long. To be said before each `tick`. */
  controlSilent(now: Now, silentMs: number, out: LifelineOutput[]): void {
    this.#run(now, out);
    const hangs = this.#peers.size > 0 && silentMs > HUNG_MS;
    if (hangs === (this.#fence?.hung ?? false)) return;
    const fence = hangs ? this.#raise(now.ms, []) : this.#fence!;
    fence.hung = hangs;
    fence.condemned = true;
  }

  tick(now: Now, out: LifelineOutput[]): void {
    this.#run(now, out);
    for (const watch of this.#watches.values()) watch.tick(now.ms, out);
    this.#watched.tick(now.ms, out);
    const fence = this.#fence;
    if (fence !== undefined && (fence.waiting.size === 0 || now.ms - fence.sinceMs >= FENCE_MS)) this.#unfence(fence);
  }

  /** Monotonic time at which `tick` is due. */
  nextTimeout(): number {
    const { ms } = this.#ran;
    let next = Math.min(ms + TICK_MS, this.#watched.nextTimeout());
    for (const watch of this.#watches.values()) next = Math.min(next, watch.nextTimeout(ms));
    return next;
  }

  status(now: Now): WatchStatus[] {
    return Array.from(this.#watches.values(), (watch) => watch.status(now.ms));
  }

  /** Before each input: did this node stand still? The wall clock shows what the monotonic one does not, as a suspended host. */
  #run(now: Now, out: LifelineOutput[]): void {
    this.#out = out;
    const pausedMs = Math.max(now.ms - this.#ran.ms, now.wallMs - this.#ran.wallMs);
    const unheardMs = now.ms - this.#ran.ms;
    this.#ran = now;
    if (unheardMs > LATE_MS) for (const watch of this.#watches.values()) watch.pausedFor(unheardMs);
    if (pausedMs <= PAUSE_MS) return;
    this.#raise(now.ms, this.#watched.nodes);
    // Who answers this one has not taken this node for dead: it would have closed the connection.
    this.#watched.beat(now.ms, out);
  }

  #raise(nowMs: number, waiting: Iterable<number>): Fence {
    // What the fence before it waits for is still to come.
    const all = new Set([...waiting, ...(this.#fence?.waiting ?? [])]);
    this.#fences++;
    const { condemned, hung } = this.#fence ?? { condemned: false, hung: false };
    this.#fence = { number: this.#fences, sinceMs: nowMs, waiting: all, condemned, hung };
    this.#out.push({ kind: "event", event: { kind: "fenced", fence: this.#fences } });
    return this.#fence;
  }

  #unfence({ number, condemned, hung }: Fence): void {
    if (hung) return;
    this.#fence = undefined;
    this.#out.push({ kind: "event", event: { kind: "unfenced", fence: number, condemned } });
  }

  #heardBy(node: number, sentMs: number): void {
    const fence = this.#fence;
    if (fence === undefined || sentMs < Math.floor(fence.sinceMs)) return;
    this.#answered(fence, node);
  }

  #proven(nowMs: number, node: number, condemned: boolean): void {
    if (!condemned && this.#fence === undefined) return;
    const fence = this.#fence ?? this.#raise(nowMs, []);
    fence.condemned ||= condemned;
    this.#answered(fence, node);
  }

  #answered(fence: Fence, node: number): void {
    fence.waiting.delete(node);
    if (fence.waiting.size === 0 && this.#fence === fence) this.#unfence(fence);
  }

  #watchOf(connection: number): Watch | undefined {
    for (const watch of this.#watches.values()) if (watch.connection === connection) return watch;
    return undefined;
  }
}

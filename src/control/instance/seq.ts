/**
 * Keeps the sequence numbers of every tunnel ahead of the data plane: reserves blocks on disk before the shard may use
 * them. A clean stop gives the unused rest back, so that only a crash costs numbers.
 */
import type { TunnelTable } from "../../dataplane/tunnels.ts";
import type { SeqStore } from "../spec/ports.ts";

const SPACE = 2 ** 32;
/** Numbers reserved at a time when a tunnel is idle: 16,000 crashes until the space is used up. */
const BLOCK_MIN = 2 ** 18;
/** Largest block: over a second at the highest rates. */
const BLOCK_MAX = 2 ** 23;

export class SeqKeeper {
  private readonly store: SeqStore;
  private readonly tunnels: TunnelTable;
  private readonly identities = new Map<number, string>();
  private readonly blocks = new Map<number, number>();

  constructor(store: SeqStore, tunnels: TunnelTable) {
    this.store = store;
    this.tunnels = tunnels;
  }

  /** Reserves the first blocks of tunnels (index -> identity) and returns where each starts. */
  open(identities: ReadonlyMap<number, string>): Map<number, number> {
    const starts = new Map<number, number>();
    const limits = new Map<string, number>();
    for (const [index, identity] of identities) {
      const next = this.store.next(identity);
      starts.set(index, next);
      limits.set(identity, Math.min(SPACE, next + BLOCK_MIN));
      this.identities.set(index, identity);
      this.blocks.set(index, BLOCK_MIN);
    }
    this.store.reserve(limits);
    for (const [index, identity] of identities) this.tunnels.seqLimit[index] = limits.get(identity)!;
    return starts;
  }

  /** Extends every tunnel that has used more than half of its block. Call often. */
  extend(): void {
    const limits = new Map<string, number>();
    const changed: [number, number][] = [];
    for (const [index, identity] of this.identities) {
      const limit = this.tunnels.seqLimit[index];
      const block = this.blocks.get(index)!;
      const next = this.tunnels.seqNext[index];
      if (limit >= SPACE || limit - next > block / 2) continue;
      // Used up within one interval: the tunnel is fast, so take more at a time.
      const grown = Math.min(BLOCK_MAX, limit - next < block / 4 ? block * 2 : block);
      const raised = Math.min(SPACE, limit + grown);
      this.blocks.set(index, grown);
      limits.set(identity, raised);
      changed.push([index, raised]);
    }
    if (changed.length === 0) return;
    this.store.reserve(limits);
    for (const [index, raised] of changed) this.tunnels.seqLimit[index] = raised;
  }

  /** After the shard has stopped: the numbers from `seqNext` on are free again. */
  release(): void {
    const limits = new Map<string, number>();
    for (const [index, identity] of this.identities) limits.set(identity, this.tunnels.seqNext[index]);
    this.store.reserve(limits);
  }
}

/**
 * What makes several planes one daemon: memory that all of them see. Made by the control plane, one view of it for each
 * shard. A daemon with one shard has none of it and pays for none of it.
 */
import { createFloorMemory, type FloorMemory } from "../crypto/floor.ts";
import { createRestartMemory, type RestartMemory } from "../crypto/restart.ts";
import { createEndpointMemory, type EndpointMemory } from "./endpoints.ts";
import type { TunnelMemory } from "./tunnels.ts";

/** Most shards of a daemon: what fits into a sender id, see `senderIdOf`. */
export const SHARDS_MAX = 16;
/** Sender ids of a node's shards lie this far apart, so nodes that are numbered 0, 1, 2 ... never meet. */
const SENDER_STRIDE = 65536 / SHARDS_MAX;
/** With several shards a node's own sender id is below this. */
export const SENDER_ID_END = SENDER_STRIDE;

/** Sender id that shard `index` seals with. No two shards seal with one, or they would use numbers twice. */
export function senderIdOf(node: number, index: number): number {
  return node + index * SENDER_STRIDE;
}

/** Why an instance with this sender id cannot have so many shards, as the end of a sentence; undefined when it can. */
export function whyNotShards(shards: "auto" | number, senderId: number): string | undefined {
  if (shards === "auto" || shards === 1 || senderId < SENDER_ID_END) return undefined;
  return `each shard needs a sender id of its own, so that of a node with several is below ${SENDER_ID_END}, not ${senderId}`;
}

export interface SharedMemory {
  /** Number of the shard that this view is for, from 0. */
  readonly index: number;
  /** Tunnel tables of the other shards: read only. */
  readonly siblings: readonly TunnelMemory[];
  readonly endpoints: EndpointMemory;
  readonly floor: FloorMemory;
  /** One slot for each cell of `floor`. */
  readonly restart: RestartMemory;
}

/** Senders that the shards know together. Each cell is 4 KiB of address space for fingerprints, used when needed. */
const FLOOR_CELLS_MAX = 65536;

/** Replay windows of one shard: two for each tunnel, or 1024. A power of two. */
export function windowSlots(capacity: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1024, 2 * capacity)));
}

/** One view for each shard; `tables` are their tunnel tables, all of the same capacity. */
export function createSharedMemory(tables: readonly TunnelMemory[]): SharedMemory[] {
  const { capacity } = tables[0];
  // Twice as many as there can be windows, also when a peer makes each shard keep others.
  const cells = Math.min(FLOOR_CELLS_MAX, 2 ** Math.ceil(Math.log2(2 * windowSlots(capacity) * tables.length)));
  const endpoints = createEndpointMemory(capacity);
  const floor = createFloorMemory(cells);
  const restart = createRestartMemory(cells);
  return tables.map((own, index) => ({
    index,
    siblings: tables.filter((table) => table !== own),
    endpoints,
    floor,
    restart,
  }));
}

/** Sums over the shards of one instance, from their shared columns. Reads; holds nothing up. */
import type { Shard } from "../control/instance/shard_set.ts";
import type { TunnelTable } from "../dataplane/tunnels.ts";
import { VERDICTS, verdicts } from "../dataplane/verdict.ts";
import type { ShardStatus } from "./contract.ts";

/** Sum of what `read` finds in each shard's table. */
export function total(shards: readonly Shard[], read: (tunnels: TunnelTable) => number): number {
  return shards.reduce((sum, shard) => sum + read(shard.tunnels), 0);
}

export function latest(shards: readonly Shard[], read: (tunnels: TunnelTable) => number): number {
  return Math.max(...shards.map((shard) => read(shard.tunnels)));
}

/** The table of the shard that knows best where the peer of tunnel `t` is: the one that heard of it last. */
export function bestKnown(shards: readonly Shard[], t: number): TunnelTable {
  const heard = ({ tunnels }: Shard) => (tunnels.known[t] === 1 ? tunnels.lastRx[t] : -1);
  return shards.reduce((best, shard) => (heard(shard) > heard(best) ? shard : best)).tunnels;
}

/** Packets by verdict number, of all shards. */
export function countersOf(shards: readonly Shard[]): Float64Array {
  const sums = new Float64Array(VERDICTS);
  for (const { memory } of shards) {
    const counters = new Float64Array(memory.verdicts);
    for (let v = 0; v < VERDICTS; v++) sums[v] += counters[v];
  }
  return sums;
}

/** Dropped packets of tunnel `t` by name, those that happened. */
export function dropsOf(shards: readonly Shard[], t: number): Record<string, number> {
  const drops: Record<string, number> = {};
  for (let v = 0; v < VERDICTS; v++) {
    const count = total(shards, (tunnels) => tunnels.drops[t * VERDICTS + v]);
    if (count > 0) drops[verdicts[v].name] = count;
  }
  return drops;
}

/** What one shard did, for all tunnels [0, count) together. */
export function shardStatus({ senderId, tunnels, memory }: Shard, count: number): ShardStatus {
  const sum = (column: Float64Array) => column.subarray(0, count).reduce((a, b) => a + b, 0);
  const counters = new Float64Array(memory.verdicts);
  return {
    senderId,
    rx: { packets: sum(tunnels.rxPackets), bytes: sum(tunnels.rxBytes) },
    tx: { packets: sum(tunnels.txPackets), bytes: sum(tunnels.txBytes) },
    dropped: verdicts.reduce((dropped, { kind }, v) => dropped + (kind === "drop" ? counters[v] : 0), 0),
  };
}

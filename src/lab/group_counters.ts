/** What the nodes of a lab counted, summed over nodes and over the lives of each. Pure. */
import type { GroupCounts } from "./group_result.ts";

/** Name in the result -> name among the daemon's counters. */
const names = {
  held: "group_held",
  asked: "group_asked",
  forwarded: "group_forwarded",
  forecast: "group_forecast",
} as const satisfies Record<string, string>;

/** `lives`: the last counters of each life of each node. `resumed`: sessions that clients made by ticket. */
export function counterTotals(lives: readonly ReadonlyMap<string, number>[], resumed: number): GroupCounts {
  const total = (name: string) => lives.reduce((sum, counters) => sum + (counters.get(name) ?? 0), 0);
  const { held, asked, forwarded, forecast } = names;
  return {
    ...{ held: total(held), asked: total(asked), forwarded: total(forwarded), forecast: total(forecast) },
    resumed,
  };
}

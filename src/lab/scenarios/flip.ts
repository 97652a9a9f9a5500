/** Route changes between living nodes under load: nothing is lost, and nobody feels more than a few milliseconds. */
import { setTimeout as pause } from "node:timers/promises";
import { type GroupLab, type Scenario, streamFrom, wallMs } from "../group_lab.ts";
import { addedGap, all, atMost, type LabNumber, percentile, shown } from "../group_result.ts";
import { NODES, type NodeName, type SourceName } from "../group_topology.ts";

/** 50 Mbit/s of inner payload. */
const SECONDS = 32;
const BYTES = 1300;
const PACKETS_PER_SECOND = Math.round(50e6 / 8 / BYTES);
const FLIPS = 100;
/**
 * From flip to flip. The first half belongs to the flip, the second is quiet and says what is usual. A prime: what nodes do
 * each half second would otherwise meet all flips of a run or none.
 */
const PERIOD_MS = 263;
/**
 * A silence that a flip makes begins within this time of the client's first packet at its new node: even without an owner
 * all is as before then. The quiet half has two windows of the same length, since longer ones meet more of the pauses that
 * a machine makes by itself.
 */
const WINDOW_MS = 50;
const WARM_UP_MS = 1000;
/** A route change that takes longer did not take place. */
const PATIENCE_MS = 2000;
/** To each node before it is measured: V8 still compiles what the first ones need. They are shown apart. */
const FIRST_FLIPS = 4;
const TAIL_MS = 1500;
const STREAM = streamFrom("c1");
const FIRST = FIRST_FLIPS * NODES.length;

export const flip: Scenario = {
  seconds: SECONDS,
  secondsMin: 8,
  looks: true,
  help: "100 route changes between living nodes, with 50 Mbit/s",
  async run(lab, seconds = SECONDS, signal): Promise<LabNumber[]> {
    const flips = Math.min(FLIPS, Math.floor((seconds * 1000 - WARM_UP_MS - TAIL_MS) / PERIOD_MS) - FIRST);
    lab.streams.send(STREAM, PACKETS_PER_SECOND, BYTES);
    await pause(WARM_UP_MS, undefined, { signal });
    const firstMs = wallMs();
    for (let i = 0; i < FIRST; i++) await change(lab, ["c1", "s"], NODES[(i + 1) % NODES.length]!, signal);
    const startMs = wallMs();
    for (let i = 0; i < flips; i++) {
      // The way back changes too, every now and then, and not at the same moment.
      if (i % 5 === 4) await lab.flip(["s"], NODES[(i + 2) % NODES.length]!);
      await change(lab, ["c1"], NODES[(i + 1) % NODES.length]!, signal);
    }
    lab.streams.stop(STREAM);
    await pause(TAIL_MS, undefined, { signal });
    return evaluate(lab, firstMs, startMs, flips);
  },
};

/** Changes the route, and waits until the client's packets went there and the period is over. */
async function change(
  lab: GroupLab,
  sources: readonly SourceName[],
  node: NodeName,
  signal: AbortSignal,
): Promise<void> {
  const sinceMs = wallMs();
  await lab.flip(sources, node);
  const isThere = () => lab.arrivals("c1", sinceMs).some(({ to }) => to === node);
  while (!isThere() && wallMs() - sinceMs < PATIENCE_MS) await pause(10, undefined, { signal });
  await pause(Math.max(0, sinceMs + PERIOD_MS - wallMs()), undefined, { signal });
}

function evaluate(lab: GroupLab, firstMs: number, startMs: number, flips: number): LabNumber[] {
  const arrivals = lab.arrivals("c1", startMs);
  const trace = lab.wire.trace(STREAM);
  const half = PERIOD_MS / 2;
  const gapFrom = (ms: number) => trace.longestGap(ms - 1, ms - 1 + WINDOW_MS);
  const flipped = arrivals.map(({ atMs }) => gapFrom(atMs));
  const quiet = arrivals.slice(0, -1).flatMap(({ atMs }) => [gapFrom(atMs + half), gapFrom(atMs + half + WINDOW_MS)]);
  const first = lab.arrivals("c1", firstMs).filter(({ atMs }) => atMs < startMs);
  const { sent, received } = lab.count(STREAM);
  return [
    all("route changes that took place", arrivals.length, flips),
    atMost("packets lost", sent - received, 0, "", sent),
    atMost("gap that a flip adds, p99", addedGap(flipped, quiet, 0.99), 5, "ms", flipped.length),
    shown("gap that a flip adds, median of ms", addedGap(flipped, quiet, 0.5), flipped.length),
    shown("longest gap around a flip, p99 of ms", percentile(flipped, 0.99), flipped.length),
    shown("longest gap without a flip, p99 of ms", percentile(quiet, 0.99), quiet.length),
    shown("longest gap without a flip, median of ms", percentile(quiet, 0.5), quiet.length),
    shown(
      `longest gap of the first ${FIRST_FLIPS} flips to each node since it started, ms`,
      Math.max(...first.map(({ atMs }) => gapFrom(atMs))),
      first.length,
    ),
    atMost("TCP connections that broke", lab.streams.tcp().problems.length, 0, "", lab.streams.tcp().received),
  ];
}

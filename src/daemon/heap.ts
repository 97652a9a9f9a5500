/**
 * Keeps the heap of the control thread near what is in use. A node may hold 100,000 clients and answer a thousand
 * handshakes a second, and garbage of both would otherwise stay resident for long.
 */
import { performance } from "node:perf_hooks";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { trimMemory } from "../drivers/native.ts";

const LOOK_MS = 2000;
/** Part of the time that a control thread works which has nothing urgent to do. */
const CALM = 0.1;
/** A collection takes about a millisecond for each megabyte in use: for so many of garbage it is worth it. */
const GARBAGE_BYTES = 8 << 20;
/** And not more often than this: a session that moves to this node just then waits for it. */
const PAUSE_MS = 60_000;

/** A heap below this may double between two collections: each is a pause of milliseconds, for a few megabytes. */
const SMALL_BYTES = 48 << 20;

/**
 * Lets the heap grow slowly, and has what is gone given back when there is time. The young generation stays at its first
 * 2 MB instead of 48 MB, and a large old one is collected when it has grown by a fifth: 58 MB less after 20,000 handshakes.
 * Until the thread is calm for the first time both may grow: a node that begins reads what 100,000 clients are and keeps
 * nearly all of it, so that a quarter of that time would go into collections that find nothing.
 * Code that is rarely used stays compiled: what it is for can't wait. The young generation is collected by one thread, since
 * helpers for so little have to get a processor first: pauses of 2 instead of 7 to 9 ms on two busy ones. Call it before
 * much is allocated.
 */
export function keepHeapSmall(): void {
  setFlagsFromString("--heap-growing-percent=100");
  setFlagsFromString("--no-flush-bytecode");
  setFlagsFromString("--no-parallel-scavenge");
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  let kept = 0;
  let hasBegun = false;
  let collectedMs = Number.NEGATIVE_INFINITY;
  let before = performance.eventLoopUtilization();
  setInterval(() => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    if (!hasBegun && utilization > CALM) return;
    hasBegun = true;
    const { used_heap_size: used } = getHeapStatistics();
    setFlagsFromString("--semi-space-growth-factor=1");
    setFlagsFromString(`--heap-growing-percent=${used < SMALL_BYTES ? 100 : 20}`);
    if (utilization > CALM || performance.now() - collectedMs < PAUSE_MS) return;
    if (used < kept + GARBAGE_BYTES) return;
    collectedMs = performance.now();
    collect();
    trimMemory();
    kept = getHeapStatistics().used_heap_size;
  }, LOOK_MS).unref();
}

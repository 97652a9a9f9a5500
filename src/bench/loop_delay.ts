/**
 * Loaded into a daemon by `--import`: writes how late its event loop came at most since the line before, each time that
 * it gets SIGUSR2. The daemon knows nothing of it.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { isMainThread } from "node:worker_threads";

/** The first word of the line; milliseconds follow. */
export const LOOP_DELAY = "loop-delay-ms";
const RESOLUTION_MS = 1;

// The program that reads the line imports this file, too, and its own loop is nobody's concern.
if (isMainThread && process.execArgv.includes("--import")) {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  process.on("SIGUSR2", () => {
    process.stderr.write(`${LOOP_DELAY} ${(delay.max / 1e6).toFixed(1)} ${(delay.percentile(99) / 1e6).toFixed(1)}\n`);
    delay.reset();
  });
}

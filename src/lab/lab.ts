/**
 * One run of a lab from the empty machine to the empty machine: namespaces, daemons, probes, measuring, and everything
 * gone again. Reports through the state; decides nothing about how it is shown.
 */
import { setTimeout as pause } from "node:timers/promises";
import { Daemons } from "./daemons.ts";
import { makeDirectory, run, sweep, sweepLeftovers } from "./host.ts";
import { Probes } from "./probes.ts";
import { type Result, resultOf } from "./result.ts";
import type { LabState } from "./state.ts";
import { setUpCommands } from "./topology.ts";

/** Longest wait for the first answer on every path; then measuring begins anyway and the silent path shows as lost. */
const WARM_UP_MS = 10_000;
/** Longest wait for the last answers. */
const LAST_WORDS_MS = 4000;
const TURN_MS = 100;
const STATUS_MS = 500;

/**
 * Runs the lab that `state` describes until its seconds are over or `signal` aborts; both end in a result. Whatever
 * goes wrong becomes a problem in the result, never an exception: what the lab made is removed in every case.
 */
export async function runLab(state: LabState, signal: AbortSignal): Promise<Result> {
  try {
    await build(state, signal);
  } catch (error) {
    state.problems.push(signal.aborted && state.elapsedMs === 0 ? "Stopped before measuring began." : messageOf(error));
  } finally {
    state.phase = "removing everything";
    sweep((pid) => pid === process.pid);
  }
  return resultOf(state);
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

async function build(state: LabState, signal: AbortSignal): Promise<void> {
  state.phase = "removing what an earlier lab left behind";
  sweepLeftovers();
  state.phase = "making namespaces and links";
  for (const command of setUpCommands(state.topology, (place) => state.namespaces.get(place)!)) {
    signal.throwIfAborted();
    run(command);
    // Lets the picture be drawn and a signal be seen between commands.
    await pause(0);
  }
  state.phase = "starting daemons";
  const daemons = new Daemons(state, makeDirectory());
  try {
    await daemons.ready(signal);
    state.phase = "waiting for the first answer on every path";
    const probes = new Probes(state, state.packetsPerSecond);
    try {
      await waitUntil(() => probes.ready || state.problems.length > 0, WARM_UP_MS, signal);
      signal.throwIfAborted();
      // A daemon or a probe that died already makes every number meaningless.
      if (state.problems.length > 0) return;
      await measure(state, daemons, probes, signal);
    } finally {
      await probes.end();
    }
  } finally {
    state.phase = "stopping daemons";
    await daemons.end();
  }
}

async function measure(state: LabState, daemons: Daemons, probes: Probes, signal: AbortSignal): Promise<void> {
  state.phase = "measuring";
  probes.tell("start");
  const start = performance.now();
  let asked = -Infinity;
  let restart: Promise<unknown> | undefined;
  while (!signal.aborted && (state.seconds === undefined || state.elapsedMs < state.seconds * 1000)) {
    state.elapsedMs = performance.now() - start;
    // In the background: the picture goes on, and so does the traffic.
    if (restartDue(state))
      restart ??= daemons.restart(state.topology.node).catch((error) => state.problems.push(messageOf(error)));
    if (state.elapsedMs - asked >= STATUS_MS) {
      asked = state.elapsedMs;
      await daemons.ask();
    }
    await pause(TURN_MS);
  }
  state.elapsedMs = performance.now() - start;
  await restart;
  state.phase = "waiting for the last answers";
  probes.tell("stop");
  await waitUntil(() => probes.done, LAST_WORDS_MS, undefined);
  await daemons.ask();
}

/** In the middle of the time, so that there is as much traffic before as after. */
const restartDue = ({ scenario, seconds, elapsedMs }: LabState): boolean =>
  scenario === "restart" && seconds !== undefined && elapsedMs >= (seconds * 1000) / 2;

/** Waits until `met`, at most `ms`, or until `signal` aborts. */
async function waitUntil(met: () => boolean, ms: number, signal: AbortSignal | undefined): Promise<void> {
  const until = performance.now() + ms;
  while (!met() && performance.now() < until && signal?.aborted !== true) await pause(20);
}

/**
 * What the lab knows while it runs: one record for each path, fed by the probes, and the last report of each daemon.
 * The picture and the result are functions of this and of nothing else.
 */
import type { TunnelStatus } from "../api/contract.ts";
import { Histogram } from "./histogram.ts";
import type { Reading } from "./meter.ts";
import type { Path, Topology } from "./topology.ts";

/** Readings kept for the small curve beside a path; one each half second. */
const RECENT = 20;

export interface PathState {
  readonly path: Path;
  readonly rtt: Histogram;
  sent: number;
  received: number;
  lost: number;
  duplicates: number;
  /** Answers per second over the last readings. */
  rate: number;
  /** Mean round-trip time of each recent reading in milliseconds; NaN: nothing came back. */
  readonly recentMs: number[];
  /** [time in ms, received] of the recent readings. */
  readonly recent: [at: number, received: number][];
}

/** What a daemon says about one tunnel, and where that daemon runs. */
export type TunnelState = { readonly place: string } & Readonly<
  Pick<TunnelStatus, "name" | "endpoint" | "rx" | "tx" | "drops" | "problem">
>;

export interface DropState {
  readonly place: string;
  readonly name: string;
  readonly count: number;
  readonly help: string;
}

/** What one daemon said last. */
export interface DaemonState {
  readonly tunnels: readonly TunnelState[];
  readonly drops: readonly DropState[];
}

export interface LabState {
  readonly topology: Topology;
  readonly version: string;
  /** Namespace of each place, for people who want to look around. */
  readonly namespaces: ReadonlyMap<string, string>;
  /** The id of a path is its index. */
  readonly paths: readonly PathState[];
  readonly daemons: Map<string, DaemonState>;
  /** What happens now, in a few words. */
  phase: string;
  /** Milliseconds of measuring so far. */
  elapsedMs: number;
  /** Seconds to measure, or undefined: until somebody stops the lab. */
  readonly seconds: number | undefined;
  /** What went wrong outside the paths, as sentences. */
  readonly problems: string[];
}

export function createState(
  topology: Topology,
  namespaceOf: (place: string) => string,
  version: string,
  seconds: number | undefined,
): LabState {
  return {
    topology,
    version,
    seconds,
    namespaces: new Map(topology.places.map(({ name }) => [name, namespaceOf(name)])),
    paths: topology.paths.map((path) => {
      const counts = { sent: 0, received: 0, lost: 0, duplicates: 0, rate: 0 };
      return { path, rtt: new Histogram(), ...counts, recentMs: [], recent: [] };
    }),
    daemons: new Map(),
    phase: "starting",
    elapsedMs: 0,
    problems: [],
  };
}

/** Takes over what a probe counted. `now` in milliseconds of any one clock. */
export function addReading(state: PathState, reading: Reading, now: number): void {
  state.sent = reading.sent;
  state.received = reading.received;
  state.lost = reading.lost;
  state.duplicates = reading.duplicates;
  for (const ms of reading.rttMs) state.rtt.add(ms);
  if (reading.sent === 0) return;
  state.recentMs.push(reading.rttMs.reduce((sum, ms) => sum + ms, 0) / reading.rttMs.length);
  if (state.recentMs.length > RECENT) state.recentMs.shift();
  state.recent.push([now, reading.received]);
  if (state.recent.length > 5) state.recent.shift();
  const [at, received] = state.recent[0]!;
  state.rate = now > at ? ((reading.received - received) * 1000) / (now - at) : 0;
}

/** The last reports of the daemons, in the order of the places. */
export function reportsOf(state: LabState): DaemonState[] {
  return state.topology.places.flatMap(({ name }) => state.daemons.get(name) ?? []);
}

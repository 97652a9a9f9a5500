/**
 * What the lab knows while it runs: one record for each path, fed by the probes, and the last report of each daemon.
 * The picture and the result are functions of this and of nothing else.
 */
import type { ApiSession } from "../api/contract/control.ts";
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
  /** Longest silence so far in milliseconds. */
  gapMs: number;
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

/** What a node says about one client's session. Keys are left out: they are 44 characters that say nothing here. */
export type SessionState = { readonly place: string } & Readonly<
  Pick<ApiSession, "id" | "client" | "endpoint" | "cipher" | "rx" | "tx">
>;

export interface DropState {
  readonly place: string;
  readonly name: string;
  readonly count: number;
  readonly help: string;
}

/** What one daemon said last. */
export interface DaemonState {
  readonly pid: number;
  readonly tunnels: readonly TunnelState[];
  readonly sessions: readonly SessionState[];
  /** Of a client: its sessions that were made by ticket. */
  readonly resumed?: readonly number[];
  readonly drops: readonly DropState[];
}

/** A daemon that was killed while traffic ran, and started again. */
export interface RestartState {
  readonly place: string;
  /** Of the killed one. */
  readonly pid: number;
  /** By any one clock, in milliseconds. */
  readonly killedAt: number;
  /** Milliseconds of measuring before the kill. */
  readonly atMs: number;
  /** Sessions that the killed daemon had: client by session id. */
  readonly before: ReadonlyMap<number, string>;
  /** Milliseconds from the kill until the new daemon answered on its control socket. */
  upMs: number | undefined;
  /**
   * Clients whose session lives on under its old id. Only a ticket holds the id: a new session draws one of 2^31 at
   * random.
   */
  readonly resumed: Set<string>;
}

/** traffic: nothing but that. restart: the node is killed in the middle and started again. */
export const scenarios = ["traffic", "restart"] as const;
export type Scenario = (typeof scenarios)[number];

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
  readonly scenario: Scenario;
  /** Packets per second on each path. */
  readonly packetsPerSecond: number;
  /** Seconds to measure, or undefined: until somebody stops the lab. */
  readonly seconds: number | undefined;
  restart: RestartState | undefined;
  /** What went wrong outside the paths, as sentences. */
  readonly problems: string[];
}

export function createState(
  topology: Topology,
  namespaceOf: (place: string) => string,
  version: string,
  seconds: number | undefined,
  scenario: Scenario = "traffic",
  packetsPerSecond = 50,
): LabState {
  return {
    topology,
    version,
    seconds,
    scenario,
    packetsPerSecond,
    namespaces: new Map(topology.places.map(({ name }) => [name, namespaceOf(name)])),
    paths: topology.paths.map((path) => {
      const counts = { sent: 0, received: 0, lost: 0, duplicates: 0, gapMs: 0, rate: 0 };
      return { path, rtt: new Histogram(), ...counts, recentMs: [], recent: [] };
    }),
    daemons: new Map(),
    phase: "starting",
    elapsedMs: 0,
    restart: undefined,
    problems: [],
  };
}

/** Takes over what a probe counted. `now` in milliseconds of any one clock. */
export function addReading(state: PathState, reading: Reading, now: number): void {
  state.sent = reading.sent;
  state.received = reading.received;
  state.lost = reading.lost;
  state.duplicates = reading.duplicates;
  state.gapMs = reading.gapMs;
  for (const ms of reading.rttMs) state.rtt.add(ms);
  if (reading.sent === 0) return;
  state.recentMs.push(reading.rttMs.reduce((sum, ms) => sum + ms, 0) / reading.rttMs.length);
  if (state.recentMs.length > RECENT) state.recentMs.shift();
  state.recent.push([now, reading.received]);
  if (state.recent.length > 5) state.recent.shift();
  const [at, received] = state.recent[0]!;
  state.rate = now > at ? ((reading.received - received) * 1000) / (now - at) : 0;
}

/** Takes over what a daemon said at `now`, and notes which sessions of a killed one are still there. */
export function addReport(state: LabState, place: string, report: DaemonState, now: number): void {
  const { restart } = state;
  if (restart?.place === place) {
    // Asked before the kill, read after it.
    if (report.pid === restart.pid) return;
    restart.upMs ??= now - restart.killedAt;
    for (const { id, client } of report.sessions) if (restart.before.get(id) === client) restart.resumed.add(client);
  }
  state.daemons.set(place, report);
}

/** The last reports of the daemons, in the order of the places. */
export function reportsOf(state: LabState): DaemonState[] {
  return state.topology.places.flatMap(({ name }) => state.daemons.get(name) ?? []);
}

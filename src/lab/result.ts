/**
 * What a lab run came to: the object that `--json` prints, the sentence for each thing that is wrong with it, and the
 * readable summary. Pure.
 */
import type { RttMs } from "./histogram.ts";
import {
  type DropState,
  type LabState,
  type RestartState,
  reportsOf,
  type SessionState,
  type TunnelState,
} from "./state.ts";

/**
 * Share of a path's packets that may be lost in a good run. Nothing in the lab drops on purpose; this forgives one
 * stall of a busy machine in a long run, and nothing at all in a run of less than 20 seconds at 50 packets a second.
 */
export const LOSS_TOLERANCE = 0.001;

/** Longest silence on a path that a killed and restarted node may cause, and still be called going on. */
export const GAP_MAX_MS = 4000;

export interface PathResult {
  readonly from: string;
  readonly to: string;
  /** Inner IP version. */
  readonly family: 4 | 6;
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  readonly lostPct: number;
  readonly duplicates: number;
  /** Longest time without an answer while packets were sent. */
  readonly gapMs: number;
  /** null when nothing came back. */
  readonly rttMs: RttMs | null;
}

export interface RestartResult {
  readonly place: string;
  /** Seconds of measuring before the kill. */
  readonly atS: number;
  /** Milliseconds from the kill until the new daemon answered on its control socket; null: it never did. */
  readonly upMs: number | null;
  /** Clients that had a session before, and those of them whose session went on by ticket. */
  readonly clients: readonly string[];
  readonly resumed: readonly string[];
}

/** A session at the end of the run. */
export type SessionResult = SessionState & { readonly resumed: boolean };

export interface Result {
  /**
   * Every path carried traffic, with no more loss than LOSS_TOLERANCE beside that of a restart, and nothing else went
   * wrong.
   */
  readonly ok: boolean;
  readonly version: string;
  readonly lab: string;
  /** Seconds of measuring. */
  readonly seconds: number;
  readonly paths: readonly PathResult[];
  readonly sessions: readonly SessionResult[];
  /** Classic ones. */
  readonly tunnels: readonly TunnelState[];
  /** null: no daemon was killed. */
  readonly restart: RestartResult | null;
  readonly drops: readonly DropState[];
  /** Why `ok` is false, as sentences. */
  readonly problems: readonly string[];
}

/** Evaluates the state after the probes have had their last answers: what is not answered now is lost. */
export function resultOf(state: LabState): Result {
  const paths = state.paths.map(({ path, sent, received, duplicates, gapMs, rtt }): PathResult => {
    const lost = sent - received;
    return {
      from: path.from,
      to: path.to,
      family: path.family,
      sent,
      received,
      lost,
      lostPct: percent(lost, sent),
      duplicates,
      gapMs,
      rttMs: rtt.summary() ?? null,
    };
  });
  // When the lab did not even start, one reason is enough.
  const measured = state.elapsedMs > 0 || state.problems.length === 0;
  const wrong = (path: PathResult) => problemOf(path, state);
  const problems = [...state.problems, ...(measured ? [...paths.flatMap(wrong), ...restartProblems(state)] : [])];
  const reports = reportsOf(state);
  return {
    ok: problems.length === 0,
    version: state.version,
    lab: state.topology.title,
    seconds: Math.round(state.elapsedMs / 10) / 100,
    paths,
    sessions: reports.flatMap(({ sessions }) => sessions.map((session) => withResumed(session, state.restart))),
    tunnels: reports.flatMap((report) => report.tunnels),
    restart: state.restart === undefined ? null : restartResult(state.restart),
    drops: reports.flatMap((report) => report.drops).sort((a, b) => b.count - a.count),
    problems,
  };
}

/** To a hundredth of a percent, but never 0 when something was lost. */
export function percent(part: number, whole: number): number {
  if (whole === 0 || part === 0) return 0;
  return Math.max(0.01, Math.round((part / whole) * 10_000) / 100);
}

const withResumed = (session: SessionState, restart: RestartState | undefined): SessionResult => {
  const resumed = restart?.place === session.place && restart.resumed.has(session.client);
  return { ...session, resumed };
};

function restartResult({ place, atMs, upMs, before, resumed }: RestartState): RestartResult {
  return {
    place,
    atS: Math.round(atMs / 10) / 100,
    upMs: upMs === undefined ? null : Math.round(upMs),
    clients: [...new Set(before.values())].sort(),
    resumed: [...resumed].sort(),
  };
}

function problemOf(path: PathResult, { restart, packetsPerSecond }: LabState): string[] {
  const name = `${path.from} -> ${path.to} over IPv${path.family}`;
  if (path.sent === 0) return [`${name}: no packet was sent, the lab was stopped too early.`];
  if (path.received === 0) return [`${name}: none of ${path.sent} packets was answered.`];
  if (restart !== undefined && path.gapMs > GAP_MAX_MS)
    return [`${name}: silent for ${path.gapMs} ms, and ${GAP_MAX_MS} ms are allowed after a kill.`];
  // What was sent in the gap went to a daemon that was not there; one packet more was on its way.
  const excused = restart === undefined ? 0 : Math.ceil((path.gapMs * packetsPerSecond) / 1000) + 1;
  if (path.lost <= excused + path.sent * LOSS_TOLERANCE) return [];
  const but = excused === 0 ? "" : `; the gap of ${path.gapMs} ms explains ${excused}`;
  return [`${name}: ${path.lost} of ${path.sent} packets were lost (${path.lostPct} %)${but}.`];
}

function restartProblems({ scenario, restart }: LabState): string[] {
  if (scenario !== "restart") return [];
  if (restart === undefined) return ["The node was not killed: the lab was stopped too early."];
  const { place, before, resumed } = restart;
  if (before.size === 0) return [`The daemon at ${place} had no session when it was killed.`];
  const anew = [...new Set(before.values())].filter((client) => !resumed.has(client));
  return anew.map((client) => `The session of ${client} did not go on by its ticket after the restart of ${place}.`);
}

/** The end of a run for people: one line a path, then drops and problems. */
export function summaryLines(result: Result): string[] {
  const ms = (value: number | undefined) => (value === undefined ? "-" : value.toFixed(2)).padStart(7);
  const lines = [
    `anyhop lab: ${result.lab}, ${result.seconds} s`,
    `${"path".padEnd(28)}${"sent".padStart(7)}${"received".padStart(9)}${"lost".padStart(6)}   ms: min    avg    p50    p99    max`,
  ];
  for (const path of result.paths) {
    const rtt = path.rttMs ?? undefined;
    const times = [rtt?.min, rtt?.avg, rtt?.p50, rtt?.p99, rtt?.max].map(ms).join("");
    const counts = `${String(path.sent).padStart(7)}${String(path.received).padStart(9)}${String(path.lost).padStart(6)}`;
    lines.push(`${`${path.from} -> ${path.to} IPv${path.family}`.padEnd(28)}${counts}  ${times}`);
  }
  for (const { place, client, endpoint, cipher, resumed } of result.sessions)
    lines.push(`session at ${place}: ${client} from ${endpoint}, ${cipher}${resumed ? ", resumed by ticket" : ""}`);
  if (result.restart !== null) lines.push(restartLine(result.restart, result.paths));
  for (const drop of result.drops) lines.push(`dropped at ${drop.place}: ${drop.count} ${drop.name} - ${drop.help}`);
  for (const problem of result.problems) lines.push(`PROBLEM ${problem}`);
  lines.push(result.ok ? "ok: every path carried its traffic" : "not ok");
  return lines;
}

function restartLine({ place, atS, upMs, clients, resumed }: RestartResult, paths: readonly PathResult[]): string {
  const up = upMs === null ? "never answered again" : `answered again after ${upMs} ms`;
  const gap = Math.max(...paths.map((path) => path.gapMs));
  return `${place} killed at ${atS} s: ${up}, ${resumed.length} of ${clients.length} sessions resumed, longest gap ${gap} ms`;
}

/**
 * What a lab run came to: the object that `--json` prints, the sentence for each thing that is wrong with it, and the
 * readable summary. Pure.
 */
import type { RttMs } from "./histogram.ts";
import { type DropState, type LabState, reportsOf, type TunnelState } from "./state.ts";

/**
 * Share of a path's packets that may be lost in a good run. Nothing in the lab drops on purpose; this forgives one
 * stall of a busy machine in a long run, and nothing at all in a run of less than 20 seconds at 50 packets a second.
 */
export const LOSS_TOLERANCE = 0.001;

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
  /** null when nothing came back. */
  readonly rttMs: RttMs | null;
}

export interface Result {
  /** Every path carried traffic, with no more loss than LOSS_TOLERANCE, and nothing else went wrong. */
  readonly ok: boolean;
  readonly version: string;
  readonly lab: string;
  /** Seconds of measuring. */
  readonly seconds: number;
  readonly paths: readonly PathResult[];
  readonly tunnels: readonly TunnelState[];
  readonly drops: readonly DropState[];
  /** Why `ok` is false, as sentences. */
  readonly problems: readonly string[];
}

/** Evaluates the state after the probes have had their last answers: what is not answered now is lost. */
export function resultOf(state: LabState): Result {
  const paths = state.paths.map(({ path, sent, received, duplicates, rtt }): PathResult => {
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
      rttMs: rtt.summary() ?? null,
    };
  });
  // When the lab did not even start, one reason is enough.
  const measured = state.elapsedMs > 0 || state.problems.length === 0;
  const problems = [...state.problems, ...(measured ? paths.flatMap(problemOf) : [])];
  const reports = reportsOf(state);
  return {
    ok: problems.length === 0,
    version: state.version,
    lab: state.topology.title,
    seconds: Math.round(state.elapsedMs / 10) / 100,
    paths,
    tunnels: reports.flatMap((report) => report.tunnels),
    drops: reports.flatMap((report) => report.drops).sort((a, b) => b.count - a.count),
    problems,
  };
}

/** To a hundredth of a percent, but never 0 when something was lost. */
export function percent(part: number, whole: number): number {
  if (whole === 0 || part === 0) return 0;
  return Math.max(0.01, Math.round((part / whole) * 10_000) / 100);
}

function problemOf(path: PathResult): string[] {
  const name = `${path.from} -> ${path.to} over IPv${path.family}`;
  if (path.sent === 0) return [`${name}: no packet was sent, the lab was stopped too early.`];
  if (path.received === 0) return [`${name}: none of ${path.sent} packets was answered.`];
  if (path.lost <= path.sent * LOSS_TOLERANCE) return [];
  return [`${name}: ${path.lost} of ${path.sent} packets were lost (${path.lostPct} %).`];
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
  for (const drop of result.drops) lines.push(`dropped at ${drop.place}: ${drop.count} ${drop.name} - ${drop.help}`);
  for (const problem of result.problems) lines.push(`PROBLEM ${problem}`);
  lines.push(result.ok ? "ok: every path carried its traffic" : "not ok");
  return lines;
}

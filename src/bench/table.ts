/**
 * Turns measurements into medians, ratios and a plain text table. Pure: no clock, no files, no processes.
 */
import type { Failure, Measurement } from "./measure.ts";

export const METRICS = [
  { key: "tcpMbps", title: "TCP Mbit/s", digits: 0, better: "more" },
  { key: "udp64Kpps", title: "64 B kpps", digits: 1, better: "more" },
  { key: "udp1300Mbps", title: "1300 B Mbit/s", digits: 0, better: "more" },
  { key: "rttMs", title: "idle RTT ms", digits: 3, better: "less" },
  { key: "daemonCores", title: "cores (TCP)", digits: 2, better: "less" },
  { key: "peakMb", title: "peak MB", digits: 1, better: "less" },
] as const;

export type Metric = (typeof METRICS)[number]["key"];

/** Medians over all rounds of one peer. */
export interface Summary {
  readonly peer: string;
  readonly rounds: number;
  readonly median: Readonly<Record<Metric, number>>;
}

/** Median of at least one number; the mean of the two middle ones when their count is even. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function isFailure(result: Measurement | Failure): result is Failure {
  return "error" in result;
}

/** One summary per peer that has at least one good round, in order of first appearance. */
export function summarize(results: readonly (Measurement | Failure)[]): Summary[] {
  const good = results.filter((result) => !isFailure(result)) as Measurement[];
  return [...new Set(good.map((result) => result.peer))].map((peer) => {
    const runs = good.filter((result) => result.peer === peer);
    const of = (key: Metric) => median(runs.map((run) => run[key]));
    return {
      peer,
      rounds: runs.length,
      median: Object.fromEntries(METRICS.map(({ key }) => [key, of(key)])) as Record<Metric, number>,
    };
  });
}

/** Columns padded to their widest cell; the first column left, the others right. */
export function formatColumns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((row) => row[c]!.length)));
  const line = (row: readonly string[]) =>
    row.map((cell, c) => (c === 0 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!))).join("  ");
  return rows.map(line).join("\n");
}

const ratio = (a: number, b: number): string => (b === 0 ? "-" : `${(a / b).toFixed(2)}x`);

/** The bare cable has no daemon whose processor time and memory could be told. */
const hasNoDaemon = (peer: string, key: Metric): boolean =>
  peer === "raw" && (key === "daemonCores" || key === "peakMb");

/** Medians of every peer, with the share of the bare cable that its TCP stream reaches. */
export function formatMedians(summaries: readonly Summary[]): string {
  const raw = summaries.find((summary) => summary.peer === "raw");
  const head = ["median", ...METRICS.map((metric) => metric.title), "TCP/raw", "rounds"];
  const rows = summaries.map(({ peer, median: of, rounds }) => [
    peer,
    ...METRICS.map(({ key, digits }) => (hasNoDaemon(peer, key) ? "-" : of[key].toFixed(digits))),
    raw === undefined ? "-" : ratio(of.tcpMbps, raw.median.tcpMbps),
    String(rounds),
  ]);
  return formatColumns([head, ...rows]);
}

/** `subject` divided by every other peer, metric by metric. Undefined when the subject was not measured. */
export function formatRatios(summaries: readonly Summary[], subject: string): string | undefined {
  const ours = summaries.find((summary) => summary.peer === subject);
  if (ours === undefined) return undefined;
  const head = [
    `${subject} divided by`,
    ...METRICS.map(({ title, better }) => `${title.replace(/ \(.*| [A-Za-z/]+$/, "")} (${better})`),
  ];
  const rows = summaries
    .filter((summary) => summary.peer !== subject)
    .map((summary) => [
      summary.peer,
      ...METRICS.map(({ key }) =>
        hasNoDaemon(summary.peer, key) ? "-" : ratio(ours.median[key], summary.median[key]),
      ),
    ]);
  return formatColumns([head, ...rows]);
}

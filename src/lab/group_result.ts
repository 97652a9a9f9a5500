/** What a run of the anycast lab came to: the object that `--json` prints, and the readable summary. Pure. */
import type { DropState } from "./state.ts";

/** Something that happened, on the time-line. */
export interface LabEvent {
  /** Milliseconds of measuring. */
  readonly atMs: number;
  /** flip, kill, start, drain, ... or "through": the first packet of a client came out of its new node. */
  readonly what: string;
  readonly client?: string;
  readonly node?: string;
  /** through: from the first packet's arrival at the new node until the first came out of it. */
  readonly gapMs?: number;
  readonly lost?: number;
}

/** One of the promises that a scenario holds to account. */
export interface LabNumber {
  readonly name: string;
  readonly goal: string;
  /** As measured, with its unit in the name or the goal; null: it could not be measured. */
  readonly measured: number | null;
  /** How many were measured: a shorter run measures fewer. */
  readonly of: number;
  readonly ok: boolean;
}

export interface Gaps {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** What the nodes counted, of all their lives in this run. */
export interface GroupCounts {
  readonly held: number;
  readonly asked: number;
  readonly forwarded: number;
  readonly forecast: number;
  readonly resumed: number;
}

export interface GroupResult extends GroupCounts {
  readonly ok: boolean;
  readonly version: string;
  readonly lab: string;
  readonly scenario: string;
  readonly seconds: number;
  /** From a client's first packet at a new node to the first out of it, in milliseconds; null: no route changed. */
  readonly gaps: Gaps | null;
  /** Of all inner streams; delivered twice or more. */
  readonly sent: number;
  readonly lost: number;
  readonly replayed: number;
  readonly numbers: readonly LabNumber[];
  readonly events: readonly LabEvent[];
  readonly drops: readonly DropState[];
  /** Why `ok` is false, beside numbers that are missed. */
  readonly problems: readonly string[];
}

export const toMicros = (ms: number): number => Math.round(ms * 1000) / 1000;

/** The smallest value that `share` of the values do not exceed; null without values. */
export function percentile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return toMicros(sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]!);
}

export function gapsOf(values: readonly number[]): Gaps | null {
  if (values.length === 0) return null;
  return { p50: percentile(values, 0.5)!, p99: percentile(values, 0.99)!, max: percentile(values, 1)! };
}

/** A number that must not exceed `limit`; not measured is not ok, and neither is a measurement of nothing. */
export function atMost(name: string, measured: number | null, limit: number, unit: string, of: number): LabNumber {
  const ok = of > 0 && measured !== null && measured <= limit;
  return { name, goal: `<= ${limit}${unit === "" ? "" : ` ${unit}`}`, measured, of, ok };
}

/** How many of `of` came true; all must. */
export function all(name: string, measured: number, of: number): LabNumber {
  return { name, goal: `${of} of ${of}`, measured, of, ok: of > 0 && measured === of };
}

/** A number without a goal, beside which others are read. */
export function shown(name: string, measured: number | null, of: number): LabNumber {
  return { name, goal: "for comparison", measured, of, ok: true };
}

/**
 * What flips add to the silences of a stream: a percentile of those around flips less the same percentile of those without,
 * from windows of the same length. Never less than nothing; null when either was not measured.
 */
export function addedGap(flipped: readonly number[], quiet: readonly number[], share: number): number | null {
  const [during, usual] = [percentile(flipped, share), percentile(quiet, share)];
  return during === null || usual === null ? null : toMicros(Math.max(0, during - usual));
}

export function groupSummaryLines(result: GroupResult): string[] {
  const lines = [`anyhop lab: ${result.lab}, ${result.scenario}, ${result.seconds} s`];
  const { sent, lost, replayed, held, asked, forwarded, forecast, resumed, gaps } = result;
  lines.push(`inner packets: ${sent} sent, ${lost} lost, ${replayed} delivered twice`);
  lines.push(`nodes: ${held} held, ${asked} asked, ${forwarded} forwarded, ${forecast} forecast, ${resumed} resumed`);
  if (gaps !== null)
    lines.push(`first packet through a new node: p50 ${gaps.p50}, p99 ${gaps.p99}, max ${gaps.max} ms`);
  for (const { name, goal, measured, of, ok } of result.numbers)
    lines.push(`${ok ? "met   " : "MISSED"} ${name}: ${measured ?? "not measured"} (goal ${goal}, of ${of})`);
  for (const { place, count, name, help } of result.drops)
    lines.push(`dropped at ${place}: ${count} ${name} - ${help}`);
  for (const problem of result.problems) lines.push(`PROBLEM ${problem}`);
  lines.push(result.ok ? "ok" : "not ok");
  return lines;
}

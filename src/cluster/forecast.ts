/**
 * Where a client's sequence numbers probably are when the owner of its replay window can't be asked. Errs upwards: a
 * forecast that is too high costs the client's packets one round trip (a challenge), one that is too low lets old
 * packets in once more. Pure numbers. docs/PROTOCOL.md, "Take-over without the owner".
 */

/** A forecast never runs further than this ahead of what is known. */
export const FORECAST_MAX = 2 ** 20;
/** An owner reports sessions that advanced this often. */
export const PROGRESS_MS = 250;

const SEQ_MAX = 0xffffffff;
/** A rate that falls does so by a quarter of the difference per report; one that rises is believed at once. */
const FALL = 1 / 4;

/**
 * Packets per ms after a report that a session advanced by `advance` numbers, `elapsedMs` after the report before.
 * Sessions that stand still are not reported, so a long silence was one of the client and what it sent then it sent at
 * the end of it; reports that were delayed come in a bunch. Hence a report stands for one to two intervals.
 */
export function nextRate(rate: number, advance: number, elapsedMs: number): number {
  if (advance <= 0) return rate;
  const sample = advance / Math.min(2 * PROGRESS_MS, Math.max(PROGRESS_MS, elapsedMs));
  return sample >= rate ? sample : rate + (sample - rate) * FALL;
}

/**
 * Milliseconds since a session was certainly at its last known number. `ownerShoutMs`: when its owner was last heard on
 * the path by which reports come. An owner that shouts and does not report says that the session stands still; two
 * intervals are taken off, for the report that was lost and the one that is not due.
 */
export function ageMs(nowMs: number, reportedMs: number, ownerShoutMs: number): number {
  return Math.max(0, nowMs - Math.max(reportedMs, ownerShoutMs - 2 * PROGRESS_MS));
}

/** Greatest number that the client has probably used; -1 = none. `highWater`: greatest known, -1 = none. */
export function forecast(highWater: number, ratePerMs: number, age: number): number {
  return Math.min(SEQ_MAX, highWater + Math.min(FORECAST_MAX, Math.ceil(ratePerMs * age)));
}

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
 * The new rate of a session in packets per ms, after its owner reported that it advanced by `advance` numbers, `elapsedMs` after the
 * previous report. The time is taken as at least one and at most two report intervals. At least one, because delayed reports arrive
 * close together. At most two, because sessions that stand still are not reported: after a long pause the client sent all of
 * `advance` at the end of it.
 */
export function nextRate(rate: number, advance: number, elapsedMs: number): number {
  if (advance <= 0) return rate;
  const sample = advance / Math.min(2 * PROGRESS_MS, Math.max(PROGRESS_MS, elapsedMs));
  return sample >= rate ? sample : rate + (sample - rate) * FALL;
}

/**
 * For how many milliseconds a session may have advanced unseen. `reportedMs`: the last report of it. `ownerShoutMs`: when its owner
 * was last heard on the path that reports take. An owner that was heard without a report of this session says that the session
 * stood still, but for the last two intervals: one report may be lost, and the next one may not be due yet.
 */
export function ageMs(nowMs: number, reportedMs: number, ownerShoutMs: number): number {
  return Math.max(0, nowMs - Math.max(reportedMs, ownerShoutMs - 2 * PROGRESS_MS));
}

/** Greatest number that the client has probably used; -1 = none. `highWater`: greatest known, -1 = none. */
export function forecast(highWater: number, ratePerMs: number, age: number): number {
  return Math.min(SEQ_MAX, highWater + Math.min(FORECAST_MAX, Math.ceil(ratePerMs * age)));
}

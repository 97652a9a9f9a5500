/**
 * Which sequence numbers of a client are believed when another node tells them. A number that is too high shuts the client out:
 * windows begin above it, and none goes back. docs/PROTOCOL.md, "Numbers that nodes tell".
 */
import type { Core } from "./core.ts";

/** A client makes another session long before it has used so many numbers. */
const SEQ_END = 2 ** 31;
/** Packets that a client sends in a millisecond at most: 2 million a second are 24 Gbit/s in packets of 1,500 bytes. */
const RATE_MAX = 2048;
/** For clocks of nodes that differ, and for forecasts, which run ahead by 2^20 numbers at most. */
const GRACE_MS = 10_000;
/** Numbers that a client used in so long a time before the last one that was told may be under way yet. */
const UNDER_WAY_MS = 4000;
/** How many these are at least and at most. */
const UNDER_WAY_MIN = 64;
const UNDER_WAY_MAX = 2048;

/** Whether a client can use this number in any session at all. */
export const isNumber = (seq: number): boolean => seq < SEQ_END;

/** Whether the client of the session in `row` can have come to this number since its session was answered. -1 is none: true. */
export function isReachable({ table, now, config }: Core, row: number, seq: number): boolean {
  const ageMs = now.wallMs - (table.expiryMs[row] - config.sessionLifeMs);
  return isNumber(seq) && seq <= RATE_MAX * (Math.max(0, ageMs) + GRACE_MS);
}

/** Up to here all numbers of the session in `row` have arrived or never will, as far as was told; below 0: nothing is known. */
export function settledUpTo({ table }: Core, row: number): number {
  const underWay = Math.ceil(table.rate[row] * UNDER_WAY_MS);
  return table.high[row] - Math.min(UNDER_WAY_MAX, Math.max(UNDER_WAY_MIN, underWay));
}

/**
 * The way out of the fast path: a stage that meets a packet which needs more than a table look-up copies it into a
 * bounded ring, and the end of the turn works the ring off (`stages/answer.ts`).
 */
import { PUNT_BASE, PUNT_ROWS, SLOT_BYTES } from "./layout.ts";
import type { Plane } from "./plane.ts";

/** Inner IP packet that does not fit; detail = the MTU that would. */
export const PUNT_TOO_BIG = 1;

/** Copies `len` bytes at `at` into the ring. `from`: tunnel of origin, -1 = device. False when ring or budget is used up. */
export function punt(p: Plane, kind: number, from: number, at: number, len: number, detail: number): boolean {
  if (p.punts === PUNT_ROWS || p.puntsLeft <= 0) return false;
  p.puntsLeft--;
  const i = p.punts++;
  p.puntKind[i] = kind;
  p.puntFrom[i] = from;
  p.puntLen[i] = len;
  p.puntDetail[i] = detail;
  p.slab.copyWithin(PUNT_BASE + i * SLOT_BYTES, at, at + len);
  return true;
}

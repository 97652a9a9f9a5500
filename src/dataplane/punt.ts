/**
 * The way out of the fast path: a stage that meets a packet which needs more than a table look-up copies it into a
 * bounded ring, and the end of the turn works the ring off (`stages/answer.ts`).
 */
import { update16 } from "../base/checksum.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { PUNT_BASE, PUNT_ROWS, SLOT_BYTES } from "./layout.ts";
import type { Plane } from "./plane.ts";

/** Inner IP packet that does not fit; detail = the MTU that would. */
export const PUNT_TOO_BIG = 1;

/**
 * Copies the inner packet at `at` into the ring: `len` bytes, or what a slot takes of them, with a length field that says
 * so (a super-packet is copied as its first segment). `from`: tunnel of origin, -1 = device. False when ring or budget is
 * used up.
 */
export function punt(p: Plane, kind: number, from: number, at: number, len: number, detail: number): boolean {
  if (p.punts === PUNT_ROWS || p.puntsLeft <= 0) return false;
  p.puntsLeft--;
  const i = p.punts++;
  p.puntKind[i] = kind;
  p.puntFrom[i] = from;
  const copied = Math.min(len, SLOT_BYTES);
  const to = PUNT_BASE + i * SLOT_BYTES;
  p.puntLen[i] = copied;
  p.puntDetail[i] = detail;
  p.slab.copyWithin(to, at, at + copied);
  if (p.slab[to] >>> 4 === 6) p.view.setUint16(to + ipv6.PAYLOAD_LENGTH, copied - ipv6.HEADER_LEN);
  else setTotalLength(p.view, to, copied);
  return true;
}

function setTotalLength(view: DataView, at: number, len: number): void {
  const before = view.getUint16(at + ipv4.TOTAL_LENGTH);
  view.setUint16(at + ipv4.TOTAL_LENGTH, len);
  view.setUint16(at + ipv4.CHECKSUM, update16(view.getUint16(at + ipv4.CHECKSUM), before, len));
}

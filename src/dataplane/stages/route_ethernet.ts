/**
 * Switching of Ethernet frames between TAP clients and the node's device: learns where source MACs are, sends known
 * destinations to one place, floods the rest within limits. A MAC's owner is a tunnel, or -1 for the device.
 */
import { FULL, MOVE_LIMITED, NONE as UNKNOWN } from "../../table/mac.ts";
import * as ethernet from "../../wire/ethernet.ts";
import * as satp from "../../wire/satp.ts";
import type { Plane } from "../plane.ts";
import * as V from "../verdict.ts";
import { emit, flood, floodCopies, hasRoom } from "./emit.ts";

const DEVICE = -1;

/**
 * Input rows [first, n), frames out of tunnels: LIVE rows become TO_DEVICE, FORWARDED or a drop. Returns n, or the row
 * that the output batch had no room for.
 */
export function switchReceived(p: Plane, first: number, n: number): number {
  const { at, len, verdict, tunnel } = p.input;
  for (let i = first; i < n; i++) {
    if (verdict[i] !== V.LIVE) continue;
    if (mustWait(p, at[i], len[i])) return i;
    const from = tunnel[i];
    learnSource(p, at[i], from);
    const owner = destination(p, at[i]);
    if (owner === UNKNOWN) {
      if (p.memberCount > 1) flood(p, at[i], len[i], satp.TYPE_ETHERNET, 0, 0, from, 0, 0);
      verdict[i] = V.TO_DEVICE;
    } else if (owner === DEVICE) {
      verdict[i] = V.TO_DEVICE;
    } else if (owner === from) {
      verdict[i] = V.ROUTE_BACK;
    } else {
      verdict[i] = emit(p, owner, at[i], len[i], satp.TYPE_ETHERNET, 0, 0, from, 0, 0);
    }
  }
  return n;
}

/** Input rows [first, n) read from a TAP device: LIVE rows become FORWARDED or a drop. Returns like `switchReceived`. */
export function switchFromDevice(p: Plane, first: number, n: number): number {
  const { at, len, verdict } = p.input;
  for (let i = first; i < n; i++) {
    if (verdict[i] !== V.LIVE) continue;
    if (ethernet.check(p.view, at[i], at[i] + len[i]) < 0) {
      verdict[i] = V.INNER_MALFORMED;
      continue;
    }
    if (mustWait(p, at[i], len[i])) return i;
    learnSource(p, at[i], DEVICE);
    const owner = destination(p, at[i]);
    if (owner === UNKNOWN) verdict[i] = flood(p, at[i], len[i], satp.TYPE_ETHERNET, 0, 0, DEVICE, 0, 0);
    else if (owner === DEVICE) verdict[i] = V.ROUTE_BACK;
    else verdict[i] = emit(p, owner, at[i], len[i], satp.TYPE_ETHERNET, 0, 0, DEVICE, 0, 0);
  }
  return n;
}

/** Whether a frame needs more room than is left, and an emptied output batch would have more. */
function mustWait(p: Plane, at: number, len: number): boolean {
  const copies = destination(p, at) === UNKNOWN ? floodCopies(p) : 1;
  return p.output.n > 0 && !hasRoom(p, len, 0, 0, copies);
}

function learnSource(p: Plane, at: number, owner: number): void {
  const s = at + ethernet.SRC;
  // A group address is never a source (IEEE 802.3 clause 3.2.3).
  if ((p.slab[s] & 1) !== 0) return;
  const hi = p.view.getUint16(s);
  const lo = p.view.getInt32(s + 2);
  const outcome = p.macs.learn(hi, lo, owner, p.now);
  if (outcome === FULL) p.verdicts[V.MAC_TABLE_FULL]++;
  else if (outcome !== MOVE_LIMITED) p.macNews?.note(hi, lo, owner, p.now);
}

function destination(p: Plane, at: number): number {
  if ((p.slab[at + ethernet.DST] & 1) !== 0) return UNKNOWN;
  const d = at + ethernet.DST;
  return p.macs.lookup(p.view.getUint16(d), p.view.getInt32(d + 2), p.now);
}

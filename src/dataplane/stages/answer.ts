/**
 * Works off the punt ring at the end of a turn: builds the packets that answer what the fast path could not pass.
 * Answers leave as fresh packets, for the device or for the tunnel that the cause came from.
 */
import * as icmp from "../../wire/icmp.ts";
import * as ipv4 from "../../wire/ipv4.ts";
import * as ipv6 from "../../wire/ipv6.ts";
import * as satp from "../../wire/satp.ts";
import { ANSWER_BASE, PUNT_BASE, SLOT_BYTES } from "../layout.ts";
import type { Plane } from "../plane.ts";
import * as V from "../verdict.ts";
import { emit } from "./emit.ts";

/**
 * Turns the waiting punts into packets: for the device as input rows with verdict TO_DEVICE, for tunnels as output
 * rows. The input batch must be free. Returns the number of input rows; the caller transmits and counts.
 */
export function answerPunts(p: Plane): number {
  const { input } = p;
  let n = 0;
  for (let i = 0; i < p.punts; i++) {
    const at = ANSWER_BASE + n * SLOT_BYTES;
    const len = answerTooBig(p, PUNT_BASE + i * SLOT_BYTES, p.puntLen[i], p.puntDetail[i], at);
    if (len === 0) continue;
    const from = p.puntFrom[i];
    input.at[n] = at;
    input.len[n] = len;
    input.tunnel[n] = from;
    input.seg[n] = 0;
    input.hdr[n] = 0;
    input.type[n] = p.slab[at] >>> 4 === 4 ? satp.TYPE_IPV4 : satp.TYPE_IPV6;
    input.verdict[n] = from < 0 ? V.TO_DEVICE : emit(p, from, at, len, input.type[n], 0, 0, -1, 0, 0);
    n++;
  }
  p.punts = 0;
  return n;
}

/**
 * ICMP error about the packet at `at`, written at `to`; 0 when there must be none. Its source is the address that could
 * not be reached: an address of this host would be refused by the host's own kernel as a martian source.
 */
function answerTooBig(p: Plane, at: number, len: number, mtu: number, to: number): number {
  const view = p.view;
  if (p.slab[at] >>> 4 === 4)
    return icmp.writeFragmentationNeeded(view, to, at, len, mtu, view.getUint32(at + ipv4.DST));
  const d = at + ipv6.DST;
  return icmp.writePacketTooBig(
    view,
    to,
    at,
    len,
    mtu,
    view.getInt32(d),
    view.getInt32(d + 4),
    view.getInt32(d + 8),
    view.getInt32(d + 12),
  );
}

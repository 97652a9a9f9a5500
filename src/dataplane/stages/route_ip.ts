/**
 * Routing of inner IP packets, for both directions: longest prefix match on the inner destination decides between one
 * tunnel, the node itself (the device), or several receivers for multicast and broadcast. Also clamps the TCP MSS and
 * derives the outer header's wishes (DF as inside, ECN by RFC 6040 section 4.1, DSCP by policy).
 */
import * as ipv4 from "../../wire/ipv4.ts";
import * as ipv6 from "../../wire/ipv6.ts";
import * as satp from "../../wire/satp.ts";
import * as tcp from "../../wire/tcp.ts";
import { FLAG_DF } from "../layout.ts";
import type { Plane } from "../plane.ts";
import * as V from "../verdict.ts";
import { emit, flood, floodCopies, hasRoom } from "./emit.ts";

const SEVERAL = -2;

/**
 * Input rows [first, n) that came out of tunnels: LIVE rows become TO_DEVICE, FORWARDED or a drop. Returns n, or the row
 * that the output batch had no room for.
 */
export function routeReceived(p: Plane, first: number, n: number): number {
  const { at, len, verdict, tunnel, type } = p.input;
  for (let i = first; i < n; i++) {
    if (verdict[i] !== V.LIVE) continue;
    const from = tunnel[i];
    const t = destination(p, at[i], type[i]);
    if (mustWait(p, t, len[i], 0, 0)) return i;
    if (t === SEVERAL) {
      const tos = outerTos(p, at[i], type[i]);
      const flags = outerFlags(p, at[i], type[i]);
      if (p.memberCount > 1) flood(p, at[i], len[i], type[i], tos, flags, from, 0, 0);
      verdict[i] = V.TO_DEVICE;
    } else if (t < 0 || t === p.tunnels.capacity) {
      clampSyn(p, at[i], len[i], type[i], p.tunnels.innerMtu[from]);
      verdict[i] = V.TO_DEVICE;
    } else if (t === from) {
      verdict[i] = V.ROUTE_BACK;
    } else {
      clampSyn(p, at[i], len[i], type[i], Math.min(p.tunnels.innerMtu[from], p.tunnels.innerMtu[t]));
      const tos = outerTos(p, at[i], type[i]);
      verdict[i] = emit(p, t, at[i], len[i], type[i], tos, outerFlags(p, at[i], type[i]), from, 0, 0);
    }
  }
  return n;
}

/**
 * Input rows [first, n) read from a TUN device: LIVE rows become FORWARDED or a drop. A super-packet goes as one. Returns
 * like `routeReceived`.
 */
export function routeFromDevice(p: Plane, first: number, n: number): number {
  const { at, len, verdict, type, seg, hdr } = p.input;
  for (let i = first; i < n; i++) {
    if (verdict[i] !== V.LIVE) continue;
    const kind = innerType(p, at[i], len[i]);
    if (kind < 0) {
      verdict[i] = V.INNER_MALFORMED;
      continue;
    }
    type[i] = kind;
    let t = destination(p, at[i], kind);
    if (mustWait(p, t, len[i], seg[i], hdr[i])) return i;
    const tos = outerTos(p, at[i], kind);
    const flags = outerFlags(p, at[i], kind);
    if (t === SEVERAL) {
      verdict[i] = flood(p, at[i], len[i], kind, tos, flags, -1, seg[i], hdr[i]);
      continue;
    }
    if (t < 0) t = p.defaultTunnel;
    if (t < 0 || t === p.tunnels.capacity) {
      verdict[i] = V.NO_ROUTE;
      continue;
    }
    if (seg[i] <= 0) clampSyn(p, at[i], len[i], kind, p.tunnels.innerMtu[t]);
    verdict[i] = emit(p, t, at[i], len[i], kind, tos, flags, -1, seg[i], hdr[i]);
  }
  return n;
}

/** Whether a packet for `t` needs more room than is left, and an emptied output batch would have more. */
function mustWait(p: Plane, t: number, len: number, seg: number, hdr: number): boolean {
  return p.output.n > 0 && !hasRoom(p, len, seg, hdr, t === SEVERAL ? floodCopies(p) : 1);
}

/** Payload type of a whole IP packet by its version nibble, or -1. */
function innerType(p: Plane, at: number, len: number): number {
  if (len === 0) return -1;
  const version = p.slab[at] >>> 4;
  if (version === 4) return ipv4.check(p.view, at, at + len) < 0 ? -1 : satp.TYPE_IPV4;
  if (version === 6) return ipv6.check(p.view, at, at + len) < 0 ? -1 : satp.TYPE_IPV6;
  return -1;
}

/** Tunnel index, `capacity` for the node itself, -1 for no route, SEVERAL for multicast and broadcast. */
function destination(p: Plane, at: number, type: number): number {
  const view = p.view;
  if (type === satp.TYPE_IPV4) {
    const dst = view.getInt32(at + ipv4.DST);
    if (dst >>> 28 === 0xe || dst === -1) return SEVERAL;
    for (let b = 0; b < p.broadcastCount; b++) if (p.broadcasts[b] === dst) return SEVERAL;
    return p.routes.lookup4(dst);
  }
  const d = at + ipv6.DST;
  if (p.slab[d] === 0xff) return SEVERAL;
  return p.routes.lookup6(view.getInt32(d), view.getInt32(d + 4), view.getInt32(d + 8), view.getInt32(d + 12));
}

function outerTos(p: Plane, at: number, type: number): number {
  const inner = type === satp.TYPE_IPV4 ? p.slab[at + ipv4.TOS] : ipv6.trafficClass(p.view, at);
  return p.dscp < 0 ? inner : (p.dscp << 2) | (inner & 3);
}

function outerFlags(p: Plane, at: number, type: number): number {
  return type === satp.TYPE_IPV6 || ipv4.dontFragment(p.view, at) ? FLAG_DF : 0;
}

/** Lowers the MSS option of a TCP SYN so that full segments fit `mtu`. */
function clampSyn(p: Plane, at: number, len: number, type: number, mtu: number): void {
  const { view, slab } = p;
  if (type === satp.TYPE_IPV4) {
    if (slab[at + ipv4.PROTOCOL] !== tcp.PROTOCOL || (view.getUint16(at + ipv4.FRAGMENT) & ipv4.FRAGMENT_OFFSET) !== 0)
      return;
    tcp.clampMss(view, at + ipv4.headerLen(view, at), at + len, mtu - ipv4.HEADER_LEN_MIN - tcp.HEADER_LEN_MIN);
  } else if (slab[at + ipv6.NEXT_HEADER] === tcp.PROTOCOL) {
    tcp.clampMss(view, at + ipv6.HEADER_LEN, at + len, mtu - ipv6.HEADER_LEN - tcp.HEADER_LEN_MIN);
  }
}

/**
 * Puts one packet or super-packet for one tunnel into the output batch: endpoint, sequence numbers, outer header wishes,
 * room for the datagrams. The only place that takes sequence numbers, so the only place that must never take one twice.
 */
import * as satp from "../../wire/satp.ts";
import { FLAG_DF, OUT_BASE, OUT_BYTES } from "../layout.ts";
import type { Plane } from "../plane.ts";
import { PUNT_TOO_BIG, punt } from "../punt.ts";
import { NO_SESSION } from "../tunnels.ts";
import * as V from "../verdict.ts";

const SEQ_SPACE = 2 ** 32;
/** What sealing adds to a packet with the longest tag. */
const OVERHEAD_MAX = satp.HEADER_LEN + satp.TYPE_LEN + 20;

/** Packets that an input row stands for: those of a super-packet, else one. */
export function packetsOf(len: number, seg: number, hdr: number): number {
  return seg > 0 ? Math.ceil((len - hdr) / seg) : 1;
}

/**
 * Whether the output batch takes `copies` copies of a packet, whatever their tunnels. An empty batch takes one of any
 * packet (test/dataplane/super.test.ts).
 */
export function hasRoom(p: Plane, len: number, seg: number, hdr: number, copies: number): boolean {
  const bytes = copies * (len + packetsOf(len, seg, hdr) * (hdr + OVERHEAD_MAX));
  return p.output.n + copies <= p.output.capacity && p.outAt + bytes <= OUT_BASE + OUT_BYTES;
}

/**
 * Appends an output row. `src`/`len`: the inner packet; `type`: EtherType, -1 = empty packet; `tos`: outer TOS byte;
 * `from`: tunnel of origin, -1 = device; `seg`/`hdr`: of a super-packet, 0 = plain. Returns FORWARDED, or why not. The
 * caller has asked `hasRoom`.
 */
export function emit(
  p: Plane,
  t: number,
  src: number,
  len: number,
  type: number,
  tos: number,
  flags: number,
  from: number,
  seg: number,
  hdr: number,
): number {
  const { tunnels, output } = p;
  if (tunnels.known[t] === 0) return V.NO_ENDPOINT;
  const longest = seg > 0 ? hdr + seg : len;
  if (longest > tunnels.innerMtu[t] && (flags & FLAG_DF) !== 0 && !p.ethernet) {
    return punt(p, PUNT_TOO_BIG, from, src, longest, tunnels.innerMtu[t]) ? V.TOO_BIG : V.PUNT_FULL;
  }
  const packets = packetsOf(len, seg, hdr);
  const s = tunnels.seqNext[t];
  if (s + packets > tunnels.seqLimit[t]) return seqRefused(p, t, s + packets);
  tunnels.seqNext[t] = s + packets;
  const i = output.n++;
  const overhead = satp.HEADER_LEN + (type < 0 ? 0 : satp.TYPE_LEN) + tunnels.tagLen[t];
  output.at[i] = p.outAt;
  p.outAt += len + (packets - 1) * hdr + packets * overhead;
  p.packets[i] = packets;
  output.seg[i] = seg;
  output.hdr[i] = hdr;
  output.src[i] = src;
  output.len[i] = len;
  output.type[i] = type;
  output.verdict[i] = V.LIVE;
  output.tunnel[i] = t;
  output.key[i] = tunnels.key[t];
  output.seq[i] = s;
  output.sender[i] = tunnels.senderId[t];
  output.mux[i] = tunnels.mux[t];
  output.sock[i] = tunnels.sock[t];
  output.addr0[i] = tunnels.addr0[t];
  output.addr1[i] = tunnels.addr1[t];
  output.addr2[i] = tunnels.addr2[t];
  output.addr3[i] = tunnels.addr3[t];
  output.port[i] = tunnels.port[t];
  output.tos[i] = tos;
  output.flags[i] = flags;
  p.origin[i] = from;
  return V.FORWARDED;
}

/** Why the numbers below `end` may not be used. */
function seqRefused(p: Plane, t: number, end: number): number {
  if (p.tunnels.session[t] !== NO_SESSION) return V.SESSION_SEQ_LIMIT;
  return end > SEQ_SPACE ? V.SEQ_EXHAUSTED : V.SEQ_UNRESERVED;
}

/**
 * Copies one packet to every tunnel but the one it came from, as far as limits allow. Returns FORWARDED when at least
 * one copy was made, FLOOD_LIMIT, NO_RECEIVER when there is no tunnel, or NO_ENDPOINT when no peer was heard yet.
 * A flood that a limit cut short leaves its place behind: the next one begins there, so every member gets its share.
 */
export function flood(
  p: Plane,
  src: number,
  len: number,
  type: number,
  tos: number,
  flags: number,
  from: number,
  seg: number,
  hdr: number,
): number {
  const { tunnels, members, memberCount } = p;
  if (memberCount === 0) return V.NO_RECEIVER;
  const allowed = from >= 0 ? fillFloodTokens(p, from) : p.fanoutMax;
  if (allowed < 1) {
    // The packet itself went to the device: what it is dropped for is counted here.
    p.verdicts[V.FLOOD_LIMIT]++;
    return V.FLOOD_LIMIT;
  }
  if (p.floodNext >= memberCount) p.floodNext = 0;
  let copies = 0;
  for (let m = 0, at = p.floodNext; m < memberCount; m++, at = at + 1 === memberCount ? 0 : at + 1) {
    const t = members[at];
    if (t === from || tunnels.known[t] === 0) continue;
    if (copies === p.fanoutMax || copies + 1 > allowed || !hasRoom(p, len, seg, hdr, 1)) {
      p.verdicts[copies + 1 > allowed && copies < p.fanoutMax ? V.FLOOD_LIMIT : V.FANOUT_LIMIT]++;
      p.floodNext = at;
      break;
    }
    if (emit(p, t, src, len, type, tos, flags, from, seg, hdr) === V.FORWARDED) copies++;
  }
  if (from >= 0) tunnels.floodTokens[from] -= copies;
  return copies > 0 ? V.FORWARDED : V.NO_ENDPOINT;
}

/** Copies that `flood` may make of one packet. */
export function floodCopies(p: Plane): number {
  return Math.min(p.fanoutMax, p.memberCount);
}

/** Copies that tunnel `t` may cause now: a token bucket that holds one second's worth. */
function fillFloodTokens(p: Plane, t: number): number {
  const { floodTokens, floodAt } = p.tunnels;
  const filled = floodTokens[t] + ((p.now - floodAt[t]) * p.floodPps) / 1000;
  floodAt[t] = p.now;
  floodTokens[t] = Math.min(p.floodPps, filled);
  return floodTokens[t];
}

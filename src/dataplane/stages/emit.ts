/**
 * Puts one packet for one tunnel into the output batch: endpoint, sequence number, outer header wishes. The only place
 * that takes sequence numbers, so the only place that must never take one twice.
 */
import { FLAG_DF, OUT_BASE, SLOT_BYTES } from "../layout.ts";
import type { Plane } from "../plane.ts";
import { PUNT_TOO_BIG, punt } from "../punt.ts";
import * as V from "../verdict.ts";

const SEQ_SPACE = 2 ** 32;

/**
 * Appends an output row. `src`/`len`: the inner packet; `type`: EtherType, -1 = empty packet; `tos`: outer TOS byte;
 * `from`: tunnel of origin, -1 = device. Returns FORWARDED, or why not. The caller guarantees a free row.
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
): number {
  const { tunnels, output } = p;
  if (tunnels.known[t] === 0) return V.NO_ENDPOINT;
  if (len > tunnels.innerMtu[t] && (flags & FLAG_DF) !== 0 && !p.ethernet) {
    return punt(p, PUNT_TOO_BIG, from, src, len, tunnels.innerMtu[t]) ? V.TOO_BIG : V.PUNT_FULL;
  }
  const s = tunnels.seqNext[t];
  if (s >= tunnels.seqLimit[t]) return s >= SEQ_SPACE ? V.SEQ_EXHAUSTED : V.SEQ_UNRESERVED;
  tunnels.seqNext[t] = s + 1;
  const i = output.n++;
  output.at[i] = OUT_BASE + i * SLOT_BYTES;
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

/**
 * Copies one packet to every tunnel but the one it came from, as far as limits allow. Returns FORWARDED when at least
 * one copy was made, FLOOD_LIMIT, FANOUT_LIMIT, or NO_ENDPOINT when nobody is there.
 */
export function flood(
  p: Plane,
  src: number,
  len: number,
  type: number,
  tos: number,
  flags: number,
  from: number,
): number {
  if (from >= 0 && !takeFloodToken(p, from)) return V.FLOOD_LIMIT;
  const { tunnels, members } = p;
  let copies = 0;
  for (let m = 0; m < p.memberCount; m++) {
    const t = members[m];
    if (t === from || tunnels.known[t] === 0) continue;
    if (copies === p.fanoutMax || p.copiesLeft === 0) {
      p.verdicts[V.FANOUT_LIMIT]++;
      break;
    }
    p.copiesLeft--;
    if (emit(p, t, src, len, type, tos, flags, from) === V.FORWARDED) copies++;
  }
  return copies > 0 ? V.FORWARDED : V.NO_ENDPOINT;
}

/** Token bucket of one second's worth. */
function takeFloodToken(p: Plane, t: number): boolean {
  const { floodTokens, floodAt } = p.tunnels;
  const filled = floodTokens[t] + ((p.now - floodAt[t]) * p.floodPps) / 1000;
  floodAt[t] = p.now;
  floodTokens[t] = Math.min(p.floodPps, filled);
  if (floodTokens[t] < 1) return false;
  floodTokens[t]--;
  return true;
}

/**
 * Last stage of a turn: every row of both batches ends in exactly one counter. Learns the path MTU from datagrams that
 * the kernel refused as too big.
 */
import * as satp from "../../wire/satp.ts";
import { PATH_MTU } from "../events.ts";
import { FLAG_DF, OUT_BASE, SOCK_INDEX_MASK } from "../layout.ts";
import type { Plane } from "../plane.ts";
import { PUNT_TOO_BIG, punt } from "../punt.ts";
import * as V from "../verdict.ts";
import { packetsOf } from "./emit.ts";

const UDP_HEADER = 8;
const V4_MAPPED = 0xffff;

/** Counts input rows [0, n). */
export function countInput(p: Plane, n: number): void {
  const { verdict, tunnel, len, seg, hdr } = p.input;
  const { verdicts, tunnels } = p;
  for (let i = 0; i < n; i++) {
    const v = verdict[i];
    const packets = packetsOf(len[i], seg[i], hdr[i]);
    verdicts[v] += packets;
    if (v > V.EMPTY && v !== V.HELD && tunnel[i] >= 0) tunnels.drops[tunnel[i] * V.VERDICTS + v] += packets;
  }
}

/** Counts output rows and empties the batch. */
export function countOutput(p: Plane): void {
  const { verdict, tunnel, len, seg, done, n } = p.output;
  const { verdicts, tunnels } = p;
  for (let i = 0; i < n; i++) {
    const v = verdict[i];
    const t = tunnel[i];
    const packets = p.packets[i];
    if (v === V.SENT) {
      verdicts[V.SENT] += packets;
      tunnels.txPackets[t] += packets;
      tunnels.txBytes[t] += Math.max(0, len[i] - packets * overhead(p, t));
      tunnels.lastTx[t] = p.now;
      continue;
    }
    // Some datagrams of a super-packet may have left; the driver counts them only for rows that it was to send.
    const left = isSendFailure(v) && packets > 1 ? done[i] : 0;
    verdicts[V.SENT] += left;
    verdicts[v] += packets - left;
    tunnels.drops[t * V.VERDICTS + v] += packets - left;
    if (left > 0) {
      tunnels.txPackets[t] += left;
      tunnels.txBytes[t] += left * (seg[i] - overhead(p, t));
      tunnels.lastTx[t] = p.now;
    }
    // The local address that the peer used may be gone: from now on the kernel chooses.
    if (v === V.SEND_UNREACHABLE || v === V.SEND_FAILED) tunnels.sock[t] &= SOCK_INDEX_MASK;
    if (v === V.SEND_TOO_BIG && (p.output.flags[i] & FLAG_DF) !== 0) shrink(p, i, t);
  }
  p.output.n = 0;
  p.outAt = OUT_BASE;
}

/** Asks the kernel for the path MTU and tells the packet's sender. */
function shrink(p: Plane, i: number, t: number): void {
  if (p.puntsLeft <= 0) return;
  const outer = p.io.pathMtu(i);
  if (outer <= 0) return;
  const { tunnels, output } = p;
  const ip = output.addr2[i] === V4_MAPPED && (output.addr0[i] | output.addr1[i]) === 0 ? 20 : 40;
  const room = outer - ip - UDP_HEADER - satp.HEADER_LEN - satp.TYPE_LEN - tunnels.tagLen[t];
  if (room < 68) return;
  if (room < tunnels.innerMtu[t]) {
    tunnels.innerMtu[t] = room;
    tunnels.mtuAt[t] = p.now;
    p.events.push(
      PATH_MTU,
      t,
      outer,
      output.addr0[i],
      output.addr1[i],
      output.addr2[i],
      output.addr3[i],
      output.port[i],
    );
  }
  const datagram = p.packets[i] > 1 ? output.seg[i] : output.len[i];
  punt(p, PUNT_TOO_BIG, p.origin[i], output.src[i], datagram - overhead(p, t), room);
}

/** What sealing adds to a packet that is not empty. */
function overhead(p: Plane, t: number): number {
  return satp.HEADER_LEN + satp.TYPE_LEN + p.tunnels.tagLen[t];
}

function isSendFailure(verdict: number): boolean {
  return verdict === V.SEND_FAILED || verdict === V.SEND_UNREACHABLE || verdict === V.SEND_TOO_BIG;
}

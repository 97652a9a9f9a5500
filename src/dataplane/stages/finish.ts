/**
 * Last stage of a turn: every row of both batches ends in exactly one counter. Learns the path MTU from datagrams that
 * the kernel refused as too big.
 */
import * as satp from "../../wire/satp.ts";
import { PATH_MTU } from "../events.ts";
import { FLAG_DF, SOCK_INDEX_MASK } from "../layout.ts";
import type { Plane } from "../plane.ts";
import { PUNT_TOO_BIG, punt } from "../punt.ts";
import * as V from "../verdict.ts";

const UDP_HEADER = 8;
const V4_MAPPED = 0xffff;

/** Counts input rows [0, n). */
export function countInput(p: Plane, n: number): void {
  const { verdict, tunnel } = p.input;
  const { verdicts, tunnels } = p;
  for (let i = 0; i < n; i++) {
    const v = verdict[i];
    verdicts[v]++;
    if (v > V.EMPTY && tunnel[i] >= 0) tunnels.drops[tunnel[i] * V.VERDICTS + v]++;
  }
}

/** Counts output rows and empties the batch. */
export function countOutput(p: Plane): void {
  const { verdict, tunnel, n } = p.output;
  const { verdicts, tunnels } = p;
  for (let i = 0; i < n; i++) {
    const v = verdict[i];
    const t = tunnel[i];
    verdicts[v]++;
    if (v === V.SENT) {
      tunnels.txPackets[t]++;
      tunnels.txBytes[t] += Math.max(0, innerLen(p, i, t));
      tunnels.lastTx[t] = p.now;
    } else {
      tunnels.drops[t * V.VERDICTS + v]++;
      // The local address that the peer used may be gone: from now on the kernel chooses.
      if (v === V.SEND_UNREACHABLE || v === V.SEND_FAILED) tunnels.sock[t] &= SOCK_INDEX_MASK;
      if (v === V.SEND_TOO_BIG && (p.output.flags[i] & FLAG_DF) !== 0) shrink(p, i, t);
    }
  }
  p.output.n = 0;
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
  punt(p, PUNT_TOO_BIG, p.origin[i], output.src[i], innerLen(p, i, t), room);
}

/** Bytes of the inner packet of a sealed output row; negative for an empty packet. */
function innerLen(p: Plane, i: number, t: number): number {
  return p.output.len[i] - satp.HEADER_LEN - satp.TYPE_LEN - p.tunnels.tagLen[t];
}

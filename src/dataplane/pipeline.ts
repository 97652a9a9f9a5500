/**
 * The packet's journey, in the order of the stages. Two ways in, one way out:
 *
 *   socket -> receive -> classify -> open -> admit -> route --+--> device
 *   device -> read ------------------------------> route --+--+--> seal -> send
 *
 * A super-packet (many TCP or UDP segments, as the kernel hands them over) is one row until seal takes it apart. When the
 * output batch is full before the rows are, the turn sends and goes on.
 *
 * Run to completion: when a turn returns, every packet it took is delivered, sent or counted as dropped.
 */
import type { Remote } from "../base/ip.ts";
import { TYPE_CONTROL } from "../wire/satp.ts";
import { ANSWER_BASE, DATAGRAM_MAX, OUT_BASE, READ_BASE, RECEIVE_ROWS, SLOT_BYTES } from "./layout.ts";
import type { Plane } from "./plane.ts";
import { admit } from "./stages/admit.ts";
import { answerPunts } from "./stages/answer.ts";
import { classify } from "./stages/classify.ts";
import { emit, hasRoom } from "./stages/emit.ts";
import { countInput, countOutput } from "./stages/finish.ts";
import { switchFromDevice, switchReceived } from "./stages/route_ethernet.ts";
import { routeFromDevice, routeReceived } from "./stages/route_ip.ts";
import { IN_CLIENT, NO_SESSION } from "./tunnels.ts";
import { DATAGRAM_OVERSIZE, FORWARDED, LIVE, VERDICTS } from "./verdict.ts";

/** One batch from a socket. Returns how many datagrams there were; 0 = nothing, negative = -errno. */
export function turnFromSocket(p: Plane, sock: number, now: number): number {
  const n = p.io.receive(sock, RECEIVE_ROWS);
  if (n > 0) passReceived(p, n, now);
  return n;
}

/** Datagrams that another node received, or that waited for their session's state: as many turns as they need. */
export function turnInject(p: Plane, datagrams: readonly Injected[], now: number): void {
  const { input, slab } = p;
  for (let next = 0; next < datagrams.length; ) {
    let n = 0;
    let at = 0;
    for (; n < RECEIVE_ROWS && next < datagrams.length; n++, next++) {
      const { bytes, from, tos } = datagrams[next];
      const fits = bytes.length <= DATAGRAM_MAX;
      if (fits && at + bytes.length > READ_BASE) break;
      input.at[n] = at;
      input.len[n] = fits ? bytes.length : 0;
      input.verdict[n] = fits ? LIVE : DATAGRAM_OVERSIZE;
      input.tunnel[n] = -1;
      input.sock[n] = from.sock;
      input.addr0[n] = from.w0;
      input.addr1[n] = from.w1;
      input.addr2[n] = from.w2;
      input.addr3[n] = from.w3;
      input.port[n] = from.port;
      input.tos[n] = tos;
      input.flags[n] = 0;
      input.seg[n] = 0;
      input.hdr[n] = 0;
      if (!fits) continue;
      slab.set(bytes, at);
      at += bytes.length;
    }
    passReceived(p, n, now);
  }
}

interface Injected {
  readonly bytes: Uint8Array;
  readonly from: Remote;
  readonly tos: number;
}

/** Input rows [0, n) hold datagrams: through all stages, to their end. */
function passReceived(p: Plane, n: number, now: number): void {
  p.begin(now);
  classify(p, n);
  p.crypto.open(n);
  admit(p, n);
  for (let i = 0; i < n; ) {
    i = p.ethernet ? switchReceived(p, i, n) : routeReceived(p, i, n);
    if (i < n) transmit(p);
  }
  leave(p, n);
}

/** One batch from the device. Returns like `turnFromSocket`. */
export function turnFromDevice(p: Plane, now: number): number {
  const n = p.io.readDevice(p.input.capacity);
  if (n <= 0) return n;
  p.begin(now);
  for (let i = 0; i < n; ) {
    i = p.ethernet ? switchFromDevice(p, i, n) : routeFromDevice(p, i, n);
    if (i < n) transmit(p);
  }
  leave(p, n);
  return n;
}

/**
 * Sends an empty authenticated packet into each tunnel that was silent for its keepalive time. One shard does so for all,
 * and of a group the node that hears the client.
 */
export function turnKeepalive(p: Plane, now: number): void {
  const { known, foreign } = p.tunnels;
  p.begin(now);
  if (!p.first) return;
  for (let m = 0; m < p.memberCount; m++) {
    const t = p.members[m];
    if (known[t] === 0 || foreign[t] === 1 || !isDue(p, t, now)) continue;
    if (!hasRoom(p, 0, 0, 0, 1)) transmit(p);
    const v = emit(p, t, 0, 0, -1, 0, 0, -1, 0, 0);
    if (v !== FORWARDED) p.tunnels.drops[t * VERDICTS + v]++;
  }
  transmit(p);
}

/** After this long without an answer of ours the peer of a session may doubt that we are there. */
const ANSWER_MS = 10_000;

/** Keepalive of the row, or data came in a session and nothing went back. */
function isDue(p: Plane, t: number, now: number): boolean {
  const { tunnels } = p;
  const silence = now - lastSent(p, t);
  if (tunnels.keepaliveMs[t] > 0 && silence >= tunnels.keepaliveMs[t]) return true;
  return tunnels.session[t] !== NO_SESSION && tunnels.lastData[t] > tunnels.lastTx[t] && silence >= ANSWER_MS;
}

/** Seals one control message in row `t`; without a payload, an empty packet. No other payload type can be sealed from here. */
export function turnSeal(p: Plane, t: number, payload: Uint8Array, now: number): void {
  p.begin(now);
  if (p.tunnels.used[t] === 0 || payload.length > SLOT_BYTES) return;
  p.slab.set(payload, ANSWER_BASE);
  const type = payload.length === 0 ? -1 : TYPE_CONTROL;
  const v = emit(p, t, ANSWER_BASE, payload.length, type, 0, 0, -1, 0, 0);
  if (v !== FORWARDED) p.tunnels.drops[t * VERDICTS + v]++;
  transmit(p);
}

/** Sends one datagram of the control plane as it is. */
export function turnSend(p: Plane, datagram: Uint8Array, to: Remote, now: number): void {
  p.begin(now);
  if (datagram.length > SLOT_BYTES) return;
  const { output } = p;
  p.slab.set(datagram, OUT_BASE);
  if (p.sessions === IN_CLIENT) p.asked.note(p.view.getInt32(OUT_BASE));
  output.at[0] = OUT_BASE;
  output.len[0] = datagram.length;
  output.seg[0] = 0;
  output.verdict[0] = LIVE;
  output.sock[0] = to.sock;
  output.addr0[0] = to.w0;
  output.addr1[0] = to.w1;
  output.addr2[0] = to.w2;
  output.addr3[0] = to.w3;
  output.port[0] = to.port;
  output.tos[0] = 0;
  output.flags[0] = 0;
  p.io.send(1);
  p.verdicts[output.verdict[0]]++;
}

/** When a shard, this or another, last sent into a tunnel. */
function lastSent(p: Plane, t: number): number {
  let at = p.tunnels.lastTx[t];
  for (let k = 0; k < p.siblings.length; k++) at = Math.max(at, p.siblings[k].lastTx[t]);
  return at;
}

function leave(p: Plane, n: number): void {
  p.io.writeDevice(n);
  countInput(p, n);
  transmit(p);
  if (p.punts > 0) {
    const answers = answerPunts(p);
    p.io.writeDevice(answers);
    transmit(p);
  }
}

function transmit(p: Plane): void {
  const n = p.output.n;
  if (n === 0) return;
  p.crypto.seal(n);
  if (p.sessions === IN_CLIENT) noteSent(p, n);
  p.io.send(n);
  countOutput(p);
}

/** A client remembers the first datagram of each row: only who has seen one may say that the group lost the session. */
function noteSent(p: Plane, n: number): void {
  const { at, seq, verdict } = p.output;
  for (let i = 0; i < n; i++) {
    if (verdict[i] === LIVE) p.sent.note(seq[i], p.view.getInt32(at[i] + 8), p.view.getInt32(at[i] + 12));
  }
}

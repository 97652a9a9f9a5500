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
import { RECEIVE_ROWS } from "./layout.ts";
import type { Plane } from "./plane.ts";
import { admit } from "./stages/admit.ts";
import { answerPunts } from "./stages/answer.ts";
import { classify } from "./stages/classify.ts";
import { emit, hasRoom } from "./stages/emit.ts";
import { countInput, countOutput } from "./stages/finish.ts";
import { switchFromDevice, switchReceived } from "./stages/route_ethernet.ts";
import { routeFromDevice, routeReceived } from "./stages/route_ip.ts";
import { FORWARDED, VERDICTS } from "./verdict.ts";

/** One batch from a socket. Returns how many datagrams there were; 0 = nothing, negative = -errno. */
export function turnFromSocket(p: Plane, sock: number, now: number): number {
  const n = p.io.receive(sock, RECEIVE_ROWS);
  if (n <= 0) return n;
  p.begin(now);
  classify(p, n);
  p.crypto.open(n);
  admit(p, n);
  for (let i = 0; i < n; ) {
    i = p.ethernet ? switchReceived(p, i, n) : routeReceived(p, i, n);
    if (i < n) transmit(p);
  }
  leave(p, n);
  return n;
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
 * Sends an empty authenticated packet into each tunnel that was silent for its keepalive time. One shard does so for all.
 */
export function turnKeepalive(p: Plane, now: number): void {
  const { keepaliveMs, known } = p.tunnels;
  p.begin(now);
  if (!p.first) return;
  for (let m = 0; m < p.memberCount; m++) {
    const t = p.members[m];
    if (keepaliveMs[t] === 0 || known[t] === 0 || now - lastSent(p, t) < keepaliveMs[t]) continue;
    if (!hasRoom(p, 0, 0, 0, 1)) transmit(p);
    const v = emit(p, t, 0, 0, -1, 0, 0, -1, 0, 0);
    if (v !== FORWARDED) p.tunnels.drops[t * VERDICTS + v]++;
  }
  transmit(p);
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
  p.io.send(n);
  countOutput(p);
}

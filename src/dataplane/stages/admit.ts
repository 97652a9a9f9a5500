/**
 * Second stage after `open`: what an authentic datagram may change. Commits the replay window, learns the endpoint
 * (RFC-less SATP roaming: newest authentic packet wins), then admits the inner packet: right payload type, whole,
 * and from a source that belongs to the tunnel. Never touches packets that failed to open.
 */
import { FRESH, OLD } from "../../crypto/replay.ts";
import * as ethernet from "../../wire/ethernet.ts";
import * as ipv4 from "../../wire/ipv4.ts";
import * as ipv6 from "../../wire/ipv6.ts";
import * as satp from "../../wire/satp.ts";
import { activate } from "../activate.ts";
import { CONFIRMED, ENDPOINT_MOVED, PEER_RESTARTED, PROBLEM } from "../events.ts";
import { SOCK_INDEX_MASK } from "../layout.ts";
import type { Plane } from "../plane.ts";
import { IN_CLIENT, NO_SESSION } from "../tunnels.ts";
import * as V from "../verdict.ts";

/** Without authentication an endpoint is only replaced after this silence. */
const UNAUTHENTIC_HOLD_MS = 30_000;
const ECN_CE = 3;
/** Window with which shards find the newest packet of a tunnel without a replay window; any that a table has. */
const NEWEST_WINDOW = 64;

/** Input rows [0, n) after open: LIVE rows become inner packets, or get a verdict. */
export function admit(p: Plane, n: number): void {
  const { verdict, tunnel, type } = p.input;
  for (let i = 0; i < n; i++) {
    if (verdict[i] === V.AUTH_FAILED) explain(p, i);
    if (verdict[i] === V.FOREIGN) verdict[i] = hold(p, i, tunnel[i]);
    if (verdict[i] !== V.LIVE) continue;
    const t = tunnel[i];
    if (!commit(p, i, t)) continue;
    p.tunnels.rxPackets[t]++;
    p.tunnels.rxBytes[t] += p.input.len[i];
    if (type[i] < 0) {
      verdict[i] = V.EMPTY;
      continue;
    }
    if (p.tunnels.session[t] !== NO_SESSION && type[i] === satp.TYPE_CONTROL) {
      verdict[i] = handOver(p, i, t);
      continue;
    }
    p.tunnels.lastData[t] = p.now;
    verdict[i] = p.ethernet ? admitFrame(p, i) : admitPacket(p, i, t);
    if (verdict[i] === V.TYPE_RESERVED || verdict[i] === V.TYPE_UNSUPPORTED) report(p, i, verdict[i]);
  }
}

/** Replay commit and endpoint. False: the row got a verdict. */
function commit(p: Plane, i: number, t: number): boolean {
  const { input, tunnels, replay, restart, sharedReplay } = p;
  const s = input.seq[i];
  const window = tunnels.window[t];
  let slot = p.windowSlot[i];
  // Two packets of a new sender in one batch: the first one has created the window meanwhile.
  if (slot < 0) slot = replay.find(t, input.sender[i]);
  const isNew = slot < 0;
  if (isNew) {
    slot = replay.create(t, input.sender[i]);
    if (slot < 0) {
      input.verdict[i] = V.SENDERS_FULL;
      return false;
    }
    // What several shards remember belongs to the sender for ever.
    if (!sharedReplay) restart.open(slot);
    tunnels.senders[t]++;
  }
  const place = sharedReplay ? sharedReplay.cell(slot) : slot;
  // Without a window, several shards still need one to agree on which packet is the newest.
  const checked = window === 0 && sharedReplay ? NEWEST_WINDOW : window;
  const result = replay.check(slot, s, checked);
  const behind = sharedReplay ? result !== FRESH : !isNew && s >>> 0 < replay.highest(slot);
  if (window === 0 && behind) {
    // No window: older packets are delivered too, but only a restarted peer's may move the endpoint.
    restartAt(p, i, t, slot, place);
  } else if (result === FRESH) {
    if (tunnels.session[t] === NO_SESSION && !restart.remember(place, s, p.printHi[i], p.printLo[i])) {
      input.verdict[i] = V.REPLAY_DUPLICATE;
      return false;
    }
    const before = replay.highest(slot);
    // Another shard may have been faster.
    const taken = replay.commit(slot, s, checked);
    if (taken !== FRESH && window !== 0) {
      input.verdict[i] = taken === OLD ? V.REPLAY_OLD : V.REPLAY_DUPLICATE;
      return false;
    }
    restart.accepted(place, p.now);
    const highest = replay.highest(slot);
    if (taken === FRESH && (isNew || highest !== before) && highest === s >>> 0) {
      tunnels.seqHigh[t] = highest + 1;
      learn(p, i, t);
    }
  } else if ((p.restarting[i] === 0 && !isNew) || !restartAt(p, i, t, slot, place)) {
    // New to this shard, but refused: another shard knows the sender, and `classify` could not ask.
    input.verdict[i] = result === OLD ? V.REPLAY_OLD : V.REPLAY_DUPLICATE;
    return false;
  }
  tunnels.lastRx[t] = p.now;
  tunnels.lastSender[t] = input.sender[i];
  const { addr0, addr1, addr2, addr3, port } = input;
  // Unless the control plane hears of it the session would end as one that nobody confirmed: the next packet tries again.
  if (tunnels.pending[t] === 1 && p.events.push(CONFIRMED, t, 0, addr0[i], addr1[i], addr2[i], addr3[i], port[i]))
    activate(p, t);
  return true;
}

/** An authentic datagram of a session whose window another node has: it waits for the control plane, as it came. */
function hold(p: Plane, i: number, t: number): number {
  const { at, len, seq } = p.input;
  return p.control.hold(p.input, i, t, seq[i], at[i], len[i], p.now) ? V.HELD : V.HOLD_FULL;
}

/** Control inside a session: an authentic payload for the control plane. */
function handOver(p: Plane, i: number, t: number): number {
  const { at, len, sender } = p.input;
  return p.control.pushInside(p.input, i, t, sender[i], at[i], len[i], p.now);
}

/** Begins the window of `slot` anew at row `i`, if that proves a restart. `place`: of the window, for `restart`. */
function restartAt(p: Plane, i: number, t: number, slot: number, place: number): boolean {
  const { seq, addr0, addr1, addr2, addr3, port } = p.input;
  const { replay, restart, sharedReplay } = p;
  const hasTag = p.tunnels.authentic[t] === 1;
  if (sharedReplay && !sharedReplay.lock(slot)) return false;
  if (!restart.confirm(place, seq[i], p.printHi[i], p.printLo[i], p.now, hasTag)) {
    sharedReplay?.unlock(slot);
    return false;
  }
  replay.reset(slot, seq[i]);
  restart.accepted(place, p.now);
  p.events.push(PEER_RESTARTED, t, seq[i], addr0[i], addr1[i], addr2[i], addr3[i], port[i]);
  learn(p, i, t);
  return true;
}

/** The newest authentic packet says where the peer is. */
function learn(p: Plane, i: number, t: number): void {
  const { input, tunnels } = p;
  const { addr0, addr1, addr2, addr3, port } = input;
  // A client's routes may change: the kernel picks the source that fits the way, not the address that was answered to.
  const sock = tunnels.session[t] === IN_CLIENT ? input.sock[i] & SOCK_INDEX_MASK : input.sock[i];
  if (
    tunnels.known[t] === 1 &&
    tunnels.addr3[t] === addr3[i] &&
    tunnels.port[t] === port[i] &&
    tunnels.addr2[t] === addr2[i] &&
    tunnels.addr1[t] === addr1[i] &&
    tunnels.addr0[t] === addr0[i] &&
    tunnels.sock[t] === sock
  )
    return;
  // A datagram without a tag proves nothing: it may fill an empty or a silent place, never take a live peer's.
  if (tunnels.authentic[t] === 0 && tunnels.known[t] === 1 && p.now - lastHeard(p, t) < UNAUTHENTIC_HOLD_MS) return;
  // Another shard learns at this moment: the peer's next packet decides.
  if (p.endpoints && !p.endpoints.publish(t, addr0[i], addr1[i], addr2[i], addr3[i], port[i], sock)) return;
  tunnels.moveTo(t, addr0[i], addr1[i], addr2[i], addr3[i], port[i], sock);
  tunnels.innerMtu[t] = tunnels.configuredMtu[t];
  p.events.push(ENDPOINT_MOVED, t, 0, addr0[i], addr1[i], addr2[i], addr3[i], port[i]);
}

/** When a shard, this or another, last accepted a packet of a tunnel. */
function lastHeard(p: Plane, t: number): number {
  let at = p.tunnels.lastRx[t];
  for (let k = 0; k < p.siblings.length; k++) at = Math.max(at, p.siblings[k].lastRx[t]);
  return at;
}

function admitPacket(p: Plane, i: number, t: number): number {
  const { at, len, type, tos } = p.input;
  const view = p.view;
  const from = at[i];
  const end = from + len[i];
  const kind = type[i];
  if (kind === satp.TYPE_IPV4) {
    if (ipv4.check(view, from, end) < 0) return V.INNER_MALFORMED;
    len[i] = ipv4.totalLength(view, from);
    if (p.tunnels.anySource[t] === 0 && !owns(p, t, p.routes.lookup4(view.getUint32(from + ipv4.SRC))))
      return V.INNER_SOURCE;
    if ((tos[i] & 3) === ECN_CE) {
      const ecn = ipv4.ecn(view, from);
      if (ecn === 0) return V.INNER_ECN;
      if (ecn !== ECN_CE) ipv4.setEcn(view, from, ECN_CE);
    }
    return V.LIVE;
  }
  if (kind === satp.TYPE_IPV6) {
    if (ipv6.check(view, from, end) < 0) return V.INNER_MALFORMED;
    len[i] = ipv6.HEADER_LEN + ipv6.payloadLength(view, from);
    if (p.tunnels.anySource[t] === 0) {
      const s = from + ipv6.SRC;
      const owner = p.routes.lookup6(
        view.getInt32(s),
        view.getInt32(s + 4),
        view.getInt32(s + 8),
        view.getInt32(s + 12),
      );
      if (!owns(p, t, owner)) return V.INNER_SOURCE;
    }
    if ((tos[i] & 3) === ECN_CE) {
      const ecn = ipv6.ecn(view, from);
      if (ecn === 0) return V.INNER_ECN;
      if (ecn !== ECN_CE) ipv6.setEcn(view, from, ECN_CE);
    }
    return V.LIVE;
  }
  return kind <= satp.RESERVED_MAX ? V.TYPE_RESERVED : V.TYPE_UNSUPPORTED;
}

/** Whether the row that a source address leads to stands for the peer of row `t`. */
function owns(p: Plane, t: number, row: number): boolean {
  return row === t || (row >= 0 && row < p.tunnels.capacity && p.tunnels.owner[row] === p.tunnels.owner[t]);
}

function admitFrame(p: Plane, i: number): number {
  const { at, len, type } = p.input;
  if (type[i] === satp.TYPE_ETHERNET)
    return ethernet.check(p.view, at[i], at[i] + len[i]) < 0 ? V.INNER_MALFORMED : V.LIVE;
  return type[i] <= satp.RESERVED_MAX ? V.TYPE_RESERVED : V.TYPE_UNSUPPORTED;
}

/** Finds out why a datagram did not open, as often as the budget allows. */
function explain(p: Plane, i: number): void {
  if (p.diagnosesLeft > 0) p.input.verdict[i] = p.crypto.diagnose(i);
  report(p, i, p.input.verdict[i]);
}

function report(p: Plane, i: number, verdict: number): void {
  const { input, tunnels } = p;
  const t = input.tunnel[i];
  tunnels.problem[t] = verdict;
  tunnels.problems[t]++;
  if (p.diagnosesLeft <= 0) return;
  p.diagnosesLeft--;
  p.events.push(PROBLEM, t, verdict, input.addr0[i], input.addr1[i], input.addr2[i], input.addr3[i], input.port[i]);
}

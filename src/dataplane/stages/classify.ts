/**
 * First stage of a received datagram: SATP header -> tunnel, sequence number, key. Checks the replay window, read only:
 * nothing that a stranger sends changes any state before `admit`.
 */

import { FRESH, OLD } from "../../crypto/replay.ts";
import { fingerprintHi, fingerprintLo, RESTART_ZONE } from "../../crypto/restart.ts";
import * as satp from "../../wire/satp.ts";
import { FROM_GROUP, kindOfRequest, NOTHING, UNKNOWN } from "../control_budget.ts";
import { CONTROL_DATAGRAM, HELD_BYTES_MAX, UNKNOWN_SESSION } from "../control_ring.ts";
import type { Plane } from "../plane.ts";
import { IN_CLIENT, IN_NODE, NO_SESSION } from "../tunnels.ts";
import {
  CONTROL,
  CONTROL_UNEXPECTED,
  DATAGRAM_SHORT,
  FOREIGN,
  HELD,
  HOLD_FULL,
  LIVE,
  MUX_UNKNOWN,
  PUNT_FULL,
  REPLAY_DUPLICATE,
  REPLAY_OLD,
  SENDER_UNKNOWN,
  SESSION_UNKNOWN,
  STRANGER,
} from "../verdict.ts";

/** Muxes from here on belong to sessions (docs/PROTOCOL.md, "Sessions"). */
const SESSION_MUX = 0x8000;
const CONTROL_MUX = 0xffff;
const CONTROL_TYPE = 8;
const TYPE_UNKNOWN_SESSION = 6;
const TYPE_SENDER = 7;
const UNKNOWN_SESSION_LEN = 24;
/** Longest part of a datagram of an unknown session that the control plane needs. */
const UNKNOWN_BYTES = 32;
/** Header and tag: nothing shorter is a session's. */
const SESSION_DATAGRAM_MIN = satp.HEADER_LEN + 16;

/** Input rows [0, n): sets TUNNEL, KEY, SEQ, SENDER, MUX and the window scratch, or a verdict. */
export function classify(p: Plane, n: number): void {
  const { at, len, verdict, tunnel, key, seq, sender, mux } = p.input;
  const { view, tunnels, replay, sharedReplay } = p;
  for (let i = 0; i < n; i++) {
    if (verdict[i] !== LIVE) continue;
    const from = at[i];
    if (len[i] < satp.HEADER_LEN) {
      verdict[i] = DATAGRAM_SHORT;
      continue;
    }
    const m = view.getUint16(from + satp.MUX);
    const isSession = m >= SESSION_MUX && p.sessions !== NO_SESSION;
    const t = isSession ? findSession(p, i, m) : p.byMux[m];
    if (t < 0) {
      if (!isSession) verdict[i] = MUX_UNKNOWN;
      continue;
    }
    tunnel[i] = t;
    if (len[i] < satp.HEADER_LEN + tunnels.tagLen[t]) {
      verdict[i] = DATAGRAM_SHORT;
      continue;
    }
    const s = view.getUint32(from + satp.SEQ);
    const id = view.getUint16(from + satp.SENDER_ID);
    seq[i] = s;
    sender[i] = id;
    mux[i] = m;
    key[i] = tunnels.key[t];
    if (isSession && (tunnels.foreign[t] === 1 || p.fenced)) {
      // Only what is authentic is worth a question to the owner. What could not be held is not looked at.
      verdict[i] = len[i] > HELD_BYTES_MAX ? HOLD_FULL : FOREIGN;
      continue;
    }
    if (isSession && p.sessions === IN_CLIENT) {
      key[i] = p.senderKeys.find((t << 16) | id);
      if (key[i] < 0) {
        verdict[i] = SENDER_UNKNOWN;
        continue;
      }
    }
    const slot = replay.find(t, id);
    p.windowSlot[i] = slot;
    p.restarting[i] = 0;
    if (slot >= 0) {
      const result = replay.check(slot, s, tunnels.window[t]);
      if (result !== FRESH) {
        if (isSession || !p.restart.mayBeRestart(sharedReplay ? sharedReplay.cell(slot) : slot, s, p.now)) {
          verdict[i] = result === OLD ? REPLAY_OLD : REPLAY_DUPLICATE;
          continue;
        }
        p.restarting[i] = result;
      }
    }
    if (!isSession && (s < RESTART_ZONE || p.restarting[i] !== 0)) {
      p.printHi[i] = fingerprintHi(p.slab, from, len[i]);
      p.printLo[i] = fingerprintLo(p.slab, from, len[i]);
    }
  }
}

/** Row of a session, or -1 after the row got its verdict: control datagrams and unknown sessions go to the control plane. */
function findSession(p: Plane, i: number, m: number): number {
  const { input } = p;
  const from = input.at[i];
  if (m === CONTROL_MUX) {
    const inClient = p.sessions === IN_CLIENT;
    const detail = inClient ? provenEcho(p, from, input.len[i]) : 0;
    const kind = inClient
      ? kindOfAnswer(p, from, input.len[i], detail)
      : kindOfRequest(p.view, from, input.len[i], input, i, p.cookieTags);
    if (kind === NOTHING) {
      input.verdict[i] = CONTROL_UNEXPECTED;
      return -1;
    }
    const taken = p.control.push(input, i, CONTROL_DATAGRAM, kind, detail, from, input.len[i], p.now);
    input.verdict[i] = taken ? CONTROL : PUNT_FULL;
    return -1;
  }
  if (p.sessions === IN_NODE) {
    const index = (p.view.getUint16(from + satp.SENDER_ID) << 15) | (m & 0x7fff);
    const row = p.byIndex.find(index);
    if (row >= 0) return row;
    if (!p.indexKeys.accepts(index)) {
      input.verdict[i] = STRANGER;
      return -1;
    }
    if (p.group) {
      input.verdict[i] = holdUnknown(p, i);
      return -1;
    }
    p.control.push(input, i, UNKNOWN_SESSION, UNKNOWN, input.len[i], from, UNKNOWN_BYTES, p.now);
  } else if (p.byReceiver[m & 0x7fff] >= 0) return p.byReceiver[m & 0x7fff];
  input.verdict[i] = SESSION_UNKNOWN;
  return -1;
}

/** Another node of the group may know the session: the datagram waits until they were asked. */
function holdUnknown(p: Plane, i: number): number {
  const { at, len } = p.input;
  if (len[i] < SESSION_DATAGRAM_MIN) return DATAGRAM_SHORT;
  const seq = p.view.getUint32(at[i] + satp.SEQ);
  return p.control.hold(p.input, i, -1, seq, at[i], len[i], p.now) ? HELD : HOLD_FULL;
}

/** In a client: SENDER, which names no request, what answers a request, and what a session's own packet proves. */
function kindOfAnswer(p: Plane, at: number, len: number, proven: number): number {
  if (len <= CONTROL_TYPE) return NOTHING;
  const isExpected = proven === 1 || p.slab[at + CONTROL_TYPE] === TYPE_SENDER || p.asked.has(p.view.getInt32(at));
  return isExpected ? FROM_GROUP : NOTHING;
}

/** 1 when the datagram says that a session is unknown and proves it with bytes that this client has sent lately. */
function provenEcho(p: Plane, at: number, len: number): number {
  if (len < UNKNOWN_SESSION_LEN || p.slab[at + CONTROL_TYPE] !== TYPE_UNKNOWN_SESSION) return 0;
  const { view } = p;
  return p.sent.has(view.getUint32(at), view.getInt32(at + 16), view.getInt32(at + 20)) ? 1 : 0;
}

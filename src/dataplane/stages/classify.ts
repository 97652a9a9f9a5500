/**
 * First stage of a received datagram: SATP header -> tunnel, sequence number, key. Checks the replay window, read only:
 * nothing that a stranger sends changes any state before `admit`.
 */

import { FRESH, OLD } from "../../crypto/replay.ts";
import { fingerprintHi, fingerprintLo, RESTART_ZONE } from "../../crypto/restart.ts";
import * as satp from "../../wire/satp.ts";
import type { Plane } from "../plane.ts";
import { DATAGRAM_SHORT, LIVE, MUX_UNKNOWN, REPLAY_DUPLICATE, REPLAY_OLD } from "../verdict.ts";

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
    const t = p.byMux[m];
    if (t < 0) {
      verdict[i] = MUX_UNKNOWN;
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
    const slot = replay.find(t, id);
    p.windowSlot[i] = slot;
    p.restarting[i] = 0;
    if (slot >= 0) {
      const result = replay.check(slot, s, tunnels.window[t]);
      if (result !== FRESH) {
        if (!p.restart.mayBeRestart(sharedReplay ? sharedReplay.cell(slot) : slot, s, p.now)) {
          verdict[i] = result === OLD ? REPLAY_OLD : REPLAY_DUPLICATE;
          continue;
        }
        p.restarting[i] = result;
      }
    }
    if (s < RESTART_ZONE || p.restarting[i] !== 0) {
      p.printHi[i] = fingerprintHi(p.slab, from, len[i]);
      p.printLo[i] = fingerprintLo(p.slab, from, len[i]);
    }
  }
}

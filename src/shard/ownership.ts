/**
 * Who of a group receives a session: the node that has its replay window. A window is given away, and taken, between two
 * batches, so every packet meets either the whole window or a foreign row. Sessions have one shard, so their windows are
 * in a table of its own.
 */
import { FRESH, ReplayTable, windowWords } from "../crypto/replay.ts";
import type { Plane } from "../dataplane/plane.ts";
import { IN_NODE } from "../dataplane/tunnels.ts";
import { SENDERS_FULL } from "../dataplane/verdict.ts";
import type { Yielded } from "./messages.ts";

/** Gives the window of row `t` away if `seq` would be its newest number. */
export function yieldRow(p: Plane, t: number, seq: number, token: number): Yielded {
  const windows = windowsOf(p, t);
  if (windows === undefined || p.tunnels.foreign[t] === 1) return { token, result: "moved" };
  const window = p.tunnels.window[t];
  const slot = windows.find(t, senderOf(p, t));
  if (slot < 0 || windows.isNewest(slot, seq, window)) return give(p, windows, t, token);
  return { token, result: windows.check(slot, seq, window) === FRESH ? "keep" : "stale" };
}

/**
 * Makes row `t` this node's own, with a window as `ReplayTable.read` tells one. Without room for a window, which is
 * counted, the row stays foreign: with an empty one it would accept everything once more.
 */
export function own(p: Plane, t: number, highest: number, words: Int32Array): void {
  const windows = windowsOf(p, t);
  if (windows === undefined) return;
  const slot = windows.create(t, senderOf(p, t));
  if (slot < 0) {
    p.verdicts[SENDERS_FULL]++;
    return;
  }
  windows.install(slot, highest, words);
  p.tunnels.senders[t] = 1;
  p.tunnels.seqHigh[t] = highest + 1;
  p.tunnels.foreign[t] = 0;
}

/** All own sessions become foreign; their windows stay where they are, for `reclaim`. */
export function yieldAll(p: Plane): void {
  const { used, session, foreign, capacity } = p.tunnels;
  for (let t = 0; t < capacity; t++) if (used[t] === 1 && session[t] === IN_NODE) foreign[t] = 1;
}

/** Row `t` is this node's own again, with the window that it had. Everything up to `floor`, -1 = nothing, counts as received. */
export function reclaim(p: Plane, t: number, floor: number): void {
  const windows = windowsOf(p, t);
  if (windows === undefined) return;
  const { window, foreign } = p.tunnels;
  const slot = windows.find(t, senderOf(p, t));
  const words = new Int32Array(windowWords(window[t]));
  const highest = slot < 0 ? -1 : windows.read(slot, window[t], words);
  if (floor < 0) foreign[t] = 0;
  else if (floor >= highest) own(p, t, floor, Int32Array.of(bitsUpTo(floor & 31)));
  else {
    for (let k = 0; k < words.length; k++) {
      const lowest = 32 * ((highest >>> 5) - k);
      if (lowest <= floor) words[k] |= bitsUpTo(Math.min(31, floor - lowest));
    }
    own(p, t, highest, words);
  }
}

const bitsUpTo = (bit: number): number => (bit === 31 ? -1 : (1 << (bit + 1)) - 1);

function give(p: Plane, windows: ReplayTable, t: number, token: number): Yielded {
  const { tunnels } = p;
  tunnels.foreign[t] = 1;
  const slot = windows.find(t, senderOf(p, t));
  const words = new Int32Array(windowWords(tunnels.window[t]));
  const highest = slot < 0 ? -1 : windows.read(slot, tunnels.window[t], words);
  return { token, result: "given", highest, words: highest < 0 ? new Int32Array(0) : words };
}

/** The table of windows, if row `t` is a session of a node. */
function windowsOf(p: Plane, t: number): ReplayTable | undefined {
  const isSession = p.tunnels.used[t] === 1 && p.tunnels.session[t] === IN_NODE;
  return isSession && p.replay instanceof ReplayTable ? p.replay : undefined;
}

/** What a client's datagrams have as sender id, see docs/PROTOCOL.md. */
function senderOf(p: Plane, t: number): number {
  return p.tunnels.index[t] >>> 15;
}

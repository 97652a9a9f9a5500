/**
 * Makes a session the one to send with: its prefixes lead to it from now on, and no older session of the same owner
 * gets keepalives or copies. Happens at the first authentic packet, inside the turn, so that the answer to that very
 * packet finds its way; costs the same with one session and with 100,000.
 */
import { FAMILY, LENGTH, NONE, WORD0, WORD1, WORD2, WORD3 } from "../table/prefix_lists.ts";
import type { Plane, Prefix } from "./plane.ts";

export function activate(p: Plane, t: number): void {
  const { tunnels } = p;
  tunnels.pending[t] = 0;
  const before = p.byOwner.find(tunnels.owner[t]);
  if (before >= 0 && before !== t) {
    // Networks that the client no longer has must not lead to the old session.
    removePrefixes(p, before);
    leaveMembers(p, before);
  }
  joinMembers(p, t);
  if (tunnels.anySource[t] === 1) p.defaultTunnel = t;
  for (let e = p.prefixes.first(t); e !== NONE; e = p.prefixes.next(e)) {
    const w = p.prefixes.words;
    if (w[e + FAMILY] === 4) p.routes.insert4(w[e + WORD3], w[e + LENGTH], t);
    else p.routes.insert6(w[e + WORD0], w[e + WORD1], w[e + WORD2], w[e + WORD3], w[e + LENGTH], t);
  }
}

/** Other prefixes for the session in row `t`; routes lead to it only while it is the one to send with. */
export function setPrefixes(p: Plane, t: number, routes: readonly Prefix[]): void {
  if (p.tunnels.used[t] === 0) return;
  removePrefixes(p, t);
  p.prefixes.clear(t);
  const isActive = p.byOwner.find(p.tunnels.owner[t]) === t;
  for (const r of routes) {
    p.prefixes.add(t, r.family, r.w0, r.w1, r.w2, r.w3, r.length);
    if (isActive) insertRoute(p, r, t);
  }
}

/** Adds row `t` to those that are sent to, as the row of its owner. */
export function joinMembers(p: Plane, t: number): void {
  p.byOwner.set(p.tunnels.owner[t], t);
  if (p.memberAt[t] !== 0) return;
  p.members[p.memberCount++] = t;
  p.memberAt[t] = p.memberCount;
}

/** Takes row `t` out of those that are sent to, if it is one. */
export function leaveMembers(p: Plane, t: number): void {
  const at = p.memberAt[t] - 1;
  if (at < 0) return;
  const last = p.members[--p.memberCount];
  p.members[at] = last;
  p.memberAt[last] = at + 1;
  p.memberAt[t] = 0;
  const owner = p.tunnels.owner[t];
  if (p.byOwner.find(owner) === t) p.byOwner.remove(owner);
}

export function insertRoute(p: Plane, r: Prefix, value: number): void {
  if (r.family === 4) p.routes.insert4(r.w3, r.length, value);
  else p.routes.insert6(r.w0, r.w1, r.w2, r.w3, r.length, value);
}

/** Takes the prefixes of row `t` out of the routes, those that still lead to it. */
export function removePrefixes(p: Plane, t: number): void {
  const w = p.prefixes.words;
  for (let e = p.prefixes.first(t); e !== NONE; e = p.prefixes.next(e)) {
    if (w[e + FAMILY] === 4) p.routes.remove4(w[e + WORD3], w[e + LENGTH], t);
    else p.routes.remove6(w[e + WORD0], w[e + WORD1], w[e + WORD2], w[e + WORD3], w[e + LENGTH], t);
  }
}

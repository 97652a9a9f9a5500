/**
 * Makes a session the one to send with: its prefixes lead to it from now on, and no older session of the same owner
 * gets keepalives or copies. Happens at the first authentic packet, inside the turn, so that the answer to that very
 * packet finds its way.
 */
import type { Plane, Prefix } from "./plane.ts";

export function activate(p: Plane, t: number): void {
  const { tunnels, members } = p;
  tunnels.pending[t] = 0;
  for (let m = p.memberCount - 1; m >= 0; m--) {
    if (members[m] === t || tunnels.owner[members[m]] !== tunnels.owner[t]) continue;
    // Networks that the client no longer has must not lead to the old session.
    for (const prefix of p.prefixes.get(members[m]) ?? []) removeRoute(p, prefix, members[m]);
    members[m] = members[--p.memberCount];
  }
  members[p.memberCount++] = t;
  const prefixes = p.prefixes.get(t);
  if (prefixes === undefined) p.defaultTunnel = t;
  else for (const prefix of prefixes) insertRoute(p, prefix, t);
}

export function insertRoute(p: Plane, r: Prefix, value: number): void {
  if (r.family === 4) p.routes.insert4(r.w3, r.length, value);
  else p.routes.insert6(r.w0, r.w1, r.w2, r.w3, r.length, value);
}

/** Takes a prefix out, if it still leads to row `t`. */
export function removeRoute(p: Plane, r: Prefix, t: number): void {
  if (r.family === 4) p.routes.remove4(r.w3, r.length, t);
  else p.routes.remove6(r.w0, r.w1, r.w2, r.w3, r.length, t);
}

/**
 * Applies control messages to the tables of a shard, between two batches. Everything that a packet meets in a table was
 * put there by this file or by the stages.
 */
import { NEWS_WORDS } from "../dataplane/mac_news.ts";
import type { Plane } from "../dataplane/plane.ts";
import type { Endpoint, PrefixWords, ToShard, TunnelSetup } from "./messages.ts";

/** Changes the tables as `message` says. False for "stop". */
export function apply(p: Plane, message: ToShard): boolean {
  switch (message.kind) {
    case "add":
      addTunnel(p, message.tunnel);
      return true;
    case "remove":
      removeTunnel(p, message.index, message.routes);
      return true;
    case "endpoint":
      setEndpoint(p, message.index, message.endpoint);
      return true;
    case "local":
      for (const address of message.addresses) insertRoute(p, address, p.tunnels.capacity);
      p.broadcastCount = Math.min(message.broadcasts.length, p.broadcasts.length);
      for (let i = 0; i < p.broadcastCount; i++) p.broadcasts[i] = message.broadcasts[i];
      return true;
    case "macs":
      learnMacs(p, message.words);
      return true;
    case "stop":
      return false;
  }
}

function addTunnel(p: Plane, setup: TunnelSetup): void {
  const { tunnels } = p;
  const t = setup.index;
  tunnels.reset(t);
  p.crypto.setSatp(t, setup.key);
  const tagLen = Math.max(0, setup.key.tagLen);
  tunnels.mux[t] = setup.mux;
  tunnels.key[t] = t;
  tunnels.senderId[t] = setup.senderId;
  tunnels.tagLen[t] = tagLen;
  tunnels.window[t] = Math.min(setup.window, p.replay.bits);
  tunnels.authentic[t] = tagLen > 0 ? 1 : 0;
  tunnels.anySource[t] = setup.routes === undefined ? 1 : 0;
  tunnels.keepaliveMs[t] = setup.keepaliveMs;
  tunnels.innerMtu[t] = setup.innerMtu;
  tunnels.configuredMtu[t] = setup.innerMtu;
  tunnels.seqNext[t] = setup.seqNext;
  tunnels.floodTokens[t] = p.floodPps;
  tunnels.used[t] = 1;
  p.endpoints?.begin(t);
  if (setup.endpoint) setEndpoint(p, t, setup.endpoint);
  p.byMux[setup.mux] = t;
  p.members[p.memberCount++] = t;
  if (setup.routes === undefined) p.defaultTunnel = t;
  for (const route of setup.routes ?? []) insertRoute(p, route, t);
}

function removeTunnel(p: Plane, t: number, routes: readonly PrefixWords[]): void {
  const { tunnels } = p;
  if (tunnels.used[t] === 0) return;
  for (const r of routes) {
    if (r.family === 4) p.routes.remove4(r.w3, r.length);
    else p.routes.remove6(r.w0, r.w1, r.w2, r.w3, r.length);
  }
  if (p.defaultTunnel === t) p.defaultTunnel = -1;
  p.byMux[tunnels.mux[t]] = -1;
  const m = p.members.indexOf(t);
  p.members[m] = p.members[--p.memberCount];
  p.replay.removeTunnel(t);
  p.macs.removeOwner(t);
  p.crypto.clear(t);
  tunnels.used[t] = 0;
  tunnels.known[t] = 0;
}

function setEndpoint(p: Plane, t: number, endpoint: Endpoint): void {
  const [a0, a1, a2, a3] = endpoint.words;
  // Another shard learns it at this moment from a packet, which knows better.
  if (p.endpoints && !p.endpoints.publish(t, a0, a1, a2, a3, endpoint.port, endpoint.sock)) return;
  p.tunnels.moveTo(t, a0, a1, a2, a3, endpoint.port, endpoint.sock);
}

function learnMacs(p: Plane, words: Int32Array): void {
  const now = p.io.now();
  for (let at = 0; at < words.length; at += NEWS_WORDS) {
    p.macs.learn(words[at], words[at + 1], words[at + 2], now);
    p.macNews?.forget(words[at], words[at + 1]);
  }
}

function insertRoute(p: Plane, r: PrefixWords, value: number): void {
  if (r.family === 4) p.routes.insert4(r.w3, r.length, value);
  else p.routes.insert6(r.w0, r.w1, r.w2, r.w3, r.length, value);
}

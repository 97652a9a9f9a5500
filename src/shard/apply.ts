/**
 * Applies control messages to the tables of a shard, between two batches. Everything that a packet meets in a table was
 * put there by this file or by the stages.
 */
import type { Remote } from "../base/ip.ts";
import { ReplayTable } from "../crypto/replay.ts";
import {
  activate,
  insertRoute,
  joinMembers,
  leaveMembers,
  removePrefixes,
  setPrefixes,
} from "../dataplane/activate.ts";
import { lowerFence } from "../dataplane/lease.ts";
import { NEWS_WORDS } from "../dataplane/mac_news.ts";
import { turnInject, turnSeal, turnSend } from "../dataplane/pipeline.ts";
import type { Plane, Prefix } from "../dataplane/plane.ts";
import { IN_CLIENT, IN_NODE, NO_SESSION } from "../dataplane/tunnels.ts";
import type { KeyRefused, SessionSetup, ToShard, TunnelSetup, Yielded } from "./messages.ts";
import { own, reclaim, yieldAll, yieldRow } from "./ownership.ts";
import { sessionsOf } from "./session_batch.ts";

/** Who hears what comes of a message. */
export interface Hearers {
  /** Of the messages that ask for an answer. */
  readonly answer?: (message: Yielded) => void;
  /** A key was refused. Without it a refusal is an error that is thrown: nobody may go on as if the row were there. */
  readonly refused?: (refused: KeyRefused) => void;
}

/** Changes the tables as `message` says. False for "stop". */
export function apply(p: Plane, message: ToShard, hearers: Hearers = {}): boolean {
  switch (message.kind) {
    case "add":
      addTunnel(p, message.tunnel, hearers);
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
    case "session":
      addSession(p, message.session, hearers);
      return true;
    case "sessions":
      for (const session of sessionsOf(message.sessions)) addSession(p, session, hearers);
      return true;
    case "prefixes":
      setPrefixes(p, message.index, message.routes);
      return true;
    case "sender":
      addSender(p, message, hearers);
      return true;
    case "seal":
      if (message.to === undefined) turnSeal(p, message.index, message.payload, p.io.now());
      else sealTo(p, message.index, message.payload, message.to);
      return true;
    case "send":
      turnSend(p, message.datagram, message.to, p.io.now());
      return true;
    case "macs":
      learnMacs(p, message.words);
      return true;
    case "yield":
      hearers.answer?.(yieldRow(p, message.index, message.seq, message.token));
      return true;
    case "own":
      own(p, message.index, message.highest, message.words);
      return true;
    case "reclaim":
      reclaim(p, message.index, message.floor);
      return true;
    case "fall":
      if (message.yields) yieldAll(p);
      if (p.lease !== undefined) lowerFence(p.lease, message.fence);
      return true;
    case "inject":
      turnInject(p, message.datagrams, p.io.now());
      return true;
    case "activate":
      if (p.tunnels.used[message.index] === 1 && p.tunnels.pending[message.index] === 1) activate(p, message.index);
      return true;
    case "index_keys":
      p.indexKeys.set(message.keys);
      return true;
    case "stop":
      return false;
  }
}

/** Whether the driver has taken the key of row `t`; `result` is what it returned. */
function taken(t: number, result: number, { refused }: Hearers): boolean {
  if (result >= 0) return true;
  if (refused === undefined) throw new Error(`The key of row ${t} was refused: errno ${-result}.`);
  refused({ index: t, errno: -result });
  return false;
}

function addTunnel(p: Plane, setup: TunnelSetup, hearers: Hearers): void {
  const { tunnels } = p;
  const t = setup.index;
  tunnels.reset(t);
  if (!taken(t, p.crypto.setSatp(t, setup.key), hearers)) return;
  const tagLen = Math.max(0, setup.key.tagLen);
  tunnels.mux[t] = setup.mux;
  tunnels.key[t] = t;
  tunnels.senderId[t] = setup.senderId;
  tunnels.owner[t] = t;
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
  joinMembers(p, t);
  if (setup.routes === undefined) p.defaultTunnel = t;
  for (const route of setup.routes ?? []) insertRoute(p, route, t);
}

/** Sequence numbers of one session key; the handshake makes another one long before (docs/PROTOCOL.md). */
const SESSION_SEQS = 2 ** 31;
const AEAD_TAG_LEN = 16;

function addSession(p: Plane, setup: SessionSetup, hearers: Hearers): void {
  const { tunnels } = p;
  const t = setup.index;
  tunnels.reset(t);
  if (!taken(t, p.crypto.setAead(t, setup.key), hearers)) return;
  const inNode = setup.end === "node";
  tunnels.session[t] = inNode ? IN_NODE : IN_CLIENT;
  tunnels.owner[t] = setup.owner;
  tunnels.key[t] = t;
  tunnels.tagLen[t] = AEAD_TAG_LEN;
  tunnels.window[t] = Math.min(setup.window, p.replay.bits);
  tunnels.authentic[t] = 1;
  tunnels.anySource[t] = setup.routes === undefined ? 1 : 0;
  tunnels.keepaliveMs[t] = setup.keepaliveMs;
  tunnels.innerMtu[t] = setup.innerMtu;
  tunnels.configuredMtu[t] = setup.innerMtu;
  tunnels.seqNext[t] = 0;
  tunnels.seqLimit[t] = SESSION_SEQS;
  tunnels.floodTokens[t] = p.floodPps;
  if (inNode) {
    tunnels.index[t] = setup.sessionIndex;
    tunnels.senderId[t] = setup.senderId;
    tunnels.mux[t] = 0x8000 | setup.receiver;
    p.byIndex.set(setup.sessionIndex, t);
  } else {
    tunnels.index[t] = setup.receiver;
    tunnels.senderId[t] = setup.sessionIndex >>> 15;
    tunnels.mux[t] = 0x8000 | (setup.sessionIndex & 0x7fff);
    p.byReceiver[setup.receiver] = t;
    p.senderKeys.set((t << 16) | setup.senderId, t);
    p.sendersOf.set(t, [[setup.senderId, t]]);
    p.sent.clear();
  }
  tunnels.used[t] = 1;
  tunnels.foreign[t] = setup.foreign ? 1 : 0;
  setEndpoint(p, t, setup.endpoint);
  for (const r of setup.routes ?? []) p.prefixes.add(t, r.family, r.w0, r.w1, r.w2, r.w3, r.length);
  if (setup.pending) tunnels.pending[t] = 1;
  else activate(p, t);
}

function removeSession(p: Plane, t: number): void {
  const { tunnels } = p;
  removePrefixes(p, t);
  p.prefixes.clear(t);
  if (tunnels.session[t] === IN_NODE) p.byIndex.remove(tunnels.index[t]);
  else p.byReceiver[tunnels.index[t]] = -1;
  for (const [senderId, slot] of p.sendersOf.get(t) ?? []) {
    p.senderKeys.remove((t << 16) | senderId);
    p.crypto.clear(slot);
  }
  p.sendersOf.delete(t);
}

/** Another sender of the group, or another start of a known one: its key replaces the one before. */
function addSender(
  p: Plane,
  { index: t, senderId, slot, key }: Extract<ToShard, { kind: "sender" }>,
  hearers: Hearers,
): void {
  const senders = p.sendersOf.get(t);
  if (senders === undefined || !taken(t, p.crypto.setAead(slot, key), hearers)) return;
  p.senderKeys.set((t << 16) | senderId, slot);
  senders.push([senderId, slot]);
  // A new start counts from 0 under a new key: the window of the start before it would refuse it.
  const window = p.replay.find(t, senderId);
  if (window >= 0 && p.replay instanceof ReplayTable) p.replay.restart(window);
}

function removeTunnel(p: Plane, t: number, routes: readonly Prefix[]): void {
  const { tunnels } = p;
  if (tunnels.used[t] === 0) return;
  if (tunnels.session[t] === NO_SESSION) p.byMux[tunnels.mux[t]] = -1;
  else removeSession(p, t);
  for (const r of routes) {
    if (r.family === 4) p.routes.remove4(r.w3, r.length);
    else p.routes.remove6(r.w0, r.w1, r.w2, r.w3, r.length);
  }
  if (p.defaultTunnel === t) p.defaultTunnel = -1;
  leaveMembers(p, t);
  p.replay.removeTunnel(t);
  p.macs.removeOwner(t);
  p.crypto.clear(t);
  tunnels.used[t] = 0;
  tunnels.known[t] = 0;
}

function setEndpoint(p: Plane, t: number, endpoint: Remote): void {
  const { w0, w1, w2, w3, port, sock } = endpoint;
  // Another shard learns it at this moment from a packet, which knows better.
  if (p.endpoints && !p.endpoints.publish(t, w0, w1, w2, w3, port, sock)) return;
  p.tunnels.moveTo(t, w0, w1, w2, w3, port, sock);
  p.tunnels.innerMtu[t] = p.tunnels.configuredMtu[t];
}

/** Seals to another endpoint than the peer's, which stays what it is. */
function sealTo(p: Plane, t: number, payload: Uint8Array, to: Remote): void {
  const { addr0, addr1, addr2, addr3, port, sock, known } = p.tunnels;
  const before = [addr0[t], addr1[t], addr2[t], addr3[t], port[t], sock[t]] as const;
  const wasKnown = known[t];
  p.tunnels.moveTo(t, to.w0, to.w1, to.w2, to.w3, to.port, to.sock);
  turnSeal(p, t, payload, p.io.now());
  p.tunnels.moveTo(t, ...before);
  known[t] = wasKnown;
}

function learnMacs(p: Plane, words: Int32Array): void {
  const now = p.io.now();
  for (let at = 0; at < words.length; at += NEWS_WORDS) {
    p.macs.learn(words[at], words[at + 1], words[at + 2], now);
    p.macNews?.forget(words[at], words[at + 1]);
  }
}

/**
 * The link between the nodes of a group: authenticated, encrypted, replay-protected datagrams between unicast addresses,
 * and what they tell of a peer: alive or dead, round trip, clock. A start of a peer (its boot id) is believed only after
 * it has answered a challenge, and traffic keys depend on the starts of both, so that recorded datagrams of an earlier
 * life of either are worth nothing. Sans-IO. docs/PROTOCOL.md, "Node link".
 */

import { AnyhopError } from "../base/errors.ts";
import { blake2s, hmac } from "../crypto/blake2s.ts";
import { NONCE_LEN, openChaChaPoly, sealChaChaPoly, TAG_LEN } from "../crypto/chachapoly.ts";
import { CounterWindow } from "../crypto/counter_window.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { equalBytes } from "../crypto/kdf.ts";
import { NODE_MAX } from "../crypto/session_index.ts";
import { Reader, Writer } from "./bytes.ts";
import type { Endpoint } from "./endpoint.ts";
import { BOOT_ID_LEN } from "./envelope.ts";
import { type LinkPeer, type LinkRefusal, linkKey, Peer, type RefusedBy, statuses } from "./link_peer.ts";
import type { Now } from "./now.ts";
import { PeerTiming, TIMING_LEN } from "./timing.ts";

const VERSION = 1;
const HELLO = 1;
const HELLO_ACK = 2;
const SEALED = 3;
const HEADER_LEN = 6;
const SEALED_HEADER_LEN = HEADER_LEN + 6;
const MAC_LEN = 16;
const NONCE_BYTES = 16;
const GROUP_ID_LEN = 8;
const HELLO_LEN = HEADER_LEN + GROUP_ID_LEN + BOOT_ID_LEN + NONCE_BYTES + MAC_LEN;
const HELLO_ACK_LEN = HEADER_LEN + 1 + GROUP_ID_LEN + 2 * BOOT_ID_LEN + 2 * NONCE_BYTES + MAC_LEN;
const SEALED_OVERHEAD = SEALED_HEADER_LEN + TIMING_LEN + TAG_LEN;

/** Room for messages in one datagram of 1400 bytes. */
export const PAYLOAD_MAX = 1400 - SEALED_OVERHEAD;
/** Longest payload of all: one forward. */
export const PAYLOAD_ALONE_MAX = 1600 - SEALED_OVERHEAD;

/** A living peer gets a heartbeat this often, one that is not alive a HELLO. */
export const BEAT_MS = 200;
/** A peer that is not heard for this long is dead. */
export const DEAD_MS = 1000;
/** A challenge is answered within this time, or there is another one. */
const CHALLENGE_MS = 1000;
/** Former starts of one peer that are never believed again. */
const RETIRED_MAX = 16;

export interface LinkOptions {
  readonly node: number;
  /** 8 bytes, drawn when the node starts. */
  readonly bootId: Uint8Array;
  /** 32 bytes. */
  readonly fleetKey: Uint8Array;
  /** 32 bytes. */
  readonly groupPublicKey: Uint8Array;
  readonly peers: readonly LinkPeer[];
  readonly entropy: Entropy;
}

export type LinkOutput =
  | { readonly kind: "datagram"; readonly to: Endpoint; readonly bytes: Uint8Array }
  /** Authentic, fresh, from the present start of `node`. */
  | { readonly kind: "payload"; readonly node: number; readonly payload: Uint8Array }
  /** Heard for the first time, or again. `restarted`: it is another start than the one that was known. */
  | { readonly kind: "alive"; readonly node: number; readonly bootId: Uint8Array; readonly restarted: boolean }
  | { readonly kind: "dead"; readonly node: number }
  /** Its host says that nobody listens there; undone by the next thing that is heard of it. */
  | { readonly kind: "suspect"; readonly node: number }
  /** Send `node` a heartbeat now; without one it takes this node for dead. */
  | { readonly kind: "beat"; readonly node: number }
  /** A peer refuses this node, with proof. Repeated as long as it does. */
  | { readonly kind: "refused_by"; readonly node: number; readonly reason: RefusedBy };

export interface LinkPeerStatus {
  readonly node: number;
  readonly endpoint: Endpoint;
  readonly alive: boolean;
  /** 8 bytes; undefined = it never answered. */
  readonly bootId: Uint8Array | undefined;
  /** Undefined = not measured yet. */
  readonly rttMs: number | undefined;
  /** Wall clock of the peer minus ours; undefined = not measured yet. */
  readonly clockOffsetMs: number | undefined;
  /** The clocks are more than 5 s apart. */
  readonly clockApart: boolean;
  /** Monotonic. */
  readonly heardMs: number | undefined;
  readonly refusedBy: RefusedBy | undefined;
  /** What was refused of this peer, by reason, since the start. */
  readonly refused: Readonly<Partial<Record<LinkRefusal, number>>>;
}

export class Link {
  readonly #options: LinkOptions;
  readonly #groupId: Uint8Array;
  readonly #peers = new Map<number, Peer>();
  readonly #refused = new Map<LinkRefusal, number>();

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#groupId = blake2s(encoder.encode("anyhop 1 link group"), options.groupPublicKey).subarray(0, GROUP_ID_LEN);
    this.setPeers(options.peers);
  }

  /** Keeps what is known of peers that stay; those that are gone are forgotten without an output. */
  setPeers(peers: readonly LinkPeer[]): void {
    const { node, fleetKey } = this.#options;
    for (const known of this.#peers.keys()) if (!peers.some((peer) => peer.node === known)) this.#peers.delete(known);
    for (const peer of peers) {
      if (peer.node === node || peer.node < 1 || peer.node > NODE_MAX)
        throw new AnyhopError("link_peer", `A peer of node ${node} can't have the number ${peer.node}.`);
      const known = this.#peers.get(peer.node);
      if (known === undefined) this.#peers.set(peer.node, new Peer(peer, node, fleetKey));
      else known.endpoint = peer.endpoint;
    }
  }

  isAlive(node: number): boolean {
    return this.#peers.get(node)?.alive === true;
  }

  /** Its host has refused a datagram, and it was not heard since. */
  isSuspect(node: number): boolean {
    return this.#peers.get(node)?.suspect === true;
  }

  /** A host said that nobody listens at the link address of a peer (ICMP). */
  refused(endpoint: Endpoint, out: LinkOutput[]): void {
    for (const peer of this.#peers.values()) {
      if (!peer.alive || peer.suspect || !sameEndpoint(endpoint, peer.endpoint)) continue;
      peer.suspect = true;
      out.push({ kind: "suspect", node: peer.node });
    }
  }

  /** Wall clock of a peer minus ours, ms; undefined: not known yet. */
  clockOffsetMs(node: number): number | undefined {
    return this.#peers.get(node)?.life?.timing.clockOffsetMs;
  }

  /** Of all peers and strangers, by reason, since the start. */
  refusals(): ReadonlyMap<LinkRefusal, number> {
    return this.#refused;
  }

  /** A datagram that arrived. Never throws, whatever it is; what is refused is counted. */
  receive(now: Now, from: Endpoint, datagram: Uint8Array, out: LinkOutput[]): void {
    const header = new Reader(datagram.subarray(0, HEADER_LEN));
    const [type, version, sender, receiver] = [header.u8(), header.u8(), header.u16(), header.u16()];
    const peer = receiver === this.#options.node ? this.#peers.get(sender) : undefined;
    const reason = header.failed ? "malformed" : this.#judge(now, peer, from, type, version, datagram, out);
    if (reason === undefined) return;
    this.#refused.set(reason, (this.#refused.get(reason) ?? 0) + 1);
    if (peer !== undefined) peer.refused[reason] = (peer.refused[reason] ?? 0) + 1;
  }

  #judge(
    now: Now,
    peer: Peer | undefined,
    from: Endpoint,
    type: number,
    version: number,
    datagram: Uint8Array,
    out: LinkOutput[],
  ): LinkRefusal | undefined {
    if (peer === undefined) return "stranger";
    if (!sameEndpoint(from, peer.endpoint)) {
      if (type === HELLO && version === VERSION && datagram.length === HELLO_LEN)
        this.#turnAway(now, peer, from, datagram, out);
      return "wrong_address";
    }
    if (version !== VERSION) return "version";
    if (type === SEALED) return this.#receiveSealed(now, peer, datagram, out);
    if (type === HELLO && datagram.length === HELLO_LEN) return this.#receiveHello(now, peer, datagram, out);
    if (type === HELLO_ACK && datagram.length === HELLO_ACK_LEN) return this.#receiveAck(now, peer, datagram, out);
    return "malformed";
  }

  /** False: the peer is not alive, or the payload too long; then nothing is sent. */
  send(now: Now, node: number, payload: Uint8Array, out: LinkOutput[]): boolean {
    const peer = this.#peers.get(node);
    if (peer?.life === undefined || !peer.alive || payload.length > PAYLOAD_ALONE_MAX) return false;
    const counter = ++peer.counter;
    const bytes = new Uint8Array(SEALED_OVERHEAD + payload.length);
    bytes.set(this.#header(SEALED, peer, 6).u48(counter).done());
    const plain = new Writer(TIMING_LEN + payload.length);
    peer.life.timing.write(now, plain);
    const header = bytes.subarray(0, SEALED_HEADER_LEN);
    const sealed = sealChaChaPoly(peer.life.sealKey, nonceOf(counter), header, plain.raw(payload).done());
    bytes.set(sealed, SEALED_HEADER_LEN);
    out.push({ kind: "datagram", to: peer.endpoint, bytes });
    return true;
  }

  tick(now: Now, out: LinkOutput[]): void {
    for (const peer of this.#peers.values()) {
      if (peer.alive && now.ms - peer.heardMs >= DEAD_MS) {
        peer.alive = false;
        out.push({ kind: "dead", node: peer.node });
      }
      if (!peer.alive) this.#greet(now, peer, out);
      else if (now.ms >= peer.beatDueMs) {
        peer.beatDueMs = now.ms + BEAT_MS;
        out.push({ kind: "beat", node: peer.node });
      }
    }
  }

  /** Monotonic time of the next `tick` that does something. */
  nextTimeout(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { alive, heardMs, beatDueMs, helloDueMs } of this.#peers.values())
      next = Math.min(next, alive ? Math.min(heardMs + DEAD_MS, beatDueMs) : helloDueMs);
    return next;
  }

  status(): LinkPeerStatus[] {
    return Array.from(this.#peers.values(), ({ node, endpoint, alive, life, heardMs, refusedBy, refused }) => ({
      ...{ node, endpoint, alive, bootId: life?.bootId, rttMs: life?.timing.rttMs },
      ...{ clockOffsetMs: life?.timing.clockOffsetMs, clockApart: life?.timing.clockApart === true },
      ...{ heardMs: life && heardMs, refusedBy, refused },
    }));
  }

  #header(type: number, peer: Peer, more: number): Writer {
    return new Writer(HEADER_LEN + more).u8(type).u8(VERSION).u16(this.#options.node).u16(peer.node);
  }

  /** Sends a challenge, at most once per BEAT_MS. */
  #greet(now: Now, peer: Peer, out: LinkOutput[]): void {
    if (now.ms < peer.helloDueMs) return;
    peer.helloDueMs = now.ms + BEAT_MS;
    const hello = this.#header(HELLO, peer, HELLO_LEN - HEADER_LEN)
      .raw(this.#groupId)
      .raw(this.#options.bootId)
      .raw(this.#challenge(now, peer));
    out.push({ kind: "datagram", to: peer.endpoint, bytes: withMac(peer.helloKeyTo, hello) });
  }

  /** The nonce of the open challenge; a new one when it is too old. */
  #challenge(now: Now, peer: Peer): Uint8Array {
    const { challenge } = peer;
    if (challenge !== undefined && !challenge.answered && now.ms - challenge.ms <= CHALLENGE_MS) return challenge.nonce;
    const nonce = this.#options.entropy.bytes(NONCE_BYTES);
    peer.challenge = { nonce, ms: now.ms, answered: false };
    return nonce;
  }

  /** Answers the challenge `echo` of a start of the peer; `nonce`: our own challenge, or zero. */
  #acknowledge(
    peer: Peer,
    status: number,
    bootId: Uint8Array,
    echo: Uint8Array,
    nonce: Uint8Array,
    out: LinkOutput[],
    to = peer.endpoint,
  ): void {
    const ack = this.#header(HELLO_ACK, peer, HELLO_ACK_LEN - HEADER_LEN)
      .u8(status)
      .raw(this.#groupId)
      .raw(this.#options.bootId)
      .raw(bootId)
      .raw(echo)
      .raw(nonce);
    out.push({ kind: "datagram", to, bytes: withMac(peer.helloKeyTo, ack) });
  }

  #receiveHello(now: Now, peer: Peer, datagram: Uint8Array, out: LinkOutput[]): LinkRefusal | undefined {
    const unsound = this.#checkGreeting(now, peer, datagram, HEADER_LEN);
    if (unsound !== undefined) return unsound;
    const reader = new Reader(datagram.subarray(HEADER_LEN));
    const [groupId, bootId, nonce] = [reader.raw(GROUP_ID_LEN), reader.raw(BOOT_ID_LEN), reader.raw(NONCE_BYTES)];
    const refusal = this.#refusal(now, peer, groupId, bootId);
    const known = peer.alive && peer.life !== undefined && equalBytes(peer.life.bootId, bootId);
    const asked = refusal !== undefined || known ? NO_NONCE : this.#challenge(now, peer);
    this.#acknowledge(peer, statuses.indexOf(refusal ?? ""), bootId, nonce, asked, out);
    return refusal;
  }

  /** A greeting under the number of a peer from elsewhere: a node that has the fleet key is told that it is the second. */
  #turnAway(now: Now, peer: Peer, from: Endpoint, datagram: Uint8Array, out: LinkOutput[]): void {
    if (!peer.alive || this.#checkGreeting(now, peer, datagram, HEADER_LEN) !== undefined) return;
    const reader = new Reader(datagram.subarray(HEADER_LEN + GROUP_ID_LEN));
    const [bootId, nonce] = [reader.raw(BOOT_ID_LEN), reader.raw(NONCE_BYTES)];
    this.#acknowledge(peer, statuses.indexOf("duplicate_node"), bootId, nonce, NO_NONCE, out, from);
  }

  #receiveAck(now: Now, peer: Peer, datagram: Uint8Array, out: LinkOutput[]): LinkRefusal | undefined {
    const unsound = this.#checkGreeting(now, peer, datagram, HEADER_LEN + 1);
    if (unsound !== undefined) return unsound;
    const reader = new Reader(datagram.subarray(HEADER_LEN));
    const [status, groupId, bootId] = [statuses[reader.u8()], reader.raw(GROUP_ID_LEN), reader.raw(BOOT_ID_LEN)];
    const [echoedBoot, echo, nonce] = [reader.raw(BOOT_ID_LEN), reader.raw(NONCE_BYTES), reader.raw(NONCE_BYTES)];
    if (status === undefined) return "malformed";
    const { challenge } = peer;
    if (challenge === undefined || now.ms - challenge.ms > CHALLENGE_MS) return "not_asked";
    if (!equalBytes(echo, challenge.nonce) || !equalBytes(echoedBoot, this.#options.bootId)) return "not_asked";
    // Two ends that greet each other at once answer twice.
    if (challenge.answered) return undefined;
    challenge.answered = true;
    const refusal = this.#refusal(now, peer, groupId, bootId);
    if (status !== "") {
      peer.refusedBy = status;
      out.push({ kind: "refused_by", node: peer.node, reason: status });
    } else if (refusal === undefined) {
      this.#accept(now, peer, bootId, out);
      if (!equalBytes(nonce, NO_NONCE)) this.#acknowledge(peer, 0, bootId, nonce, NO_NONCE, out);
    }
    return refusal;
  }

  /** Why a HELLO or HELLO_ACK is not under the right key, or undefined. */
  #checkGreeting(now: Now, peer: Peer, datagram: Uint8Array, groupAt: number): LinkRefusal | undefined {
    if (!peer.takeGreeting(now)) return "too_many";
    const macAt = datagram.length - MAC_LEN;
    const mac = hmac(peer.helloKeyFrom, datagram.subarray(0, macAt)).subarray(0, MAC_LEN);
    if (equalBytes(mac, datagram.subarray(macAt))) return undefined;
    // Not authentic, but the most useful thing to say to a person: two groups with keys of their own meet.
    const sameGroup = equalBytes(datagram.subarray(groupAt, groupAt + GROUP_ID_LEN), this.#groupId);
    return sameGroup ? "wrong_key" : "other_group";
  }

  #refusal(now: Now, peer: Peer, groupId: Uint8Array, bootId: Uint8Array): RefusedBy | undefined {
    if (!equalBytes(groupId, this.#groupId)) return "other_group";
    if (peer.life !== undefined && equalBytes(peer.life.bootId, bootId)) return undefined;
    // One whose host says that nobody listens there any more is not waited for: this start has its address, and proof.
    const otherLives = peer.alive && !peer.suspect && now.ms - peer.heardMs < DEAD_MS;
    return otherLives || peer.retired.some((old) => equalBytes(old, bootId)) ? "duplicate_node" : undefined;
  }

  /** The start `bootId` of the peer has answered our challenge. */
  #accept(now: Now, peer: Peer, bootId: Uint8Array, out: LinkOutput[]): void {
    const before = peer.life;
    peer.refusedBy = undefined;
    if (before !== undefined && equalBytes(before.bootId, bootId)) {
      this.#heard(now, peer, out);
      return;
    }
    if (before !== undefined) {
      peer.retired.push(before.bootId);
      if (peer.retired.length > RETIRED_MAX) peer.retired.shift();
    }
    const { node, fleetKey, bootId: own } = this.#options;
    const sealKey = linkKey(fleetKey, node, own, peer.node, bootId);
    const openKey = linkKey(fleetKey, peer.node, bootId, node, own);
    peer.life = { bootId, sealKey, openKey, window: new CounterWindow(), timing: new PeerTiming() };
    this.#heard(now, peer, out, before !== undefined);
  }

  #heard(now: Now, peer: Peer, out: LinkOutput[], restarted = false): void {
    peer.heardMs = now.ms;
    peer.suspect = false;
    if (peer.alive && !restarted) return;
    peer.alive = true;
    peer.beatDueMs = now.ms;
    out.push({ kind: "alive", node: peer.node, bootId: peer.life!.bootId, restarted });
  }

  #receiveSealed(now: Now, peer: Peer, datagram: Uint8Array, out: LinkOutput[]): LinkRefusal | undefined {
    if (datagram.length < SEALED_OVERHEAD) return "malformed";
    if (peer.life === undefined) {
      this.#greet(now, peer, out);
      return "unknown_start";
    }
    const { window, openKey, timing } = peer.life;
    const header = datagram.subarray(0, SEALED_HEADER_LEN);
    const counter = new Reader(header.subarray(HEADER_LEN)).u48();
    if (!window.isFresh(counter)) return "replay";
    const plain = openChaChaPoly(openKey, nonceOf(counter), header, datagram.subarray(SEALED_HEADER_LEN));
    if (plain === undefined) {
      // A peer that started anew, perhaps.
      this.#greet(now, peer, out);
      return "wrong_seal";
    }
    window.commit(counter);
    if (!timing.read(now, new Reader(plain.subarray(0, TIMING_LEN)))) return "late";
    this.#heard(now, peer, out);
    if (plain.length > TIMING_LEN) out.push({ kind: "payload", node: peer.node, payload: plain.subarray(TIMING_LEN) });
    return undefined;
  }
}

const encoder = new TextEncoder();
const NO_NONCE = new Uint8Array(NONCE_BYTES);
const NONCE_HEAD = new Uint8Array(NONCE_LEN - 6);

const nonceOf = (counter: number): Uint8Array => new Writer(NONCE_LEN).raw(NONCE_HEAD).u48(counter).done();

function withMac(key: Uint8Array, greeting: Writer): Uint8Array {
  const unsigned = greeting.done().slice();
  return greeting.raw(hmac(key, unsigned).subarray(0, MAC_LEN)).done();
}

function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return a.w0 === b.w0 && a.w1 === b.w1 && a.w2 === b.w2 && a.w3 === b.w3 && a.port === b.port;
}

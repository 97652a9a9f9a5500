/**
 * The link between the nodes of a group: authenticated, encrypted, replay-protected datagrams between unicast addresses,
 * and what they tell of a peer: alive or dead, round trip, clock. A start of a peer (its boot id) is believed only after
 * it has answered a challenge, signed by the key that the roster has for it; traffic keys come from ephemeral keys of
 * both, so that recorded datagrams are worth nothing later. Sans-IO. docs/PROTOCOL.md, "Node link".
 */

import { AnyhopError } from "../base/errors.ts";
import { blake2s } from "../crypto/blake2s.ts";
import { NONCE_LEN, openChaChaPoly, sealChaChaPoly, TAG_LEN } from "../crypto/chachapoly.ts";
import type { SigningKey } from "../crypto/ed25519.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { equalBytes } from "../crypto/kdf.ts";
import { NODE_MAX } from "../crypto/session_index.ts";
import { Reader, Writer } from "./bytes.ts";
import type { Endpoint } from "./endpoint.ts";
import type { FleetKey, FleetKeys } from "./fleet_keys.ts";
import type { LinkSecrets } from "./lifeline_types.ts";
import { type Epoch, Epochs, RENEW_MS } from "./link_epochs.ts";
import * as wire from "./link_greeting.ts";
import { type Greetings, type LinkPeer, type LinkRefusal, Peer, type RefusedBy } from "./link_peer.ts";
import type { Now } from "./now.ts";
import { isMember, type SignedRoster } from "./roster.ts";
import { PeerTiming, TIMING_LEN } from "./timing.ts";

/** Epoch and counter. */
const SEALED_HEADER_LEN = wire.HEADER_LEN + 2 + 6;
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
/** A peer with an older roster is told ours this often. */
const ROSTER_AGAIN_MS = 1000;

/** Who this node is to the others. */
export interface LinkIdentity {
  readonly signing: SigningKey;
  /** Undefined: the operator's roster has not come here yet. */
  readonly roster: SignedRoster | undefined;
}

export interface LinkOptions {
  readonly node: number;
  /** 8 bytes, drawn when the node starts. */
  readonly bootId: Uint8Array;
  readonly fleetKeys: FleetKeys;
  /** 32 bytes. */
  readonly groupPublicKey: Uint8Array;
  readonly peers: readonly LinkPeer[];
  readonly entropy: Entropy;
  /** Undefined: the group has no roster, and whoever has the fleet key is any of its nodes. */
  readonly identity?: LinkIdentity | undefined;
}

export type LinkOutput =
  | { readonly kind: "datagram"; readonly to: Endpoint; readonly bytes: Uint8Array }
  /** Authentic, fresh, from the present start of `node`. */
  | { readonly kind: "payload"; readonly node: number; readonly payload: Uint8Array }
  /** Heard for the first time, or again. `restarted`: it is another start than the one that was known. */
  | { readonly kind: "alive"; readonly node: number; readonly bootId: Uint8Array; readonly restarted: boolean }
  | { readonly kind: "dead"; readonly node: number }
  /** To the lifeline: other secrets are shared with the present start of a peer. */
  | { readonly kind: "agreed"; readonly agreed: LinkSecrets }
  /** Send `node` a heartbeat now; without one it takes this node for dead. */
  | { readonly kind: "beat"; readonly node: number }
  /** A roster that is newer than this node's, from who has the fleet key; whether it is one is not known yet. */
  | { readonly kind: "roster"; readonly node: number; readonly text: string }
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
  #identity: LinkIdentity | undefined;

  constructor(now: Now, options: LinkOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#groupId = blake2s(encoder.encode("anyhop 1 link group"), options.groupPublicKey).subarray(
      0,
      wire.GROUP_ID_LEN,
    );
    this.setPeers(now, options.peers);
  }

  /** Keeps what is known of peers that stay; those that are gone are forgotten without an output. */
  setPeers(now: Now, peers: readonly LinkPeer[]): void {
    const { node, entropy } = this.#options;
    for (const known of this.#peers.keys()) if (!peers.some((peer) => peer.node === known)) this.#peers.delete(known);
    for (const peer of peers) {
      if (peer.node === node || peer.node < 1 || peer.node > NODE_MAX)
        throw new AnyhopError("link_peer", `A peer of node ${node} can't have the number ${peer.node}.`);
      const known = this.#peers.get(peer.node);
      if (known === undefined) this.#peers.set(peer.node, new Peer(peer, node, entropy.keyPair(), now.ms));
      else known.endpoint = peer.endpoint;
    }
  }

  /** Another roster is in force. Peers that are in it no more have been taken out by `setPeers`. */
  setRoster(roster: SignedRoster): void {
    if (this.#identity !== undefined) this.#identity = { ...this.#identity, roster };
  }

  isAlive(node: number): boolean {
    return this.#peers.get(node)?.alive === true;
  }

  /**
   * There is evidence that this start of the peer is dead. Datagrams of it that are still under way do not make it live
   * again; an answer to a challenge that is made from now on does.
   */
  died(node: number, bootId: Uint8Array, out: LinkOutput[]): void {
    const peer = this.#peers.get(node);
    if (peer?.life === undefined || !equalBytes(peer.life.bootId, bootId)) return;
    peer.challenge = undefined;
    peer.isDead = true;
    if (!peer.alive) return;
    peer.alive = false;
    out.push({ kind: "dead", node });
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
    const header = new Reader(datagram.subarray(0, wire.HEADER_LEN));
    const [type, version, sender, receiver] = [header.u8(), header.u8(), header.u16(), header.u16()];
    const peer = receiver === this.#options.node ? this.#peers.get(sender) : undefined;
    const reason = header.failed ? "malformed" : this.#judge(now, peer, from, type, version, datagram, out);
    if (peer !== undefined) this.#tellSecrets(peer, out);
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
    const { length } = datagram;
    if (!sameEndpoint(from, peer.endpoint)) {
      if (type === wire.HELLO && version === wire.VERSION && length === wire.HELLO_LEN)
        this.#turnAway(now, peer, from, datagram, out);
      return "wrong_address";
    }
    if (version !== wire.VERSION) return "version";
    if (type === wire.SEALED) return this.#receiveSealed(now, peer, datagram, out);
    if (type === wire.HELLO && length === wire.HELLO_LEN) return this.#receiveHello(now, peer, datagram, out);
    if (type === wire.HELLO_ACK && length === wire.HELLO_ACK_LEN) return this.#receiveAck(now, peer, datagram, out);
    if (type === wire.ROSTER) return this.#receiveRoster(now, peer, datagram, out);
    return "malformed";
  }

  /** False: the peer is not alive, or the payload too long; then nothing is sent. */
  send(now: Now, node: number, payload: Uint8Array, out: LinkOutput[]): boolean {
    const peer = this.#peers.get(node);
    if (peer?.life === undefined || !peer.alive || payload.length > PAYLOAD_ALONE_MAX) return false;
    this.#seal(now, peer, peer.life.epochs.sealing, payload, out);
    return true;
  }

  #seal(now: Now, peer: Peer, { id, sealKey }: Epoch, payload: Uint8Array, out: LinkOutput[]): void {
    const counter = ++peer.counter;
    const bytes = new Uint8Array(SEALED_OVERHEAD + payload.length);
    bytes.set(this.#header(wire.SEALED, peer, 8).u16(id).u48(counter).done());
    const plain = new Writer(TIMING_LEN + payload.length);
    peer.life!.timing.write(now, plain);
    const header = bytes.subarray(0, SEALED_HEADER_LEN);
    const sealed = sealChaChaPoly(sealKey, nonceOf(counter), header, plain.raw(payload).done());
    bytes.set(sealed, SEALED_HEADER_LEN);
    out.push({ kind: "datagram", to: peer.endpoint, bytes });
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
        this.#renew(now, peer, out);
        this.#tellSecrets(peer, out);
      }
    }
  }

  /** Once an hour another key; what is under way goes on under the one before. */
  #renew(now: Now, peer: Peer, out: LinkOutput[]): void {
    const { epochs } = peer.life!;
    epochs.sweep(now.ms);
    if (peer.isOld(now, RENEW_MS)) this.#draw(now, peer);
    const { ephemeral, fleetId } = epochs.sealing;
    const isOld = !equalBytes(ephemeral, peer.ephemeral.publicKey) || fleetId !== this.#options.fleetKeys.newest.id;
    if (isOld || peer.rosterVersion !== this.#rosterVersion) this.#greet(now, peer, out);
    // Not in answer to a greeting: it may not know the fleet key yet that this node greets under.
    const fleet = this.#options.fleetKeys.find(fleetId);
    if (fleet !== undefined) this.#tellRoster(now, peer, peer.rosterVersion, fleet, out);
    this.#prove(now, peer, out);
  }

  /** Shows the peer that this node has the newest key, until the peer shows it, too. */
  #prove(now: Now, peer: Peer, out: LinkOutput[]): void {
    const epoch = peer.life?.epochs.unproven;
    if (epoch !== undefined) this.#seal(now, peer, epoch, NOTHING, out);
  }

  #draw(now: Now, peer: Peer): void {
    peer.ephemeral = this.#options.entropy.keyPair();
    peer.drawnMs = now.ms;
    peer.challenge = undefined;
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

  /** Which fleet key is part of what a peer and this node seal under; undefined: never heard. */
  fleetIdOf(node: number): number | undefined {
    return this.#peers.get(node)?.life?.epochs.sealing.fleetId;
  }

  /** After all that may have changed them. */
  #tellSecrets(peer: Peer, out: LinkOutput[]): void {
    const { life, node } = peer;
    const secrets = life?.epochs.pairSecrets;
    if (life === undefined || secrets === undefined || secrets === peer.toldSecrets) return;
    peer.toldSecrets = secrets;
    out.push({ kind: "agreed", agreed: { node, bootId: life.bootId, secrets } });
  }

  #header(type: number, peer: Peer, more: number): Writer {
    return new Writer(wire.HEADER_LEN + more).u8(type).u8(wire.VERSION).u16(this.#options.node).u16(peer.node);
  }

  /** What every greeting of ours says. */
  #greeting(peer: Peer, fleet: FleetKey, nonce: Uint8Array): wire.Greeting {
    return {
      groupId: this.#groupId,
      fleetId: fleet.id,
      roster: this.#rosterVersion,
      bootId: this.#options.bootId,
      nonce,
      ephemeral: peer.ephemeral.publicKey,
    };
  }

  get #rosterVersion(): number {
    return this.#identity?.roster?.version ?? 0;
  }

  /** Sends a challenge, at most once per BEAT_MS. */
  #greet(now: Now, peer: Peer, out: LinkOutput[]): void {
    if (now.ms < peer.helloDueMs) return;
    peer.helloDueMs = now.ms + BEAT_MS;
    const newest = this.#greetingFleet(peer);
    const hello = this.#greeting(peer, newest, this.#challenge(now, peer));
    const header = this.#header(wire.HELLO, peer, wire.HELLO_LEN);
    const bytes = wire.encodeHello(header, hello, this.#identity?.signing, peer.greetingsUnder(newest).keyTo);
    out.push({ kind: "datagram", to: peer.endpoint, bytes });
  }

  /** In turn the newest fleet key and the one that the peer is known to have. */
  #greetingFleet(peer: Peer): FleetKey {
    const { fleetKeys } = this.#options;
    peer.hellos++;
    const known = peer.alive && peer.hellos % 2 === 1 ? peer.life?.epochs.sealing.fleetId : undefined;
    return (known === undefined ? undefined : fleetKeys.find(known)) ?? fleetKeys.newest;
  }

  /** The nonce of the open challenge; a new one when it is too old. */
  #challenge(now: Now, peer: Peer): Uint8Array {
    const { challenge } = peer;
    if (challenge !== undefined && !challenge.answered && now.ms - challenge.ms <= CHALLENGE_MS) return challenge.nonce;
    const nonce = this.#options.entropy.bytes(wire.NONCE_BYTES);
    peer.challenge = { nonce, ms: now.ms, answered: false };
    return nonce;
  }

  /** Answers the challenge of a greeting; `nonce`: our own challenge, or zero. */
  #acknowledge(
    peer: Peer,
    status: wire.GreetingStatus,
    asked: wire.Greeting,
    fleet: FleetKey,
    nonce: Uint8Array,
    out: LinkOutput[],
    to = peer.endpoint,
  ): void {
    const ack = { ...this.#greeting(peer, fleet, nonce), status, echoedBoot: asked.bootId, echo: asked.nonce };
    const header = this.#header(wire.HELLO_ACK, peer, wire.HELLO_ACK_LEN);
    const bytes = wire.encodeAck(header, ack, this.#identity?.signing, peer.greetingsUnder(fleet).keyTo);
    out.push({ kind: "datagram", to, bytes });
  }

  #receiveHello(now: Now, peer: Peer, datagram: Uint8Array, out: LinkOutput[]): LinkRefusal | undefined {
    const hello = wire.readHello(datagram);
    const fleet = this.#checkGreeting(now, peer, hello, datagram);
    if (typeof fleet === "string") return fleet;
    this.#tellRoster(now, peer, hello.roster, fleet, out);
    const unsigned = this.#checkSignature(peer, datagram);
    if (unsigned === "wrong_signature") return unsigned;
    peer.rosterVersion = hello.roster;
    const refusal = unsigned ?? this.#refusal(now, peer, hello);
    const life =
      peer.alive && peer.life !== undefined && equalBytes(peer.life.bootId, hello.bootId) ? peer.life : undefined;
    const isNew = life?.epochs.has(peer.ephemeral.publicKey, hello.ephemeral, fleet.id) === false;
    // The peer renews its half: one of ours that is as old goes, too.
    if (isNew && peer.isOld(now, RENEW_MS / 2)) this.#draw(now, peer);
    const asks = refusal === undefined && (life === undefined || isNew);
    this.#acknowledge(peer, refusal ?? "", hello, fleet, asks ? this.#challenge(now, peer) : wire.NO_NONCE, out);
    return refusal;
  }

  /** A greeting under the number of a peer from elsewhere: a node with its key is told that it is the second. */
  #turnAway(now: Now, peer: Peer, from: Endpoint, datagram: Uint8Array, out: LinkOutput[]): void {
    if (!peer.alive) return;
    const hello = wire.readHello(datagram);
    const fleet = this.#checkGreeting(now, peer, hello, datagram);
    if (typeof fleet === "string" || this.#checkSignature(peer, datagram) !== undefined) return;
    this.#acknowledge(peer, "duplicate_node", hello, fleet, wire.NO_NONCE, out, from);
  }

  #receiveAck(now: Now, peer: Peer, datagram: Uint8Array, out: LinkOutput[]): LinkRefusal | undefined {
    const ack = wire.readAck(datagram);
    const fleet = this.#checkGreeting(now, peer, ack, datagram);
    if (typeof fleet === "string") return fleet;
    if (ack.status === undefined) return "malformed";
    const { challenge } = peer;
    if (challenge === undefined || now.ms - challenge.ms > CHALLENGE_MS) return "not_asked";
    if (!equalBytes(ack.echo, challenge.nonce) || !equalBytes(ack.echoedBoot, this.#options.bootId)) return "not_asked";
    this.#tellRoster(now, peer, ack.roster, fleet, out);
    const unsigned = this.#checkSignature(peer, datagram);
    if (unsigned !== undefined) return unsigned;
    peer.rosterVersion = ack.roster;
    // Two ends that greet each other at once answer twice, and under different fleet keys perhaps.
    const isFirst = !challenge.answered;
    challenge.answered = true;
    const refusal = this.#refusal(now, peer, ack);
    if (ack.status !== "") {
      peer.refusedBy = ack.status;
      if (isFirst) out.push({ kind: "refused_by", node: peer.node, reason: ack.status });
      return refusal;
    }
    if (refusal !== undefined) return refusal;
    if (!this.#accept(now, peer, ack, fleet, out)) return "malformed";
    if (isFirst && !equalBytes(ack.nonce, wire.NO_NONCE)) this.#acknowledge(peer, "", ack, fleet, wire.NO_NONCE, out);
    this.#prove(now, peer, out);
    return undefined;
  }

  /** The fleet key that a greeting is under, or why it is under none. */
  #checkGreeting(now: Now, peer: Peer, greeting: wire.Greeting, datagram: Uint8Array): FleetKey | LinkRefusal {
    // Not authentic, but the most useful thing to say to a person: two groups with keys of their own meet.
    const strange = equalBytes(greeting.groupId, this.#groupId) ? "wrong_key" : "other_group";
    const fleet = this.#options.fleetKeys.find(greeting.fleetId);
    if (fleet === undefined) return strange;
    const under: Greetings = peer.greetingsUnder(fleet);
    if (!under.macs.take(now.ms)) return "too_many";
    if (!wire.hasMac(datagram, under.keyFrom)) return strange;
    return under.greetings.take(now.ms) ? fleet : "too_many";
  }

  #checkSignature(peer: Peer, datagram: Uint8Array): "wrong_signature" | "not_member" | undefined {
    if (this.#identity === undefined) return undefined;
    const { roster } = this.#identity;
    const listed = roster?.nodes.find(({ node }) => node === peer.node);
    if (listed === undefined || listed.evictedIn !== undefined) return "not_member";
    return wire.hasSignature(datagram, listed.publicKey) ? undefined : "wrong_signature";
  }

  /** A peer whose roster is older gets ours; it is signed by the operator, so it needs no more than the way there. */
  #tellRoster(now: Now, peer: Peer, itsVersion: number, fleet: FleetKey, out: LinkOutput[]): void {
    const roster = this.#identity?.roster;
    if (roster === undefined || itsVersion >= roster.version) return;
    if (now.ms - peer.rosterToldMs < ROSTER_AGAIN_MS) return;
    peer.rosterToldMs = now.ms;
    const said = { groupId: this.#groupId, fleetId: fleet.id, roster: roster.version };
    const header = (more: number) => this.#header(wire.ROSTER, peer, more);
    for (const bytes of wire.encodeRoster(header, said, roster.text, peer.greetingsUnder(fleet).keyTo))
      out.push({ kind: "datagram", to: peer.endpoint, bytes });
  }

  #receiveRoster(now: Now, peer: Peer, datagram: Uint8Array, out: LinkOutput[]): LinkRefusal | undefined {
    const piece = wire.readRosterPiece(datagram);
    if (piece === undefined || this.#identity === undefined) return "malformed";
    const fleet = this.#options.fleetKeys.find(piece.fleetId);
    const under = fleet && peer.greetingsUnder(fleet);
    if (under === undefined) return "wrong_key";
    if (!under.macs.take(now.ms)) return "too_many";
    if (!wire.hasMac(datagram, under.keyFrom)) return "wrong_key";
    if (piece.roster <= this.#rosterVersion) return undefined;
    if (peer.roster?.version !== piece.roster) peer.roster = { version: piece.roster, pieces: new Map() };
    const { pieces } = peer.roster;
    pieces.set(piece.number, piece);
    if (pieces.size < piece.pieces) return undefined;
    const inOrder = Array.from({ length: piece.pieces }, (_, number) => pieces.get(number)?.bytes ?? NOTHING);
    peer.roster = undefined;
    out.push({ kind: "roster", node: peer.node, text: new TextDecoder().decode(Buffer.concat(inOrder)) });
    return undefined;
  }

  #refusal(now: Now, peer: Peer, { groupId, bootId }: wire.Greeting): RefusedBy | undefined {
    if (!equalBytes(groupId, this.#groupId)) return "other_group";
    const roster = this.#identity?.roster;
    if (roster !== undefined && !isMember(roster, this.#options.node)) return "not_member";
    if (peer.life !== undefined && equalBytes(peer.life.bootId, bootId)) return undefined;
    const otherLives = peer.alive && now.ms - peer.heardMs < DEAD_MS;
    return otherLives || peer.retired.some((old) => equalBytes(old, bootId)) ? "duplicate_node" : undefined;
  }

  /** The start of the peer has answered our challenge. False: its ephemeral key is none. */
  #accept(now: Now, peer: Peer, { bootId, ephemeral }: wire.Greeting, fleet: FleetKey, out: LinkOutput[]): boolean {
    const { node, bootId: ownBoot } = this.#options;
    const before = peer.life;
    const isSame = before !== undefined && equalBytes(before.bootId, bootId);
    const epochs = isSame ? before.epochs : new Epochs();
    const own = { node, bootId: ownBoot, ephemeral: peer.ephemeral.publicKey, pair: peer.ephemeral };
    if (!epochs.add(now.ms, own, { node: peer.node, bootId, ephemeral }, fleet)) return false;
    peer.refusedBy = undefined;
    peer.isDead = false;
    if (before !== undefined && !isSame) {
      peer.retired.push(before.bootId);
      if (peer.retired.length > RETIRED_MAX) peer.retired.shift();
    }
    if (!isSame) peer.life = { bootId, epochs, timing: new PeerTiming() };
    this.#heard(now, peer, out, before !== undefined && !isSame);
    return true;
  }

  #heard(now: Now, peer: Peer, out: LinkOutput[], restarted = false): void {
    peer.heardMs = now.ms;
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
    const { epochs, timing } = peer.life;
    const header = datagram.subarray(0, SEALED_HEADER_LEN);
    const reader = new Reader(header.subarray(wire.HEADER_LEN));
    const [id, counter] = [reader.u16(), reader.u48()];
    for (const epoch of epochs.withId(id)) {
      if (!epoch.window.isFresh(counter)) return "replay";
      const plain = openChaChaPoly(epoch.openKey, nonceOf(counter), header, datagram.subarray(SEALED_HEADER_LEN));
      if (plain === undefined) continue;
      epoch.window.commit(counter);
      if (peer.isDead) return "dead";
      if (!timing.read(now, new Reader(plain.subarray(0, TIMING_LEN)))) return "late";
      epochs.heard(now.ms, epoch);
      this.#heard(now, peer, out);
      if (plain.length > TIMING_LEN)
        out.push({ kind: "payload", node: peer.node, payload: plain.subarray(TIMING_LEN) });
      return undefined;
    }
    // A peer that started anew, perhaps.
    this.#greet(now, peer, out);
    return "wrong_seal";
  }
}

const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);
const NONCE_HEAD = new Uint8Array(NONCE_LEN - 6);

const nonceOf = (counter: number): Uint8Array => new Writer(NONCE_LEN).raw(NONCE_HEAD).u48(counter).done();

function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return a.w0 === b.w0 && a.w1 === b.w1 && a.w2 === b.w2 && a.w3 === b.w3 && a.port === b.port;
}

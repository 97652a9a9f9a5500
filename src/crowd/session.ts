/** One client of the crowd: asks for its session, seals echo requests in it and knows the answers. Touches no socket. */
import type { Socket } from "node:dgram";
import { fold, sum } from "../base/checksum.ts";
import { PING, PONG, SENDER_ACK } from "../channel/kinds.ts";
import { decodeUnnumbered, encodeUnnumbered, type Unnumbered } from "../channel/unnumbered.ts";
import { openAead, sealAead } from "../crypto/aead.ts";
import { type Entropy, entropyOf } from "../crypto/entropy.ts";
import { readHeader } from "../crypto/satp.ts";
import { ALG_AES_128_GCM } from "../dataplane/layout.ts";
import { nativePairOf } from "../drivers/native_x25519.ts";
import * as control from "../handshake/control.ts";
import { AES_128_GCM, clientKey, groupKey, type Sender, type SessionIdentity } from "../handshake/keys.ts";
import { writeMac2 } from "../handshake/macs.ts";
import { INSTANCE_LEN, MODE_TUNNEL } from "../handshake/offer.ts";
import { type ClientIdentity, type InitSent, makeInit, readAnswer, readCookie } from "../handshake/requests.ts";
import { openSender } from "../handshake/senders.ts";
import { PROTOCOL_V4 } from "../wire/icmp.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { TYPE_CONTROL, TYPE_IPV4 } from "../wire/satp.ts";
import { type CrowdOrder, crowdAddress, crowdPair } from "./order.ts";

const entropy: Entropy = entropyOf(nativePairOf);
const EMPTY = new Uint8Array(0);
const ECHO_REQUEST = 8;
const ECHO_LEN = 8;
/** Inner packet of an echo request, and of its answer. */
export const ECHO_PACKET_LEN = ipv4.HEADER_LEN_MIN + ECHO_LEN;
const TTL = 64;

/** Several clients share an address, and a cookie is of an address. */
export interface Source {
  readonly socket: Socket;
  cookie: Uint8Array | undefined;
}

interface Session extends SessionIdentity {
  readonly secret: Uint8Array;
  readonly sealKey: Uint8Array;
  readonly senders: Map<number, Sender>;
}

export class CrowdSession {
  /** Unique among the clients of a source. */
  readonly receiver: number;
  readonly source: Source;
  readonly #identity: ClientIdentity;
  readonly #address: number;
  #sent: InitSent | undefined;
  #session: Session | undefined;
  #seq = 0;
  /** Of the request under way. */
  sinceMs = 0;
  /** Requests, and cookies that came instead of an answer, since it was prepared. */
  tries = 0;
  cookies = 0;

  constructor(order: CrowdOrder, n: number, receiver: number, source: Source, common: Omit<ClientIdentity, "own">) {
    this.receiver = receiver;
    this.source = source;
    this.#identity = { ...common, own: crowdPair(order.seed, n) };
    this.#address = crowdAddress(order.firstAddress, n);
  }

  get isUp(): boolean {
    return this.#session !== undefined;
  }

  /** A request has no answer yet. */
  get isAsking(): boolean {
    return this.#sent !== undefined;
  }

  /** Makes the first INIT of a handshake, which takes longer than to send it. */
  prepare(): void {
    this.tries = 0;
    this.cookies = 0;
    this.#sent = this.#makeInit();
  }

  #makeInit(): InitSent {
    // The same instance each time: to the node these are rekeys, not other machines with the same key.
    const instance = this.#identity.own.publicKey.subarray(0, INSTANCE_LEN);
    const offer = { timestamp: Date.now(), aeads: 1 << AES_128_GCM, modes: MODE_TUNNEL, instance };
    return makeInit(this.#identity, entropy.keyPair(), offer, this.receiver, this.receiver, undefined)!;
  }

  /** INIT. Must be prepared. */
  ask(nowMs: number): Uint8Array {
    this.sinceMs = nowMs;
    if (this.tries++ > 0) this.#sent = this.#makeInit();
    const { datagram } = this.#sent!;
    if (this.source.cookie !== undefined) writeMac2(this.source.cookie, datagram);
    return datagram;
  }

  /** What is to be sent after a control datagram for this client; undefined: nothing. */
  heard(datagram: Uint8Array): Uint8Array | undefined {
    const type = control.check(datagram);
    if (type === control.SENDER && this.#session !== undefined) return this.#meet(this.#session, datagram);
    if (this.#sent === undefined) return undefined;
    if (type === control.COOKIE) {
      const cookie = readCookie(this.#sent, datagram);
      if (cookie === undefined) return undefined;
      this.cookies++;
      this.source.cookie = cookie;
      writeMac2(cookie, this.#sent.datagram);
      return this.#sent.datagram;
    }
    return type === control.RESPONSE ? this.#granted(this.#sent, datagram) : undefined;
  }

  #granted(sent: InitSent, datagram: Uint8Array): Uint8Array | undefined {
    const read = readAnswer(sent, this.#identity.psk, datagram);
    if (typeof read === "string" || read.answer.kind !== "grant") return undefined;
    const { answer, secret } = read;
    this.#sent = undefined;
    this.#seq = 0;
    this.#session = {
      ...{ index: answer.index, created: sent.timestamp, client: this.#identity.own.publicKey },
      ...{ secret, sealKey: clientKey(secret, AES_128_GCM) },
      senders: new Map(answer.senders.map((sender) => [sender.senderId, sender])),
    };
    return this.#seal(this.#session, -1, EMPTY);
  }

  #meet(session: Session, datagram: Uint8Array): Uint8Array | undefined {
    const { index, secret, senders } = session;
    const sender = openSender({ index, receiver: this.receiver, secret }, datagram);
    if (sender === undefined) return undefined;
    senders.set(sender.senderId, sender);
    return this.#tell(session, { kind: SENDER_ACK, sender });
  }

  /** An echo request to `echo`, sealed; `number` comes back in the answer. */
  request(echo: number, number: number): Uint8Array {
    const packet = new Uint8Array(ECHO_PACKET_LEN);
    const view = new DataView(packet.buffer);
    const at = ipv4.writeHeader(view, 0, 0, ECHO_PACKET_LEN, TTL, PROTOCOL_V4, this.#address, echo);
    view.setUint8(at, ECHO_REQUEST);
    view.setUint32(at + 4, number);
    view.setUint16(at + 2, fold(sum(view, at, ECHO_LEN)));
    return this.#seal(this.#session!, TYPE_IPV4, packet);
  }

  /** Number of the echo request that a datagram answers; undefined: it is not an authentic answer. */
  answered(datagram: Uint8Array): number | undefined {
    const opened = this.#open(datagram);
    if (opened?.payloadType !== TYPE_IPV4) return undefined;
    const { inner } = opened;
    const view = new DataView(inner.buffer, inner.byteOffset, inner.byteLength);
    return ipv4.check(view, 0, inner.length) < 0 ? undefined : view.getUint32(ipv4.headerLen(view, 0) + 4);
  }

  /** Whether the node has sealed it. */
  opens(datagram: Uint8Array): boolean {
    return this.#open(datagram) !== undefined;
  }

  /** The answer to a PING; undefined: it is none. */
  pong(datagram: Uint8Array): Uint8Array | undefined {
    const opened = this.#open(datagram);
    const message = opened?.payloadType === TYPE_CONTROL ? decodeUnnumbered(opened.inner) : undefined;
    return message?.kind === PING ? this.#tell(this.#session!, { kind: PONG, token: message.token }) : undefined;
  }

  #tell(session: Session, message: Unnumbered): Uint8Array {
    return this.#seal(session, TYPE_CONTROL, encodeUnnumbered(message));
  }

  #open(datagram: Uint8Array) {
    if (this.#session === undefined) return undefined;
    const header = readHeader(datagram);
    const session = this.#session;
    const { secret, sealKey, senders } = session;
    const sender = senders.get(header.senderId);
    if (sender === undefined) return undefined;
    const openKey = groupKey(secret, AES_128_GCM, session, sender);
    const opened = openAead({ algorithm: ALG_AES_128_GCM, sealKey, openKey }, datagram, header);
    return opened.result === "opened" ? opened : undefined;
  }

  #seal({ index, sealKey }: Session, payloadType: number, inner: Uint8Array): Uint8Array {
    const header = { seq: this.#seq++, senderId: index >>> 15, mux: 0x8000 | (index & control.INDEX_LOW) };
    return sealAead({ algorithm: ALG_AES_128_GCM, sealKey, openKey: sealKey }, header, payloadType, inner);
  }
}

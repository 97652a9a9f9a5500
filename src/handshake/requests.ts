/**
 * The client's two requests and how their answers are read: INIT -> RESPONSE (full handshake), RESUME -> RESUMED (by
 * ticket). A request is remembered until it is answered or pushed out by later ones, and reading an answer that is not
 * genuine changes nothing. When and how often to ask is decided in `initiator.ts`.
 */

import { hmac } from "../crypto/blake2s.ts";
import { openChaChaPoly } from "../crypto/chachapoly.ts";
import { type FirstSent, openSecond, writeFirst } from "../crypto/noise.ts";
import { KEY_LEN, type KeyPair } from "../crypto/x25519.ts";
import * as control from "./control.ts";
import { type Answer, decodeAnswer } from "./grant.ts";
import { resumedKeys, resumeKey, sessionSecret } from "./keys.ts";
import { writeMac1, writeMac2 } from "./macs.ts";
import { encodeOffer, type Offer, prologueOf } from "./offer.ts";

interface Sent {
  readonly transaction: number;
  readonly receiver: number;
  readonly timestamp: number;
  readonly datagram: Uint8Array;
  /** It was answered by COOKIE and sent again. Once is enough: the next request comes soon. */
  cookied: boolean;
}

export interface InitSent extends Sent {
  readonly kind: "init";
  readonly noise: FirstSent;
}

export interface ResumeSent extends Sent {
  readonly kind: "resume";
  readonly resumption: Uint8Array;
  readonly ephemeral: KeyPair;
}

export type RequestSent = InitSent | ResumeSent;

/** What every INIT of a client has in common. */
export interface ClientIdentity {
  readonly own: KeyPair;
  /** 32 bytes: the group's static public key. */
  readonly groupKey: Uint8Array;
  readonly groupName: Uint8Array;
  readonly psk: Uint8Array;
  readonly mac1Key: Uint8Array;
}

/** Undefined when the group's key is unusable. `cookie`: of this source address and port, when one is known. */
export function makeInit(
  identity: ClientIdentity,
  ephemeral: KeyPair,
  offer: Offer,
  transaction: number,
  receiver: number,
  cookie: Uint8Array | undefined,
): InitSent | undefined {
  const datagram = control.begin(control.INIT, control.REQUEST_LEN, transaction);
  control.viewOf(datagram).setUint16(control.RECEIVER, receiver);
  const prologue = prologueOf(identity.groupName, datagram);
  const first = writeFirst(prologue, identity.own, identity.groupKey, ephemeral, encodeOffer(offer));
  if (first === undefined) return undefined;
  datagram.set(first.message, control.NOISE);
  writeMac1(identity.mac1Key, datagram);
  if (cookie !== undefined) writeMac2(cookie, datagram);
  const { timestamp } = offer;
  return {
    kind: "init",
    transaction,
    receiver,
    timestamp,
    datagram,
    noise: first.sent,
    cookied: false,
  };
}

/** `ticket`: as the group gave it, with the resumption secret of that session. */
export function makeResume(
  ticket: Uint8Array,
  resumption: Uint8Array,
  ephemeral: KeyPair,
  timestamp: number,
  transaction: number,
  receiver: number,
  cookie?: Uint8Array,
): ResumeSent {
  const datagram = control.begin(control.RESUME, control.REQUEST_LEN, transaction);
  const view = control.viewOf(datagram);
  view.setUint16(control.RECEIVER, receiver);
  datagram.set(ephemeral.publicKey, control.EPHEMERAL);
  control.writeTime(view, control.RESUME_TIMESTAMP, timestamp);
  view.setUint16(control.RESUME_TICKET_LEN, ticket.length);
  datagram.set(ticket, control.RESUME_TICKET);
  const mac = hmac(resumeKey(resumption), datagram.subarray(0, control.MAC1));
  datagram.set(mac.subarray(0, control.MAC_LEN), control.MAC1);
  if (cookie !== undefined) writeMac2(cookie, datagram);
  return { kind: "resume", transaction, receiver, timestamp, datagram, cookied: false, resumption, ephemeral };
}

/** The cookie of a COOKIE that answers exactly this request, or undefined. */
export function readCookie(sent: RequestSent, datagram: Uint8Array): Uint8Array | undefined {
  const cause = datagram.subarray(control.COOKIE_CAUSE, control.COOKIE_VALUE);
  const own = sent.datagram.subarray(control.MAC1, control.MAC2);
  if (!cause.every((byte, i) => byte === own[i])) return undefined;
  return Uint8Array.from(datagram.subarray(control.COOKIE_VALUE));
}

/** What a genuine RESPONSE or RESUMED says, with the secret of the session if it grants one. */
export interface Answered {
  readonly answer: Answer;
  readonly secret: Uint8Array;
}

/** "forged": the datagram was not made by the group for this request. "malformed": it was, but says nothing known. */
export function readAnswer(
  sent: RequestSent,
  psk: Uint8Array,
  datagram: Uint8Array,
): Answered | "forged" | "malformed" {
  if (control.viewOf(datagram).getUint16(control.RECEIVER) !== sent.receiver) return "forged";
  const opened = sent.kind === "init" ? openResponse(sent, psk, datagram) : openResumed(sent, datagram);
  if (opened === undefined) return "forged";
  const answer = decodeAnswer(opened.payload);
  return answer === undefined ? "malformed" : { answer, secret: opened.secret };
}

function openResponse(sent: InitSent, psk: Uint8Array, datagram: Uint8Array) {
  const second = openSecond(sent.noise, psk, datagram.subarray(control.NOISE));
  return second && { payload: second.payload, secret: sessionSecret(second.keys) };
}

function openResumed(sent: ResumeSent, datagram: Uint8Array) {
  const remote = datagram.subarray(control.EPHEMERAL, control.EPHEMERAL + KEY_LEN);
  const shared = sent.ephemeral.shared(remote);
  if (shared === undefined) return undefined;
  const { answer, secret } = resumedKeys(sent.resumption, shared, sent.ephemeral.publicKey, remote);
  const head = datagram.subarray(0, control.RESUMED_SEALED);
  const payload = openChaChaPoly(answer, new Uint8Array(12), head, datagram.subarray(control.RESUMED_SEALED));
  return payload && { payload, secret };
}

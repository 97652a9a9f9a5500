/**
 * SENDER: a sender of the group that a client has not heard of introduces itself, before its first packet. Its MAC is
 * under a key of the session; it needs no sequence number, because hearing it twice changes nothing. The client keeps
 * every pair (sender id, start) of a session with its own replay window, so an old one can't come back as new.
 */
import type { Remote } from "../base/ip.ts";
import { hmac } from "../crypto/blake2s.ts";
import { equalBytes } from "../crypto/kdf.ts";
import type { Now } from "./clock.ts";
import {
  begin,
  MAC_LEN,
  SENDER,
  SENDER_BOOT,
  SENDER_ID,
  SENDER_INDEX,
  SENDER_LEN,
  SENDER_MAC,
  SENDER_RECEIVER,
  viewOf,
} from "./control.ts";
import { BOOT_ID_LEN, type Sender, senderKey } from "./keys.ts";

/** What SENDER says of the session. */
export interface Introduced {
  readonly index: number;
  readonly receiver: number;
  readonly secret: Uint8Array;
}

export function senderDatagram(session: Introduced, sender: Sender, transaction: number): Uint8Array {
  const datagram = begin(SENDER, SENDER_LEN, transaction);
  const view = viewOf(datagram);
  view.setUint32(SENDER_INDEX, session.index);
  view.setUint16(SENDER_ID, sender.senderId);
  view.setUint16(SENDER_RECEIVER, session.receiver);
  datagram.set(sender.bootId, SENDER_BOOT);
  const mac = hmac(senderKey(session.secret), datagram.subarray(0, SENDER_MAC));
  datagram.set(mac.subarray(0, MAC_LEN), SENDER_MAC);
  return datagram;
}

/** The sender, or undefined when the datagram is not of this session. */
export function openSender(session: Introduced, datagram: Uint8Array): Sender | undefined {
  const view = viewOf(datagram);
  if (view.getUint16(SENDER_RECEIVER) !== session.receiver) return undefined;
  const mac = hmac(senderKey(session.secret), datagram.subarray(0, SENDER_MAC)).subarray(0, MAC_LEN);
  if (!equalBytes(mac, datagram.subarray(SENDER_MAC))) return undefined;
  return {
    senderId: view.getUint16(SENDER_ID),
    bootId: Uint8Array.from(datagram.subarray(SENDER_BOOT, SENDER_BOOT + BOOT_ID_LEN)),
  };
}

const FIRST_RETRY_MS = 250;
const TRIES = 6;
const WAITING_MAX = 4096;

interface Waiting {
  readonly datagram: Uint8Array;
  readonly to: Remote;
  tries: number;
  dueMs: number;
}

/** Repeats introductions until they are acknowledged, six times in 16 s. At most 4096 at a time. */
export class Announcer {
  readonly #waiting = new Map<string, Waiting>();

  /**
   * `once`: `to` is a place where the client may be; what is repeated goes on to where it is known to be. False: too many are
   * waiting; the sender is not introduced.
   */
  announce(
    now: Now,
    session: Introduced,
    sender: Sender,
    transaction: number,
    to: Remote,
    once: boolean,
    send: (datagram: Uint8Array, to: Remote) => void,
  ): boolean {
    if (!once && this.#waiting.size >= WAITING_MAX) return false;
    const datagram = senderDatagram(session, sender, transaction);
    const key = `${session.index}/${sender.senderId}`;
    if (!once) this.#waiting.set(key, { datagram, to, tries: 1, dueMs: now.ms + FIRST_RETRY_MS });
    send(datagram, to);
    return true;
  }

  /** SENDER_ACK arrived in session `index`. */
  acknowledged(index: number, sender: Sender): void {
    const key = `${index}/${sender.senderId}`;
    const boot = this.#waiting.get(key)?.datagram.subarray(SENDER_BOOT, SENDER_MAC);
    if (boot !== undefined && equalBytes(boot, sender.bootId)) this.#waiting.delete(key);
  }

  tick(now: Now, send: (datagram: Uint8Array, to: Remote) => void): void {
    for (const [key, waiting] of this.#waiting) {
      if (waiting.dueMs > now.ms) continue;
      if (waiting.tries >= TRIES) {
        this.#waiting.delete(key);
        continue;
      }
      send(waiting.datagram, waiting.to);
      waiting.dueMs = now.ms + FIRST_RETRY_MS * 2 ** waiting.tries;
      waiting.tries++;
    }
  }

  nextTimeout(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { dueMs } of this.#waiting.values()) next = Math.min(next, dueMs);
    return next;
  }
}

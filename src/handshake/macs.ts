/**
 * The two cheap proofs of a request. mac1, in INIT: the sender knows the group's public key. mac2, in INIT and RESUME: the
 * sender gets what is sent to its source address. Cookies need no memory at the node and are the same at every node of a
 * group. docs/PROTOCOL.md, "Cookies".
 */
import type { Endpoint } from "../base/ip.ts";
import { blake2s, hmac } from "../crypto/blake2s.ts";
import { CookieTags, cookieTagKeyOf } from "../crypto/cookie_tags.ts";
import { equalBytes } from "../crypto/kdf.ts";
import { COOKIE_LEN, MAC_LEN, MAC1, MAC2, writeTime } from "./control.ts";

const encoder = new TextEncoder();

/** A cookie is of the slot that it was made in; the slots before and after it are accepted too. */
export const COOKIE_SLOT_MS = 60_000;

/** Key of mac1 for INITs to one group. */
export function mac1Key(groupPublicKey: Uint8Array): Uint8Array {
  return blake2s(encoder.encode("anyhop 1 mac1"), groupPublicKey);
}

function mac1Of(key: Uint8Array, init: Uint8Array): Uint8Array {
  return hmac(key, init.subarray(0, MAC1)).subarray(0, MAC_LEN);
}

export function writeMac1(key: Uint8Array, init: Uint8Array): void {
  init.set(mac1Of(key, init), MAC1);
}

export function checkMac1(key: Uint8Array, init: Uint8Array): boolean {
  return equalBytes(mac1Of(key, init), init.subarray(MAC1, MAC2));
}

/** Slot and tag, which stand in mac2 as they stand in the cookie. */
const CLEAR_LEN = 5;

/** mac2: slot and tag of the cookie, then 11 bytes of MAC under the cookie. */
function mac2Of(cookie: Uint8Array, request: Uint8Array): Uint8Array {
  const mac = new Uint8Array(MAC_LEN);
  mac.set(cookie.subarray(0, CLEAR_LEN));
  mac.set(hmac(cookie, request.subarray(0, MAC2)).subarray(0, MAC_LEN - CLEAR_LEN), CLEAR_LEN);
  return mac;
}

/** False when mac2 is zero: the client had no cookie. */
export function hasMac2(request: Uint8Array): boolean {
  for (let i = MAC2; i < request.length; i++) if (request[i] !== 0) return true;
  return false;
}

export function writeMac2(cookie: Uint8Array, request: Uint8Array): void {
  request.set(mac2Of(cookie, request), MAC2);
}

/** Makes cookies and checks what was made with them. */
export class Cookies {
  readonly #secret: Uint8Array;
  readonly #tags: CookieTags;

  /** `secret`: 32 bytes that all nodes of the group share. */
  constructor(secret: Uint8Array) {
    this.#secret = secret;
    this.#tags = new CookieTags(cookieTagKeyOf(secret));
  }

  /** 16 bytes for a source at this time. */
  make(from: Endpoint, wallMs: number): Uint8Array {
    return this.#of(from, slotAt(wallMs));
  }

  /** True when mac2 was made with a cookie for this source in this slot or a neighbour: clocks of nodes may differ. */
  check(from: Endpoint, wallMs: number, request: Uint8Array): boolean {
    const slot = slotAt(wallMs);
    const named = [slot, slot - 1, slot + 1].find((s) => (s & 0xff) === request[MAC2]);
    if (named === undefined || named < 0) return false;
    return equalBytes(mac2Of(this.#of(from, named), request), request.subarray(MAC2));
  }

  #of(from: Endpoint, slot: number): Uint8Array {
    const { w0, w1, w2, w3, port } = from;
    const input = new Uint8Array(26);
    const view = new DataView(input.buffer);
    writeTime(view, 0, slot);
    view.setInt32(8, w0);
    view.setInt32(12, w1);
    view.setInt32(16, w2);
    view.setInt32(20, w3);
    view.setUint16(24, port);
    const cookie = new Uint8Array(COOKIE_LEN);
    cookie[0] = slot & 0xff;
    new DataView(cookie.buffer).setInt32(1, this.#tags.of(cookie[0], w0, w1, w2, w3, port));
    cookie.set(hmac(this.#secret, input).subarray(0, COOKIE_LEN - CLEAR_LEN), CLEAR_LEN);
    return cookie;
  }
}

const slotAt = (wallMs: number): number => Math.floor(wallMs / COOKIE_SLOT_MS);

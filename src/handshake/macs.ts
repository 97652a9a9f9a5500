/**
 * The two cheap proofs in INIT. mac1: the sender knows the group's public key. mac2: the sender gets what is sent to its
 * source address. Cookies need no memory at the node and are the same at every node of a group.
 * docs/PROTOCOL.md, "Cookies".
 */
import type { Address } from "../base/ip.ts";
import { blake2s, hmac } from "../crypto/blake2s.ts";
import { equalBytes } from "../crypto/kdf.ts";
import { COOKIE_LEN, MAC_LEN, MAC1, MAC2, writeTime } from "./control.ts";

/** Where a datagram came from, as the node's socket sees it. */
export interface Endpoint extends Address {
  readonly port: number;
  /** The socket that heard it, where there are several: carried along, never looked at here. */
  readonly sock?: number;
}

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

/** mac2: byte 0 of the cookie, which names its slot, then 15 bytes of MAC under the cookie. */
function mac2Of(cookie: Uint8Array, init: Uint8Array): Uint8Array {
  const mac = new Uint8Array(MAC_LEN);
  mac[0] = cookie[0];
  mac.set(hmac(cookie, init.subarray(0, MAC2)).subarray(0, MAC_LEN - 1), 1);
  return mac;
}

/** False when mac2 is zero: the client had no cookie. */
export function hasMac2(init: Uint8Array): boolean {
  for (let i = MAC2; i < init.length; i++) if (init[i] !== 0) return true;
  return false;
}

export function writeMac2(cookie: Uint8Array, init: Uint8Array): void {
  init.set(mac2Of(cookie, init), MAC2);
}

/** 16 bytes for a source at a time. `secret`: 32 bytes that all nodes of the group share. */
export function cookieFor(secret: Uint8Array, from: Endpoint, slot: number): Uint8Array {
  const input = new Uint8Array(26);
  const view = new DataView(input.buffer);
  writeTime(view, 0, slot);
  view.setInt32(8, from.w0);
  view.setInt32(12, from.w1);
  view.setInt32(16, from.w2);
  view.setInt32(20, from.w3);
  view.setUint16(24, from.port);
  const cookie = new Uint8Array(COOKIE_LEN);
  cookie[0] = slot & 0xff;
  cookie.set(hmac(secret, input).subarray(0, COOKIE_LEN - 1), 1);
  return cookie;
}

export const slotAt = (wallMs: number): number => Math.floor(wallMs / COOKIE_SLOT_MS);

/** True when mac2 was made with a cookie for this source in this slot or a neighbour: clocks of nodes may differ. */
export function checkMac2(secret: Uint8Array, from: Endpoint, wallMs: number, init: Uint8Array): boolean {
  const slot = slotAt(wallMs);
  const named = [slot, slot - 1, slot + 1].find((s) => (s & 0xff) === init[MAC2]);
  if (named === undefined || named < 0) return false;
  return equalBytes(mac2Of(cookieFor(secret, from, named), init), init.subarray(MAC2));
}

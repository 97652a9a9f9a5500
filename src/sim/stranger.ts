/**
 * What a stranger makes up: datagrams of each kind that a node may take, in the name of a client, without any secret. He knows
 * how they look, and may have seen indices of sessions.
 */
import type { Prng } from "../base/prng.ts";

const CONTROL_MUX = 0xffff;
const VERSION = 1;
const INIT = 1;
const RESUME = 4;
const REQUEST_LEN = 1200;
const MAC2 = REQUEST_LEN - 16;
const SESSION_LEN = 40;

/** One datagram. `seen`: index of a session. */
export function madeUp(prng: Prng, seen: number | undefined): Uint8Array {
  const kind = prng.nextBelow(6);
  if (kind === 0) return request(prng, INIT, false);
  if (kind === 1) return request(prng, INIT, true);
  if (kind === 2) return request(prng, RESUME, prng.nextBelow(2) === 0);
  if (kind === 3) return header(noise(prng, SESSION_LEN), prng.nextBelow(256));
  const index = kind === 4 && seen !== undefined ? seen : prng.nextU32() >>> 1;
  const datagram = noise(prng, SESSION_LEN);
  const view = new DataView(datagram.buffer);
  view.setUint16(4, index >>> 15);
  view.setUint16(6, 0x8000 | (index & 0x7fff));
  return datagram;
}

function request(prng: Prng, type: number, cookie: boolean): Uint8Array {
  const datagram = header(noise(prng, REQUEST_LEN), type);
  // A receiver index that may be, and what follows it.
  datagram.set([0, 1, 0, 0], 12);
  if (!cookie) datagram.fill(0, MAC2);
  return datagram;
}

function header(datagram: Uint8Array, type: number): Uint8Array {
  const view = new DataView(datagram.buffer);
  view.setUint32(4, CONTROL_MUX);
  view.setUint32(8, (type << 24) | (VERSION << 16));
  return datagram;
}

function noise(prng: Prng, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at + 4 <= length; at += 4) view.setUint32(at, prng.nextU32());
  return bytes;
}

/**
 * The sealed payload of INIT: what a client asks for. Its length is fixed, so INIT is; what this version does not use is
 * zero and ignored.
 */
import { AnyhopError } from "../base/errors.ts";
import { FIRST_OVERHEAD } from "../crypto/noise.ts";
import { MAC1, NOISE, readTime, viewOf, writeTime } from "./control.ts";

export interface Offer {
  /** Greater in every request of this client key. Milliseconds since 1970 unless a clock was wrong. */
  readonly timestamp: number;
  /** Bitmap of AEADs that the client can do. */
  readonly aeads: number;
  /** Bitmap of modes that the client asks for. */
  readonly modes: number;
  /** 8 random bytes, drawn when the client starts: tells a rekey from a second client with the same key. */
  readonly instance: Uint8Array;
}

export const MODE_TUNNEL = 1;
export const MODE_OPEN_TUNNEL = 2;
export const MODE_RELAY = 4;

export const INSTANCE_LEN = 8;
const OFFER_LEN = MAC1 - NOISE - FIRST_OVERHEAD;

export function encodeOffer(offer: Offer): Uint8Array {
  const bytes = new Uint8Array(OFFER_LEN);
  const view = viewOf(bytes);
  writeTime(view, 0, offer.timestamp);
  view.setUint16(8, offer.aeads);
  view.setUint16(10, offer.modes);
  bytes.set(offer.instance, 12);
  return bytes;
}

/** Undefined when the timestamp is out of range. `bytes`: OFFER_LEN, by the length of INIT. */
export function decodeOffer(bytes: Uint8Array): Offer | undefined {
  const view = viewOf(bytes);
  const timestamp = readTime(view, 0);
  if (timestamp < 0) return undefined;
  return {
    timestamp,
    aeads: view.getUint16(8),
    modes: view.getUint16(10),
    instance: bytes.slice(12, 12 + INSTANCE_LEN),
  };
}

/** Bytes of a group's name. Throws for a longer one than the prologue can hold. */
export function groupNameBytes(name: string): Uint8Array {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length <= 255) return bytes;
  throw new AnyhopError("group_name", `The group's name has ${bytes.length} bytes; choose one of at most 255.`);
}

const PROLOGUE = new TextEncoder().encode("anyhop 1\0");

/** Noise prologue: the group's name and everything of INIT before the Noise message, so that no bit of it can change. */
export function prologueOf(groupName: Uint8Array, init: Uint8Array): Uint8Array {
  const prologue = new Uint8Array(PROLOGUE.length + 1 + groupName.length + NOISE);
  prologue.set(PROLOGUE, 0);
  prologue[PROLOGUE.length] = groupName.length;
  prologue.set(groupName, PROLOGUE.length + 1);
  prologue.set(init.subarray(0, NOISE), PROLOGUE.length + 1 + groupName.length);
  return prologue;
}

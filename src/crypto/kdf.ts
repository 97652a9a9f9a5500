/**
 * The key derivations over HMAC-BLAKE2s (RFC 5869): what Noise needs, and every key of a session. Labels and inputs: docs/PROTOCOL.md, "Keys of a session".
 */
import { timingSafeEqual } from "node:crypto";
import { hmac } from "./blake2s.ts";

const encoder = new TextEncoder();
const ONE = Uint8Array.of(1);
const TWO = Uint8Array.of(2);
const THREE = Uint8Array.of(3);

/** HKDF of Noise, two outputs (revision 34, section 4.3). */
export function hkdf2(chainingKey: Uint8Array, input: Uint8Array): [Uint8Array, Uint8Array] {
  const temp = hmac(chainingKey, input);
  const first = hmac(temp, ONE);
  return [first, hmac(temp, first, TWO)];
}

/** HKDF of Noise, three outputs. */
export function hkdf3(chainingKey: Uint8Array, input: Uint8Array): [Uint8Array, Uint8Array, Uint8Array] {
  const temp = hmac(chainingKey, input);
  const first = hmac(temp, ONE);
  const second = hmac(temp, first, TWO);
  return [first, second, hmac(temp, second, THREE)];
}

/**
 * One block of HKDF-Expand (RFC 5869 section 2.3) with info = "anyhop 1 " || label || context: 32 bytes. `secret` is
 * uniform, so the extract step is left out.
 */
export function expand(secret: Uint8Array, label: string, context: Uint8Array = NO_CONTEXT): Uint8Array {
  return hmac(secret, labelBytes(label), context, ONE);
}

const NO_CONTEXT = new Uint8Array(0);
/** There are about ten labels, and each is needed for every session. */
const labels = new Map<string, Uint8Array>();
function labelBytes(label: string): Uint8Array {
  let bytes = labels.get(label);
  if (bytes === undefined) {
    bytes = encoder.encode(`anyhop 1 ${label}`);
    labels.set(label, bytes);
  }
  return bytes;
}

/** Compares in constant time; false when lengths differ. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

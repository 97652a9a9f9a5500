/**
 * Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (Noise revision 34), the two messages of one handshake. Every function is pure:
 * a message that does not open leaves the state as it was, so a forged one can be thrown away and the genuine one read
 * later. What goes into prologue and payloads is the business of `handshake/`.
 *
 *   <- s                                      the initiator knows the responder's static key
 *   -> e, es, s, ss, payload                  writeFirst       openStatic, openFirst
 *   <- e, ee, se, psk, payload                openSecond       agree, writeSecond
 */

import { blake2s } from "./blake2s.ts";
import { NONCE_LEN, openChaChaPoly, sealChaChaPoly, TAG_LEN } from "./chachapoly.ts";
import { hkdf2, hkdf3 } from "./kdf.ts";
import { KEY_LEN, type KeyPair } from "./x25519.ts";

/** Bytes that the first message adds to its payload: e, sealed s, tag. */
export const FIRST_OVERHEAD = KEY_LEN + KEY_LEN + TAG_LEN + TAG_LEN;
/** Bytes that the second message adds to its payload: e, tag. */
export const SECOND_OVERHEAD = KEY_LEN + TAG_LEN;

/** SymmetricState and CipherState of section 5, never changed in place. `n` is the nonce of the next message under `k`. */
interface Symmetric {
  readonly ck: Uint8Array;
  readonly h: Uint8Array;
  readonly k: Uint8Array;
  readonly n: number;
}

/** What the initiator keeps between the messages. */
export interface FirstSent {
  readonly symmetric: Symmetric;
  readonly ephemeral: KeyPair;
  readonly own: KeyPair;
}

/** What the responder knows when it has learnt who the initiator claims to be: not yet proven. */
export interface StaticOpened {
  readonly symmetric: Symmetric;
  readonly remoteEphemeral: Uint8Array;
  readonly remoteStatic: Uint8Array;
  readonly sealedPayload: Uint8Array;
}

export interface FirstOpened {
  readonly symmetric: Symmetric;
  readonly remoteEphemeral: Uint8Array;
  readonly remoteStatic: Uint8Array;
  readonly payload: Uint8Array;
  /** Token ss, the same in every handshake of these two: for the next `openFirst`. Secret. */
  readonly staticShared: Uint8Array;
}

/** Both keys of Split() (section 5.2). Message 2's payload has no part in them, so it may speak of them. */
export interface SplitKeys {
  readonly initiatorKey: Uint8Array;
  readonly responderKey: Uint8Array;
}

/** The responder after its last key is mixed in, before it seals message 2. */
export interface Agreed {
  readonly symmetric: Symmetric;
  readonly ephemeral: Uint8Array;
  readonly keys: SplitKeys;
}

/** The protocol name is longer than a hash, so h begins as its hash. */
const START = blake2s(new TextEncoder().encode("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"));
const NO_KEY = new Uint8Array(0);
const EMPTY = new Uint8Array(0);

/** Section 12.3: 32 zero bits, then the counter, little endian. */
export function noiseNonce(n: number): Uint8Array {
  const nonce = new Uint8Array(NONCE_LEN);
  // Byte by byte: a view would move the small array out of V8's heap.
  for (let k = 0; k < 4; k++) nonce[4 + k] = n >>> (8 * k);
  return nonce;
}

function begin(prologue: Uint8Array, responderStatic: Uint8Array): Symmetric {
  const h = blake2s(blake2s(START, prologue), responderStatic);
  return { ck: START, h, k: NO_KEY, n: 0 };
}

const mixHash = (s: Symmetric, bytes: Uint8Array): Symmetric => ({ ...s, h: blake2s(s.h, bytes) });

function mixKey(s: Symmetric, input: Uint8Array): Symmetric {
  const [ck, k] = hkdf2(s.ck, input);
  return { ck, h: s.h, k, n: 0 };
}

function mixKeyAndHash(s: Symmetric, input: Uint8Array): Symmetric {
  const [ck, h, k] = hkdf3(s.ck, input);
  return { ck, h: blake2s(s.h, h), k, n: 0 };
}

/** Token e in a handshake with a psk also mixes into the key (section 9.2). */
const mixEphemeral = (s: Symmetric, e: Uint8Array): Symmetric => mixKey(mixHash(s, e), e);

function encrypt(s: Symmetric, plain: Uint8Array): { s: Symmetric; sealed: Uint8Array } {
  const sealed = sealChaChaPoly(s.k, noiseNonce(s.n), s.h, plain);
  return { s: { ...s, h: blake2s(s.h, sealed), n: s.n + 1 }, sealed };
}

function decrypt(s: Symmetric, sealed: Uint8Array): { s: Symmetric; plain: Uint8Array } | undefined {
  const plain = openChaChaPoly(s.k, noiseNonce(s.n), s.h, sealed);
  return plain && { s: { ...s, h: blake2s(s.h, sealed), n: s.n + 1 }, plain };
}

function split(s: Symmetric): SplitKeys {
  const [initiatorKey, responderKey] = hkdf2(s.ck, EMPTY);
  return { initiatorKey, responderKey };
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Message 1. Undefined when `remoteStatic` (32 bytes) is no usable public key. */
export function writeFirst(
  prologue: Uint8Array,
  own: KeyPair,
  remoteStatic: Uint8Array,
  ephemeral: KeyPair,
  payload: Uint8Array,
): { message: Uint8Array; sent: FirstSent } | undefined {
  const es = ephemeral.shared(remoteStatic);
  const ss = own.shared(remoteStatic);
  if (es === undefined || ss === undefined) return undefined;
  const opened = mixKey(mixEphemeral(begin(prologue, remoteStatic), ephemeral.publicKey), es);
  const staticKey = encrypt(opened, own.publicKey);
  const body = encrypt(mixKey(staticKey.s, ss), payload);
  const message = joined(ephemeral.publicKey, staticKey.sealed, body.sealed);
  return { message, sent: { symmetric: body.s, ephemeral, own } };
}

/** Reads who claims to have sent message 1, at the price of one DH. Undefined when it is not for `own`, or changed. */
export function openStatic(prologue: Uint8Array, own: KeyPair, message: Uint8Array): StaticOpened | undefined {
  if (message.length < FIRST_OVERHEAD) return undefined;
  const e = message.subarray(0, KEY_LEN);
  const es = own.shared(e);
  if (es === undefined) return undefined;
  const s = mixKey(mixEphemeral(begin(prologue, own.publicKey), e), es);
  const staticEnd = KEY_LEN + KEY_LEN + TAG_LEN;
  const opened = decrypt(s, message.subarray(KEY_LEN, staticEnd));
  if (opened === undefined) return undefined;
  return {
    symmetric: opened.s,
    remoteEphemeral: e,
    remoteStatic: opened.plain,
    sealedPayload: message.subarray(staticEnd),
  };
}

/**
 * Proves the claim of `openStatic` and opens the payload, at the price of a second DH, unless `staticShared` of an earlier
 * handshake with this initiator is given.
 */
export function openFirst(own: KeyPair, first: StaticOpened, staticShared?: Uint8Array): FirstOpened | undefined {
  const ss = staticShared ?? own.shared(first.remoteStatic);
  if (ss === undefined) return undefined;
  const opened = decrypt(mixKey(first.symmetric, ss), first.sealedPayload);
  if (opened === undefined) return undefined;
  const { remoteEphemeral, remoteStatic } = first;
  return { symmetric: opened.s, remoteEphemeral, remoteStatic, payload: opened.plain, staticShared: ss };
}

/** Agrees on the keys. Undefined when the initiator's keys are unusable. `psk`: 32 bytes. */
export function agree(first: FirstOpened, ephemeral: KeyPair, psk: Uint8Array): Agreed | undefined {
  const ee = ephemeral.shared(first.remoteEphemeral);
  const se = ephemeral.shared(first.remoteStatic);
  if (ee === undefined || se === undefined) return undefined;
  const s = mixEphemeral(first.symmetric, ephemeral.publicKey);
  const symmetric = mixKeyAndHash(mixKey(mixKey(s, ee), se), psk);
  return { symmetric, ephemeral: ephemeral.publicKey, keys: split(symmetric) };
}

/** Message 2, and the handshake hash. Once for each `agree`: a second payload would repeat a nonce. */
export function writeSecond(agreed: Agreed, payload: Uint8Array): { message: Uint8Array; hash: Uint8Array } {
  const body = encrypt(agreed.symmetric, payload);
  return { message: joined(agreed.ephemeral, body.sealed), hash: body.s.h };
}

/** Opens message 2. Undefined when it is no answer to this message 1, or changed, or the psk is another. */
export function openSecond(
  sent: FirstSent,
  psk: Uint8Array,
  message: Uint8Array,
): { payload: Uint8Array; keys: SplitKeys; hash: Uint8Array } | undefined {
  if (message.length < SECOND_OVERHEAD) return undefined;
  const e = message.subarray(0, KEY_LEN);
  const ee = sent.ephemeral.shared(e);
  const se = sent.own.shared(e);
  if (ee === undefined || se === undefined) return undefined;
  const s = mixEphemeral(sent.symmetric, e);
  const opened = decrypt(mixKeyAndHash(mixKey(mixKey(s, ee), se), psk), message.subarray(KEY_LEN));
  return opened && { payload: opened.plain, keys: split(opened.s), hash: opened.s.h };
}

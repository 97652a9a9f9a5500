/**
 * Ed25519 (RFC 8032) over node:crypto: the keys that nodes and the operator of a group sign with. Private keys stay inside
 * `KeyObject`s. Pairs are made from random bytes, for the reason that x25519.ts gives.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";

export const SIGNING_KEY_LEN = 32;
export const SIGNATURE_LEN = 64;

export interface SigningKey {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 64 bytes. Each kind of message begins with a text of its own, so that none is taken for another. */
  sign(message: Uint8Array): Uint8Array;
}

/** PKCS #8 and SPKI of an Ed25519 key up to its 32 bytes (RFC 8410 sections 7 and 4). */
const PKCS8_HEAD = Buffer.from("302e020100300506032b657004220420", "hex");
const SPKI_HEAD = Buffer.from("302a300506032b6570032100", "hex");

/** The key of 32 private bytes, which may be wiped afterwards. Throws a RangeError for another length. */
export function signingKeyFrom(seed: Uint8Array): SigningKey {
  if (seed.length !== SIGNING_KEY_LEN)
    throw new RangeError(`an Ed25519 private key has ${SIGNING_KEY_LEN} bytes, not ${seed.length}`);
  const privateKey = createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, seed]), format: "der", type: "pkcs8" });
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  return {
    publicKey: new Uint8Array(spki.subarray(SPKI_HEAD.length)),
    sign: (message) => new Uint8Array(sign(null, message, privateKey)),
  };
}

/** Imported public keys: those of the nodes of a group, again and again. */
const imported = new Map<string, KeyObject>();
const IMPORTED_MAX = 256;

/** Never throws: bytes that are no key have signed nothing. */
export function isSignedBy(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== SIGNING_KEY_LEN || signature.length !== SIGNATURE_LEN) return false;
  try {
    return verify(null, message, imported.get(nameOf(publicKey)) ?? importKey(publicKey), signature);
  } catch {
    return false;
  }
}

function importKey(publicKey: Uint8Array): KeyObject {
  const key = createPublicKey({ key: Buffer.concat([SPKI_HEAD, publicKey]), format: "der", type: "spki" });
  if (imported.size >= IMPORTED_MAX) imported.clear();
  imported.set(nameOf(publicKey), key);
  return key;
}

const nameOf = (publicKey: Uint8Array): string =>
  Buffer.from(publicKey.buffer, publicKey.byteOffset, publicKey.byteLength).toString("latin1");

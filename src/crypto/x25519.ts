/**
 * X25519 (RFC 7748) over node:crypto: key pairs, raw public keys and the shared secret. Private keys stay inside
 * `KeyObject`s: they can't be printed by accident. Raw keys travel as JWK, which node imports ten times faster than DER.
 * A node has a faster way, `drivers/native_x25519.ts`; everything else is served by this one.
 *
 * Pairs are made from random bytes, never by `generateKeyPairSync`: a `KeyObject` that comes from there can stop the
 * process for ever (Node 20.20, seen in a native stack). Exporting it holds its mutex while a string is allocated, and the
 * garbage collection that this may start destroys the finished generator job, which waits for the same mutex.
 */
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from "node:crypto";

export const KEY_LEN = 32;

export interface KeyPair {
  /** 32 bytes, RFC 7748 section 5. */
  readonly publicKey: Uint8Array;
  /**
   * 32 bytes that this pair and the owner of another public key (32 bytes) share, or undefined when that key has no large
   * order: the result would be zero, whatever the private key (RFC 7748 section 6.1).
   */
  shared(publicKey: Uint8Array): Uint8Array | undefined;
}

/** Makes the pair of 32 private bytes, which may be wiped afterwards. Throws for another length. */
export type PairOf = (raw: Uint8Array) => KeyPair;

const base64url = (raw: Uint8Array): string =>
  Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString("base64url");

/** RFC 8037 wants x beside d. Node 20 computes it from d and never reads this one. */
const UNREAD = base64url(new Uint8Array(KEY_LEN));
/** PKCS #8 of an X25519 key up to its 32 private bytes (RFC 8410 section 7). */
const PKCS8_HEAD = Buffer.from("302e020100300506032b656e04220420", "hex");

function importPrivateKey(raw: Uint8Array): KeyObject {
  try {
    return createPrivateKey({ key: { kty: "OKP", crv: "X25519", d: base64url(raw), x: UNREAD }, format: "jwk" });
  } catch {
    // A node that does read x: slower (0.4 ms), and right too.
    return createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, raw]), format: "der", type: "pkcs8" });
  }
}

/** Throws a RangeError unless `raw` has the 32 bytes of a private key. */
export function checkPrivateKey(raw: Uint8Array): void {
  if (raw.length !== KEY_LEN) throw new RangeError(`an X25519 private key has ${KEY_LEN} bytes, not ${raw.length}`);
}

export const keyPairFromPrivate: PairOf = (raw) => {
  checkPrivateKey(raw);
  const privateKey = importPrivateKey(raw);
  const { x } = createPublicKey(privateKey).export({ format: "jwk" });
  return {
    publicKey: new Uint8Array(Buffer.from(x!, "base64url")),
    shared(remote) {
      try {
        const publicKey = createPublicKey({ key: { kty: "OKP", crv: "X25519", x: base64url(remote) }, format: "jwk" });
        return diffieHellman({ privateKey, publicKey });
      } catch {
        return undefined;
      }
    },
  };
};

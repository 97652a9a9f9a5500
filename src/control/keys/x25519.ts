/** Private and public keys as raw bytes, for files and people; the handshake's own are in `crypto/x25519.ts`. */
import { KEY_LEN, keyPairFromPrivate } from "../../crypto/x25519.ts";

/** A private key from 32 random bytes, clamped as RFC 7748 section 5 wants it, so that its text is final. */
export function privateKeyFrom(random: Uint8Array): Uint8Array {
  if (random.length !== KEY_LEN) throw new RangeError(`a key takes ${KEY_LEN} random bytes, not ${random.length}`);
  const key = Uint8Array.from(random);
  key[0] &= 248;
  key[31] = (key[31] & 127) | 64;
  return key;
}

/** The public key that belongs to 32 bytes of private key. */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  return keyPairFromPrivate(privateKey).publicKey;
}

/** False for the points of small order, with which everybody gets the same secret (RFC 7748 section 6.1). */
export function isSoundPublicKey(publicKey: Uint8Array): boolean {
  return keyPairFromPrivate(new Uint8Array(KEY_LEN).fill(64)).shared(publicKey) !== undefined;
}

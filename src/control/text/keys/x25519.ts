/** Private and public keys as raw bytes, for files and people; the handshake's own are in `crypto/x25519.ts`. */
import { KEY_LEN, keyPairFromPrivate } from "../../../crypto/x25519.ts";

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

/**
 * False for the points of small order, with which everybody gets the same secret (RFC 7748 section 6.1): 0, 1, -1 and two
 * of order 8, and what is the same as 0 and 1 modulo 2^255 - 19. The top bit does not count. An agreement to find that out
 * would take 140 us, and a node may hear of 100,000 clients at once.
 */
export function isSoundPublicKey(publicKey: Uint8Array): boolean {
  return !SMALL_ORDER.some((point) =>
    point.every((byte, i) => byte === (i === KEY_LEN - 1 ? publicKey[i] & 127 : publicKey[i])),
  );
}

const SMALL_ORDER: readonly Uint8Array[] = [
  "00".repeat(32),
  `01${"00".repeat(31)}`,
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  `ec${"ff".repeat(30)}7f`,
  `ed${"ff".repeat(30)}7f`,
  `ee${"ff".repeat(30)}7f`,
].map((hex) => Buffer.from(hex, "hex"));

/**
 * X25519 over the addon: the pairs of `crypto/x25519.ts` at little more than the price of the curve (a pair 14 us instead
 * of 36, a shared secret 27 instead of 36). For a node, which does five of these a handshake. Both make equal keys and
 * secrets: test/contract/x25519.test.ts.
 */
import { checkPrivateKey, KEY_LEN, type KeyPair } from "../crypto/x25519.ts";
import { loadAddon } from "./native.ts";
import { placed, placeFor } from "./native_bytes.ts";

/** The addon's functions that only this file calls. A number is 0 or -errno. */
interface X25519Addon {
  x25519Key(privateKey: Uint8Array, publicKey: Uint8Array): object | number;
  x25519Shared(key: object, publicKey: Uint8Array, secret: Uint8Array): number;
}

/** The pair of 32 private bytes, which may be wiped afterwards. Throws for another length, and what `loadAddon` throws. */
export function nativePairOf(raw: Uint8Array): KeyPair {
  checkPrivateKey(raw);
  const addon = loadAddon() as unknown as X25519Addon;
  const publicKey = new Uint8Array(KEY_LEN);
  const from = placed(0, raw);
  const to = placeFor(1, publicKey);
  const key = addon.x25519Key(from, to);
  from.fill(0);
  publicKey.set(to);
  if (typeof key === "number") throw new RangeError(`The X25519 key cannot be made (errno ${-key}).`);
  return {
    publicKey,
    shared(remote) {
      const secret = new Uint8Array(KEY_LEN);
      const to = placeFor(1, secret);
      if (addon.x25519Shared(key, placed(0, remote), to) !== 0) return undefined;
      secret.set(to);
      to.fill(0);
      return secret;
    },
  };
}

/**
 * Hashes and seals of handshakes over the addon, in place of those in `crypto/`: a fifth of a node's time goes there. Both
 * give equal bytes: test/contract/handshake.test.ts.
 */
import { type Blake2s, hashWith } from "../crypto/blake2s.ts";
import { type ChaChaPoly, sealWith } from "../crypto/chachapoly.ts";
import { loadAddon } from "./native.ts";
import { placed, placeFor } from "./native_bytes.ts";

/** The addon's functions that only this file calls: 0 or -EINVAL. */
interface HandshakeAddon {
  blake2s(out: Uint8Array, a: Uint8Array, b?: Uint8Array): number;
  hmacBlake2s(out: Uint8Array, key: Uint8Array, a: Uint8Array, b?: Uint8Array, c?: Uint8Array): number;
  sealChaChaPoly(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plain: Uint8Array): number;
  openChaChaPoly(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): number;
}

function must(result: number): void {
  if (result !== 0) throw new RangeError("The native addon refused lengths of a hash or a seal.");
}

/** Throws what `loadAddon` throws. */
export function nativeHandshake(): Blake2s & ChaChaPoly {
  const addon = loadAddon() as unknown as HandshakeAddon;
  return {
    blake2s(out, a, b) {
      const to = placeFor(0, out);
      must(addon.blake2s(to, placed(1, a), b && placed(2, b)));
      if (to !== out) out.set(to);
    },
    hmac(out, key, a, b, c) {
      const to = placeFor(0, out);
      must(addon.hmacBlake2s(to, placed(1, key), placed(2, a), b && placed(3, b), c && placed(4, c)));
      if (to !== out) out.set(to);
    },
    seal(out, key, nonce, aad, plain) {
      const to = placeFor(0, out);
      must(addon.sealChaChaPoly(to, placed(1, key), placed(2, nonce), placed(3, aad), placed(4, plain)));
      if (to !== out) out.set(to);
    },
    open(out, key, nonce, aad, sealed) {
      const to = placeFor(0, out);
      const read = addon.openChaChaPoly(to, placed(1, key), placed(2, nonce), placed(3, aad), placed(4, sealed));
      if (read === 0 && to !== out) out.set(to);
      return read === 0;
    },
  };
}

/** Handshakes of this thread are the addon's work from here on. */
export function useNativeHandshake(): void {
  const native = nativeHandshake();
  hashWith(native);
  sealWith(native);
}

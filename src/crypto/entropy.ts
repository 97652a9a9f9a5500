/** Where unpredictable bytes come from. State machines receive an `Entropy`; only the daemon names the system's. */
import { randomFillSync } from "node:crypto";
import { KEY_LEN, type KeyPair, keyPairFromPrivate, type PairOf } from "./x25519.ts";

export interface Entropy {
  /** `n` fresh bytes. */
  bytes(n: number): Uint8Array;
  /** A fresh X25519 pair. */
  keyPair(): KeyPair;
}

/** Asked of the operating system at once: a call costs 2 us, whatever its length. */
const POOL_BYTES = 4096;

/** The operating system's generator. What it gives is kept nowhere else. `pairOf`: how pairs are made. */
export function entropyOf(pairOf: PairOf): Entropy {
  const pool = new Uint8Array(POOL_BYTES);
  let used = POOL_BYTES;
  const bytes = (n: number): Uint8Array => {
    if (n > POOL_BYTES) return randomFillSync(new Uint8Array(n));
    if (used + n > POOL_BYTES) {
      randomFillSync(pool);
      used = 0;
    }
    const given = pool.slice(used, used + n);
    pool.fill(0, used, used + n);
    used += n;
    return given;
  };
  return {
    bytes,
    keyPair() {
      // RFC 7748 section 6.1: any 32 random bytes are a private key.
      const raw = bytes(KEY_LEN);
      const pair = pairOf(raw);
      raw.fill(0);
      return pair;
    },
  };
}

export const systemEntropy: Entropy = entropyOf(keyPairFromPrivate);

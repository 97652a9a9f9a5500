/** Where unpredictable bytes come from. State machines receive an `Entropy`; only the daemon names the system's. */
import { randomFillSync } from "node:crypto";
import { generateKeyPair, type KeyPair } from "./x25519.ts";

export interface Entropy {
  /** `n` fresh bytes. */
  bytes(n: number): Uint8Array;
  /** A fresh X25519 pair. */
  keyPair(): KeyPair;
}

/** The operating system's generator. */
export const systemEntropy: Entropy = {
  bytes: (n) => randomFillSync(new Uint8Array(n)),
  keyPair: generateKeyPair,
};

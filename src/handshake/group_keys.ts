/**
 * The static keys that a node answers under: the one in force, and earlier ones, so that a client which was away while the
 * group got another key still comes in, and is told. Strangers cost one HMAC for each key.
 */
import type { KeyPair } from "../crypto/x25519.ts";
import { checkMac1, mac1Key } from "./macs.ts";

export class GroupKeys {
  #keys: readonly { readonly pair: KeyPair; readonly mac1Key: Uint8Array }[];

  /** The one in force first. */
  constructor(pairs: readonly KeyPair[]) {
    this.#keys = [];
    this.set(pairs);
  }

  set(pairs: readonly KeyPair[]): void {
    this.#keys = pairs.map((pair) => ({ pair, mac1Key: mac1Key(pair.publicKey) }));
  }

  get inForce(): KeyPair {
    return this.#keys[0]!.pair;
  }

  /** The key that an INIT was made for; undefined: whoever sent it knows none of them. */
  ofInit(datagram: Uint8Array): KeyPair | undefined {
    for (const { pair, mac1Key } of this.#keys) if (checkMac1(mac1Key, datagram)) return pair;
    return undefined;
  }
}

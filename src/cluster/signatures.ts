/**
 * Signatures of nodes under what others can't check by the way it came: shouts through the engine, where every node has the
 * key of the seal. Ed25519 by the key that the roster has for the node. In a group without a roster there are none.
 */
import { isSignedBy, SIGNATURE_LEN, type SigningKey } from "../crypto/ed25519.ts";
import type { Roster } from "./roster.ts";

/** What is signed begins with one of these, so that no signature is good for anything else. */
export const signedTexts = { shout: "anyhop 1 shout" } as const;
export type SignedKind = keyof typeof signedTexts;

export class Signatures {
  readonly #signing: SigningKey | undefined;
  readonly #roster: () => Roster | undefined;

  /** `signing` undefined: the group has no roster. */
  constructor(signing: SigningKey | undefined, roster: () => Roster | undefined) {
    this.#signing = signing;
    this.#roster = roster;
  }

  /** Nodes sign, and nothing counts without a signature. */
  get areOn(): boolean {
    return this.#signing !== undefined;
  }

  /** 64 bytes, of this node. Only where `areOn`. */
  sign(kind: SignedKind, ...parts: readonly Uint8Array[]): Uint8Array {
    return this.#signing!.sign(messageOf(kind, parts));
  }

  /** Whether `node` belongs to the group and signed exactly this. About 90 microseconds. */
  isBy(node: number, signature: Uint8Array, kind: SignedKind, ...parts: readonly Uint8Array[]): boolean {
    const one = this.#roster()?.nodes.find((known) => known.node === node);
    if (one === undefined || one.evictedIn !== undefined || signature.length !== SIGNATURE_LEN) return false;
    return isSignedBy(one.publicKey, messageOf(kind, parts), signature);
  }
}

const messageOf = (kind: SignedKind, parts: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat([Buffer.from(signedTexts[kind], "latin1"), ...parts]);

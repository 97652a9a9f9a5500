/**
 * Signatures of nodes under what others can't check by the way it came: shouts through the engine, where every node has the
 * key of the seal; clients of the book and ticket keys, which any node may pass on. Ed25519 by the key that the roster has for
 * the node. In a group without a roster there are none. docs/PROTOCOL.md, "What nodes sign".
 */
import { isSignedBy, type SigningKey } from "../crypto/ed25519.ts";
import type { Roster } from "./roster.ts";

/** What is signed begins with one of these, so that no signature is good for anything else. */
export const signedTexts = {
  shout: "anyhop 1 shout",
  client: "anyhop 1 client",
  ticket_key: "anyhop 1 ticket key",
} as const;
export type SignedKind = keyof typeof signedTexts;

/** unsigned: of a node that is no member, or without a signature. forged: a member has not signed this. */
export type SignatureFault = "unsigned" | "forged";

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

  /** The roster has put it out. */
  isOut(node: number): boolean {
    return this.#roster()?.nodes.some((one) => one.node === node && one.evictedIn !== undefined) ?? false;
  }

  /** Key of a node that belongs to the group now. */
  keyOf(node: number): Uint8Array | undefined {
    const one = this.#roster()?.nodes.find((known) => known.node === node);
    return one?.evictedIn === undefined ? one?.publicKey : undefined;
  }

  /** Whether `node` belongs to the group and signed exactly this. About 90 microseconds. */
  isBy(node: number, signature: Uint8Array, kind: SignedKind, ...parts: readonly Uint8Array[]): boolean {
    return this.faultOf(node, signature, kind, ...parts) === undefined;
  }

  /** What is wrong with a signature that is said to be of `node`; `signature` undefined: there is none. */
  faultOf(
    node: number,
    signature: Uint8Array | undefined,
    kind: SignedKind,
    ...parts: readonly Uint8Array[]
  ): SignatureFault | undefined {
    const key = this.keyOf(node);
    if (key === undefined || signature === undefined) return "unsigned";
    return isSignedBy(key, messageOf(kind, parts), signature) ? undefined : "forged";
  }
}

const messageOf = (kind: SignedKind, parts: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat([Buffer.from(signedTexts[kind], "latin1"), ...parts]);

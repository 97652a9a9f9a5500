/** What the parts of the lifeline share: what goes in, and what comes out. */
import type { Address } from "../base/ip.ts";
import type { Entropy } from "../crypto/entropy.ts";
import type { LinkPeer } from "./link_peer.ts";

/** A node says this often that it lives, to each that watches it. */
export const BEAT_MS = 100;
/**
 * A node that stood still for longer than this may have been taken for dead meanwhile: the shortest patience that others
 * have, less a beat and what that may take on its way.
 */
export const PAUSE_MS = 400;

/**
 * A node whose control thread has not run for longer than this opens nothing until it runs again: others take what it owns
 * when they could not ask it for 10 s (UNASKABLE_MS). Half of that, since a busy thread is none that hangs.
 */
export const HUNG_MS = 5000;

export interface LifelineOptions {
  readonly node: number;
  /** 8 bytes, of this start. */
  readonly bootId: Uint8Array;
  readonly peers: readonly LinkPeer[];
  readonly entropy: Entropy;
}

/**
 * What the node link has agreed on with one start of a peer. A secret is 32 bytes that only these two starts know; the first
 * is the one to use, the others the peer may still use. docs/PROTOCOL.md, "Node link".
 */
export interface LinkSecrets {
  readonly node: number;
  /** 8 bytes, of the peer. */
  readonly bootId: Uint8Array;
  readonly secrets: readonly Uint8Array[];
}

/**
 * closed: its process ended. left: it said so. silent: its host, or the way there. restarted: another start answers.
 */
export type DeathCause = "closed" | "left" | "silent" | "restarted";

/** refused: the host says that nobody listens. closed: it was open. unreachable: no answer, or no way there. */
export type ConnectionEnd = "refused" | "closed" | "unreachable";

export type LifelineEvent =
  /** An authenticated connection stands to this start of a node that was not known to live. */
  | { readonly kind: "alive"; readonly node: number; readonly bootId: Uint8Array }
  /** There is evidence that this start of the node is dead. `bootId` undefined: no start of it was ever met. */
  | {
      readonly kind: "dead";
      readonly node: number;
      readonly bootId: Uint8Array | undefined;
      readonly cause: DeathCause;
    }
  /** This node stood still, hangs, or another one took it for dead: it must open nothing before `unfenced`. */
  | { readonly kind: "fenced"; readonly fence: number }
  /** `condemned`: somebody took it for dead, or may have since it hung, so any session that it owned may be another node's now. */
  | { readonly kind: "unfenced"; readonly fence: number; readonly condemned: boolean };

export type LifelineOutput =
  | { readonly kind: "connect"; readonly connection: number; readonly node: number }
  | { readonly kind: "write"; readonly connection: number; readonly bytes: Uint8Array }
  | { readonly kind: "close"; readonly connection: number }
  | { readonly kind: "event"; readonly event: LifelineEvent };

export const sameHost = (a: Address, b: Address): boolean =>
  a.w0 === b.w0 && a.w1 === b.w1 && a.w2 === b.w2 && a.w3 === b.w3;

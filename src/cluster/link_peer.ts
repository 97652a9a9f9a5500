/** What a node keeps of each peer of the link, and why it refuses datagrams of one. */
import type { KeyPair } from "../crypto/x25519.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Epochs } from "./link_epochs.ts";
import { type GreetingStatus, greetingKey, type RosterPiece } from "./link_greeting.ts";
import type { Now } from "./now.ts";
import type { PeerTiming } from "./timing.ts";

/** Greetings under one fleet key whose MAC is checked: MACs of strangers must not take the processor. 2 ms of a second. */
const MACS_PER_S = 500;
/** Of those with a good MAC: signatures that are checked, and answers that are signed. */
const GREETINGS_PER_S = 50;

/** Why a peer, with proof, does not talk to this node. */
export type RefusedBy = Exclude<GreetingStatus, "">;

export const linkRefusals = {
  malformed: "Not a datagram of the link.",
  version: "From another version of anyhop.",
  stranger: "For another node, or from one that is not among the peers of this one.",
  wrong_address: "Under the number of a peer, but not from its link address.",
  too_many: "More greetings than a peer sends.",
  wrong_key: "Greeting under another fleet key: the nodes have different fleet keys, or it is forged.",
  wrong_signature:
    "Greeting under the fleet key that the node of this number has not signed: somebody has the fleet key.",
  not_member: "A node that is not in the operator's roster, or whose roster has not come here yet.",
  other_group: "The peer has another group key: it serves another group.",
  duplicate_node: "Another start of a peer that is alive, or one that was replaced: two nodes have one number.",
  not_asked: "Answer to a challenge that is not open: late, or a recorded one.",
  unknown_start: "Before the peer has answered a challenge.",
  replay: "Came before, or is too old.",
  late: "Under way for more than a second: the path or this node stood still, or it was held back.",
  dead: "Of a start that is dead, sent before it died: late on its way.",
  wrong_seal: "Another key, an earlier start of either node, or forged.",
} as const;
export type LinkRefusal = keyof typeof linkRefusals;

export interface LinkPeer {
  /** 1-63. */
  readonly node: number;
  readonly endpoint: Endpoint;
}

/** What is known with one start of a peer. */
export interface Life {
  readonly bootId: Uint8Array;
  readonly epochs: Epochs;
  readonly timing: PeerTiming;
}

/** So many a second, and as many at once. */
class Budget {
  readonly #perSecond: number;
  #left: number;
  #ms = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#left = perSecond;
  }

  take(ms: number): boolean {
    this.#left = Math.min(this.#perSecond, this.#left + ((ms - this.#ms) / 1000) * this.#perSecond);
    this.#ms = ms;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}

/** Keys and budgets under one fleet key: who has an old one takes nothing from those who have the new one. */
export interface Greetings {
  readonly keyTo: Uint8Array;
  readonly keyFrom: Uint8Array;
  readonly macs: Budget;
  readonly greetings: Budget;
}

export class Peer {
  readonly node: number;
  endpoint: Endpoint;
  readonly refused: Partial<Record<LinkRefusal, number>> = {};
  readonly retired: Uint8Array[] = [];
  /** This node's present half of the keys with this peer, and when it was drawn. */
  ephemeral: KeyPair;
  drawnMs: number;
  life: Life | undefined;
  /** The pair secrets that were told last. */
  toldSecrets: readonly Uint8Array[] | undefined;
  alive = false;
  /** There is evidence that its present start is dead: only an answer to a new challenge brings it back. */
  isDead = false;
  heardMs = 0;
  counter = 0;
  beatDueMs = 0;
  helloDueMs = 0;
  /** Our last challenge. */
  challenge: { readonly nonce: Uint8Array; readonly ms: number; answered: boolean } | undefined;
  refusedBy: RefusedBy | undefined;
  /** Pieces of a roster that the peer tells, by number. */
  roster: { readonly version: number; readonly pieces: Map<number, RosterPiece> } | undefined;
  /** Sent to it. */
  hellos = 0;
  rosterToldMs = Number.NEGATIVE_INFINITY;
  /** Of the roster that it has, as it said last. */
  rosterVersion = 0;
  readonly #own: number;
  readonly #greetings = new Map<number, Greetings>();

  constructor({ node, endpoint }: LinkPeer, own: number, ephemeral: KeyPair, ms: number) {
    this.node = node;
    this.endpoint = endpoint;
    this.#own = own;
    this.ephemeral = ephemeral;
    this.drawnMs = ms;
  }

  /** Under one fleet key that this node has. */
  greetingsUnder({ id, key }: { readonly id: number; readonly key: Uint8Array }): Greetings {
    let found = this.#greetings.get(id);
    if (found === undefined) {
      found = {
        keyTo: greetingKey(key, this.#own, this.node),
        keyFrom: greetingKey(key, this.node, this.#own),
        macs: new Budget(MACS_PER_S),
        greetings: new Budget(GREETINGS_PER_S),
      };
      this.#greetings.set(id, found);
    }
    return found;
  }

  /** Whether there is room for a new own ephemeral key: the present one is old. */
  isOld(now: Now, afterMs: number): boolean {
    return now.ms - this.drawnMs >= afterMs;
  }
}

/** What a node keeps of each peer of the link, and why it refuses datagrams of one. */
import type { CounterWindow } from "../crypto/counter_window.ts";
import { expand } from "../crypto/kdf.ts";
import { Writer } from "./bytes.ts";
import type { Endpoint } from "./endpoint.ts";
import { BOOT_ID_LEN } from "./envelope.ts";
import type { Now } from "./now.ts";
import type { PeerTiming } from "./timing.ts";

/** Greetings of one peer whose MAC is checked: MACs of strangers must not take the processor. */
const GREETINGS_PER_S = 50;
/** Of HELLO_ACK; the first is that all is well. */
export const statuses = ["", "other_group", "duplicate_node"] as const;
/** Why a peer, with proof, does not talk to this node. */
export type RefusedBy = Exclude<(typeof statuses)[number], "">;

export const linkRefusals = {
  malformed: "Not a datagram of the link.",
  version: "From another version of anyhop.",
  stranger: "For another node, or from one that is not among the peers of this one.",
  wrong_address: "Under the number of a peer, but not from its link address.",
  too_many: "More greetings than a peer sends.",
  wrong_key: "Greeting under another fleet key: the nodes have different fleet keys, or it is forged.",
  other_group: "The peer has another group key: it serves another group.",
  duplicate_node: "Another start of a peer that is alive, or one that was replaced: two nodes have one number.",
  not_asked: "Answer to a challenge that is not open: late, or a recorded one.",
  unknown_start: "Before the peer has answered a challenge.",
  replay: "Came before, or is too old.",
  late: "Under way for more than a second: the path or this node stood still, or it was held back.",
  wrong_seal: "Another fleet key, an earlier start of either node, or forged.",
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
  readonly sealKey: Uint8Array;
  readonly openKey: Uint8Array;
  readonly window: CounterWindow;
  readonly timing: PeerTiming;
}

export class Peer {
  readonly node: number;
  endpoint: Endpoint;
  readonly helloKeyTo: Uint8Array;
  readonly helloKeyFrom: Uint8Array;
  readonly refused: Partial<Record<LinkRefusal, number>> = {};
  readonly retired: Uint8Array[] = [];
  life: Life | undefined;
  alive = false;
  /** Its host said that nobody listens there, and it was not heard since. Anybody can forge that: it proves nothing. */
  suspect = false;
  heardMs = 0;
  counter = 0;
  beatDueMs = 0;
  helloDueMs = 0;
  /** Our last challenge. */
  challenge: { readonly nonce: Uint8Array; readonly ms: number; answered: boolean } | undefined;
  refusedBy: RefusedBy | undefined;
  greetings = GREETINGS_PER_S;
  greetingsMs = 0;

  constructor({ node, endpoint }: LinkPeer, own: number, fleetKey: Uint8Array) {
    this.node = node;
    this.endpoint = endpoint;
    this.helloKeyTo = expand(fleetKey, "link hello", new Writer(4).u16(own).u16(node).done());
    this.helloKeyFrom = expand(fleetKey, "link hello", new Writer(4).u16(node).u16(own).done());
  }

  /** Whether there is room for one more greeting. */
  takeGreeting(now: Now): boolean {
    const earned = ((now.ms - this.greetingsMs) / 1000) * GREETINGS_PER_S;
    this.greetings = Math.min(GREETINGS_PER_S, this.greetings + earned);
    this.greetingsMs = now.ms;
    if (this.greetings < 1) return false;
    this.greetings--;
    return true;
  }
}

/** 32 bytes: seals what one start of one node sends to one start of another. */
export function linkKey(
  fleetKey: Uint8Array,
  from: number,
  fromBoot: Uint8Array,
  to: number,
  toBoot: Uint8Array,
): Uint8Array {
  const context = new Writer(4 + 2 * BOOT_ID_LEN).u16(from).u16(to).raw(fromBoot).raw(toBoot).done();
  return expand(fleetKey, "link", context);
}

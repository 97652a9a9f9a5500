/**
 * One session as the client knows it, and everything that the client's state machine says. No behaviour but making one
 * from a grant.
 */
import type { CloseReason } from "../channel/unnumbered.ts";
import type { Grant, RefusedReason } from "./grant.ts";
import { type Aead, clientKey, groupKey, type Sender, type SessionIdentity } from "./keys.ts";
import type { RequestSent } from "./requests.ts";
import type { Settings } from "./settings.ts";

/** A sender of the group with the key that opens its packets. Keep a replay window for each. */
export interface KnownSender extends Sender {
  readonly openKey: Uint8Array;
}

export interface ClientSession extends SessionIdentity {
  /** 31 bits: senderId << 15 | mux & 0x7fff of packets to the group. */
  readonly index: number;
  /** 15 bits: mux & 0x7fff of packets from the group. */
  readonly receiver: number;
  readonly aead: Aead;
  readonly modes: number;
  readonly secret: Uint8Array;
  readonly sealKey: Uint8Array;
  readonly senders: readonly KnownSender[];
  readonly settings: Settings;
  readonly keepaliveMs: number;
  readonly ticket: Uint8Array;
  readonly resumed: boolean;
}

type Agreed = SessionIdentity & Pick<ClientSession, "aead" | "secret">;

export type DownReason = CloseReason | "stopped";

export type ClientProblem =
  /** Each time that four more requests had no answer: wrong address or port, group key or psk, or this client's key is not known there. */
  | { readonly reason: "no_answer" }
  /**
   * The group has seen a later timestamp of this key than our clock says, or our clock is far ahead of the group's
   * (`seenMs` is the group's then). The client goes on from there.
   */
  | { readonly reason: "clock"; readonly seenMs: number; readonly ownMs: number }
  | { readonly reason: "refused"; readonly why: RefusedReason }
  /** The group says that another machine came in with our key. The client stops. */
  | { readonly reason: "replaced" };

export type ClientOutput =
  /** To the group. */
  | { readonly kind: "send"; readonly datagram: Uint8Array }
  /** Open with it from now on, and seal with it instead of any before. */
  | { readonly kind: "up"; readonly session: ClientSession }
  /** Seal an empty packet in it now. */
  | { readonly kind: "confirm"; readonly session: ClientSession }
  /** Open packets of this sender too. */
  | { readonly kind: "sender"; readonly session: ClientSession; readonly sender: KnownSender }
  /** Seal SENDER_ACK in it now. */
  | { readonly kind: "acknowledge"; readonly session: ClientSession; readonly sender: Sender }
  /** Forget it. */
  | { readonly kind: "retire"; readonly session: ClientSession }
  /** No session is left. The client tries on unless the reason is "stopped" or "replaced". */
  | { readonly kind: "down"; readonly reason: DownReason }
  | { readonly kind: "problem"; readonly problem: ClientProblem };

export function knownSender(session: Agreed, sender: Sender): KnownSender {
  return { ...sender, openKey: groupKey(session.secret, session.aead, session, sender) };
}

/** `client`: its static public key. `sent`: the request that was granted. */
export function sessionFrom(grant: Grant, sent: RequestSent, secret: Uint8Array, client: Uint8Array): ClientSession {
  const { index, aead, modes, settings, keepaliveMs, ticket } = grant;
  const { receiver, timestamp: created } = sent;
  const agreed = { index, created, client, aead, secret };
  const sealKey = clientKey(secret, aead);
  const senders = grant.senders.map((sender) => knownSender(agreed, sender));
  const resumed = sent.kind === "resume";
  return { ...agreed, receiver, modes, sealKey, senders, settings, keepaliveMs, ticket, resumed };
}

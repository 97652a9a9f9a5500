/**
 * The sealed payload of RESPONSE and RESUMED: a session, or why there is none. The same bytes in both messages.
 */
import { INDEX_LOW, INDEX_MAX, readTime, TICKET_MAX, viewOf, writeTime } from "./control.ts";
import { AES_256_GCM, type Aead, BOOT_ID_LEN, CHACHA20_POLY1305, type Sender } from "./keys.ts";
import { decodeSettings, encodeSettings, type Settings } from "./settings.ts";

export interface Grant {
  readonly kind: "grant";
  /** 31 bits; the low 15 are never all ones. */
  readonly index: number;
  readonly aead: Aead;
  /** Bitmap of the modes that the client may use. */
  readonly modes: number;
  readonly rekeyAfterMs: number;
  readonly expireAfterMs: number;
  /** 0 = none needed. */
  readonly keepaliveMs: number;
  readonly senders: readonly Sender[];
  /** Opaque to the client. */
  readonly ticket: Uint8Array;
  readonly settings: Settings;
}

/** The request was genuine, but its timestamp was not greater than one seen before. */
export interface Stale {
  readonly kind: "stale";
  /** Greatest timestamp that the group has seen of this client key. */
  readonly timestamp: number;
}

export interface Refused {
  readonly kind: "refused";
  readonly reason: RefusedReason;
}

export type Answer = Grant | Stale | Refused;

/** Numbers are those on the wire. */
export const refusedReasons = [
  "",
  "no_common_aead",
  "mode_not_allowed",
  "no_address",
  "node_full",
  "settings_too_long",
] as const;
export type RefusedReason = Exclude<(typeof refusedReasons)[number], "">;

const GRANTED = 0;
const STALE = 1;
const REFUSED = 2;
const FIXED = 16;
export const SENDERS_MAX = 32;
/** Longest payload of either message: RESPONSE of REQUEST_LEN bytes. */
export const ANSWER_MAX = 1200 - 16 - 48;

const seconds = (ms: number): number => Math.min(0xffff, Math.max(0, Math.round(ms / 1000)));

/** Undefined when senders, ticket and settings are together too long for one datagram. */
export function encodeAnswer(answer: Answer): Uint8Array | undefined {
  if (answer.kind === "refused") return Uint8Array.of(REFUSED, refusedReasons.indexOf(answer.reason));
  if (answer.kind === "stale") {
    const bytes = new Uint8Array(9);
    bytes[0] = STALE;
    writeTime(viewOf(bytes), 1, answer.timestamp);
    return bytes;
  }
  const { senders, ticket } = answer;
  const settings = encodeSettings(answer.settings);
  const ticketAt = FIXED + senders.length * (2 + BOOT_ID_LEN);
  const length = ticketAt + 2 + ticket.length + settings.length;
  if (senders.length > SENDERS_MAX || ticket.length > TICKET_MAX || length > ANSWER_MAX) return undefined;
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  bytes[0] = GRANTED;
  bytes[1] = answer.aead;
  view.setUint16(2, answer.modes);
  view.setUint32(4, answer.index);
  view.setUint16(8, seconds(answer.rekeyAfterMs));
  view.setUint16(10, seconds(answer.expireAfterMs));
  view.setUint16(12, seconds(answer.keepaliveMs));
  bytes[14] = senders.length;
  senders.forEach((sender, i) => {
    view.setUint16(FIXED + i * 10, sender.senderId);
    bytes.set(sender.bootId, FIXED + i * 10 + 2);
  });
  view.setUint16(ticketAt, ticket.length);
  bytes.set(ticket, ticketAt + 2);
  bytes.set(settings, ticketAt + 2 + ticket.length);
  return bytes;
}

/** Undefined for bytes that no group of this version sends. */
export function decodeAnswer(bytes: Uint8Array): Answer | undefined {
  const view = viewOf(bytes);
  if (bytes[0] === REFUSED) {
    const reason = bytes.length >= 2 ? refusedReasons[bytes[1]] : undefined;
    return reason ? { kind: "refused", reason } : undefined;
  }
  if (bytes[0] === STALE) {
    const timestamp = bytes.length >= 9 ? readTime(view, 1) : -1;
    return timestamp < 0 ? undefined : { kind: "stale", timestamp };
  }
  return bytes[0] === GRANTED ? decodeGrant(bytes, view) : undefined;
}

function decodeGrant(bytes: Uint8Array, view: DataView): Grant | undefined {
  if (bytes.length < FIXED + 2) return undefined;
  const [aead, index, count] = [bytes[1], view.getUint32(4), bytes[14]];
  if (aead < AES_256_GCM || aead > CHACHA20_POLY1305) return undefined;
  if (index > INDEX_MAX || (index & INDEX_LOW) === INDEX_LOW || count > SENDERS_MAX) return undefined;
  const ticketAt = FIXED + count * 10;
  if (bytes.length < ticketAt + 2) return undefined;
  const settingsAt = ticketAt + 2 + view.getUint16(ticketAt);
  if (settingsAt > bytes.length || settingsAt - ticketAt - 2 > TICKET_MAX) return undefined;
  const settings = decodeSettings(bytes.subarray(settingsAt));
  const [rekeyAfterMs, expireAfterMs] = [view.getUint16(8) * 1000, view.getUint16(10) * 1000];
  if (settings === undefined || rekeyAfterMs === 0 || expireAfterMs === 0) return undefined;
  const senders = Array.from({ length: count }, (_, i) => ({
    senderId: view.getUint16(FIXED + i * 10),
    bootId: bytes.slice(FIXED + i * 10 + 2, FIXED + i * 10 + 10),
  }));
  return {
    kind: "grant",
    index,
    aead: aead as Aead,
    modes: view.getUint16(2),
    rekeyAfterMs,
    expireAfterMs,
    keepaliveMs: view.getUint16(12) * 1000,
    senders,
    ticket: bytes.slice(ticketAt + 2, settingsAt),
    settings,
  };
}

/**
 * Unnumbered control messages inside a session: PING, CLOSE and others that may be lost. Each is one packet with payload
 * type TYPE_CONTROL, sealed, counted and replay-protected like any packet; the first byte of the payload is the kind.
 * docs/PROTOCOL.md, "Control inside a session".
 */
import { CLOSE, PATH_ACK, PATH_PROBE, PING, PONG, SENDER_ACK, SETTINGS_WANTED } from "./kinds.ts";

/** Numbers are those on the wire. */
export const closeReasons = ["", "shutdown", "removed", "replaced", "expired"] as const;
export type CloseReason = Exclude<(typeof closeReasons)[number], "">;

/** Bytes of the kind. */
const KIND_LEN = 1;
export const TOKEN_LEN = 8;
const BOOT_ID_LEN = 8;

/** One start of one sender of the group. */
interface SenderName {
  /** 0 to 65535. */
  readonly senderId: number;
  /** 8 bytes. */
  readonly bootId: Uint8Array;
}

export type Unnumbered =
  | { readonly kind: typeof PING | typeof PONG; readonly token: Uint8Array }
  | { readonly kind: typeof SETTINGS_WANTED }
  | { readonly kind: typeof CLOSE; readonly reason: CloseReason }
  | { readonly kind: typeof SENDER_ACK; readonly sender: SenderName }
  /** `length`: bytes of the whole payload, kind and padding included. */
  | { readonly kind: typeof PATH_PROBE; readonly token: Uint8Array; readonly length: number }
  /** `length`: of the probe that arrived. */
  | { readonly kind: typeof PATH_ACK; readonly token: Uint8Array; readonly length: number };

/** Payload to be sealed under TYPE_CONTROL. Tokens: 8 bytes. */
export function encodeUnnumbered(message: Unnumbered): Uint8Array {
  const payload = new Uint8Array(lengthOf(message));
  payload[0] = message.kind;
  switch (message.kind) {
    case CLOSE:
      payload[KIND_LEN] = closeReasons.indexOf(message.reason);
      break;
    case SENDER_ACK:
      putU16(payload, KIND_LEN, message.sender.senderId);
      payload.set(message.sender.bootId, KIND_LEN + 2);
      break;
    case PATH_ACK:
      payload.set(message.token, KIND_LEN);
      putU16(payload, KIND_LEN + TOKEN_LEN, message.length);
      break;
    case SETTINGS_WANTED:
      break;
    default:
      payload.set(message.token, KIND_LEN);
  }
  return payload;
}

function lengthOf(message: Unnumbered): number {
  if (message.kind === SETTINGS_WANTED) return KIND_LEN;
  if (message.kind === CLOSE) return KIND_LEN + 1;
  if (message.kind === SENDER_ACK) return KIND_LEN + 2 + BOOT_ID_LEN;
  if (message.kind === PATH_PROBE) return Math.max(KIND_LEN + TOKEN_LEN, message.length);
  return KIND_LEN + TOKEN_LEN + (message.kind === PATH_ACK ? 2 : 0);
}

/**
 * Undefined for another kind, or a payload that does not fit its kind. `length`: of the payload as it arrived, when `payload`
 * is only its beginning. What is returned are copies: payloads lie in memory that is used again.
 */
export function decodeUnnumbered(payload: Uint8Array, length = payload.length): Unnumbered | undefined {
  const kind = payload[0];
  switch (kind) {
    case PING:
    case PONG:
      return length === KIND_LEN + TOKEN_LEN ? { kind, token: tokenOf(payload) } : undefined;
    case CLOSE: {
      const reason = length === KIND_LEN + 1 ? closeReasons[payload[KIND_LEN]] : undefined;
      return reason ? { kind, reason } : undefined;
    }
    case SENDER_ACK: {
      if (length !== KIND_LEN + 2 + BOOT_ID_LEN) return undefined;
      return { kind, sender: { senderId: u16(payload, KIND_LEN), bootId: payload.slice(KIND_LEN + 2, length) } };
    }
    case PATH_PROBE:
      return length >= KIND_LEN + TOKEN_LEN ? { kind, token: tokenOf(payload), length } : undefined;
    case SETTINGS_WANTED:
      return length === KIND_LEN ? { kind } : undefined;
    case PATH_ACK:
      if (length !== KIND_LEN + TOKEN_LEN + 2) return undefined;
      return { kind, token: tokenOf(payload), length: u16(payload, KIND_LEN + TOKEN_LEN) };
    default:
      return undefined;
  }
}

const tokenOf = (payload: Uint8Array): Uint8Array => Uint8Array.from(payload.subarray(KIND_LEN, KIND_LEN + TOKEN_LEN));
const u16 = (bytes: Uint8Array, at: number): number => bytes[at] * 256 + bytes[at + 1];

function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value & 255;
}

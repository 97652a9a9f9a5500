/**
 * Control inside a session: payload types 0x0001-0x000F of session datagrams, sealed, counted and replay-protected like
 * any packet. Classic tunnels never carry them. docs/PROTOCOL.md, "Control inside a session".
 */
import { viewOf } from "./control.ts";
import { BOOT_ID_LEN, type Sender } from "./keys.ts";

export const PING = 1;
export const PONG = 2;
export const CLOSE = 3;
export const SENDER_ACK = 4;
export const PATH_PROBE = 5;
export const PATH_ACK = 6;

/** Numbers are those on the wire. */
export const closeReasons = ["", "shutdown", "removed", "replaced", "expired"] as const;
export type CloseReason = Exclude<(typeof closeReasons)[number], "">;

export const TOKEN_LEN = 8;

export type SessionControl =
  | { readonly type: typeof PING | typeof PONG; readonly token: Uint8Array }
  | { readonly type: typeof CLOSE; readonly reason: CloseReason }
  | { readonly type: typeof SENDER_ACK; readonly sender: Sender }
  /** `length`: bytes of the whole payload, padding included. */
  | { readonly type: typeof PATH_PROBE; readonly token: Uint8Array; readonly length: number }
  /** `length`: of the probe that arrived. */
  | { readonly type: typeof PATH_ACK; readonly token: Uint8Array; readonly length: number };

/** Payload to be sealed under payload type `message.type`. Tokens: 8 bytes. */
export function encodeSessionControl(message: SessionControl): Uint8Array {
  if (message.type === CLOSE) return Uint8Array.of(closeReasons.indexOf(message.reason));
  if (message.type === SENDER_ACK) {
    const payload = new Uint8Array(2 + BOOT_ID_LEN);
    viewOf(payload).setUint16(0, message.sender.senderId);
    payload.set(message.sender.bootId, 2);
    return payload;
  }
  if (message.type === PATH_PROBE) {
    const payload = new Uint8Array(Math.max(TOKEN_LEN, message.length));
    payload.set(message.token, 0);
    return payload;
  }
  if (message.type === PATH_ACK) {
    const payload = new Uint8Array(TOKEN_LEN + 2);
    payload.set(message.token, 0);
    viewOf(payload).setUint16(TOKEN_LEN, message.length);
    return payload;
  }
  return message.token.slice();
}

/** A copy: payloads lie in memory that is used again. */
const tokenOf = (payload: Uint8Array): Uint8Array => Uint8Array.from(payload.subarray(0, TOKEN_LEN));

/** Undefined for another payload type, or a payload that does not fit. */
export function decodeSessionControl(payloadType: number, payload: Uint8Array): SessionControl | undefined {
  const { length } = payload;
  switch (payloadType) {
    case PING:
    case PONG:
      return length === TOKEN_LEN ? { type: payloadType, token: Uint8Array.from(payload) } : undefined;
    case CLOSE: {
      const reason = length === 1 ? closeReasons[payload[0]] : undefined;
      return reason ? { type: CLOSE, reason } : undefined;
    }
    case SENDER_ACK: {
      if (length !== 2 + BOOT_ID_LEN) return undefined;
      return {
        type: SENDER_ACK,
        sender: { senderId: viewOf(payload).getUint16(0), bootId: Uint8Array.from(payload.subarray(2)) },
      };
    }
    case PATH_PROBE:
      return length >= TOKEN_LEN ? { type: PATH_PROBE, token: tokenOf(payload), length } : undefined;
    case PATH_ACK: {
      if (length !== TOKEN_LEN + 2) return undefined;
      return { type: PATH_ACK, token: tokenOf(payload), length: viewOf(payload).getUint16(TOKEN_LEN) };
    }
    default:
      return undefined;
  }
}

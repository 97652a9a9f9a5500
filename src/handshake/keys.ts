/**
 * Every key of a session, from its secret. A traffic key of the group to the client belongs to one sender id and one
 * start of that sender, so no two senders and no two lives of a sender can repeat a nonce. docs/PROTOCOL.md, "Keys of a
 * session".
 */
import { hmac } from "../crypto/blake2s.ts";
import { expand } from "../crypto/kdf.ts";
import type { SplitKeys } from "../crypto/noise.ts";

/** AEADs by number, as in messages: bit `1 << number` in a bitmap. */
export const AES_256_GCM = 1;
export const AES_128_GCM = 2;
export const CHACHA20_POLY1305 = 3;
export type Aead = typeof AES_256_GCM | typeof AES_128_GCM | typeof CHACHA20_POLY1305;

export const BOOT_ID_LEN = 8;

/** One start of one sender (a shard of a node). */
export interface Sender {
  /** 0 to 65535. */
  readonly senderId: number;
  /** 8 random bytes, drawn when the sender starts. */
  readonly bootId: Uint8Array;
}

const SESSION = new TextEncoder().encode("anyhop 1 session");

/**
 * 32 bytes: the secret of a session that a full handshake made. The handshake hash has no part in it, because it covers
 * the ticket, which holds the secret; Noise's own transport keys do without it too.
 */
export function sessionSecret({ initiatorKey, responderKey }: SplitKeys): Uint8Array {
  return hmac(initiatorKey, SESSION, responderKey);
}

/**
 * 32 bytes: all that a ticket, and a client's disk, holds of a session. No way leads back from it to the session's secret,
 * so who opens a ticket opens nothing that was sealed before.
 */
export const resumptionSecret = (secret: Uint8Array): Uint8Array => expand(secret, "resumption");

/** 32 bytes: authenticates RESUME. */
export const resumeKey = (resumption: Uint8Array): Uint8Array => expand(resumption, "resume");

/** `answer` seals the payload of one RESUMED; `secret` is that of the session which it grants. 32 bytes each. */
export interface ResumedKeys {
  readonly answer: Uint8Array;
  readonly secret: Uint8Array;
}

/** `shared`: what the two ephemeral keys agree on. It keeps the new session closed to who opens the ticket later. */
export function resumedKeys(
  resumption: Uint8Array,
  shared: Uint8Array,
  clientEphemeral: Uint8Array,
  nodeEphemeral: Uint8Array,
): ResumedKeys {
  const mixed = expand(resumption, "resumed", Buffer.concat([shared, clientEphemeral, nodeEphemeral]));
  return { answer: expand(mixed, "answer"), secret: expand(mixed, "session") };
}

/** 32 bytes: authenticates SENDER. */
export const senderKey = (secret: Uint8Array): Uint8Array => expand(secret, "sender");

const sized = (key: Uint8Array, aead: Aead): Uint8Array => (aead === AES_128_GCM ? key.subarray(0, 16) : key);

/** Traffic key of the client: 16 or 32 bytes, as the AEAD wants. */
export function clientKey(secret: Uint8Array, aead: Aead): Uint8Array {
  return sized(expand(secret, "c2g", Uint8Array.of(aead)), aead);
}

/** Traffic key of one start of one sender of the group. */
export function groupKey(secret: Uint8Array, aead: Aead, sender: Sender): Uint8Array {
  const context = new Uint8Array(3 + BOOT_ID_LEN);
  context[0] = aead;
  context[1] = sender.senderId >>> 8;
  context[2] = sender.senderId & 0xff;
  context.set(sender.bootId, 3);
  return sized(expand(secret, "g2c", context), aead);
}

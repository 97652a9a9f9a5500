/**
 * Every key of a session, from its secret. A traffic key of the group to the client belongs to one session (client, time,
 * index), one sender id and one start of that sender: no two senders, no two lives of a sender, and no two sessions that a
 * lying node tells with one secret can repeat a nonce. docs/PROTOCOL.md, "Keys of a session".
 */
import { hmac } from "../crypto/blake2s.ts";
import { expand } from "../crypto/kdf.ts";
import type { SplitKeys } from "../crypto/noise.ts";
import { viewOf, writeTime } from "./control.ts";

/** AEADs by number, as in messages: bit `1 << number` in a bitmap. */
export const AES_256_GCM = 1;
export const AES_128_GCM = 2;
export const CHACHA20_POLY1305 = 3;
export type Aead = typeof AES_256_GCM | typeof AES_128_GCM | typeof CHACHA20_POLY1305;

export const BOOT_ID_LEN = 8;
/** AEAD, sender id and start, index, timestamp, client. */
const GROUP_CONTEXT_LEN = 1 + 2 + BOOT_ID_LEN + 4 + 8 + 32;

/** One start of one sender (a shard of a node). */
export interface Sender {
  /** 0 to 65535. */
  readonly senderId: number;
  /** 8 random bytes, drawn when the sender starts. */
  readonly bootId: Uint8Array;
}

/** What both ends know of a session besides its secret. */
export interface SessionIdentity {
  /** 31 bits. */
  readonly index: number;
  /** Timestamp of the client's request that made it, below 2^48. */
  readonly created: number;
  /** 32 bytes: the client's static key. */
  readonly client: Uint8Array;
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

/** Traffic key of one start of one sender of the group, in one session. */
export function groupKey(secret: Uint8Array, aead: Aead, session: SessionIdentity, sender: Sender): Uint8Array {
  const context = new Uint8Array(GROUP_CONTEXT_LEN);
  const view = viewOf(context);
  context[0] = aead;
  view.setUint16(1, sender.senderId);
  context.set(sender.bootId, 3);
  view.setUint32(11, session.index);
  writeTime(view, 15, session.created);
  context.set(session.client, 23);
  return sized(expand(secret, "g2c", context), aead);
}

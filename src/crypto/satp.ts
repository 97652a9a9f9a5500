/**
 * SATP transforms as anytun and uanytun speak them, readable rather than fast: one packet in, one packet out, over
 * node:crypto. The data plane uses the batched C of `native/satp.c`; this file is its reference and its in-memory
 * stand-in, kept equal by vectors and by differential tests. It never looks at replay windows, routes or payload types.
 * Wire format: docs/PROTOCOL.md, "Classic tunnel".
 */
import { createCipheriv, createHash, createHmac, timingSafeEqual } from "node:crypto";

/** Bytes before the encrypted portion: seq (4), senderId (2), mux (2), big endian. */
export const HEADER_LEN = 8;
/** Bytes of the payload type, the first of the encrypted portion. */
export const TYPE_LEN = 2;
export const SALT_LEN = 14;
export const HMAC_LEN = 20;

/** Key derivation labels by [role of the packet's sender][kind]; kinds: encryption key, cipher salt, auth key. */
const LABELS = [
  [0x356a192b, 0x77de68da, 0xac3478d6],
  [0xda4b9237, 0x1b645389, 0xc1dfd96e],
] as const;
const KIND_ENCRYPTION = 0;
const KIND_SALT = 1;
const KIND_AUTH = 2;

export type KeyLen = 0 | 16 | 24 | 32;

/** One SATP context, both directions. Lengths in bytes, 0 = null. */
export interface SatpContext {
  readonly cipherLen: KeyLen;
  /** 0-20, or -1: no authentication. */
  readonly tagLen: number;
  readonly kdLen: KeyLen;
  /** Role of this end: 0 = left, 1 = right. */
  readonly role: number;
  /** kdLen bytes. */
  readonly masterKey: Uint8Array;
  /** 14 bytes, or none when kdLen is 0. */
  readonly masterSalt: Uint8Array;
}

/** The header fields of one packet. */
export interface SatpHeader {
  readonly seq: number;
  readonly senderId: number;
  readonly mux: number;
}

/** What `openSatp` found. `payloadType` is -1 for an empty packet (keepalive, roaming probe). */
export type Opened =
  | { readonly result: "opened"; readonly payloadType: number; readonly inner: Uint8Array }
  | { readonly result: "short" }
  | { readonly result: "forged" };

/** Keys of one packet. */
export interface SessionKeys {
  readonly encryption: Uint8Array;
  readonly salt: Uint8Array;
  readonly auth: Uint8Array;
}

/** Last `kdLen` bytes of SHA-256 over the passphrase's bytes. */
export function masterKeyFromPassphrase(passphrase: string, kdLen: KeyLen): Uint8Array {
  return new Uint8Array(
    createHash("sha256")
      .update(passphrase, "utf8")
      .digest()
      .subarray(32 - kdLen),
  );
}

/** Last 14 bytes of SHA-1 over the passphrase's bytes. */
export function masterSaltFromPassphrase(passphrase: string): Uint8Array {
  return new Uint8Array(
    createHash("sha1")
      .update(passphrase, "utf8")
      .digest()
      .subarray(HMAC_LEN - SALT_LEN),
  );
}

/** A context whose key and salt both come from a passphrase. Cipher and auth null together force kd null. */
export function satpKeyFromPassphrase(
  passphrase: string,
  options: Pick<SatpContext, "cipherLen" | "tagLen" | "kdLen" | "role">,
): SatpContext {
  const { cipherLen, tagLen, role } = options;
  const kdLen = cipherLen === 0 && tagLen < 0 ? 0 : options.kdLen;
  const none = new Uint8Array(0);
  return {
    cipherLen,
    tagLen,
    kdLen,
    role,
    masterKey: kdLen === 0 ? none : masterKeyFromPassphrase(passphrase, kdLen),
    masterSalt: kdLen === 0 ? none : masterSaltFromPassphrase(passphrase),
  };
}

/** Whether every length and number of a context is one that SATP has. */
export function isValidContext(key: SatpContext): boolean {
  const aes = (len: number) => len === 0 || len === 16 || len === 24 || len === 32;
  return (
    aes(key.cipherLen) &&
    aes(key.kdLen) &&
    Number.isInteger(key.tagLen) &&
    key.tagLen >= -1 &&
    key.tagLen <= HMAC_LEN &&
    (key.role === 0 || key.role === 1) &&
    key.masterKey.length === key.kdLen &&
    key.masterSalt.length === (key.kdLen === 0 ? 0 : SALT_LEN)
  );
}

/** The counter block that key derivation starts from: (salt XOR (label || seq)) || 0000. */
export function derivationBlock(masterSalt: Uint8Array, label: number, seq: number): Uint8Array {
  const block = new Uint8Array(16);
  block.set(masterSalt);
  const view = new DataView(block.buffer);
  view.setUint32(6, view.getUint32(6) ^ label);
  view.setUint32(10, view.getUint32(10) ^ seq);
  return block;
}

/** The counter block of the cipher: salt with mux at 4, senderId at 6 and seq at 10, then a zero block counter. */
export function cipherBlock(salt: Uint8Array, header: SatpHeader): Uint8Array {
  const block = new Uint8Array(16);
  block.set(salt);
  const view = new DataView(block.buffer);
  view.setUint16(4, view.getUint16(4) ^ header.mux);
  view.setUint16(6, view.getUint16(6) ^ header.senderId);
  view.setUint32(10, view.getUint32(10) ^ header.seq);
  return block;
}

/** AES-CTR over `bytes`; a key of no bytes is the null cipher. */
function aesCtr(key: Uint8Array, counter: Uint8Array, bytes: Uint8Array): Uint8Array {
  if (key.length === 0) return bytes.slice();
  return new Uint8Array(createCipheriv(`aes-${key.length * 8}-ctr`, key, counter).update(bytes));
}

/** Keys of the packet `seq` that an end of role `sealer` seals. All zero for kd null. */
export function deriveKeys(key: SatpContext, sealer: number, seq: number): SessionKeys {
  const derive = (kind: 0 | 1 | 2, length: number): Uint8Array => {
    const zeros = new Uint8Array(length);
    if (key.kdLen === 0) return zeros;
    return aesCtr(key.masterKey, derivationBlock(key.masterSalt, LABELS[sealer === 0 ? 0 : 1][kind], seq), zeros);
  };
  return {
    encryption: derive(KIND_ENCRYPTION, key.cipherLen),
    salt: derive(KIND_SALT, SALT_LEN),
    auth: derive(KIND_AUTH, HMAC_LEN),
  };
}

/** The whole HMAC-SHA1 of what stands before the tag. */
export function authenticate(authKey: Uint8Array, bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac("sha1", authKey).update(bytes).digest());
}

export function readHeader(datagram: Uint8Array): SatpHeader {
  const view = new DataView(datagram.buffer, datagram.byteOffset, HEADER_LEN);
  return { seq: view.getUint32(0), senderId: view.getUint16(4), mux: view.getUint16(6) };
}

/** The datagram of one packet. `payloadType` -1 seals an empty packet: header and tag only, `inner` is not looked at. */
export function sealSatp(key: SatpContext, header: SatpHeader, payloadType: number, inner: Uint8Array): Uint8Array {
  const keys = deriveKeys(key, key.role, header.seq);
  const plain = new Uint8Array(payloadType < 0 ? 0 : TYPE_LEN + inner.length);
  if (payloadType >= 0) {
    new DataView(plain.buffer).setUint16(0, payloadType);
    plain.set(inner, TYPE_LEN);
  }
  const tagLen = Math.max(0, key.tagLen);
  const tagAt = HEADER_LEN + plain.length;
  const datagram = new Uint8Array(tagAt + tagLen);
  const view = new DataView(datagram.buffer);
  view.setUint32(0, header.seq);
  view.setUint16(4, header.senderId);
  view.setUint16(6, header.mux);
  datagram.set(aesCtr(keys.encryption, cipherBlock(keys.salt, header), plain), HEADER_LEN);
  datagram.set(authenticate(keys.auth, datagram.subarray(0, tagAt)).subarray(HMAC_LEN - tagLen), tagAt);
  return datagram;
}

/** Whether the last `tagLen` bytes are the tag that an end of role `sealer` makes. Constant time in the tag's content. */
export function isAuthentic(
  key: SatpContext,
  sealer: number,
  seq: number,
  datagram: Uint8Array,
  tagLen: number,
): boolean {
  if (tagLen <= 0) return true;
  const tagAt = datagram.length - tagLen;
  const hmac = authenticate(deriveKeys(key, sealer, seq).auth, datagram.subarray(0, tagAt));
  // The originals truncate to the right-most bytes, unlike RFC 2104 section 5 and the SATP draft.
  return timingSafeEqual(datagram.subarray(tagAt), hmac.subarray(HMAC_LEN - tagLen));
}

/**
 * Opens a datagram that the peer of `key` sealed. An encrypted portion of 0-2 bytes is an empty packet. `header` is
 * what the receiver parsed; the tag covers the bytes in the datagram.
 */
export function openSatp(key: SatpContext, datagram: Uint8Array, header: SatpHeader): Opened {
  const tagLen = Math.max(0, key.tagLen);
  if (datagram.length < HEADER_LEN + tagLen) return { result: "short" };
  const peer = 1 - key.role;
  if (!isAuthentic(key, peer, header.seq, datagram, tagLen)) return { result: "forged" };
  const keys = deriveKeys(key, peer, header.seq);
  const sealed = datagram.subarray(HEADER_LEN, datagram.length - tagLen);
  if (sealed.length <= TYPE_LEN) return { result: "opened", payloadType: -1, inner: new Uint8Array(0) };
  const plain = aesCtr(keys.encryption, cipherBlock(keys.salt, header), sealed);
  const payloadType = new DataView(plain.buffer, plain.byteOffset).getUint16(0);
  return { result: "opened", payloadType, inner: plain.subarray(TYPE_LEN) };
}

/**
 * AEAD transforms of session datagrams, readable rather than fast: one packet in, one packet out, over node:crypto. The
 * data plane uses the batched C of `native/aead.c`; this file is its reference and its in-memory stand-in, kept equal by
 * vectors and by differential tests. It never looks at replay windows, routes or payload types.
 * Wire format: docs/PROTOCOL.md, "Session datagrams".
 */
import { type CipherGCMTypes, type CipherOCBTypes, createCipheriv, createDecipheriv } from "node:crypto";
import { HEADER_LEN, type Opened, type SatpHeader, TYPE_LEN } from "./satp.ts";

export const TAG_LEN = 16;
const NONCE_LEN = 12;

/** Indexed by ALG_* of dataplane/layout.ts. OpenSSL's names; key lengths in bytes. */
const ALGORITHMS = [
  { name: "aes-128-gcm", keyLen: 16 },
  { name: "aes-256-gcm", keyLen: 32 },
  { name: "chacha20-poly1305", keyLen: 32 },
] as const;

/** The keys of one end of a session. */
export interface AeadContext {
  /** Index into the algorithms: 0 = AES-128-GCM, 1 = AES-256-GCM, 2 = ChaCha20-Poly1305. */
  readonly algorithm: number;
  /** Of what this end sends: 16 or 32 bytes, as the algorithm says. */
  readonly sealKey: Uint8Array;
  /** Of what the other end sends. Never equal to `sealKey`, or nonces would repeat. */
  readonly openKey: Uint8Array;
}

/** Whether the algorithm exists and both keys have its length and differ. */
export function isValidAead({ algorithm, sealKey, openKey }: AeadContext): boolean {
  const keyLen = ALGORITHMS[algorithm]?.keyLen;
  return sealKey.length === keyLen && openKey.length === keyLen && sealKey.some((byte, i) => byte !== openKey[i]);
}

/** senderId || mux || 0 || seq: unique for each packet of a key, since the header is. */
export function nonceOf({ seq, senderId, mux }: SatpHeader): Uint8Array {
  const nonce = new Uint8Array(NONCE_LEN);
  const view = new DataView(nonce.buffer);
  view.setUint16(0, senderId);
  view.setUint16(2, mux);
  view.setUint32(8, seq);
  return nonce;
}

// The declarations of node:crypto know every AEAD mode by its own type; these three have one interface in common.
const modeOf = (algorithm: number): CipherGCMTypes => ALGORITHMS[algorithm]!.name as CipherOCBTypes as CipherGCMTypes;

/** The datagram of one packet. `payloadType` -1 seals an empty packet: header and tag only, `inner` is not looked at. */
export function sealAead(key: AeadContext, header: SatpHeader, payloadType: number, inner: Uint8Array): Uint8Array {
  const plain = new Uint8Array(payloadType < 0 ? 0 : TYPE_LEN + inner.length);
  if (payloadType >= 0) {
    new DataView(plain.buffer).setUint16(0, payloadType);
    plain.set(inner, TYPE_LEN);
  }
  const datagram = new Uint8Array(HEADER_LEN + plain.length + TAG_LEN);
  const view = new DataView(datagram.buffer);
  view.setUint32(0, header.seq);
  view.setUint16(4, header.senderId);
  view.setUint16(6, header.mux);
  const cipher = createCipheriv(modeOf(key.algorithm), key.sealKey, nonceOf(header), { authTagLength: TAG_LEN });
  cipher.setAAD(datagram.subarray(0, HEADER_LEN));
  datagram.set(cipher.update(plain), HEADER_LEN);
  cipher.final();
  datagram.set(cipher.getAuthTag(), HEADER_LEN + plain.length);
  return datagram;
}

/**
 * Opens a datagram that the other end sealed. A protected part of 0-2 bytes is an empty packet. `header` is what the
 * receiver parsed and makes the nonce; the tag covers the bytes in the datagram.
 */
export function openAead(key: AeadContext, datagram: Uint8Array, header: SatpHeader): Opened {
  if (datagram.length < HEADER_LEN + TAG_LEN) return { result: "short" };
  const tagAt = datagram.length - TAG_LEN;
  const decipher = createDecipheriv(modeOf(key.algorithm), key.openKey, nonceOf(header), { authTagLength: TAG_LEN });
  decipher.setAAD(datagram.subarray(0, HEADER_LEN));
  decipher.setAuthTag(datagram.subarray(tagAt));
  const plain = new Uint8Array(decipher.update(datagram.subarray(HEADER_LEN, tagAt)));
  try {
    decipher.final();
  } catch {
    return { result: "forged" };
  }
  if (plain.length <= TYPE_LEN) return { result: "opened", payloadType: -1, inner: new Uint8Array(0) };
  const payloadType = new DataView(plain.buffer).getUint16(0);
  return { result: "opened", payloadType, inner: plain.subarray(TYPE_LEN) };
}

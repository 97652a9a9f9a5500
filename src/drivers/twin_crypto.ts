/**
 * In-memory `PacketCrypto`: the same contract as the addon, over `crypto/satp.ts`, `crypto/aead.ts` and a `Memory` of
 * this process. For tests and simulations; it allocates per packet. Bounds and verdicts mirror `native/crypto.c` row for
 * row.
 */

import * as aead from "../crypto/aead.ts";
import * as satp from "../crypto/satp.ts";
import type { Batch, Memory } from "../dataplane/batch.ts";
import { DATAGRAM_MAX, DIAGNOSE_TAG_MIN, KEY_SLOTS, OUT_BYTES, SLAB_BYTES } from "../dataplane/layout.ts";
import type { AeadKey, PacketCrypto, SatpKey } from "../dataplane/ports.ts";
import {
  AUTH_EQUAL_ROLES,
  AUTH_FAILED,
  AUTH_TAG_LENGTH,
  DATAGRAM_SHORT,
  FOREIGN,
  INNER_MALFORMED,
  LIVE,
  TOO_BIG,
  TUNNEL_GONE,
} from "../dataplane/verdict.ts";
import { splitPacket } from "./twin_split.ts";

// Linux errno values; ports.ts returns them negated.
const EINVAL = 22;

type Key = { readonly kind: "satp"; readonly satp: SatpKey } | { readonly kind: "aead"; readonly aead: AeadKey };

const tagLenOf = (key: Key): number => (key.kind === "aead" ? aead.TAG_LEN : Math.max(0, key.satp.tagLen));

const openWith = (key: Key, datagram: Uint8Array, header: satp.SatpHeader): satp.Opened =>
  key.kind === "aead" ? aead.openAead(key.aead, datagram, header) : satp.openSatp(key.satp, datagram, header);

const sealWith = (key: Key, header: satp.SatpHeader, type: number, inner: Uint8Array): Uint8Array =>
  key.kind === "aead" ? aead.sealAead(key.aead, header, type, inner) : satp.sealSatp(key.satp, header, type, inner);

const inSlab = (at: number, len: number): boolean => at >= 0 && len >= 0 && at + len <= SLAB_BYTES;

const headerOf = (batch: Batch, i: number): satp.SatpHeader => ({
  seq: batch.seq[i] >>> 0,
  senderId: batch.sender[i] & 0xffff,
  mux: batch.mux[i] & 0xffff,
});

function openRow({ slab, view, input }: Memory, i: number, key: Key | undefined): number {
  if (key === undefined) return TUNNEL_GONE;
  const at = input.at[i];
  const len = input.len[i];
  if (!inSlab(at, len)) return DATAGRAM_SHORT;
  const opened = openWith(key, slab.slice(at, at + len), headerOf(input, i));
  if (opened.result === "short") return DATAGRAM_SHORT;
  if (opened.result === "forged") return AUTH_FAILED;
  const innerAt = at + satp.HEADER_LEN + (opened.payloadType < 0 ? 0 : satp.TYPE_LEN);
  if (opened.payloadType >= 0) view.setUint16(at + satp.HEADER_LEN, opened.payloadType);
  slab.set(opened.inner, innerAt);
  input.type[i] = opened.payloadType;
  input.at[i] = innerAt;
  input.len[i] = opened.inner.length;
  return LIVE;
}

/** Authenticates a row of a session and changes nothing of it. */
function checkRow({ slab, input }: Memory, i: number, key: Key | undefined): number {
  const at = input.at[i];
  const len = input.len[i];
  if (key?.kind !== "aead") return TUNNEL_GONE;
  if (!inSlab(at, len)) return DATAGRAM_SHORT;
  if (len > DATAGRAM_MAX) return AUTH_FAILED;
  const opened = openWith(key, slab.slice(at, at + len), headerOf(input, i));
  if (opened.result === "short") return DATAGRAM_SHORT;
  return opened.result === "forged" ? AUTH_FAILED : FOREIGN;
}

function sealRow({ slab, output }: Memory, i: number, key: Key | undefined): number {
  if (key === undefined) return TUNNEL_GONE;
  if (output.seg[i] > 0) return sealSuperRow(slab, output, i, key);
  const type = output.type[i];
  const at = output.at[i];
  const src = output.src[i];
  const len = type < 0 ? 0 : output.len[i];
  if (type >= 0 && !inSlab(src, len)) return INNER_MALFORMED;
  const sealedLen = satp.HEADER_LEN + (type < 0 ? 0 : satp.TYPE_LEN + len) + tagLenOf(key);
  if (sealedLen > DATAGRAM_MAX || !inSlab(at, sealedLen)) return TOO_BIG;
  if (type >= 0 && src < at + sealedLen && at < src + len) return INNER_MALFORMED;
  const inner = slab.subarray(src, src + len);
  slab.set(sealWith(key, headerOf(output, i), type < 0 ? -1 : type & 0xffff, inner), at);
  output.len[i] = sealedLen;
  return LIVE;
}

/** Every segment of a super-packet with a sequence number of its own, datagram behind datagram. */
function sealSuperRow(slab: Uint8Array, output: Batch, i: number, key: Key): number {
  const type = output.type[i];
  const at = output.at[i];
  const src = output.src[i];
  const len = output.len[i];
  const seg = output.seg[i];
  if (type < 0 || !inSlab(src, len)) return INNER_MALFORMED;
  const segments = splitPacket(slab.subarray(src, src + len), output.hdr[i], seg);
  if (segments === undefined) return INNER_MALFORMED;
  const overhead = satp.HEADER_LEN + satp.TYPE_LEN + tagLenOf(key);
  const sealedLen = segments.reduce((sum, segment) => sum + segment.length + overhead, 0);
  if (seg > DATAGRAM_MAX - overhead - output.hdr[i] || sealedLen > OUT_BYTES || !inSlab(at, sealedLen)) return TOO_BIG;
  if (src < at + sealedLen && at < src + len) return INNER_MALFORMED;
  const header = headerOf(output, i);
  let to = at;
  segments.forEach((segment, k) => {
    slab.set(sealWith(key, { ...header, seq: (header.seq + k) >>> 0 }, type & 0xffff, segment), to);
    to += segment.length + overhead;
  });
  output.len[i] = sealedLen;
  output.seg[i] = segments[0].length + overhead;
  return LIVE;
}

function diagnoseRow({ slab, input }: Memory, i: number, slot: Key | undefined): number {
  const at = input.at[i];
  const len = input.len[i];
  if (slot === undefined) return TUNNEL_GONE;
  if (slot.kind === "aead" || !inSlab(at, len) || slot.satp.tagLen < 0) return AUTH_FAILED;
  const key = slot.satp;
  const datagram = slab.slice(at, at + len);
  const seq = input.seq[i] >>> 0;
  const fits = (sealer: number, tagLen: number) =>
    tagLen > 0 && datagram.length >= satp.HEADER_LEN + tagLen && satp.isAuthentic(key, sealer, seq, datagram, tagLen);
  const peer = 1 - key.role;
  if (fits(key.role, key.tagLen)) return AUTH_EQUAL_ROLES;
  for (let tagLen = satp.HMAC_LEN; tagLen >= DIAGNOSE_TAG_MIN; tagLen--) {
    if (tagLen === key.tagLen) continue;
    if (fits(peer, tagLen)) return AUTH_TAG_LENGTH;
    if (fits(key.role, tagLen)) return AUTH_EQUAL_ROLES;
  }
  return AUTH_FAILED;
}

export function createTwinCrypto(memory: Memory): PacketCrypto {
  const keys = new Map<number, Key>();
  const rows = (batch: Batch, n: number) => Math.min(Math.max(n, 0), batch.capacity);
  const isSlot = (slot: number) => Number.isInteger(slot) && slot >= 0 && slot < KEY_SLOTS;
  return {
    setSatp(slot, key) {
      if (!isSlot(slot) || !satp.isValidContext(key)) return -EINVAL;
      const satpKey = { ...key, masterKey: key.masterKey.slice(), masterSalt: key.masterSalt.slice() };
      keys.set(slot, { kind: "satp", satp: satpKey });
      return 0;
    },
    setAead(slot, key) {
      if (!isSlot(slot) || !aead.isValidAead(key)) return -EINVAL;
      keys.set(slot, { kind: "aead", aead: { ...key, sealKey: key.sealKey.slice(), openKey: key.openKey.slice() } });
      return 0;
    },
    clear(slot) {
      keys.delete(slot);
    },
    open(n) {
      const { input } = memory;
      for (let i = 0; i < rows(input, n); i++) {
        if (input.verdict[i] === LIVE) input.verdict[i] = openRow(memory, i, keys.get(input.key[i]));
        else if (input.verdict[i] === FOREIGN) input.verdict[i] = checkRow(memory, i, keys.get(input.key[i]));
      }
    },
    seal(n) {
      const { output } = memory;
      for (let i = 0; i < rows(output, n); i++) {
        if (output.verdict[i] === LIVE) output.verdict[i] = sealRow(memory, i, keys.get(output.key[i]));
      }
    },
    diagnose(i) {
      const inRange = Number.isInteger(i) && i >= 0 && i < memory.input.capacity;
      return inRange ? diagnoseRow(memory, i, keys.get(memory.input.key[i])) : AUTH_FAILED;
    },
  };
}

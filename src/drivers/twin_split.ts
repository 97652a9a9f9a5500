/**
 * Readable twin of native/split.c: a super-packet as the packets that it stands for. For tests and simulations;
 * allocates per packet. Segmentation as the kernel's own: length, IPv4 identification and sequence number count on, FIN
 * and PSH stand on the last segment, CWR on the first (RFC 3168 section 6.1.2), every checksum is computed.
 */
import { fold, pseudo4, pseudo6, sum } from "../base/checksum.ts";
import { SUPER_HEADER_MAX, SUPER_SEGMENTS_MAX } from "../dataplane/layout.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import * as tcp from "../wire/tcp.ts";
import * as udp from "../wire/udp.ts";

export const TCP_FIN = 0x01;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_ECE = 0x40;
export const TCP_CWR = 0x80;

const TCP_SEQ = 4;
const MORE_OR_OFFSET = ipv4.MORE_FRAGMENTS | ipv4.FRAGMENT_OFFSET;

/** Where the parts of a TCP or UDP packet are. */
export interface Inner {
  readonly v6: boolean;
  readonly protocol: number;
  /** Bytes of the IP header. */
  readonly ipLen: number;
  /** Bytes of the IP header and the TCP or UDP header. */
  readonly headerLen: number;
}

export const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** TCP or UDP directly behind an IPv4 header or a bare IPv6 header; undefined for all else. Lengths are not looked at. */
export function parseInner(packet: Uint8Array): Inner | undefined {
  const view = viewOf(packet);
  if (packet.length < ipv4.HEADER_LEN_MIN) return undefined;
  const v6 = packet[0] >> 4 === 6;
  const ipLen = v6 ? ipv6.HEADER_LEN : ipv4.headerLen(view, 0);
  if (ipLen > packet.length) return undefined;
  if (!v6) {
    if (packet[0] >> 4 !== 4 || ipLen < ipv4.HEADER_LEN_MIN) return undefined;
    if ((view.getUint16(ipv4.FRAGMENT) & MORE_OR_OFFSET) !== 0) return undefined;
  }
  const protocol = packet[v6 ? ipv6.NEXT_HEADER : ipv4.PROTOCOL];
  const room = packet.length - ipLen;
  if (protocol === udp.PROTOCOL && room >= udp.HEADER_LEN) {
    return { v6, protocol, ipLen, headerLen: ipLen + udp.HEADER_LEN };
  }
  const tcpLen = protocol === tcp.PROTOCOL ? tcp.check(view, ipLen, packet.length) : -1;
  return tcpLen < 0 ? undefined : { v6, protocol, ipLen, headerLen: ipLen + tcpLen };
}

/** Partial sum of the pseudo-header for the upper-layer packet of `len` bytes. */
export function pseudoSum(packet: Uint8Array, { v6, protocol }: Inner, len: number): number {
  const view = viewOf(packet);
  return v6 ? pseudo6(view, ipv6.SRC, protocol, len) : pseudo4(view, ipv4.SRC, protocol, len);
}

/** Offset of the checksum in a TCP or UDP packet. */
export function checkOffset({ protocol, ipLen }: Inner): number {
  return ipLen + (protocol === tcp.PROTOCOL ? tcp.CHECKSUM : udp.CHECKSUM);
}

export function setLength(packet: Uint8Array, inner: Inner): void {
  const view = viewOf(packet);
  if (inner.v6) view.setUint16(ipv6.PAYLOAD_LENGTH, packet.length - ipv6.HEADER_LEN);
  else view.setUint16(ipv4.TOTAL_LENGTH, packet.length);
  if (inner.protocol === udp.PROTOCOL) view.setUint16(inner.ipLen + udp.LENGTH, packet.length - inner.ipLen);
}

export function setIp4Check(packet: Uint8Array, { ipLen }: Inner): void {
  const view = viewOf(packet);
  view.setUint16(ipv4.CHECKSUM, 0);
  view.setUint16(ipv4.CHECKSUM, fold(sum(view, 0, ipLen)));
}

/** The packets of a super-packet with `seg` payload bytes each; undefined when it is none. */
export function splitPacket(packet: Uint8Array, headerLen: number, seg: number): Uint8Array[] | undefined {
  const inner = parseInner(packet);
  if (inner === undefined || inner.headerLen !== headerLen || seg <= 0 || packet.length <= headerLen) return undefined;
  const count = Math.ceil((packet.length - headerLen) / seg);
  if (count > SUPER_SEGMENTS_MAX || packet.length > 0xffff || headerLen > SUPER_HEADER_MAX) return undefined;
  return Array.from({ length: count }, (_, k) => segment(packet, inner, seg, k, k === count - 1));
}

function segment(packet: Uint8Array, inner: Inner, seg: number, k: number, last: boolean): Uint8Array {
  const { v6, protocol, ipLen, headerLen } = inner;
  const payload = packet.subarray(headerLen + k * seg, headerLen + (k + 1) * seg);
  const out = new Uint8Array(headerLen + payload.length);
  const view = viewOf(out);
  out.set(packet.subarray(0, headerLen));
  out.set(payload, headerLen);
  setLength(out, inner);
  if (!v6) {
    view.setUint16(ipv4.IDENTIFICATION, view.getUint16(ipv4.IDENTIFICATION) + k);
    setIp4Check(out, inner);
  }
  if (protocol === tcp.PROTOCOL) {
    view.setUint32(ipLen + TCP_SEQ, view.getUint32(ipLen + TCP_SEQ) + k * seg);
    if (!last) out[ipLen + tcp.FLAGS] &= ~(TCP_FIN | TCP_PSH);
    if (k > 0) out[ipLen + tcp.FLAGS] &= ~TCP_CWR;
  }
  const at = checkOffset(inner);
  view.setUint16(at, 0);
  const upperLen = out.length - ipLen;
  const check = fold(sum(view, ipLen, upperLen, pseudoSum(out, inner, upperLen)));
  // RFC 768: 0 means that there is none.
  view.setUint16(at, check === 0 && protocol === udp.PROTOCOL ? 0xffff : check);
  return out;
}

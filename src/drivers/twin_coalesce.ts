/**
 * Readable twin of native/coalesce.c: packets for the device, merged where they are neighbours of one TCP or UDP flow.
 * For tests and simulations; allocates per packet. Merged is only what segmentation (`twin_split.ts`) would take apart
 * into the very same packets, and only with right checksums; order within a flow is kept.
 */
import { fold, sum } from "../base/checksum.ts";
import { SEGMENTS_MAX } from "../dataplane/layout.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import * as tcp from "../wire/tcp.ts";
import * as udp from "../wire/udp.ts";
import {
  checkOffset,
  type Inner,
  parseInner,
  pseudoSum,
  setIp4Check,
  setLength,
  splitPacket,
  TCP_ACK,
  TCP_ECE,
  TCP_PSH,
  viewOf,
} from "./twin_split.ts";

/** Flows that are merged side by side. */
const TRAINS = 8;
const PACKET_MAX = 65535;

/** One write to the device. `seg` 0: a plain packet; else payload bytes of each segment, checksum left to the kernel. */
export interface Frame {
  readonly packet: Uint8Array;
  readonly seg: number;
  readonly headerLen: number;
}

interface Train {
  readonly inner: Inner;
  readonly packets: Uint8Array[];
}

export interface CoalesceOptions {
  readonly tcp: boolean;
  readonly udp: boolean;
}

/** The frames in the order in which they are written. */
export function coalesce(packets: readonly Uint8Array[], options: CoalesceOptions): Frame[] {
  const frames: Frame[] = [];
  const trains: (Train | undefined)[] = new Array(TRAINS).fill(undefined);
  let oldest = 0;
  const plain = (packet: Uint8Array) => frames.push({ packet, seg: 0, headerLen: 0 });
  const write = (place: number) => {
    const train = trains[place];
    trains[place] = undefined;
    if (train !== undefined) frames.push(merge(train));
  };
  const writeAll = () => trains.forEach((_, place) => void write(place));
  const freePlace = () => {
    const free = trains.indexOf(undefined);
    if (free >= 0) return free;
    const place = oldest;
    oldest = (oldest + 1) % TRAINS;
    write(place);
    return place;
  };
  for (const packet of packets) {
    const inner = parseInner(packet);
    if (inner === undefined) {
      // A fragment or an ICMP error may belong to any of the flows.
      writeAll();
      plain(packet);
      continue;
    }
    const place = trains.findIndex((train) => train !== undefined && sameFlow(train, packet, inner));
    const wanted = inner.protocol === tcp.PROTOCOL ? options.tcp : options.udp;
    if (!wanted || !mayMerge(packet, inner)) {
      if (place >= 0) write(place);
      plain(packet);
      continue;
    }
    const train = trains[place];
    if (train !== undefined && continues(train, packet, inner)) {
      train.packets.push(packet);
      if (isEnd(train)) write(place);
      continue;
    }
    if (place >= 0) write(place);
    const begun = place >= 0 ? place : freePlace();
    const fresh = { inner, packets: [packet] };
    trains[begun] = fresh;
    if (isEnd(fresh)) write(begun);
  }
  writeAll();
  return frames;
}

/** The packets that the kernel makes of a frame. */
export function packetsOfFrame({ packet, seg, headerLen }: Frame): Uint8Array[] {
  return seg === 0 ? [packet] : (splitPacket(packet, headerLen, seg) ?? []);
}

const payloadOf = (packet: Uint8Array, inner: Inner) => packet.length - inner.headerLen;
const flagsOf = (packet: Uint8Array, inner: Inner) => packet[inner.ipLen + tcp.FLAGS];

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, k) => byte === b[k]);
}

function sameFlow(train: Train, packet: Uint8Array, inner: Inner): boolean {
  const [first] = train.packets;
  const key = (bytes: Uint8Array, { v6, protocol, ipLen }: Inner) => [
    protocol,
    ...bytes.subarray(v6 ? ipv6.SRC : ipv4.SRC, v6 ? ipv6.HEADER_LEN : ipv4.HEADER_LEN_MIN),
    ...bytes.subarray(ipLen, ipLen + 4),
  ];
  return inner.v6 === train.inner.v6 && key(first, train.inner).join() === key(packet, inner).join();
}

/** Whole, with payload, no options of IPv4, no flag that ends or marks something. */
function mayMerge(packet: Uint8Array, inner: Inner): boolean {
  const view = viewOf(packet);
  const length = inner.v6 ? ipv6.HEADER_LEN + ipv6.payloadLength(view, 0) : ipv4.totalLength(view, 0);
  if (payloadOf(packet, inner) <= 0 || length !== packet.length || length > PACKET_MAX) return false;
  if (!inner.v6 && inner.ipLen !== ipv4.HEADER_LEN_MIN) return false;
  if (inner.protocol === tcp.PROTOCOL) return (flagsOf(packet, inner) & ~(TCP_PSH | TCP_ECE)) === TCP_ACK;
  return (
    view.getUint16(inner.ipLen + udp.CHECKSUM) !== 0 && udp.length(view, inner.ipLen) === packet.length - inner.ipLen
  );
}

function checksumsRight(packet: Uint8Array, inner: Inner): boolean {
  const view = viewOf(packet);
  const upperLen = packet.length - inner.ipLen;
  const header = inner.v6 ? 0 : fold(sum(view, 0, inner.ipLen));
  return header === 0 && fold(sum(view, inner.ipLen, upperLen, pseudoSum(packet, inner, upperLen))) === 0;
}

/** A train ends with a packet that is shorter than its first one, or pushed. */
function isEnd({ inner, packets }: Train): boolean {
  const last = packets[packets.length - 1];
  const pushed = inner.protocol === tcp.PROTOCOL && (flagsOf(last, inner) & TCP_PSH) !== 0;
  return pushed || last.length < packets[0].length;
}

/** Whether the train with `packet` behind it splits into the very same packets, and all checksums are right. */
function continues({ inner, packets }: Train, packet: Uint8Array, its: Inner): boolean {
  const [first] = packets;
  const merged = { inner, packets: [...packets, packet] };
  const payload = payloadOf(first, inner);
  if (its.headerLen !== inner.headerLen || payloadOf(packet, its) > payload || packets.length === SEGMENTS_MAX)
    return false;
  const total = first.length + payload * (packets.length - 1) + payloadOf(packet, its);
  if (total > PACKET_MAX || !checksumsRight(first, inner) || !checksumsRight(packet, its)) return false;
  const again = packetsOfFrame(merge(merged));
  return again.length === merged.packets.length && equal(again[again.length - 1], packet);
}

function merge({ inner, packets }: Train): Frame {
  const [first] = packets;
  if (packets.length === 1) return { packet: first, seg: 0, headerLen: 0 };
  const payloads = packets.map((packet) => packet.subarray(inner.headerLen));
  const packet = new Uint8Array(inner.headerLen + payloads.reduce((n, payload) => n + payload.length, 0));
  packet.set(first.subarray(0, inner.headerLen));
  let at = inner.headerLen;
  for (const payload of payloads) {
    packet.set(payload, at);
    at += payload.length;
  }
  setLength(packet, inner);
  if (!inner.v6) setIp4Check(packet, inner);
  if (inner.protocol === tcp.PROTOCOL) {
    packet[inner.ipLen + tcp.FLAGS] |= flagsOf(packets[packets.length - 1], inner) & TCP_PSH;
  }
  // What is left to the kernel: the sum of the pseudo-header, without the final complement.
  const partial = ~fold(pseudoSum(packet, inner, packet.length - inner.ipLen)) & 0xffff;
  viewOf(packet).setUint16(checkOffset(inner), partial);
  return { packet, seg: payloadOf(first, inner), headerLen: inner.headerLen };
}

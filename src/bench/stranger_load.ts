/**
 * A stranger off the path, for tests of nodes under attack: every kind of datagram that he can make, in the name of a client's
 * address and port. He knows the group's public key and, if told, indices of sessions; no secret, and nothing that is sent to
 * that address. Packets are written to a TUN device and forwarded by the kernel: no socket sends from a foreign address.
 */
import { parseAddress } from "../base/ip.ts";
import { systemEntropy } from "../crypto/entropy.ts";
import { createMemory } from "../dataplane/batch.ts";
import { SLOT_BYTES } from "../dataplane/layout.ts";
import { TO_DEVICE } from "../dataplane/verdict.ts";
import { hostNetwork } from "../drivers/host_network.ts";
import { createNativeIo } from "../drivers/native.ts";
import * as control from "../handshake/control.ts";
import { mac1Key, writeMac1 } from "../handshake/macs.ts";

export type StrangerKind = "init" | "init_cookie" | "resume" | "resume_cookie" | "unknown" | "known" | "control";

/** What the child is told, as JSON. */
export interface StrangerOrder {
  /** The group's public key, base64. */
  readonly groupKey: string;
  /** IPv4, in whose name. */
  readonly from: { readonly address: string; readonly port: number };
  readonly to: { readonly address: string; readonly port: number };
  readonly kinds: readonly StrangerKind[];
  /** Of each kind. */
  readonly perSecond: number;
  readonly seconds: number;
  /** Session indices, for kind "known". */
  readonly indices: readonly number[];
}

const BATCH = 64;
/** Different datagrams of each kind; each goes out again and again, with other random bytes where they cost nothing. */
const DIFFERENT = 256;
const IPV4_HEADER = 20;
const UDP_HEADER = 8;
const UDP = 17;
/** What is redrawn for every packet: seq or transaction; of sessions, the index too. */
const SEQ = IPV4_HEADER + UDP_HEADER;
const SESSION_LEN = 40;

/** Sends what `order` says and prints how many packets that were. */
export async function runStranger(order: StrangerOrder): Promise<void> {
  const memory = createMemory();
  const io = createNativeIo(memory);
  const name = io.openDevice("stranger0", false);
  await hostNetwork.add([{ kind: "link", device: name, mtuBytes: 1400, linkLocal: false }]);
  const key = mac1Key(new Uint8Array(Buffer.from(order.groupKey, "base64")));
  const packets = order.kinds.flatMap((kind) =>
    Array.from({ length: DIFFERENT }, () => ({ kind, bytes: packetOf(order, datagramOf(kind, key)) })),
  );
  const perSecond = order.perSecond * order.kinds.length;
  const { input, slab, view } = memory;
  const startMs = performance.now();
  let sent = 0;
  for (let elapsedMs = 0; elapsedMs < order.seconds * 1000; elapsedMs = performance.now() - startMs) {
    if (Math.floor((elapsedMs * perSecond) / 1000) - sent < BATCH) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      continue;
    }
    const fresh = systemEntropy.bytes(BATCH * 8);
    const random = control.viewOf(fresh);
    for (let i = 0; i < BATCH; i++) {
      const at = i * SLOT_BYTES;
      // Kinds in turn.
      const turn = sent + i;
      const { kind, bytes } = packets[(turn % order.kinds.length) * DIFFERENT + (turn % DIFFERENT)]!;
      slab.set(bytes, at);
      // mac1 of an INIT covers its transaction.
      if (!kind.startsWith("init")) view.setUint32(at + SEQ, random.getUint32(8 * i));
      if (kind === "unknown") writeIndex(view, at, random.getUint32(8 * i + 4) >>> 1);
      if (kind === "known") writeIndex(view, at, order.indices[turn % order.indices.length]!);
      input.at[i] = at;
      input.len[i] = bytes.length;
      input.seg[i] = 0;
      input.hdr[i] = 0;
      input.tos[i] = 0;
      input.flags[i] = 0;
      input.verdict[i] = TO_DEVICE;
    }
    io.writeDevice(BATCH);
    for (let i = 0; i < BATCH; i++) if (input.verdict[i] === TO_DEVICE) sent++;
  }
  io.close();
  process.stdout.write(`${sent}\n`);
}

function writeIndex(view: DataView, at: number, index: number): void {
  view.setUint16(at + SEQ + 4, index >>> 15);
  view.setUint16(at + SEQ + 6, 0x8000 | (index & 0x7fff));
}

function datagramOf(kind: StrangerKind, mac1: Uint8Array): Uint8Array {
  if (kind === "unknown" || kind === "known") return systemEntropy.bytes(SESSION_LEN);
  const isControl = kind === "control";
  const isInit = kind.startsWith("init");
  const type = isControl ? systemEntropy.bytes(1)[0]! : isInit ? control.INIT : control.RESUME;
  const datagram = control.begin(type, isControl ? SESSION_LEN : control.REQUEST_LEN, 0);
  if (isControl) return datagram;
  datagram.set(systemEntropy.bytes(control.MAC1 - control.NOISE), control.NOISE);
  const view = control.viewOf(datagram);
  if (!isInit) {
    control.writeTime(view, control.RESUME_TIMESTAMP, Date.now());
    view.setUint16(control.RESUME_TICKET_LEN, 200);
  }
  if (isInit) writeMac1(mac1, datagram);
  if (kind.endsWith("cookie")) datagram.set(systemEntropy.bytes(control.MAC_LEN), control.MAC2);
  return datagram;
}

/** An IPv4 packet without a UDP checksum, which may be left out (RFC 768). */
function packetOf({ from, to }: StrangerOrder, datagram: Uint8Array): Uint8Array {
  const packet = new Uint8Array(SEQ + datagram.length);
  const view = control.viewOf(packet);
  packet[0] = 0x45;
  view.setUint16(2, packet.length);
  packet[8] = 64;
  packet[9] = UDP;
  view.setInt32(12, parseAddress(from.address)!.w3);
  view.setInt32(16, parseAddress(to.address)!.w3);
  let sum = 0;
  for (let at = 0; at < IPV4_HEADER; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~sum & 0xffff);
  view.setUint16(IPV4_HEADER, from.port);
  view.setUint16(IPV4_HEADER + 2, to.port);
  view.setUint16(IPV4_HEADER + 4, UDP_HEADER + datagram.length);
  packet.set(datagram, SEQ);
  return packet;
}

/**
 * A flood of INITs, each from another forged address, for tests of a node under attack. The forger knows the group's
 * public key, so every mac1 is right, and nothing but the cookie stands between him and the key exchange. Packets are
 * written to a TUN device and forwarded by the kernel: no socket could send from addresses that nobody has.
 */
import { systemEntropy } from "../crypto/entropy.ts";
import { createMemory } from "../dataplane/batch.ts";
import { SLOT_BYTES } from "../dataplane/layout.ts";
import { TO_DEVICE } from "../dataplane/verdict.ts";
import { hostNetwork } from "../drivers/host_network.ts";
import { createNativeIo } from "../drivers/native.ts";
import * as control from "../handshake/control.ts";
import { mac1Key, writeMac1 } from "../handshake/macs.ts";

/** What the child is told, as JSON. */
export interface FloodOrder {
  /** The group's public key, base64. */
  readonly groupKey: string;
  /** Destination 2001:db8::1. */
  readonly port: number;
  readonly perSecond: number;
  readonly seconds: number;
}

const BATCH = 64;
/** Different INITs; each goes out again and again, from other addresses. */
const INITS = 1024;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;
const SOURCE = 8;
const UDP = 17;
const PACKET = IPV6_HEADER + UDP_HEADER + control.REQUEST_LEN;

/** Sends what `order` says and prints how many packets that were. */
export async function runFlood(order: FloodOrder): Promise<void> {
  const memory = createMemory();
  const io = createNativeIo(memory);
  const name = io.openDevice("flood0", false);
  await hostNetwork.add([{ kind: "link", device: name, mtuBytes: 1400, linkLocal: false }]);
  const key = mac1Key(new Uint8Array(Buffer.from(order.groupKey, "base64")));
  const packets = Array.from({ length: INITS }, () => forged(key, order.port));
  const { input, slab, view } = memory;
  const startMs = performance.now();
  let sent = 0;
  let source = 0;
  for (let elapsedMs = 0; elapsedMs < order.seconds * 1000; elapsedMs = performance.now() - startMs) {
    const due = Math.floor((elapsedMs * order.perSecond) / 1000) - sent;
    if (due < BATCH) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      continue;
    }
    for (let i = 0; i < BATCH; i++) {
      const at = i * SLOT_BYTES;
      slab.set(packets[(sent + i) % INITS]!, at);
      // Another /64 for each packet. Both words together leave the UDP checksum as it is.
      source = (source + 1) & 0xffff;
      view.setUint16(at + SOURCE + 4, source);
      view.setUint16(at + SOURCE + 6, ~source & 0xffff);
      input.at[i] = at;
      input.len[i] = PACKET;
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

/** An IPv6 packet from 2001:db8:0:ffff::1 (words that `runFlood` changes) to 2001:db8::1. */
function forged(mac1: Uint8Array, port: number): Uint8Array {
  const packet = new Uint8Array(PACKET);
  const view = new DataView(packet.buffer);
  view.setUint32(0, 0x60000000);
  view.setUint16(4, PACKET - IPV6_HEADER);
  packet[6] = UDP;
  packet[7] = 64;
  view.setUint32(SOURCE, 0x20010db8);
  view.setUint32(SOURCE + 4, 0x0000ffff);
  packet[SOURCE + 15] = 1;
  view.setUint32(SOURCE + 16, 0x20010db8);
  packet[SOURCE + 31] = 1;
  view.setUint16(IPV6_HEADER, 1024 + (systemEntropy.bytes(1)[0]! << 7));
  view.setUint16(IPV6_HEADER + 2, port);
  view.setUint16(IPV6_HEADER + 4, PACKET - IPV6_HEADER);
  const init = control.begin(
    control.INIT,
    control.REQUEST_LEN,
    new DataView(systemEntropy.bytes(4).buffer).getUint32(0),
  );
  init.set(systemEntropy.bytes(control.MAC1 - control.NOISE), control.NOISE);
  writeMac1(mac1, init);
  packet.set(init, IPV6_HEADER + UDP_HEADER);
  view.setUint16(IPV6_HEADER + 6, checksum(view));
  return packet;
}

/** UDP checksum with the pseudo-header of RFC 8200 section 8.1. */
function checksum(packet: DataView): number {
  let sum = PACKET - IPV6_HEADER + UDP;
  for (let at = SOURCE; at < PACKET; at += 2) sum += packet.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff || 0xffff;
}

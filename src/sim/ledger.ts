/**
 * What became of every packet, and of every nonce: watches what planes seal and what comes out of devices. Finds nonces
 * that were used twice and packets that were accepted twice.
 */
import { parseAddress } from "../base/ip.ts";
import type { Memory } from "../dataplane/batch.ts";
import type { PacketCrypto } from "../dataplane/ports.ts";
import { LIVE } from "../dataplane/verdict.ts";
import { createTwinCrypto } from "../drivers/twin_crypto.ts";

const HEADERS_LEN = 28;
/** Marks packets of this ledger; their number follows. */
const MARK = 0x73696d70;

export interface Packet {
  readonly id: number;
  /** Client that sent it, or undefined: a node did. */
  readonly client: number | undefined;
  /** Session and number under which its client sealed it. */
  index: number;
  seq: number;
  /** Nodes that took it from its client, and clients that it came out at. */
  readonly accepted: number[];
  readonly received: number[];
}

/** One row that is about to be sealed. */
export interface Sealing {
  readonly senderId: number;
  readonly mux: number;
  readonly seq: number;
  /** Number of the packet inside, or -1. */
  readonly packet: number;
}

export class Ledger {
  readonly packets: Packet[] = [];
  /** As sentences. */
  readonly repeatedNonces: string[] = [];
  /** By key, sender id and mux: numbers that were sealed. */
  readonly #sealed = new Map<string, Set<number>>();

  /** A new inner packet. */
  make(client: number | undefined, src: string, dst: string): { readonly packet: Packet; readonly bytes: Uint8Array } {
    const packet: Packet = { id: this.packets.length, client, index: -1, seq: -1, accepted: [], received: [] };
    this.packets.push(packet);
    return { packet, bytes: innerPacket(src, dst, packet.id) };
  }

  packetIn(bytes: Uint8Array): Packet | undefined {
    return this.packets[idOf(bytes)];
  }

  /** Twin crypto for one plane. `onSeal` hears of each row before it is sealed. */
  watch(memory: Memory, onRows: (n: number) => void, onSeal: (sealing: Sealing) => void): PacketCrypto {
    const crypto = createTwinCrypto(memory);
    const keys = new Map<number, string>();
    return {
      ...crypto,
      setAead(slot, key) {
        keys.set(slot, Buffer.from(key.sealKey).toString("hex"));
        return crypto.setAead(slot, key);
      },
      seal: (n) => {
        onRows(n);
        const { verdict, key, sender, mux, seq, type, src, len } = memory.output;
        for (let i = 0; i < n; i++) {
          if (verdict[i] !== LIVE) continue;
          const packet = type[i] < 0 ? -1 : idOf(memory.slab.subarray(src[i], src[i] + len[i]));
          const sealing = { senderId: sender[i] & 0xffff, mux: mux[i] & 0xffff, seq: seq[i] >>> 0, packet };
          this.#use(keys.get(key[i]) ?? "", sealing);
          onSeal(sealing);
        }
        crypto.seal(n);
      },
    };
  }

  #use(key: string, { senderId, mux, seq }: Sealing): void {
    const name = `${key} ${senderId} ${mux}`;
    const used = this.#sealed.get(name) ?? new Set();
    this.#sealed.set(name, used);
    if (used.has(seq)) this.repeatedNonces.push(`sender ${senderId}, mux ${mux}, seq ${seq} twice under one key`);
    used.add(seq);
  }
}

function idOf(bytes: Uint8Array): number {
  if (bytes.length < HEADERS_LEN + 8) return -1;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return view.getUint32(HEADERS_LEN) === MARK ? view.getUint32(HEADERS_LEN + 4) : -1;
}

/** An IPv4 UDP packet with a right header checksum. */
function innerPacket(src: string, dst: string, id: number): Uint8Array {
  const bytes = new Uint8Array(HEADERS_LEN + 8);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x45;
  view.setUint16(2, bytes.length);
  view.setUint16(6, 0x4000);
  bytes[8] = 64;
  bytes[9] = 17;
  view.setInt32(12, parseAddress(src)!.w3);
  view.setInt32(16, parseAddress(dst)!.w3);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~sum & 0xffff);
  view.setUint16(24, 8 + 8);
  view.setUint32(HEADERS_LEN, MARK);
  view.setUint32(HEADERS_LEN + 4, id);
  return bytes;
}

/**
 * The whole pipeline of a packet, over a driver that costs next to nothing: real tables, real stages, the real addon;
 * only socket and device are imitated, by a `PacketIo` that copies prepared packets into the slab. Any number of tunnels
 * and routes; the packets go to all of them in random order, which is the worst that can happen to a cache.
 */
import { remoteOf } from "../base/ip.ts";
import { createMemory, type Memory } from "../dataplane/batch.ts";
import { KEY_SLOTS, OUT_BASE, ROLE_LEFT, ROLE_RIGHT, SLOT_BYTES } from "../dataplane/layout.ts";
import { turnFromDevice, turnFromSocket } from "../dataplane/pipeline.ts";
import { Plane } from "../dataplane/plane.ts";
import type { PacketCrypto, PacketIo } from "../dataplane/ports.ts";
import { createTunnelMemory } from "../dataplane/tunnels.ts";
import { DEVICE_REFUSED, LIVE, SEND_FAILED, SENT, TO_DEVICE } from "../dataplane/verdict.ts";
import { createNativeIo } from "../drivers/native.ts";
import { createNativeCrypto } from "../drivers/native_crypto.ts";
import type { PrefixWords } from "../shard/messages.ts";
import { addTunnel, setKey, type Transforms } from "./keys.ts";
import type { Running } from "./micro.ts";

/** Packets of one native call: what a busy socket delivers. */
export const BATCH = 64;
/** Prepared packets of one pipeline, a multiple of BATCH. */
const PACKETS = 1 << 14;
/** Key slot of the peer that seals the prepared datagrams; tunnels have the slots from 0 on. */
export const PEER_SLOT = KEY_SLOTS - 1;
/** Above the sequence numbers that hint at a restarted peer. */
const FIRST_SEQ = 1 << 30;
/** Headroom of the copied packets. */
const HEADROOM = 64;
const LONGEST = 1400;
export const TYPE_IPV4 = 0x0800;
/** The node behind the tunnels, 192.0.2.1, and where all peers seem to be: 198.51.100.1, port 4444. */
const HERE = 0xc0000201 | 0;
const PEER = remoteOf([0, 0, 0xffff, 0xc6336401 | 0], 4444, 0);

export interface PlaneBench {
  /** "send" is device to socket, "receive" is socket to device. */
  readonly way: "send" | "receive";
  /** Length of the inner packets. */
  readonly bytes: number;
  readonly transforms: Transforms;
  readonly tunnels: number;
  /** At least one per tunnel. */
  readonly routes: number;
}

/** The addon binds one memory per thread: all benchmarks share it. */
let bound: { readonly memory: Memory; readonly crypto: PacketCrypto } | undefined;
export function native(): { readonly memory: Memory; readonly crypto: PacketCrypto } {
  if (bound === undefined) {
    const memory = createMemory();
    createNativeIo(memory);
    bound = { memory, crypto: createNativeCrypto() };
  }
  return bound;
}

/** Numbers that look random and are the same in every run (xorshift32, Marsaglia 2003). Signed 32-bit. */
export function* numbers(): Generator<number, never> {
  for (let x = 0x9e3779b9; ; ) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    yield x | 0;
  }
}

/** Address of route `r`: distinct /32 routes all over 10.0.0.0/8 (an odd factor permutes the numbers modulo 2^24). */
export function routeAddress(r: number): number {
  return (10 << 24) | (Math.imul(r + 1, 0x9e3779b1) & 0xffffff);
}

/** One UDP packet over IPv4 (RFC 791, RFC 768). The checksum is not looked at. */
export function innerPacket(bytes: number, src: number, dst: number): Uint8Array {
  const packet = new Uint8Array(bytes);
  packet.set([0x45, 0, bytes >>> 8, bytes & 0xff, 0, 0, 0x40, 0, 64, 17]);
  const view = new DataView(packet.buffer);
  view.setInt32(12, src);
  view.setInt32(16, dst);
  return packet;
}

/** Rows [0, n) of the output batch: one packet each, to be sealed with the key in `slot` into slots of their own. */
export function fillOutput(memory: Memory, n: number, bytes: number, slot: number): void {
  const { output } = memory;
  for (let i = 0; i < n; i++) {
    output.at[i] = OUT_BASE + i * SLOT_BYTES;
    output.src[i] = i * SLOT_BYTES;
    output.len[i] = bytes;
    output.seg[i] = 0;
    output.hdr[i] = 0;
    output.type[i] = TYPE_IPV4;
    output.verdict[i] = LIVE;
    output.key[i] = slot;
    output.seq[i] = i;
    output.sender[i] = 0;
    output.mux[i] = 0;
  }
}

/** A socket and a device without a kernel: packets come from a list, in turn, and go nowhere. */
class ImitatedIo implements PacketIo {
  private next = 0;
  private readonly memory: Memory;
  private readonly packets: readonly Uint8Array[];

  constructor(memory: Memory, packets: readonly Uint8Array[]) {
    this.memory = memory;
    this.packets = packets;
  }

  rewind(): void {
    this.next = 0;
  }
  poll(): number {
    return 0;
  }
  now(): number {
    return 0;
  }
  receive(_sock: number, max: number): number {
    return this.fill(max);
  }
  readDevice(max: number): number {
    return this.fill(max);
  }
  send(n: number): void {
    const { verdict } = this.memory.output;
    for (let i = 0; i < n; i++) verdict[i] = verdict[i] === LIVE ? SENT : SEND_FAILED;
  }
  writeDevice(n: number): void {
    const { verdict, len } = this.memory.input;
    for (let i = 0; i < n; i++) if (verdict[i] === TO_DEVICE && len[i] === 0) verdict[i] = DEVICE_REFUSED;
  }
  pathMtu(): number {
    return 1500;
  }

  private fill(max: number): number {
    const { input, slab } = this.memory;
    if (this.next === this.packets.length) this.next = 0;
    const n = Math.min(max, BATCH, this.packets.length - this.next);
    for (let i = 0; i < n; i++) {
      const at = i * SLOT_BYTES + HEADROOM;
      const packet = this.packets[this.next + i]!;
      slab.set(packet, at);
      input.at[i] = at;
      input.len[i] = packet.length;
      input.verdict[i] = LIVE;
      input.tunnel[i] = -1;
      input.tos[i] = 0;
      input.seg[i] = 0;
      input.hdr[i] = 0;
    }
    this.next += n;
    return n;
  }
}

/** Builds plane and packets. Pipelines of the same transforms may live side by side: their key slots hold the same keys. */
export function startPipeline(options: PlaneBench): Running {
  const { way, bytes, transforms, tunnels, routes } = options;
  const { memory, crypto } = native();
  const random = numbers();
  const picked = Int32Array.from({ length: PACKETS }, () => (random.next().value >>> 0) % routes);
  const packets = Array.from(picked, (r) =>
    way === "send" ? innerPacket(bytes, HERE, routeAddress(r)) : innerPacket(bytes, routeAddress(r), HERE),
  );
  // What `prepare` puts in their place when they are to be received.
  const datagrams = way === "send" ? packets : packets.map(() => new Uint8Array(0));
  const io = new ImitatedIo(memory, datagrams);
  const plane = buildPlane(io, options);
  const seq = new Uint32Array(tunnels).fill(FIRST_SEQ);
  const seal = (first: number): void => {
    for (let i = 0; i < BATCH; i++) memory.slab.set(packets[first + i]!, i * SLOT_BYTES);
    fillOutput(memory, BATCH, bytes, PEER_SLOT);
    for (let i = 0; i < BATCH; i++) {
      const t = picked[first + i]! % tunnels;
      memory.output.seq[i] = seq[t]!++;
      memory.output.mux[i] = t;
    }
    crypto.seal(BATCH);
    for (let i = 0; i < BATCH; i++) {
      const at = memory.output.at[i]!;
      const sealed = memory.slab.subarray(at, at + memory.output.len[i]!);
      const kept = datagrams[first + i]!;
      // The bytes of the run before are reused: garbage would be collected on the time of the next run.
      if (kept.length === sealed.length) kept.set(sealed);
      else datagrams[first + i] = sealed.slice();
    }
  };
  const counter = way === "send" ? SENT : TO_DEVICE;
  return {
    limit: PACKETS,
    prepare(count) {
      io.rewind();
      if (way === "send") return;
      setKey(crypto, PEER_SLOT, transforms, ROLE_RIGHT);
      for (let first = 0; first < Math.min(count, PACKETS); first += BATCH) seal(first);
      pretendPeer(memory);
    },
    run(count) {
      const before = plane.verdicts[counter]!;
      let done = 0;
      while (done < count) done += way === "send" ? turnFromDevice(plane, 0) : turnFromSocket(plane, 0, 0);
      const arrived = plane.verdicts[counter]! - before;
      if (arrived !== done) {
        throw new Error(`${done - arrived} of ${done} packets were dropped: the measurement is void.`);
      }
      return done;
    },
  };
}

function buildPlane(io: PacketIo, { transforms, tunnels, routes }: PlaneBench): Plane {
  const { memory, crypto } = native();
  const capacity = 2 ** Math.ceil(Math.log2(Math.max(16, tunnels)));
  const plane = new Plane({
    ...{ memory, io, crypto, tunnels: createTunnelMemory(capacity) },
    ...{ ethernet: false, fanoutMax: 1, floodPps: 1, dscp: -1, windowMax: 1024 },
    hashSeed: 1,
  });
  const prefixes: PrefixWords[][] = Array.from({ length: tunnels }, () => []);
  for (let r = 0; r < routes; r++) {
    prefixes[r % tunnels]!.push({ family: 4, w0: 0, w1: 0, w2: 0, w3: routeAddress(r), length: 32 });
  }
  for (let t = 0; t < tunnels; t++) {
    addTunnel(plane, transforms, ROLE_LEFT, {
      ...{ index: t, mux: t, senderId: 0, window: 1024, keepaliveMs: 0, innerMtu: LONGEST },
      ...{ routes: prefixes[t]!, endpoint: PEER, seqNext: 0 },
    });
  }
  return plane;
}

/** All input rows come from where the peers are known to be: nobody seems to roam. */
function pretendPeer({ input }: Memory): void {
  const { w0, w1, w2, w3 } = PEER;
  input.addr0.fill(w0);
  input.addr1.fill(w1);
  input.addr2.fill(w2);
  input.addr3.fill(w3);
  input.port.fill(PEER.port);
  input.sock.fill(PEER.sock);
}

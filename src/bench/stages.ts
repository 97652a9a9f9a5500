/**
 * The stages that the micro benchmarks measure: prefix lookup, SATP transforms, and the whole pipeline of a packet over
 * a driver that costs next to nothing. Real tables, the real addon; only socket and device are imitated, by a `PacketIo`
 * that copies prepared packets into the slab.
 */
import { type SatpContext, satpKeyFromPassphrase, sealSatp } from "../crypto/satp.ts";
import { type Batch, createMemory, type Memory } from "../dataplane/batch.ts";
import { OUT_BASE, SLOT_BYTES } from "../dataplane/layout.ts";
import { turnFromDevice, turnFromSocket } from "../dataplane/pipeline.ts";
import { Plane } from "../dataplane/plane.ts";
import type { PacketCrypto, PacketIo } from "../dataplane/ports.ts";
import { createTunnelMemory } from "../dataplane/tunnels.ts";
import { DEVICE_REFUSED, LIVE, SEND_FAILED, SENT, TO_DEVICE } from "../dataplane/verdict.ts";
import { createNativeIo } from "../drivers/native.ts";
import { createNativeCrypto } from "../drivers/native_crypto.ts";
import { apply } from "../shard/apply.ts";
import { Lpm } from "../table/lpm.ts";
import type { MicroBenchmark } from "./micro.ts";

const ROUTES = 10_000;
const ADDRESSES = 1 << 16;
/** Packets of one native call: what a busy socket delivers. */
const BATCH = 64;
const SMALL = 64;
const LARGE = 1400;
/** Prepared datagrams of the receiving pipeline. Their numbers lie above those that hint at a restarted peer. */
const DATAGRAMS = 1 << 14;
const FIRST_SEQ = 1 << 30;
/** Headroom of the copied packets: payload type and SATP header grow downwards. */
const HEADROOM = 64;
const TYPE_IPV4 = 0x0800;

const LEFT = 0;
const RIGHT = 1;
const AES = { cipherLen: 16, tagLen: 10, kdLen: 16 } as const;
const NULL = { cipherLen: 0, tagLen: -1, kdLen: 0 } as const;
type Transforms = typeof AES | typeof NULL;
const keyOf = (transforms: Transforms, role: number): SatpContext =>
  satpKeyFromPassphrase("benchmark", { ...transforms, role });

/** Numbers that look random and are the same in every run (xorshift32, Marsaglia 2003). */
function* numbers(): Generator<number, never> {
  for (let x = 0x9e3779b9; ; ) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    yield x | 0;
  }
}

function lookup4(): MicroBenchmark {
  const random = numbers();
  const lpm = new Lpm();
  const prefixes = Array.from({ length: ROUTES }, () => random.next().value);
  prefixes.forEach((prefix, i) => void lpm.insert4(prefix, 8 + (i % 25), i));
  // Every second address lies inside a route.
  const addresses = Int32Array.from({ length: ADDRESSES }, (_, i) =>
    i % 2 === 0 ? random.next().value : prefixes[i % ROUTES]!,
  );
  let sum = 0;
  return {
    name: `lpm IPv4, ${ROUTES} routes`,
    unit: "lookup",
    run(count) {
      for (let i = 0; i < count; i++) sum = (sum + lpm.lookup4(addresses[i & (ADDRESSES - 1)])) | 0;
      if (sum === 1 << 31) throw new Error("The sum is only kept so that the loop is not optimized away.");
      return count;
    },
  };
}

function lookup6(): MicroBenchmark {
  const random = numbers();
  const lpm = new Lpm();
  const words = Int32Array.from({ length: 4 * ADDRESSES }, () => random.next().value);
  for (let i = 0; i < ROUTES; i++) {
    lpm.insert6(words[(8 * i) % words.length], words[(8 * i + 1) % words.length], 0, 0, 20 + (i % 45), i);
  }
  let sum = 0;
  return {
    name: `lpm IPv6, ${ROUTES} routes`,
    unit: "lookup",
    run(count) {
      for (let i = 0; i < count; i++) {
        const at = 4 * (i & (ADDRESSES - 1));
        sum = (sum + lpm.lookup6(words[at], words[at + 1], words[at + 2], words[at + 3])) | 0;
      }
      if (sum === 1 << 31) throw new Error("The sum is only kept so that the loop is not optimized away.");
      return count;
    },
  };
}

/** One UDP packet over IPv4 (RFC 791, RFC 768), from the peer's inner address to ours. The checksum is not looked at. */
function innerPacket(bytes: number): Uint8Array {
  const packet = new Uint8Array(bytes);
  packet.set([0x45, 0, bytes >>> 8, bytes & 0xff, 0, 0, 0x40, 0, 64, 17]);
  packet.set([10, 9, 0, 2, 10, 9, 0, 1], 12);
  return packet;
}

/** The addon binds one memory per thread: all benchmarks share it. */
let bound: { readonly memory: Memory; readonly crypto: PacketCrypto } | undefined;
function native(): { readonly memory: Memory; readonly crypto: PacketCrypto } {
  if (bound === undefined) {
    const memory = createMemory();
    createNativeIo(memory);
    bound = { memory, crypto: createNativeCrypto() };
  }
  return bound;
}

/** Key slot of the transform benchmarks; the pipelines use slot 0. */
const SEAL_SLOT = 8;

/** Rows [0, n) of the output batch ask to seal one inner packet as numbers 0 to n - 1. */
function fillOutput(output: Batch, n: number, bytes: number, slot: number): void {
  for (let i = 0; i < n; i++) {
    output.at[i] = OUT_BASE + i * SLOT_BYTES;
    output.src[i] = 0;
    output.len[i] = bytes;
    output.type[i] = TYPE_IPV4;
    output.verdict[i] = LIVE;
    output.key[i] = slot;
    output.seq[i] = i;
    output.sender[i] = 0;
    output.mux[i] = 0;
  }
}

function nativeSeal(bytes: number): MicroBenchmark {
  return {
    name: `seal native, ${bytes} B, batch of ${BATCH}`,
    unit: "packet",
    run(count) {
      const { memory, crypto } = native();
      crypto.setSatp(SEAL_SLOT, keyOf(AES, LEFT));
      memory.slab.set(innerPacket(bytes));
      for (let done = 0; done < count; done += BATCH) {
        fillOutput(memory.output, BATCH, bytes, SEAL_SLOT);
        crypto.seal(BATCH);
      }
      if (memory.output.verdict[0] !== LIVE) throw new Error("The addon refused to seal.");
      return Math.ceil(count / BATCH) * BATCH;
    },
  };
}

function nativeOpen(bytes: number): MicroBenchmark {
  const sealed = Array.from({ length: BATCH }, (_, seq) =>
    sealSatp(keyOf(AES, RIGHT), { seq, senderId: 0, mux: 0 }, TYPE_IPV4, innerPacket(bytes)),
  );
  return {
    name: `open native, ${bytes} B, batch of ${BATCH}, with copy in`,
    unit: "packet",
    run(count) {
      const { memory, crypto } = native();
      const { input } = memory;
      crypto.setSatp(SEAL_SLOT, keyOf(AES, LEFT));
      for (let done = 0; done < count; done += BATCH) {
        for (let i = 0; i < BATCH; i++) {
          const at = i * SLOT_BYTES;
          memory.slab.set(sealed[i]!, at);
          input.at[i] = at;
          input.len[i] = sealed[i]!.length;
          input.verdict[i] = LIVE;
          input.key[i] = SEAL_SLOT;
          input.seq[i] = i;
          input.sender[i] = 0;
          input.mux[i] = 0;
        }
        crypto.open(BATCH);
      }
      if (input.verdict[0] !== LIVE) throw new Error("The addon refused to open.");
      return Math.ceil(count / BATCH) * BATCH;
    },
  };
}

/** node:crypto per packet, for comparison. */
function twinSeal(bytes: number): MicroBenchmark {
  const key = keyOf(AES, LEFT);
  const inner = innerPacket(bytes);
  return {
    name: `seal TypeScript twin, ${bytes} B`,
    unit: "packet",
    run(count) {
      for (let seq = 0; seq < count; seq++) sealSatp(key, { seq, senderId: 0, mux: 0 }, TYPE_IPV4, inner);
      return count;
    },
  };
}

/** A socket and a device without a kernel: packets come from `source`, in turn, and go nowhere. */
function imitatedIo(memory: Memory, source: readonly Uint8Array[], onWrap: () => void): PacketIo {
  const { input, output, slab } = memory;
  let next = 0;
  const fill = (max: number): number => {
    if (next === source.length) {
      next = 0;
      onWrap();
    }
    const n = Math.min(max, BATCH, source.length - next);
    for (let i = 0; i < n; i++) {
      const at = i * SLOT_BYTES + HEADROOM;
      const packet = source[next + i]!;
      slab.set(packet, at);
      input.at[i] = at;
      input.len[i] = packet.length;
      input.verdict[i] = LIVE;
      input.tunnel[i] = -1;
      input.tos[i] = 0;
    }
    next += n;
    return n;
  };
  return {
    poll: () => 0,
    now: () => 0,
    receive: (_sock, max) => fill(max),
    readDevice: (max) => fill(max),
    send(n) {
      for (let i = 0; i < n; i++) output.verdict[i] = output.verdict[i] === LIVE ? SENT : SEND_FAILED;
    },
    writeDevice(n) {
      for (let i = 0; i < n; i++)
        if (input.verdict[i] === TO_DEVICE && input.len[i] === 0) input.verdict[i] = DEVICE_REFUSED;
    },
    pathMtu: () => 1500,
  };
}

/** `way`: "send" is device to socket, "receive" is socket to device. */
function pipeline(way: "send" | "receive", bytes: number, transforms: Transforms): MicroBenchmark {
  const label = transforms === AES ? "aes-ctr-128 + sha1" : "null";
  let plane: Plane | undefined;
  const build = (): Plane => {
    const { memory, crypto } = native();
    const inner = innerPacket(bytes);
    const peer = keyOf(transforms, RIGHT);
    const source =
      way === "send"
        ? [...Array(BATCH)].map(() => inner)
        : [...Array(DATAGRAMS)].map((_, i) =>
            sealSatp(peer, { seq: FIRST_SEQ + i, senderId: 0, mux: 0 }, TYPE_IPV4, inner),
          );
    // The prepared numbers come round again: the window forgets them, as if the tunnel were new.
    const io = imitatedIo(memory, source, () => way === "receive" && plane?.replay.removeTunnel(0));
    const tunnels = createTunnelMemory(16);
    const built = new Plane({
      memory,
      tunnels,
      io,
      crypto,
      ethernet: false,
      fanoutMax: 1,
      floodPps: 1,
      dscp: -1,
      windowMax: 1024,
      hashSeed: 1,
    });
    apply(built, {
      kind: "add",
      tunnel: {
        index: 0,
        mux: 0,
        senderId: 0,
        key: keyOf(transforms, LEFT),
        window: 1024,
        keepaliveMs: 0,
        innerMtu: LARGE,
        routes: undefined,
        endpoint: { words: [0, 0, 0xffff, 0xc0000202 | 0], port: 4444, sock: 0 },
        seqNext: 0,
      },
    });
    built.tunnels.seqLimit[0] = Number.MAX_SAFE_INTEGER;
    return built;
  };
  return {
    name: `pipeline ${way}, ${bytes} B, ${label}`,
    unit: "packet",
    run(count) {
      plane ??= build();
      const counter = way === "send" ? SENT : TO_DEVICE;
      // Key slot 0 is shared by all pipelines.
      plane.crypto.setSatp(0, keyOf(transforms, LEFT));
      const before = plane.verdicts[counter];
      let done = 0;
      while (done < count) done += way === "send" ? turnFromDevice(plane, 0) : turnFromSocket(plane, 0, 0);
      const arrived = plane.verdicts[counter] - before;
      if (arrived !== done)
        throw new Error(`${done - arrived} of ${done} packets were dropped: the measurement is void.`);
      return done;
    },
  };
}

/** All stages, cheapest first. Needs the addon; throws what loading it throws. */
export function stages(): MicroBenchmark[] {
  const ways = ["send", "receive"] as const;
  return [
    lookup4(),
    lookup6(),
    ...[SMALL, LARGE].flatMap((bytes) => [nativeSeal(bytes), nativeOpen(bytes), twinSeal(bytes)]),
    ...ways.flatMap((way) =>
      [SMALL, LARGE].flatMap((bytes) => [pipeline(way, bytes, NULL), pipeline(way, bytes, AES)]),
    ),
  ];
}

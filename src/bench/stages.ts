/**
 * The stages that the micro part measures: prefix lookup, transforms, and the whole pipeline with one tunnel. The first
 * one is foreign work of node:crypto, against which the regression check weighs the others.
 */
import { createHash } from "node:crypto";
import { sealSatp } from "../crypto/satp.ts";
import { ROLE_LEFT, ROLE_RIGHT, SLOT_BYTES } from "../dataplane/layout.ts";
import { LIVE } from "../dataplane/verdict.ts";
import { Lpm } from "../table/lpm.ts";
import { satpKey, setKey, type Transforms } from "./keys.ts";
import type { MicroBenchmark } from "./micro.ts";
import {
  BATCH,
  fillOutput,
  innerPacket,
  native,
  numbers,
  PEER_SLOT,
  routeAddress,
  startPipeline,
  TYPE_IPV4,
} from "./plane_bench.ts";

const ROUTES = 10_000;
const ADDRESSES = 1 << 16;
const SMALL = 64;
const LARGE = 1400;
/** Key slot of the transform benchmarks. */
const SLOT = PEER_SLOT - 1;

/** Name of the stage that is none of ours. */
export const REFERENCE = "reference: SHA-1 of node:crypto, 64 KiB";

function reference(): MicroBenchmark {
  return {
    name: REFERENCE,
    unit: "digest",
    start() {
      const message = new Uint8Array(64 << 10);
      return {
        run(count) {
          for (let i = 0; i < count; i++) createHash("sha1").update(message).digest();
          return count;
        },
      };
    },
  };
}

function lookup4(): MicroBenchmark {
  return {
    name: `lpm IPv4, ${ROUTES} routes`,
    unit: "lookup",
    start() {
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
        run(count) {
          for (let i = 0; i < count; i++) sum = (sum + lpm.lookup4(addresses[i & (ADDRESSES - 1)])) | 0;
          if (sum === 1 << 31) throw new Error("The sum is only kept so that the loop is not optimized away.");
          return count;
        },
      };
    },
  };
}

function lookup6(): MicroBenchmark {
  return {
    name: `lpm IPv6, ${ROUTES} routes`,
    unit: "lookup",
    start() {
      const random = numbers();
      const lpm = new Lpm();
      const words = Int32Array.from({ length: 4 * ADDRESSES }, () => random.next().value);
      for (let i = 0; i < ROUTES; i++) {
        lpm.insert6(words[(8 * i) % words.length], words[(8 * i + 1) % words.length], 0, 0, 20 + (i % 45), i);
      }
      let sum = 0;
      return {
        run(count) {
          for (let i = 0; i < count; i++) {
            const at = 4 * (i & (ADDRESSES - 1));
            sum = (sum + lpm.lookup6(words[at], words[at + 1], words[at + 2], words[at + 3])) | 0;
          }
          if (sum === 1 << 31) throw new Error("The sum is only kept so that the loop is not optimized away.");
          return count;
        },
      };
    },
  };
}

const packetOf = (bytes: number): Uint8Array => innerPacket(bytes, routeAddress(1), routeAddress(2));

function nativeSeal(bytes: number, transforms: Transforms): MicroBenchmark {
  return {
    name: `seal native, ${bytes} B, ${transforms}`,
    unit: "packet",
    start() {
      const { memory, crypto } = native();
      setKey(crypto, SLOT, transforms, ROLE_LEFT);
      for (let i = 0; i < BATCH; i++) memory.slab.set(packetOf(bytes), i * SLOT_BYTES);
      return {
        run(count) {
          for (let done = 0; done < count; done += BATCH) {
            fillOutput(memory, BATCH, bytes, SLOT);
            crypto.seal(BATCH);
          }
          if (memory.output.verdict[0] !== LIVE) throw new Error("The addon refused to seal.");
          return Math.ceil(count / BATCH) * BATCH;
        },
      };
    },
  };
}

function nativeOpen(bytes: number, transforms: Transforms): MicroBenchmark {
  return {
    name: `open native, ${bytes} B, ${transforms}, with copy in`,
    unit: "packet",
    start() {
      const { memory, crypto } = native();
      const { input, output } = memory;
      setKey(crypto, SLOT, transforms, ROLE_RIGHT);
      for (let i = 0; i < BATCH; i++) memory.slab.set(packetOf(bytes), i * SLOT_BYTES);
      fillOutput(memory, BATCH, bytes, SLOT);
      crypto.seal(BATCH);
      const sealed = Array.from({ length: BATCH }, (_, i) =>
        memory.slab.slice(output.at[i]!, output.at[i]! + output.len[i]!),
      );
      setKey(crypto, SLOT, transforms, ROLE_LEFT);
      return {
        run(count) {
          for (let done = 0; done < count; done += BATCH) {
            for (let i = 0; i < BATCH; i++) {
              const at = i * SLOT_BYTES;
              memory.slab.set(sealed[i]!, at);
              input.at[i] = at;
              input.len[i] = sealed[i]!.length;
              input.verdict[i] = LIVE;
              input.key[i] = SLOT;
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
    },
  };
}

/** node:crypto per packet, for comparison. */
function twinSeal(bytes: number): MicroBenchmark {
  const transforms = "aes-ctr-128 + sha1";
  return {
    name: `seal TypeScript twin, ${bytes} B, ${transforms}`,
    unit: "packet",
    start() {
      const key = satpKey(transforms, ROLE_LEFT);
      const inner = packetOf(bytes);
      return {
        run(count) {
          for (let seq = 0; seq < count; seq++) sealSatp(key, { seq, senderId: 0, mux: 0 }, TYPE_IPV4, inner);
          return count;
        },
      };
    },
  };
}

function pipeline(way: "send" | "receive", bytes: number, transforms: Transforms): MicroBenchmark {
  return {
    name: `pipeline ${way}, ${bytes} B, ${transforms}`,
    unit: "packet",
    start: () => startPipeline({ way, bytes, transforms, tunnels: 1, routes: 1 }),
  };
}

/** All stages, cheapest first. Building them costs nothing; starting one needs the addon and throws what that throws. */
export function stages(): MicroBenchmark[] {
  const sizes = [SMALL, LARGE];
  const ciphers: readonly Transforms[] = ["aes-ctr-128 + sha1", "aes-128-gcm"];
  const all: readonly Transforms[] = ["null", ...ciphers];
  return [
    reference(),
    lookup4(),
    lookup6(),
    ...sizes.flatMap((bytes) => [
      ...ciphers.flatMap((transforms) => [nativeSeal(bytes, transforms), nativeOpen(bytes, transforms)]),
      twinSeal(bytes),
    ]),
    ...(["send", "receive"] as const).flatMap((way) =>
      sizes.flatMap((bytes) => all.map((transforms) => pipeline(way, bytes, transforms))),
    ),
  ];
}

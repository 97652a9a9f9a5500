/**
 * A million packets through the whole pipeline with the native transforms, and not one garbage collection. One plane
 * talks to itself: without key derivation both roles have the same keys, so it can open what it has sealed.
 */

import v8 from "node:v8";
import { expect, it } from "vitest";
import { remoteOf } from "../../src/base/ip.ts";
import { createMemory } from "../../src/dataplane/batch.ts";
import { turnFromDevice, turnFromSocket } from "../../src/dataplane/pipeline.ts";
import { Plane } from "../../src/dataplane/plane.ts";
import { createTunnelMemory } from "../../src/dataplane/tunnels.ts";
import { EMPTY, TO_DEVICE } from "../../src/dataplane/verdict.ts";
import { MemoryIo } from "../../src/drivers/memory_io.ts";
import { MemoryNetwork } from "../../src/drivers/memory_network.ts";
import { createNativeIo } from "../../src/drivers/native.ts";
import { createNativeCrypto } from "../../src/drivers/native_crypto.ts";
import { apply } from "../../src/shard/apply.ts";
import { packet4 } from "./world.ts";

const PACKETS = 1_000_000;

it("collects no garbage in a million packets", () => {
  const network = new MemoryNetwork();
  const memory = createMemory();
  const native = createNativeIo(memory); // binds the memory for the native transforms; its sockets are not used
  const io = new MemoryIo({ memory, network, addresses: ["192.0.2.1"] });
  io.openSocket("192.0.2.1", 4444);
  io.openDevice("tun0", false);
  const plane = new Plane({
    ...{ memory, io, crypto: createNativeCrypto(), tunnels: createTunnelMemory(16) },
    ...{ ethernet: false, fanoutMax: 1, floodPps: 1, dscp: -1, windowMax: 2048, hashSeed: 1 },
  });
  plane.tunnels.seqLimit[0] = 2 ** 32;
  const empty = new Uint8Array(0);
  apply(plane, {
    kind: "add",
    tunnel: {
      ...{
        index: 0,
        mux: 1,
        senderId: 0,
        window: 2048,
        keepaliveMs: 0,
        innerMtu: 1400,
        routes: undefined,
        seqNext: 64,
      },
      key: { cipherLen: 16, tagLen: 10, kdLen: 0, role: 0, masterKey: empty, masterSalt: empty },
      endpoint: remoteOf([0, 0, 0xffff, 0xc0000201 | 0], 4444, 0),
    },
  });
  const packet = packet4("10.9.0.1", "10.9.0.2", 36);
  const sink = new Uint8Array(2048);
  const run = (packets: number) => {
    for (let sent = 0; sent < packets; sent += 256) {
      for (let i = 0; i < 256; i++) io.device!.inject(packet, 0, packet.length);
      turnFromDevice(plane, network.nowMs);
      turnFromSocket(plane, 0, network.nowMs);
      while (io.device!.takeInto(sink, 0) >= 0);
    }
  };
  run(50_000); // compiled by now
  const before = plane.verdicts[TO_DEVICE];
  const profiler = new v8.GCProfiler();
  profiler.start();
  run(PACKETS);
  const { statistics } = profiler.stop();
  native.close();
  expect(plane.verdicts[TO_DEVICE] - before).toBeGreaterThanOrEqual(PACKETS);
  expect(plane.verdicts.slice(EMPTY).every((n) => n === 0)).toBe(true);
  expect(statistics.map((s) => s.gcType)).toEqual([]);
});

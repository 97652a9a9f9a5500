/**
 * Runs packets through the pipeline before real ones come: code that V8 has not compiled yet is ten times slower, and
 * the first pings of a tunnel would show it. The plane is a scratch one that talks to itself in memory, over the same
 * slab and the same native transforms; when it ends, nothing of it is left but compiled code.
 */
import { remoteOf } from "../base/ip.ts";
import type { Memory } from "../dataplane/batch.ts";
import { ROLE_LEFT } from "../dataplane/layout.ts";
import { turnFromDevice, turnFromSocket, turnKeepalive } from "../dataplane/pipeline.ts";
import { Plane } from "../dataplane/plane.ts";
import type { PacketCrypto } from "../dataplane/ports.ts";
import { createTunnelMemory } from "../dataplane/tunnels.ts";
import { MemoryIo } from "../drivers/memory_io.ts";
import { MemoryNetwork } from "../drivers/memory_network.ts";
import { apply } from "../shard/apply.ts";

/** Turns of one packet each way: enough for V8's optimising compiler, about a tenth of a second. */
const TURNS = 4000;
const PACKET_LEN = 84;
const ADDRESS = "192.0.2.1";
const ADDRESS_WORD = 0xc0000201 | 0;
const PORT = 4444;

export function warmUp(memory: Memory, crypto: PacketCrypto): void {
  const network = new MemoryNetwork();
  const io = new MemoryIo({ memory, network, addresses: [ADDRESS], depth: 4 });
  io.openSocket(ADDRESS, PORT);
  io.openDevice("warm-up", false);
  const plane = new Plane({
    ...{ memory, io, crypto, tunnels: createTunnelMemory(16) },
    ...{ ethernet: false, fanoutMax: 1, floodPps: 1, dscp: -1, windowMax: 64, hashSeed: 0 },
  });
  plane.tunnels.seqLimit[0] = 2 ** 32;
  const none = new Uint8Array(0);
  apply(plane, {
    kind: "add",
    tunnel: {
      ...{ index: 0, mux: 1, senderId: 0, window: 64, keepaliveMs: 1, innerMtu: 1400, seqNext: 64 },
      routes: undefined,
      // Without key derivation both roles have the same keys, so the plane can open what it has sealed.
      key: { cipherLen: 16, tagLen: 10, kdLen: 0, role: ROLE_LEFT, masterKey: none, masterSalt: none },
      endpoint: remoteOf([0, 0, 0xffff, ADDRESS_WORD], PORT, 0),
    },
  });
  const packet = new Uint8Array(PACKET_LEN);
  packet.set([0x45, 0, 0, PACKET_LEN, 0, 0, 0x40, 0, 64, 17, 0, 0, 198, 51, 100, 1, 198, 51, 100, 2]);
  const sink = new Uint8Array(PACKET_LEN);
  for (let turn = 0; turn < TURNS; turn++) {
    io.device!.inject(packet, 0, PACKET_LEN);
    io.poll(0);
    turnFromDevice(plane, turn);
    turnFromSocket(plane, 0, turn);
    io.device!.takeInto(sink, 0);
    if (turn % 64 === 0) turnKeepalive(plane, turn);
  }
  crypto.clear(0);
}

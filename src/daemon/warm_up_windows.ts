/**
 * Runs what a shard does when a session moves between nodes, before one does: it is rare, and a window is 2048 numbers long,
 * so code that V8 has not compiled yet takes a millisecond for it. On a scratch plane in memory, like `warm_up.ts`.
 */
import { remoteOf } from "../base/ip.ts";
import { PING } from "../channel/kinds.ts";
import { encodeUnnumbered, TOKEN_LEN } from "../channel/unnumbered.ts";
import { sealAead } from "../crypto/aead.ts";
import type { Memory } from "../dataplane/batch.ts";
import { ALG_AES_256_GCM } from "../dataplane/layout.ts";
import { turnFromSocket } from "../dataplane/pipeline.ts";
import { Plane } from "../dataplane/plane.ts";
import type { PacketCrypto } from "../dataplane/ports.ts";
import { createTunnelMemory, IN_NODE } from "../dataplane/tunnels.ts";
import { MemoryIo } from "../drivers/memory_io.ts";
import { MemoryNetwork, type MemorySocket, PacketRing } from "../drivers/memory_network.ts";
import { apply } from "../shard/apply.ts";
import type { ToShard, Yielded } from "../shard/messages.ts";

const MOVES = 300;
const WINDOW = 2048;
const SERVICE = "192.0.2.1";
const SERVICE_WORDS = [0, 0, 0xffff, 0xc0000201 | 0] as const;
const CLIENT_WORDS = [0, 0, 0xffff, 0xc0000202 | 0] as const;
const PORT = 4444;
const INDEX = 0x1234_0007;
const ROW = 0;
const IPV4 = 0x0800;
/** From the client's inner address to the node's. */
const PACKET = Uint8Array.of(
  0x45,
  0,
  0,
  28,
  0,
  0,
  0x40,
  0,
  64,
  17,
  0,
  0,
  198,
  51,
  100,
  2,
  198,
  51,
  100,
  1,
  ...Array(8),
);
const INNER = { family: 4, w0: 0, w1: 0, w2: 0xffff, length: 32 } as const;

/** Returns how many packets reached the device: all of them, one that was held and one behind it in each move. */
export function warmUpWindows(
  memory: Memory,
  crypto: PacketCrypto,
): { readonly sent: number; readonly arrived: number } {
  const network = new MemoryNetwork();
  const io = new MemoryIo({ memory, network, addresses: [SERVICE], depth: 4 });
  io.openSocket(SERVICE, PORT);
  io.openDevice("warm-up", false);
  const client: MemorySocket = {
    ...{ host: [CLIENT_WORDS], family: 4, address: CLIENT_WORDS, port: PORT, queue: new PacketRing(4) },
  };
  network.sockets.push(client);
  const plane = new Plane({
    ...{ memory, io, crypto, tunnels: createTunnelMemory(16), group: true },
    ...{ ethernet: false, fanoutMax: 1, floodPps: 1, dscp: -1, windowMax: WINDOW, hashSeed: 0 },
  });
  plane.sessions = IN_NODE;
  const [clientKey, nodeKey] = [1, 2].map((fill) => new Uint8Array(32).fill(fill));
  const [local, inner] = [1, 2].map((last) => ({ ...INNER, w3: (0xc6336400 + last) | 0 }));
  const endpoint = remoteOf(CLIENT_WORDS, PORT, 0);
  apply(plane, { kind: "local", addresses: [local], broadcasts: [] });
  apply(plane, {
    kind: "session",
    session: {
      ...{ index: ROW, owner: 1, window: WINDOW, keepaliveMs: 0, innerMtu: 1400, pending: false, foreign: true },
      ...{ end: "node", sessionIndex: INDEX, receiver: 1, senderId: 1, routes: [inner], endpoint },
      key: { algorithm: ALG_AES_256_GCM, sealKey: nodeKey, openKey: clientKey },
    },
  });
  const windows: Yielded[] = [];
  const tell = (message: ToShard) => apply(plane, message, { answer: (answer) => windows.push(answer) });
  let arrived = 0;
  const sink = new Uint8Array(WINDOW);
  for (let seq = 1; seq <= 2 * MOVES; seq += 2) {
    const [held, owned] = [seq, seq + 1].map((n) => sealed(clientKey, nodeKey, n));
    network.deliver(client, CLIENT_WORDS, ...SERVICE_WORDS, PORT, held, 0, held.length, 0);
    io.poll(0);
    turnFromSocket(plane, 0, seq);
    plane.control.drain();
    const given = windows.pop();
    const { highest, words } = given?.result === "given" ? given : { highest: -1, words: new Int32Array(0) };
    tell({
      kind: "seal",
      index: ROW,
      payload: encodeUnnumbered({ kind: PING, token: nodeKey.subarray(0, TOKEN_LEN) }),
      to: endpoint,
    });
    tell({ kind: "own", index: ROW, highest, words });
    tell({ kind: "inject", datagrams: [held, owned].map((bytes) => ({ bytes, from: endpoint, tos: 0 })) });
    while (io.device!.takeInto(sink, 0) >= 0) arrived += 1;
    while (client.queue.shift(sink, 0) >= 0);
    plane.events.drain();
    tell({ kind: "yield", index: ROW, seq: seq + 2, token: seq });
  }
  crypto.clear(ROW);
  return { sent: 2 * MOVES, arrived };
}

function sealed(sealKey: Uint8Array, openKey: Uint8Array, seq: number): Uint8Array {
  const header = { seq, senderId: INDEX >>> 15, mux: 0x8000 | (INDEX & 0x7fff) };
  return sealAead({ algorithm: ALG_AES_256_GCM, sealKey, openKey }, header, IPV4, PACKET);
}

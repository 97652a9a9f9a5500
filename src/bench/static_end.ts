/**
 * One end of the static-key AES-128-GCM tunnel of the end-to-end benchmark: the data plane and the drivers of the daemon
 * with the loop of its shard, but keys from `keys.ts` and nothing around it. Not for use: its keys are public and its
 * sequence numbers begin anew at each start.
 */
import { createMemory } from "../dataplane/batch.ts";
import { ROLE_LEFT, ROLE_RIGHT } from "../dataplane/layout.ts";
import { Plane } from "../dataplane/plane.ts";
import { createTunnelMemory } from "../dataplane/tunnels.ts";
import { hostNetwork } from "../drivers/host_network.ts";
import { createNativeIo } from "../drivers/native.ts";
import { createNativeCrypto } from "../drivers/native_crypto.ts";
import { runLoop } from "../shard/loop.ts";
import { addTunnel } from "./keys.ts";
import { OUTER } from "./netns.ts";
import { DEVICE, INNER, other, type Side } from "./tunnel_ends.ts";

const PORT = 4444;
/** As a classic tunnel with `-n`. */
const MTU = 1400;
const REMOTE_WORD = { left: 0xc0000201 | 0, right: 0xc0000202 | 0 } as const;

/** Never returns while the device is there: the loop has this thread, a signal ends the process. */
export async function runStaticEnd(side: Side): Promise<void> {
  const memory = createMemory();
  const io = createNativeIo(memory);
  try {
    const plane = new Plane({
      ...{ memory, io, crypto: createNativeCrypto(), tunnels: createTunnelMemory(16) },
      ...{ ethernet: false, fanoutMax: 1, floodPps: 1, dscp: -1, windowMax: 1024 },
      hashSeed: 1,
    });
    const sock = io.openSocket(OUTER[side].v4, PORT);
    const deviceName = io.openDevice(DEVICE, false);
    await hostNetwork.configure({ name: deviceName, mtuBytes: MTU, addresses: [`${INNER[side]}/24`], routes: [] });
    addTunnel(plane, "aes-128-gcm", side === "left" ? ROLE_LEFT : ROLE_RIGHT, {
      ...{ index: 0, mux: 0, senderId: 0, window: 1024, keepaliveMs: 0, innerMtu: MTU, routes: undefined },
      ...{ endpoint: { words: [0, 0, 0xffff, REMOTE_WORD[other(side)]], port: PORT, sock }, seqNext: 0 },
    });
    // Nobody rings this loop, so it has no messages; events have no reader.
    const errno = runLoop(plane, 1, {
      readInbox: () => true,
      flushControl: () => undefined,
      flushEvents: () => void plane.events.drain(),
    });
    throw new Error(`The device ${deviceName} is gone (errno ${-errno}).`);
  } finally {
    io.close();
  }
}

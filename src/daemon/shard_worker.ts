/**
 * Entry of a shard's worker thread: opens sockets and device, builds the plane with native drivers, runs the loop.
 * Blocks its thread in `poll`; messages are read without an event loop when the wake eventfd rings.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { AnyhopError } from "../base/errors.ts";
import { createMemory } from "../dataplane/batch.ts";
import { Plane } from "../dataplane/plane.ts";
import { IN_CLIENT, IN_NODE, NO_SESSION } from "../dataplane/tunnels.ts";
import { createNativeIo, type NativeIo, wake } from "../drivers/native.ts";
import { createNativeCrypto } from "../drivers/native_crypto.ts";
import { offloadsSwitchedOff } from "../drivers/native_offloads.ts";
import { apply, type Hearers } from "../shard/apply.ts";
import { runLoop } from "../shard/loop.ts";
import type { FromShard, ShardSetup, ToShard, Yielded } from "../shard/messages.ts";
import { warmUp } from "./warm_up.ts";
import { warmUpWindows } from "./warm_up_windows.ts";

/** Messages between two batches of packets: with 64 sessions in each, about 4 ms. */
const MESSAGES_A_ROUND = 16;

const port = parentPort!;
const setup = workerData as ShardSetup;
const tell = (message: FromShard) => port.postMessage(message);

function main(): void {
  const memory = createMemory();
  const io = createNativeIo(memory, { without: offloadsSwitchedOff(process.env) });
  try {
    const crypto = createNativeCrypto();
    warmUp(memory, crypto);
    if (setup.group) warmUpWindows(memory, crypto);
    const plane = new Plane({ ...setup, memory, io, crypto, ethernet: setup.device.ethernet });
    plane.sessions = { none: NO_SESSION, node: IN_NODE, client: IN_CLIENT }[setup.sessions];
    const sockets = setup.listen.map((l) => openSocket(io, l));
    const deviceName = io.openDevice(setup.device.name, setup.device.ethernet, setup.share);
    tell({
      kind: "ready",
      deviceName,
      sockets,
      ports: sockets.map((s) => (s < 0 ? 0 : io.socketPort(s))),
      receiveBuffers: sockets.map((s) => (s < 0 ? 0 : io.receiveBuffer(s))),
      wakeFd: io.wakeFd,
      offloads: io.offloads(),
    });
    const errno = runLoop(plane, sockets.filter((s) => s >= 0).length, {
      readInbox() {
        const answers: Yielded[] = [];
        const hearers: Hearers = {
          answer: (answer) => answers.push(answer),
          refused: (refused) => tell({ kind: "key_refused", refused }),
        };
        let going = true;
        for (let left = MESSAGES_A_ROUND; going && left > 0; left--) {
          const next = receiveMessageOnPort(port);
          if (next === undefined) break;
          for (const message of next.message as readonly ToShard[]) going &&= apply(plane, message, hearers);
          // The rest after one batch of packets.
          if (left === 1) wake(io.wakeFd);
        }
        if (answers.length > 0) tell({ kind: "yielded", answers });
        return going;
      },
      flushEvents() {
        const lost = plane.events.lost;
        plane.events.lost = 0;
        tell({ kind: "events", words: plane.events.drain(), lost });
      },
      flushControl() {
        const { words, bytes } = plane.control.drain();
        // Moved, not copied once more: a flip at full speed hands over megabytes.
        port.postMessage({ kind: "control", words, bytes } satisfies FromShard, [words.buffer, bytes.buffer]);
      },
      flushMacs: (words) => tell({ kind: "macs", words }),
    });
    if (errno !== 0) {
      throw new AnyhopError(
        "device",
        `The device ${deviceName} is gone (errno ${-errno}): was it deleted? Start anyhop again.`,
      );
    }
    tell({ kind: "stopped" });
  } catch (error) {
    const code = error instanceof AnyhopError ? error.code : "shard";
    tell({ kind: "failed", code, message: (error as Error).message });
  } finally {
    io.close();
    port.close();
  }
}

/** Like the originals, a host without IPv6 (or IPv4) may do without the wildcard address of that family. */
function openSocket(io: NativeIo, { address, port }: ShardSetup["listen"][number]): number {
  try {
    return io.openSocket(address, port, setup.share);
  } catch (error) {
    const optional = setup.listen.length > 1 && (address === "::" || address === "0.0.0.0");
    if (optional && (error as AnyhopError).code === "EAFNOSUPPORT") return -1;
    throw error;
  }
}

main();

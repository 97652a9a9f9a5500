/**
 * Starts a shard in a worker thread and wakes it: a message alone would wait until the loop's next packet, so the shard's
 * eventfd is rung. What is decided on one message travels together: an answered handshake is three messages, and a transfer
 * of its own for each would cost more than the copy. It does not wait for what else the control thread has to do, since
 * packets may wait for it. A message must not change after it was posted.
 */
import { Worker } from "node:worker_threads";
import type { ShardHandle } from "../control/spec/ports.ts";
import { wake } from "../drivers/native.ts";
import type { FromShard, ShardSetup, ToShard } from "../shard/messages.ts";

/** Some milliseconds of a busy control plane: nothing waits longer for company. */
const MESSAGES_PER_RING = 32;
/** What is heavy to apply goes alone: packets wait meanwhile. */
const isHeavy = (message: ToShard): boolean =>
  message.kind === "sessions" || (message.kind === "inject" && message.datagrams.length > 1);

export function startShardThread(setup: ShardSetup): ShardHandle {
  const worker = new Worker(new URL("./shard_worker.js", import.meta.url), {
    workerData: setup,
    // The pipeline allocates nothing; a small young generation keeps the thread small.
    resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 256 },
  });
  let wakeFd = -1;
  let waiting: ToShard[] = [];
  let listener: (message: FromShard) => void = () => {};
  const ring = () => {
    worker.postMessage(waiting);
    waiting = [];
    if (wakeFd >= 0) wake(wakeFd);
  };
  const leave = () => {
    if (waiting.length > 0) ring();
  };
  worker.on("message", (message: FromShard) => {
    if (message.kind === "ready") {
      wakeFd = message.wakeFd;
      // For what was posted before.
      wake(wakeFd);
    }
    if (message.kind === "stopped" || message.kind === "failed") wakeFd = -1;
    listener(message);
  });
  worker.on("error", (error) =>
    listener({
      kind: "failed",
      code: "shard",
      message: `The packet loop has crashed: ${error.stack ?? error.message}`,
    }),
  );
  return {
    post(message: ToShard) {
      waiting.push(message);
      if (waiting.length >= MESSAGES_PER_RING || isHeavy(message)) ring();
      else if (waiting.length === 1) queueMicrotask(leave);
    },
    onMessage(next) {
      listener = next;
    },
  };
}

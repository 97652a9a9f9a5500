/**
 * Starts a shard in a worker thread and wakes it: a message alone would wait until the loop's next packet, so every
 * post also rings the shard's eventfd.
 */
import { Worker } from "node:worker_threads";
import type { ShardHandle } from "../control/ports.ts";
import { wake } from "../drivers/native.ts";
import type { FromShard, ShardSetup, ToShard } from "../shard/messages.ts";

export function startShardThread(setup: ShardSetup): ShardHandle {
  const worker = new Worker(new URL("./shard_worker.js", import.meta.url), {
    workerData: setup,
    // The pipeline allocates nothing; a small young generation keeps the thread small.
    resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 256 },
  });
  let wakeFd = -1;
  let rings = false;
  let listener: (message: FromShard) => void = () => {};
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
      worker.postMessage(message);
      if (rings) return;
      // One ring for all messages of this go of the event loop.
      rings = true;
      queueMicrotask(() => {
        rings = false;
        if (wakeFd >= 0) wake(wakeFd);
      });
    },
    onMessage(next) {
      listener = next;
    },
  };
}

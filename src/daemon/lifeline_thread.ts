/**
 * Starts the lifeline in a worker thread of its own, which does nothing else: what the control thread is busy with never
 * delays a beat. Its memory is its own, so its garbage is collected in a moment.
 */
import { Worker } from "node:worker_threads";
import { type LifelineEvent, PAUSE_MS } from "../cluster/lifeline_types.ts";
import type { WatchStatus } from "../cluster/lifeline_watch.ts";
import type { LifelinePort } from "../control/spec/ports.ts";
import { controlRan, createLease, isFenced } from "../dataplane/lease.ts";
import { systemClock } from "./clock.ts";
import type { FromLifeline, LifelineSetup, ToLifeline } from "./lifeline_messages.ts";

/** `failed` hears why this node can't go on. */
export function startLifelineThread(
  setup: Omit<LifelineSetup, "lease">,
  failed: (message: string) => void,
): LifelinePort {
  const lease = createLease(PAUSE_MS);
  const worker = new Worker(new URL("./lifeline_worker.js", import.meta.url), {
    workerData: { ...setup, lease } satisfies LifelineSetup,
    resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 },
    // It closes descriptors that the addon opened (closedFirst in drivers/native.ts). Node, which has not seen them
    // being opened, would print a warning for each.
    trackUnmanagedFds: false,
  });
  const early: LifelineEvent[] = [];
  let listener: (event: LifelineEvent) => void = (event) => void early.push(event);
  let closed = false;
  let watches: readonly WatchStatus[] = [];
  worker.on("message", (message: FromLifeline) => {
    if (message.kind === "event") listener(message.event);
    else if (message.kind === "status") watches = message.watches;
    else failed(message.reason);
  });
  worker.on("error", (error) => failed(`The thread of the lifeline has crashed: ${error.stack ?? error.message}`));
  const post = (message: ToLifeline) => {
    if (!closed) worker.postMessage(message);
  };
  return {
    lease,
    onEvent(next) {
      listener = next;
      for (const event of early.splice(0)) next(event);
    },
    heard: (node, ms) => post({ kind: "heard", node, ms }),
    agreed: (agreed) => post({ kind: "agreed", agreed }),
    setPeers: (peers) => post({ kind: "peers", peers }),
    ran: () => controlRan(lease, systemClock.monotonicMs()),
    fenced: () => isFenced(lease, systemClock.monotonicMs()),
    status: () => watches,
    close() {
      post({ kind: "close" });
      closed = true;
    },
  };
}

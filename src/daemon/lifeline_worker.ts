/** Entry of the lifeline's thread: the state machine (cluster/lifeline.ts) on real sockets. */
import { parentPort, workerData } from "node:worker_threads";
import { Lifeline } from "../cluster/lifeline.ts";
import { systemEntropy } from "../crypto/entropy.ts";
import { controlSilentMs, raiseFence, renewLease } from "../dataplane/lease.ts";
import { LifelineSockets } from "../drivers/lifeline_sockets.ts";
import { systemClock } from "./clock.ts";
import type { FromLifeline, LifelineSetup, ToLifeline } from "./lifeline_messages.ts";

/** So old is what `status` says of it at most. */
const STATUS_MS = 1000;

const port = parentPort!;
const { lease, own, ...setup } = workerData as LifelineSetup;
const tell = (message: FromLifeline) => port.postMessage(message);
const now = { ms: systemClock.monotonicMs(), wallMs: systemClock.wallMs() };

const sockets = new LifelineSockets(new Lifeline(now, { ...setup, entropy: systemEntropy }), {
  clock: systemClock,
  own,
  tell(event) {
    // Before the control thread hears of it, and before the shard sees that this thread runs again.
    if (event.kind === "fenced") raiseFence(lease, event.fence);
    tell({ kind: "event", event });
    tellStatus();
  },
  ran: (nowMs) => renewLease(lease, nowMs),
  controlSilentMs: (nowMs) => controlSilentMs(lease, nowMs),
  failed: (reason) =>
    tell({
      kind: "failed",
      reason: `The lifeline can't listen on ${own.address} port ${own.port} (TCP): ${reason}. group.link must be an address of this machine, and its port free for UDP and TCP.`,
    }),
});

const tellStatus = () => tell({ kind: "status", watches: sockets.status() });
const telling = setInterval(tellStatus, STATUS_MS);

port.on("message", (message: ToLifeline) => {
  if (message.kind === "heard") sockets.heard(message.node, message.ms);
  else if (message.kind === "peers") sockets.setPeers(message.peers);
  else if (message.kind === "agreed") sockets.agreed(message.agreed);
  else {
    clearInterval(telling);
    sockets.close();
    port.close();
  }
});

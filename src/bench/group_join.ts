/**
 * How long a node that knows nothing takes to know all sessions and to have them in its data plane: two nodes have them
 * from real handshakes, the third one joins with an empty disk. Its clients are in its file, as those of the others are.
 */
import { type Finding, withFleet } from "./group.ts";
import { startCrowd } from "./group_crowd.ts";
import { type Fleet, LOOP_WATCH } from "./group_fleet.ts";
import { NODES } from "./group_net.ts";
import { sleep } from "./netns.ts";

/** For 100,000 sessions. */
const GOAL_MS = 5000;
/** No packet of another node waits longer for the control thread. */
const GOAL_DELAY_MS = 50;
const LIMIT_MS = 120_000;
const SETTLED_MS = 3000;
/** An answer takes the node some milliseconds. */
const LOOK_MS = 100;
/** Nodes that disagree say so after this: ten seconds to settle and three of patience. */
const DIGEST_MS = 15_000;

export function measureJoin(sessions: number): Promise<Finding[]> {
  return withFleet({ nodes: NODES, group: true, engine: true, clients: sessions, inBook: true }, async (net, fleet) => {
    const [one, two, joining] = NODES;
    for (const node of [one, two]) fleet.launch(node);
    for (const node of [one, two]) await fleet.ready(node);
    await sleep(SETTLED_MS);
    await fleet.knowsClients(two);
    const emptyKb = await fleet.memoryKb(one);
    const crowd = await startCrowd(net, fleet, sessions);
    const up = await crowd.connect(0, sessions);
    await sleep(SETTLED_MS);
    fleet.launch(joining, LOOP_WATCH);
    await fleet.ready(joining);
    const joiningKb = await fleet.memoryKb(joining);
    await fleet.loopDelay(joining);
    const ms = await timesOf(fleet, joining, up.sessions);
    const delay = await fleet.loopDelay(joining);
    const [ownerKb, joinedKb] = [await fleet.memoryKb(one), await fleet.memoryKb(joining)];
    await sleep(DIGEST_MS);
    const digests = (await fleet.agrees(joining)) ? "digests agree" : "digests differ";
    const settledKb = await fleet.memoryKb(joining);
    await crowd.end();
    const goal = (GOAL_MS * sessions) / 100_000;
    const mib = (kb: number): string => `${Math.round(kb / 1024)} MiB`;
    return [
      {
        ...{ what: `${up.sessions} sessions to a joining node`, value: ms.served, unit: "ms", goal },
        more: `in its data plane, after it listens; known to it after ${Math.round(ms.known)} ms; ${digests}; made in ${Math.round(up.seconds)} s`,
      },
      {
        ...{ what: "latest event of the joining node", value: delay.maxMs, unit: "ms", goal: GOAL_DELAY_MS },
        more: `while they came; 99 of 100 within ${delay.p99Ms} ms`,
      },
      {
        ...{ what: "memory of a session of another node", value: (settledKb - joiningKb) / up.sessions, unit: "KiB" },
        goal: undefined,
        more:
          `resident, joining node: ${mib(joiningKb)} before, ${mib(joinedKb)} when it has all, ${mib(settledKb)} ` +
          `${DIGEST_MS / 1000} s later; their owner: ${mib(emptyKb)} before, ${mib(ownerKb)} with them`,
      },
    ];
  });
}

/** Milliseconds from now until a node knows all sessions, and until its data plane has them. */
async function timesOf(fleet: Fleet, node: number, sessions: number): Promise<{ known: number; served: number }> {
  const since = performance.now();
  let knownMs: number | undefined;
  for (;;) {
    const { known, served } = await fleet.held(node);
    const ms = performance.now() - since;
    if (known >= sessions) knownMs ??= ms;
    if (knownMs !== undefined && served >= sessions) return { known: knownMs, served: ms };
    if (ms > LIMIT_MS) throw new Error(`The joining node knows ${known} of ${sessions} sessions and serves ${served}.`);
    await sleep(LOOK_MS);
  }
}

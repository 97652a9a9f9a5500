/**
 * How long a node with an empty disk takes to know all clients and sessions of the group and to have these in its data
 * plane, while two others serve them. The clients were added over the API of the first node; they come first.
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
    return [
      {
        ...{ what: `${up.sessions} sessions to a joining node`, value: ms.served - ms.first, unit: "ms", goal },
        more: `from the first to the last one in its data plane; ${digests}; made in ${Math.round(up.seconds)} s`,
      },
      {
        ...{ what: `${sessions} clients and those sessions`, value: ms.served, unit: "ms", goal: undefined },
        more: "since it listens",
      },
      {
        ...{ what: "latest event of the joining node", value: delay.maxMs, unit: "ms", goal: GOAL_DELAY_MS },
        more: `while they came; 99 of 100 within ${delay.p99Ms} ms`,
      },
      {
        ...{ what: "memory of a session of another node", value: (settledKb - joiningKb) / up.sessions, unit: "KiB" },
        goal: undefined,
        more:
          `with its client; resident, joining node: ${mib(joiningKb)} before, ${mib(joinedKb)} when it has all, ` +
          `${mib(settledKb)} ${DIGEST_MS / 1000} s later; their owner: ${mib(emptyKb)} before, ${mib(ownerKb)} with them`,
      },
    ];
  });
}

const mib = (kb: number): string => `${Math.round(kb / 1024)} MiB`;

/** Milliseconds from now until the data plane of a node has its first session, and until it has all. */
async function timesOf(fleet: Fleet, node: number, sessions: number): Promise<{ first: number; served: number }> {
  const since = performance.now();
  let first: number | undefined;
  let before = 0;
  for (;;) {
    const { known, served } = await fleet.held(node);
    const ms = performance.now() - since;
    // None was there at the look before.
    if (served > 0) first ??= before;
    before = ms;
    if (first !== undefined && served >= sessions) return { first, served: ms };
    if (ms > LIMIT_MS) throw new Error(`The joining node knows ${known} of ${sessions} sessions and serves ${served}.`);
    await sleep(LOOK_MS);
  }
}

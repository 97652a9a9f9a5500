/**
 * How long a node that knows nothing takes to know all sessions: two nodes have them from real handshakes, the third one
 * joins with an empty disk. Its clients are in its file, as those of the others are.
 */
import { type Finding, withFleet } from "./group.ts";
import { startCrowd } from "./group_crowd.ts";
import { NODES } from "./group_net.ts";
import { sleep } from "./netns.ts";

const GOAL_SESSIONS = 100_000;
const GOAL_MS = 5000;
const LIMIT_MS = 60_000;
const SETTLED_MS = 3000;
/** A list of all sessions costs the node time of its own: not too often. */
const LOOK_MS = 100;
/** Nodes that disagree say so after this: ten seconds to settle and three of patience. */
const DIGEST_MS = 15_000;

interface Join {
  readonly sessions: number;
  readonly ms: number;
  readonly memoryKb: number;
  readonly digests: string;
}

/** Twice, since part of the time does not depend on the number of sessions: a fifth of them, and all. */
export async function measureJoin(sessions: number): Promise<Finding[]> {
  const small = await join(Math.ceil(sessions / 5));
  const large = await join(sessions);
  const msEach = (large.ms - small.ms) / (large.sessions - small.sessions);
  const more =
    `computed from ${small.sessions} in ${Math.round(small.ms)} ms and ${large.sessions} in ${Math.round(large.ms)} ms ` +
    `after the node listens, ${Math.round(msEach * 1000)} us each; ${large.digests}`;
  const value = large.ms + (GOAL_SESSIONS - large.sessions) * msEach;
  return [
    { what: `${GOAL_SESSIONS} sessions to a joining node`, value, unit: "ms", goal: GOAL_MS, more },
    {
      what: "memory of a foreign session",
      value: large.memoryKb,
      unit: "KiB",
      goal: undefined,
      more: "resident, daemon",
    },
  ];
}

function join(sessions: number): Promise<Join> {
  return withFleet({ nodes: NODES, group: true, engine: true, clients: sessions }, async (net, fleet) => {
    const [one, two, joining] = NODES;
    for (const node of [one, two]) fleet.launch(node);
    for (const node of [one, two]) await fleet.ready(node);
    await sleep(SETTLED_MS);
    const emptyKb = await fleet.memoryKb(two);
    const crowd = await startCrowd(net, fleet, sessions);
    const up = await crowd.connect(0, sessions);
    await sleep(SETTLED_MS);
    const memory = ((await fleet.memoryKb(two)) - emptyKb) / up.sessions;
    fleet.launch(joining);
    await fleet.ready(joining);
    const since = performance.now();
    let last = 0;
    while (last < up.sessions && performance.now() - since < LIMIT_MS) {
      await sleep(LOOK_MS);
      last = await fleet.sessions(joining);
    }
    const ms = performance.now() - since;
    await fleet.joined();
    await sleep(DIGEST_MS);
    const differ = NODES.filter((node) => fleet.daemon(node).output.includes("have disagreed for"));
    await crowd.end();
    if (last < up.sessions) throw new Error(`The joining node knows ${last} of ${up.sessions} sessions.`);
    return {
      sessions: last,
      ms,
      memoryKb: memory,
      digests: differ.length === 0 ? "digests agree" : `digests differ at ${differ}`,
    };
  });
}

/**
 * Nodes that die: by SIGKILL of the daemon, again and again, and once without a word. The router learns of each by BGP alone:
 * nobody tells it to send the clients elsewhere.
 */
import { setTimeout as pause } from "node:timers/promises";
import { type GroupLab, type Scenario, streamFrom, wallMs } from "../group_lab.ts";
import { all, atMost, type LabNumber, percentile, shown, toMicros } from "../group_result.ts";
import { CLIENTS, NODES, type NodeName } from "../group_topology.ts";

const SECONDS = 50;
const PACKETS_PER_SECOND = 500;
const BYTES = 200;
const TAKEOVERS = 100;
/** Two owners are killed in each, one soon after the other: whoever takes over from the second has nobody left to ask. */
const PERIOD_MS = 2600;
/** The new owner's state has reached the others by then. */
const APART_MS = 500;
const PATIENCE_MS = 2000;
const FREEZE_MS = 4000;
const WARM_UP_MS = 1000;
const LIMIT_MS = 20;
const SILENT_LIMIT_MS = 1100;

export const kill: Scenario = {
  seconds: SECONDS,
  secondsMin: 12,
  looks: true,
  help: "owners killed with kill -9, then one that falls silent",
  async run(lab, seconds = SECONDS, signal): Promise<LabNumber[]> {
    const rounds = Math.min(
      Math.ceil(TAKEOVERS / CLIENTS.length / 2),
      Math.floor((seconds * 1000 - WARM_UP_MS - FREEZE_MS) / PERIOD_MS),
    );
    for (const client of CLIENTS) lab.streams.send(streamFrom(client), PACKETS_PER_SECOND, BYTES);
    await pause(WARM_UP_MS, undefined, { signal });
    const waits: (number | undefined)[] = [];
    const gaps: number[] = [];
    let owner: NodeName = NODES[0];
    for (let i = 0; i < rounds; i++) {
      const begun = wallMs();
      const killed: NodeName[] = [];
      for (let k = 0; k < 2; k++) {
        await lab.look();
        await pause(APART_MS, undefined, { signal });
        const taken = await takeOver(lab, owner, signal);
        waits.push(...taken.waits);
        gaps.push(...taken.gaps);
        killed.push(owner);
        owner = taken.next ?? NODES.find((node) => !killed.includes(node))!;
      }
      await lab.look();
      // Nobody goes back to a node that was killed when it is there again.
      await lab.flip([...CLIENTS, "s"], owner);
      // Not before: on one machine, daemons that start take the processors from those that are measured.
      await Promise.all(killed.map((node) => lab.start(node, signal)));
      await pause(Math.max(0, begun + PERIOD_MS - wallMs()), undefined, { signal });
    }
    const silent = await fallSilent(lab, owner, signal);
    const through = waits.filter((wait) => wait !== undefined);
    const quick = through.filter((wait) => wait <= LIMIT_MS);
    return [
      all("clients of a killed owner that its successor served", through.length, waits.length),
      all(`first packet through the new node within ${LIMIT_MS} ms of its arrival`, quick.length, waits.length),
      atMost("first packet through the new node, max", percentile(through, 1), LIMIT_MS, "ms", waits.length),
      shown("silence around a kill, median, ms", toMicros(percentile(gaps, 0.5) ?? 0), gaps.length),
      shown("silence around a kill, max, ms", toMicros(percentile(gaps, 1) ?? 0), gaps.length),
      atMost("gap of a silent death, BFD 300 ms x 3", silent, SILENT_LIMIT_MS, "ms", CLIENTS.length),
    ];
  },
};

interface Taken {
  /** Of each client: ms from the arrival of its first packet at the new node to the first one that came out of it. */
  readonly waits: readonly (number | undefined)[];
  /** Of each client: the silence around the kill, ms. */
  readonly gaps: readonly number[];
  /** Where the clients are now. */
  readonly next: NodeName | undefined;
}

/** Kills `owner`. Its devices go with it, so its BIRD withdraws and the router sends everybody to another node. */
async function takeOver(lab: GroupLab, owner: NodeName, signal: AbortSignal): Promise<Taken> {
  const since = wallMs();
  await lab.kill(owner);
  const found = () => CLIENTS.map((client) => lab.arrivals(client, since).find(({ from }) => from === owner));
  const end = wallMs() + PATIENCE_MS;
  while (found().some((arrival) => arrival?.throughMs === undefined) && wallMs() < end)
    await pause(10, undefined, { signal });
  const until = wallMs();
  return {
    waits: found().map((arrival) => arrival?.throughMs && toMicros(arrival.throughMs - arrival.atMs)),
    gaps: CLIENTS.map((client) => lab.wire.trace(streamFrom(client)).longestGap(since, until)),
    next: NODES.find((node) => found().some((arrival) => arrival?.to === node)),
  };
}

/** Everything at `node` stands still, as when the machine lost its power; the longest gap of any client in ms. */
async function fallSilent(lab: GroupLab, node: NodeName, signal: AbortSignal): Promise<number> {
  const since = wallMs();
  lab.note({ what: "silent death", node });
  lab.services.freeze(node);
  lab.daemons.freeze(node);
  await pause(FREEZE_MS - 1000, undefined, { signal });
  const until = wallMs();
  const gaps = CLIENTS.map((client) => {
    const trace = lab.wire.trace(streamFrom(client));
    // Still silent: at least so long.
    return trace.firstFrom(until - 100) === undefined ? until - since : trace.longestGap(since, until);
  });
  await lab.services.kill(node, ["bird", "hub", "leaf"]);
  await lab.daemons.kill(node);
  return toMicros(Math.max(...gaps));
}

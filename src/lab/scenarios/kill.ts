/** Nodes that die: by SIGKILL of the daemon with a route change, again and again, and once without a word. */
import { setTimeout as pause } from "node:timers/promises";
import { type GroupLab, type Scenario, streamFrom, wallMs } from "../group_lab.ts";
import { all, atMost, type LabNumber, percentile, toMicros } from "../group_result.ts";
import { CLIENTS, NODES, type NodeName } from "../group_topology.ts";

const SECONDS = 50;
const PACKETS_PER_SECOND = 500;
const BYTES = 200;
const TAKEOVERS = 100;
/** Two owners are killed in each, one soon after the other: the second has no node beside it to ask. */
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
    let owner: NodeName = NODES[0];
    for (let i = 0; i < rounds; i++) {
      const begun = wallMs();
      const [second, third] = [1, 2].map((k) => NODES[(NODES.indexOf(owner) + k) % NODES.length]!) as [
        NodeName,
        NodeName,
      ];
      await lab.look();
      await pause(APART_MS, undefined, { signal });
      waits.push(...(await takeOver(lab, owner, second, signal)));
      await lab.look();
      await pause(APART_MS, undefined, { signal });
      waits.push(...(await takeOver(lab, second, third, signal)));
      // Not before: on one machine, daemons that start take the processors from those that are measured.
      await Promise.all([owner, second].map((node) => lab.start(node, signal)));
      owner = third;
      await pause(Math.max(0, begun + PERIOD_MS - wallMs()), undefined, { signal });
    }
    const silent = await fallSilent(lab, owner, signal);
    const through = waits.filter((wait) => wait !== undefined);
    const quick = through.filter((wait) => wait <= LIMIT_MS);
    return [
      all("clients of a killed owner that its successor served", through.length, waits.length),
      all(`first packet through the new node within ${LIMIT_MS} ms of its arrival`, quick.length, waits.length),
      atMost("first packet through the new node, max", percentile(through, 1), LIMIT_MS, "ms", waits.length),
      atMost("gap of a silent death, BFD 300 ms x 3", silent, SILENT_LIMIT_MS, "ms", CLIENTS.length),
    ];
  },
};

/** Kills `owner`, sends everybody to `next`; ms from arrival to the first packet through, for each client. */
async function takeOver(
  lab: GroupLab,
  owner: NodeName,
  next: NodeName,
  signal: AbortSignal,
): Promise<(number | undefined)[]> {
  const since = wallMs();
  const killed = lab.kill(owner);
  await lab.flip([...CLIENTS, "s"], next);
  await killed;
  const found = () => CLIENTS.map((client) => lab.arrivals(client, since).find(({ to }) => to === next));
  const end = wallMs() + PATIENCE_MS;
  while (found().some((arrival) => arrival?.throughMs === undefined) && wallMs() < end)
    await pause(10, undefined, { signal });
  return found().map((arrival) =>
    arrival?.throughMs === undefined ? undefined : toMicros(arrival.throughMs - arrival.atMs),
  );
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

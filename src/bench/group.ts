/**
 * `npm run bench -- group`: what a group of nodes costs and how fast a session moves, with real daemons in namespaces of
 * their own, against the goals. Needs root, nats-server and iperf3.
 */
import type { Burst } from "../crowd/program.ts";
import { startCrowd } from "./group_crowd.ts";
import { Fleet, type FleetWishes } from "./group_fleet.ts";
import { GroupNet, NODES } from "./group_net.ts";
import { sleep } from "./netns.ts";
import { median, quantile } from "./statistics.ts";

/** One figure beside its goal. */
export interface Finding {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** Greatest value that is good; undefined: only said. */
  readonly goal: number | undefined;
  readonly more: string;
}

/** Runs `act` with a network and nodes of its own, and removes them. */
export async function withFleet<T>(wishes: FleetWishes, act: (net: GroupNet, fleet: Fleet) => Promise<T>): Promise<T> {
  const net = await GroupNet.create();
  const fleet = new Fleet(net, wishes);
  try {
    await fleet.prepare();
    return await act(net, fleet);
  } finally {
    await fleet.close();
    await net.close();
  }
}

const SYNC_MS = 10_000;
/** After a start, or many handshakes, the engines have things to tell each other. */
const SETTLED_MS = 6000;

/** Bytes that engine and link of a node carry, both ways, for each session that sends ten packets a second. */
export async function measureSync(sessions: number, perSecond: number): Promise<Finding[]> {
  return withFleet({ nodes: NODES, group: true, engine: true, clients: sessions }, async (net, fleet) => {
    await fleet.startAll();
    await fleet.joined();
    const crowd = await startCrowd(net, fleet, sessions);
    const rate = async (): Promise<number[]> => {
      const before = await Promise.all(NODES.map((node) => net.meshBytes(node)));
      const since = performance.now();
      await sleep(SYNC_MS);
      const after = await Promise.all(NODES.map((node) => net.meshBytes(node)));
      return after.map((bytes, i) => ((bytes - before[i]!) * 1000) / (performance.now() - since));
    };
    await sleep(SETTLED_MS);
    const idle = await rate();
    const up = await crowd.connect(0, sessions);
    await sleep(SETTLED_MS);
    await crowd.steady(perSecond);
    await sleep(1000);
    const busy = await rate();
    await crowd.end();
    const base = median(idle);
    const more = `${up.sessions} sessions at ${perSecond} packets/s at node 1, above ${Math.round(base)} B/s without any`;
    return NODES.map((node, i) => ({
      ...{
        what: `sync of a session, ${node === 1 ? "its owner" : `node ${node}`}, in and out`,
        unit: "B/s",
        goal: 100,
      },
      ...{ value: (busy[i]! - idle[i]!) / up.sessions, more },
    }));
  });
}

const BURST_WAIT_MS = 4000;
const SETTLE_MS = 3000;

/** All sessions send one packet right after the route to another node. */
export async function measureStorm(sessions: number, flips: number): Promise<Finding[]> {
  return withFleet({ nodes: NODES, group: true, engine: true, clients: sessions }, async (net, fleet) => {
    await fleet.startAll();
    await fleet.joined();
    const crowd = await startCrowd(net, fleet, sessions);
    const up = await crowd.connect(0, sessions);
    await sleep(SETTLE_MS);
    const calm = await crowd.burst(BURST_WAIT_MS);
    const findings: Finding[] = [finding("burst without a flip", calm, undefined)];
    for (let flip = 1; flip <= flips; flip++) {
      const [from, to] = [NODES[(flip - 1) % NODES.length]!, NODES[flip % NODES.length]!];
      await sleep(SETTLE_MS);
      await net.route(to);
      const before = [await fleet.cpuSeconds(from), await fleet.cpuSeconds(to), await forecasts(fleet, to)] as const;
      const burst = await crowd.burst(BURST_WAIT_MS);
      const cpuUs = [await fleet.cpuSeconds(from), await fleet.cpuSeconds(to)].map((s, i) =>
        Math.round(((s - before[i]!) * 1e6) / burst.sent),
      );
      const guessed = (await forecasts(fleet, to)) - before[2];
      const one = finding(`flip storm ${flip} to node ${to}`, burst, 1000);
      const cost = `${cpuUs[1]} us of processor a flip at the new node, ${cpuUs[0]} at the old one, with its answer`;
      const without = Number.isNaN(guessed) ? "" : `; ${guessed} without the owner's window`;
      findings.push({ ...one, more: `${one.more}; ${cost}${without}` });
    }
    await crowd.end();
    findings.push({
      what: "sessions",
      value: up.sessions,
      unit: "",
      goal: undefined,
      more: `in ${up.seconds.toFixed(1)} s`,
    });
    return findings;
  });
}

/** Sessions that a node took without hearing from their owner; NaN: it does not count them. */
async function forecasts(fleet: Fleet, node: number): Promise<number> {
  const counters = await fleet.counters(node);
  return (counters.get("group_forecast") ?? Number.NaN) + (counters.get("group_proven") ?? Number.NaN);
}

function finding(what: string, { sent, sentMs, answers }: Burst, goal: number | undefined): Finding {
  const rtts = answers.map(({ rttMs }) => rttMs);
  const [p50, p99, max] = [0.5, 0.99, 1].map((share) => Math.round(quantile(rtts, share)));
  const byNode: Record<string, number> = {};
  for (const { node } of answers) byNode[node] = (byNode[node] ?? 0) + 1;
  const more =
    `${answers.length} of ${sent} served, sent within ${Math.round(sentMs)} ms, each after ` +
    `p50 ${p50} p99 ${p99} max ${max} ms, by node ${JSON.stringify(byNode)}`;
  return { what, value: answers.at(-1)?.atMs ?? Number.NaN, unit: "ms until the last answer", goal, more };
}

/**
 * How long the first packet waits at a node that the client comes to when its owner is dead (kill -9 and a new route at
 * the same moment), and at a node that has never seen its session because the engines are down. The real client, echo
 * requests every 2 ms; what counts is the round trip of the first answer of the new node, so the time that the packet spent
 * at the node and not the time that the outside world needs to change its routes.
 */
import { type Finding, withFleet } from "./group.ts";
import { ECHO } from "./group_fleet.ts";
import { type GroupNet, NODES } from "./group_net.ts";
import { RealClient } from "./group_speed.ts";
import { sleep } from "./netns.ts";
import { quantile } from "./statistics.ts";

const GOAL_MS = 20;
const INTERVAL_S = "0.002";
const SETTLE_MS = 1500;
const AFTER_MS = 600;

interface Gap {
  readonly lost: number;
  /** Round trip of the first packet that was sent after the change and answered; NaN: none was. */
  readonly firstMs: number;
}

/** Changes something in the middle of a stream of echo requests. */
async function gap(net: GroupNet, change: () => Promise<void>): Promise<Gap> {
  const ping = net.clients.start(["ping", "-D", "-i", INTERVAL_S, "-W", "1", ECHO]);
  await sleep(SETTLE_MS);
  await change();
  const changedS = Date.now() / 1000;
  await sleep(AFTER_MS);
  await ping.stop("SIGINT");
  const answers = [...ping.output.matchAll(/^\[([\d.]+)\].*icmp_seq=(\d+) .*time=([\d.]+) ms/gm)].map(
    ([, atS, seq, ms]) => ({ seq: Number(seq), ms: Number(ms), sentS: Number(atS) - Number(ms) / 1000 }),
  );
  const last = Math.max(...answers.map(({ seq }) => seq));
  const first = answers.find(({ sentS }) => sentS >= changedS);
  return { lost: last - new Set(answers.map(({ seq }) => seq)).size, firstMs: first?.ms ?? Number.NaN };
}

/** Kills the owner and moves the route, `times` times; the killed node comes back for the next but one. */
export async function measureKills(times: number): Promise<Finding[]> {
  const client = new RealClient();
  return withFleet(
    { nodes: NODES, group: true, engine: true, clients: 0, others: client.table },
    async (net, fleet) => {
      await fleet.startAll();
      await fleet.joined();
      await client.start(net, fleet.dir, fleet.groupKey);
      const gaps: Gap[] = [];
      for (let i = 0; i < times; i++) {
        const [from, to] = [NODES[i % NODES.length]!, NODES[(i + 1) % NODES.length]!];
        gaps.push(
          await gap(net, async () => {
            // Both at once: the packets in between would be lost whatever a node does.
            const dead = fleet.kill(from);
            await net.route(to);
            await dead;
          }),
        );
        fleet.launch(from);
        await fleet.ready(from);
        await fleet.joined();
      }
      const firsts = gaps.map(({ firstMs }) => firstMs);
      const lost = gaps.reduce((sum, one) => sum + one.lost, 0);
      const more =
        `${firsts.filter((ms) => ms <= GOAL_MS).length} of ${times} within ${GOAL_MS} ms, p50 ${quantile(firsts, 0.5)} ` +
        `p99 ${quantile(firsts, 0.99)} ms; ${lost} packets lost in all, at a packet each 2 ms`;
      return [
        {
          what: "owner killed: first packet at the new node",
          value: quantile(firsts, 1),
          unit: "ms",
          goal: GOAL_MS,
          more,
        },
      ];
    },
  );
}

/** All engines are gone, a client comes to one node, and its packets to another one that has never heard of it. */
export async function measureWithoutEngine(times: number): Promise<Finding[]> {
  const client = new RealClient();
  return withFleet(
    { nodes: NODES, group: true, engine: true, clients: 0, others: client.table },
    async (net, fleet) => {
      await fleet.startAll();
      await fleet.joined();
      await fleet.stopEngines();
      const gaps: Gap[] = [];
      for (let i = 0; i < times; i++) {
        const [from, to] = [NODES[i % NODES.length]!, NODES[(i + 1) % NODES.length]!];
        await net.route(from);
        const program = await client.start(net, fleet.dir, fleet.groupKey);
        gaps.push(await gap(net, () => net.route(to)));
        await program.stop();
      }
      const firsts = gaps.map(({ firstMs }) => firstMs);
      const lost = gaps.reduce((sum, one) => sum + one.lost, 0);
      const more =
        `${firsts.filter((ms) => ms <= GOAL_MS).length} of ${times} within ${GOAL_MS} ms, p50 ${quantile(firsts, 0.5)} ms; ` +
        `${lost} packets lost in all, at a packet each 2 ms`;
      const what = "no engine: first packet at a node that has never heard of the session";
      return [{ what, value: quantile(firsts, 1), unit: "ms", goal: GOAL_MS, more }];
    },
  );
}

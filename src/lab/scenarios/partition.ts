/** One node is cut off from the others, engine and node link both; both sides go on, and find together again. */
import { setTimeout as pause } from "node:timers/promises";
import { type GroupLab, type Scenario, streamFrom, wallMs } from "../group_lab.ts";
import { all, atMost, type LabNumber, percentile, toMicros } from "../group_result.ts";
import { CLIENTS, type ClientName, NODES, type NodeName } from "../group_topology.ts";

const SECONDS = 30;
const PACKETS_PER_SECOND = 200;
const BYTES = 200;
const CUT: NodeName = "n3";
const PATIENCE_MS = 2000;
/** Heals are noticed by heartbeats and digests, which have three seconds of patience. */
const HEAL_MS = 6000;
const FLIPS_AFTER = 6;
/** Nodes compare what they know every second, and reports of who owns what are on their way. */
const AGREE_MS = 5000;
const PAIRS = NODES.length * (NODES.length - 1);

export const partition: Scenario = {
  seconds: SECONDS,
  secondsMin: 16,
  help: "one node cut off from the others: both sides serve, then find together",
  async run(lab, seconds = SECONDS, signal): Promise<LabNumber[]> {
    const third = Math.max(1000, ((seconds - 16) * 1000) / 3);
    for (const client of CLIENTS) lab.streams.send(streamFrom(client), PACKETS_PER_SECOND, BYTES);
    await lab.flip(["c3"], CUT);
    await pause(2000, undefined, { signal });
    const atCut = await quietCounts(lab, signal);
    lab.cut([CUT]);
    await pause(third, undefined, { signal });
    const lostInCut = lostSince(atCut, await quietCounts(lab, signal));
    // Across the cut, both ways: nobody there can hand anything over.
    const across = [await flipAndWait(lab, "c1", CUT, signal), await flipAndWait(lab, "c3", "n1", signal)];
    await pause(third, undefined, { signal });
    lab.heal([CUT]);
    await pause(HEAL_MS, undefined, { signal });
    const atHeal = await quietCounts(lab, signal);
    const after: (number | undefined)[] = [];
    for (let i = 0; i < FLIPS_AFTER; i++) {
      const client = CLIENTS[i % CLIENTS.length]!;
      const node: NodeName = lab.wire.carrier(client) === CUT ? "n2" : CUT;
      after.push(await flipAndWait(lab, client, node, signal));
      await pause(300, undefined, { signal });
    }
    const lostAfter = lostSince(atHeal, await quietCounts(lab, signal));
    const groups = await agreement(lab, signal);
    const served = across.filter((wait) => wait !== undefined);
    const healed = after.filter((wait) => wait !== undefined);
    return [
      atMost("packets lost while cut, nobody moving", lostInCut.lost, 0, "", lostInCut.sent),
      all("clients that moved across the cut and were served", served.length, across.length),
      all("flips served after the heal", healed.length, after.length),
      atMost("first packet through after the heal, max", percentile(healed, 1), 20, "ms", after.length),
      atMost("packets lost after the heal", lostAfter.lost, 0, "", lostAfter.sent),
      all("nodes that say of another that both know the same sessions", groups.agreeing, PAIRS),
      all("sessions that one node owns, and one alone", groups.owned, groups.known),
    ];
  },
};

/** ms from arrival to the first packet through; undefined: not served in time. */
async function flipAndWait(
  lab: GroupLab,
  client: ClientName,
  node: NodeName,
  signal: AbortSignal,
): Promise<number | undefined> {
  const since = wallMs();
  await lab.flip([client], node);
  const found = () => lab.arrivals(client, since).find(({ to }) => to === node);
  while (found()?.throughMs === undefined && wallMs() < since + PATIENCE_MS) await pause(10, undefined, { signal });
  const { atMs = 0, throughMs } = found() ?? {};
  return throughMs === undefined ? undefined : toMicros(throughMs - atMs);
}

interface Agreement {
  /** Pairs of nodes; none when the numbers of their sessions differ. */
  readonly agreeing: number;
  readonly known: number;
  /** Summed over the nodes. */
  readonly owned: number;
}

/** What the nodes say in their status: as soon as all agree, or after AGREE_MS. */
async function agreement(lab: GroupLab, signal: AbortSignal): Promise<Agreement> {
  for (const end = wallMs() + AGREE_MS; ; await pause(100, undefined, { signal })) {
    const answers = await Promise.all(NODES.map((node) => lab.daemons.question(node, "status", {})));
    const groups = answers.flatMap(({ group }) => group ?? []);
    const [known = 0, ...others] = groups.map(({ sessions }) => sessions.known);
    const same = others.every((number) => number === known);
    const pairs = groups.flatMap(({ peers }) => peers).filter(({ agrees }) => agrees === true);
    const agreeing = same ? pairs.length : 0;
    const owned = groups.reduce((sum, { sessions }) => sum + sessions.own, 0);
    if ((agreeing === PAIRS && owned === known) || wallMs() > end) return { agreeing, known, owned };
  }
}

interface Sums {
  readonly sent: number;
  readonly received: number;
}

/** Counts of the fast streams while nothing is on its way: they pause for it. */
async function quietCounts(lab: GroupLab, signal: AbortSignal): Promise<Sums> {
  const ids = CLIENTS.map(streamFrom);
  for (const id of ids) lab.streams.stop(id);
  await pause(700, undefined, { signal });
  const sums = { sent: 0, received: 0 };
  for (const id of ids) {
    const { sent, received } = lab.count(id);
    sums.sent += sent;
    sums.received += received;
    lab.streams.send(id, PACKETS_PER_SECOND, BYTES);
  }
  return sums;
}

function lostSince(before: Sums, now: Sums): { readonly sent: number; readonly lost: number } {
  const sent = now.sent - before.sent;
  return { sent, lost: sent - (now.received - before.received) };
}

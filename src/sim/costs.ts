/**
 * What the nodes of a group say to each other when nothing breaks, in bytes: of a node without traffic, of a session that
 * is busy, and of a flip. The second and third are differences between runs that differ in nothing else.
 */
import { FAIR, type Plan } from "./plan.ts";
import { World } from "./world.ts";

/** Sessions for each node. A report carries all sessions of its owner, so the first of them pays for the others. */
const SESSIONS = 3;
/** Mean time between packets of a busy client: it is in each report. */
const BUSY_MS = 40;
/** A client is at so many nodes in turn each second, on average. */
const FLIPS_PER_S = 0.5;
const IDLE_MS = 1e9;
/** Until nodes know each other and each client all of them; then what is measured. */
const SETTLE_MS = 9000;
const MEASURE_MS = 10_000;

/** What nodes hand to the engine (each of it goes to all others) and send over the node link, without IP and UDP. */
interface Traffic {
  readonly busMessages: number;
  readonly busBytes: number;
  readonly linkDatagrams: number;
  readonly linkBytes: number;
}

interface Costs {
  readonly nodes: number;
  readonly sessions: number;
  /** False: the engine is away, and what it would carry goes over the link. */
  readonly engine: boolean;
  /** Each node, each second. */
  readonly idle: Traffic;
  /** Each session that sends, each second, at all nodes together. */
  readonly busy: Traffic;
  /** Each flip, at all nodes together. */
  readonly flip: Traffic;
}

interface Measured extends Traffic {
  readonly flips: number;
}

/** Of a group of `nodes` nodes. Deterministic. */
export async function costsOf(nodes: number, engine: boolean): Promise<Costs> {
  const sessions = SESSIONS * nodes;
  const still = await measure(planOf(nodes, sessions, engine, IDLE_MS, 0));
  const busy = await measure(planOf(nodes, sessions, engine, BUSY_MS, 0));
  const moving = await measure(planOf(nodes, sessions, engine, BUSY_MS, (FLIPS_PER_S * BUSY_MS) / 1000));
  const seconds = MEASURE_MS / 1000;
  return {
    ...{ nodes, sessions, engine, idle: scale(still, 1 / (nodes * seconds)) },
    busy: scale(difference(busy, still), 1 / (sessions * seconds)),
    flip: scale(difference(moving, busy), 1 / moving.flips),
  };
}

function planOf(nodes: number, sessions: number, engine: boolean, everyMs: number, flipChance: number): Plan {
  const forMs = SETTLE_MS + MEASURE_MS;
  const away = (k: number) => ({ atMs: SETTLE_MS / 2, forMs, fault: { kind: "engine_down", node: k + 1 } }) as const;
  return {
    ...{ seed: nodes, forMs, threadMs: 0.05, rekeyMs: 120_000, overlapMs: 30_000, withdrawMs: 0 },
    ...{ replayEveryMs: 0, strangerEveryMs: 0 },
    nodes: Array.from({ length: nodes }, () => ({ startMs: 0, skewMs: 0 })),
    clients: Array.from({ length: sessions }, () => ({ flipChance, everyMs, skewMs: 0 })),
    weather: { access: FAIR, link: FAIR, bus: FAIR },
    incidents: engine ? [] : Array.from({ length: nodes }, (_, k) => away(k)),
  };
}

async function measure(plan: Plan): Promise<Measured> {
  const world = new World(plan);
  let before: Measured | undefined;
  world.time.later(SETTLE_MS, () => {
    before = soFar(world);
  });
  await world.run();
  const after = soFar(world);
  world.close();
  if (before === undefined) throw new Error("the run was too short");
  return { ...difference(after, before), flips: after.flips - before.flips };
}

const soFar = ({ bus, wires, flips }: World): Measured => ({
  ...{ busMessages: bus.shouts + bus.puts, busBytes: bus.shoutBytes + bus.putBytes },
  ...{ linkDatagrams: wires.load.datagrams, linkBytes: wires.load.bytes, flips },
});

const difference = (a: Traffic, b: Traffic): Traffic => ({
  ...{ busMessages: a.busMessages - b.busMessages, busBytes: a.busBytes - b.busBytes },
  ...{ linkDatagrams: a.linkDatagrams - b.linkDatagrams, linkBytes: a.linkBytes - b.linkBytes },
});

const scale = ({ busMessages, busBytes, linkDatagrams, linkBytes }: Traffic, by: number): Traffic => ({
  ...{ busMessages: busMessages * by, busBytes: busBytes * by },
  ...{ linkDatagrams: linkDatagrams * by, linkBytes: linkBytes * by },
});

/** A table for docs/SCALE.md. */
export function textOfCosts(all: readonly Costs[]): string {
  const traffic = ({ busMessages, busBytes, linkDatagrams, linkBytes }: Traffic) =>
    `${short(busMessages)} = ${short(busBytes)} | ${short(linkDatagrams)} = ${short(linkBytes)}`;
  const rows = all.map(
    ({ nodes, sessions, engine, idle, busy, flip }) =>
      `| ${nodes} | ${sessions} | ${engine ? "there" : "away"} | ${[idle, busy, flip].map(traffic).join(" | ")} |`,
  );
  return [
    "| nodes | sessions | engine | a node idle, 1/s: bus | link | a busy session, 1/s: bus | link | a flip: bus | link |",
    "|---|---|---|---|---|---|---|---|---|",
    ...rows,
    "Messages = bytes to the bus; datagrams = bytes of UDP payload over the link.",
  ].join("\n");
}

const short = (value: number): string => (Math.abs(value) < 100 ? value.toFixed(1) : value.toFixed(0));

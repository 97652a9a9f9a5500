/**
 * `npm run bench -- handshakes`: how many whole handshakes a second the real daemon does when all of it (control thread
 * and packet loop) has one processor core. The clients have another one. First contacts and rekeys are told apart. Needs
 * root and two cores.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { type CrowdOrder, crowdAddressText, crowdPair } from "../crowd/order.ts";
import { type Connected, CROWD, CrowdProgram } from "../crowd/program.ts";
import { createPair, must, OUTER, type Program, sleep } from "./netns.ts";
import { usage } from "./peers.ts";
import { median } from "./statistics.ts";
import { ANYHOP } from "./tunnel_ends.ts";

const PORT = 4444;
/** Every address of these networks is one client machine: a node limits the requests of each. */
const SOURCE_NETWORKS = ["198.51.100", "203.0.113"] as const;
const SOURCES = 256;
/** Ticks a second in /proc (USER_HZ), 100 on every Linux. */
const TICKS = 100;
const PATIENCE_MS = 60_000;
const SEED = "handshakes";
const FIRST_ADDRESS = "10.9.0.0";

interface Rate extends Connected {
  /** Processor time of the node. */
  readonly cpuSeconds: number;
}

export interface HandshakeRates {
  /** The first half of the clients, while the node's code is not compiled yet. */
  readonly cold: Rate;
  /** The other half, for the first time. */
  readonly first: Rate;
  /** All of them again. */
  readonly again: Rate;
  readonly peakMb: number;
}

/** `clients`: at most half of the sessions that a node holds, because a rekeyed session lives on for a while. */
export async function measureHandshakes(
  clients: number,
  cores: { node: number; load: number },
): Promise<HandshakeRates> {
  const dir = mkdtempSync(`${tmpdir()}/anyhop-bench-`);
  const pair = await createPair("hs");
  try {
    await must([
      ANYHOP,
      "init",
      "node",
      "--dir",
      dir,
      "--address",
      `${OUTER.left.v4}:${PORT}`,
      "--pool",
      "10.8.0.0/14",
    ]);
    writeNode(dir, clients);
    for (const network of SOURCE_NETWORKS) {
      await pair.right.ip("route", "add", "local", `${network}.0/24`, "dev", "lo");
      await pair.left.ip("route", "add", `${network}.0/24`, "via", OUTER.right.v4);
    }
    const node = pair.left.start(onCore(cores.node, [ANYHOP, "run", `${dir}/node.toml`, "--log", "stderr:3"]));
    await ready(node);
    const groupKey = (await must(["sh", "-c", `${ANYHOP} pubkey < ${dir}/node.key`])).trim();
    const sources = Array.from({ length: SOURCES }, (_, i) => `${SOURCE_NETWORKS[i & 1]}.${1 + (i >> 1)}`);
    const half = Math.ceil(clients / 2);
    const order: CrowdOrder = {
      ...{ groupKey, service: { address: OUTER.left.v4, port: PORT }, echo: FIRST_ADDRESS, sources },
      ...{ clients, firstAddress: FIRST_ADDRESS, seed: SEED },
    };
    const file = `${dir}/order.json`;
    writeFileSync(file, JSON.stringify(order));
    const crowd = new CrowdProgram(pair.right.start(onCore(cores.load, [...CROWD, file]), { stdin: true }).child);
    await crowd.ready();
    const come = async (first: number, count: number): Promise<Rate> => {
      const before = await usage([node]);
      const round = await crowd.handshakes(first, count);
      const after = await usage([node]);
      return { ...round, cpuSeconds: (after.ticks - before.ticks) / TICKS };
    };
    const cold = await come(0, half);
    const first = await come(half, clients - half);
    const again = await come(0, clients);
    await crowd.end();
    const { peakKb } = await usage([node]);
    await node.stop();
    return { cold, first, again, peakMb: peakKb / 1024 };
  } finally {
    await pair.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Measures `rounds` nodes and says the medians, with the range. */
export async function reportHandshakes(clients: number, rounds: number): Promise<string> {
  if (availableParallelism() < 2) throw new Error("This takes two processor cores: one for the node, one for clients.");
  const all: HandshakeRates[] = [];
  for (let i = 0; i < rounds; i++) all.push(await measureHandshakes(clients, { node: 0, load: 1 }));
  const row = (name: string, read: (rates: HandshakeRates) => number): string => {
    const figures = all.map((rates) => read(rates));
    const [low, high] = [Math.min(...figures), Math.max(...figures)];
    return `${name}: ${Math.round(median(figures))} (${Math.round(low)} to ${Math.round(high)})`;
  };
  // By the clock, and by the node's processor time, which counts when other programs share the core.
  const rates = (name: string, read: (rates: HandshakeRates) => Rate) => [
    row(`${name}, a second`, (all) => read(all).sessions / read(all).seconds),
    row(`${name}, a second of processor time`, (all) => read(all).sessions / read(all).cpuSeconds),
  ];
  return [
    `${clients} clients, ${rounds} node(s), median and range`,
    ...rates("first contacts of a node that has just started", ({ cold }) => cold),
    ...rates("first contacts", ({ first }) => first),
    ...rates("rekeys", ({ again }) => again),
    row("handshakes that failed", ({ cold, first, again }) => cold.failed + first.failed + again.failed),
    row("cookies asked for", ({ cold, first, again }) => cold.cookies + first.cookies + again.cookies),
    row("peak memory of the node in MB", ({ peakMb }) => peakMb),
  ].join("\n");
}

const onCore = (core: number, argv: readonly string[]): string[] => ["taskset", "-c", String(core), ...argv];

function writeNode(dir: string, clients: number): void {
  const file = `${dir}/node.toml`;
  const lines = Array.from({ length: clients }, (_, n) => {
    const key = Buffer.from(crowdPair(SEED, n).publicKey).toString("base64");
    const address = crowdAddressText(FIRST_ADDRESS, n);
    return `[[client]]\nname = "c${n}"\npublic_key = "${key}"\naddresses = ["${address}"]`;
  });
  const paths = `[paths]\nstate = "${dir}/state"\nsocket = "${dir}/node.sock"`;
  writeFileSync(file, [readFileSync(file, "utf8"), paths, ...lines, ""].join("\n"), { mode: 0o600 });
}

async function ready(node: Program): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; !node.output.includes("listening on"); await sleep(20)) {
    if (!node.alive || Date.now() > deadline) throw new Error(`The node did not start: ${node.output.trim()}`);
  }
}

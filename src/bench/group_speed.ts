/**
 * What being one of a group costs a node that has packets to move: one TCP stream through a node that knows of no group,
 * through one that has [group] alone, and through one with two other nodes and their engines idle beside it. Rounds are
 * interleaved; each round starts its nodes anew.
 */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { nativePairOf } from "../drivers/native_x25519.ts";
import { type Finding, withFleet } from "./group.ts";
import { DEVICE, ECHO, type FleetWishes, SERVICE_PORT } from "./group_fleet.ts";
import { type GroupNet, NODES, SERVICE } from "./group_net.ts";
import { type Program, run, sleep } from "./netns.ts";
import { median, ratioOf } from "./statistics.ts";
import { ANYHOP } from "./tunnel_ends.ts";

export const CLIENT_ADDRESS = "10.127.0.2";
const READY_MS = 20_000;
/** What has just started compiles, and reads what the others know. */
const SETTLE_MS = 3000;
/** One after another through the same tunnel, a median of which is a round: one alone varies by a third. */
const STREAMS = 4;
/** What the group may take. */
const GOAL_PERCENT = 5;

/** One client of the real program: its table in node files and the file of its own. */
export class RealClient {
  readonly #secret = randomBytes(32);

  /** For a node file. */
  get table(): string {
    const key = Buffer.from(nativePairOf(this.#secret).publicKey).toString("base64");
    return `[[client]]\nname = "real"\npublic_key = "${key}"\naddresses = ["${CLIENT_ADDRESS}"]\n`;
  }

  /** Starts it in its namespace and waits until the node answers through the tunnel. */
  async start(net: GroupNet, dir: string, groupKey: string): Promise<Program> {
    writeFileSync(`${dir}/client.key`, `${this.#secret.toString("base64")}\n`, { mode: 0o600 });
    const lines = [
      "[client]",
      'private_key_file = "client.key"',
      "[[service]]",
      'name = "bench"',
      `public_key = "${groupKey}"`,
      `address = ["${SERVICE}:${SERVICE_PORT}"]`,
      `device = "${DEVICE}"`,
      "[paths]",
      `state = "${dir}/client"`,
      `socket = "${dir}/client.sock"`,
    ];
    writeFileSync(`${dir}/client.toml`, `${lines.join("\n")}\n`, { mode: 0o600 });
    const program = net.clients.start([process.execPath, ANYHOP, "run", `${dir}/client.toml`]);
    for (const deadline = Date.now() + READY_MS; ; await sleep(100)) {
      if ((await net.clients.run(["ping", "-c1", "-W1", ECHO])).code === 0) return program;
      if (Date.now() > deadline || !program.alive) throw new Error(`No tunnel: ${program.output.trim()}`);
    }
  }
}

const ALONE = "no group";
const KINDS: Readonly<Record<string, Pick<FleetWishes, "nodes" | "group" | "engine">>> = {
  [ALONE]: { nodes: [1], group: false, engine: false },
  "[group] alone": { nodes: [1], group: true, engine: false },
  "three nodes with NATS": { nodes: NODES, group: true, engine: true },
};

interface Throughput {
  readonly mbps: number;
  /** Processor time of the node that carries the stream, ms for each Gbit. */
  readonly nodeMs: number;
  /** What runs beside it takes so much of one processor, percent. */
  readonly besidePercent: number;
}

async function throughput(kind: (typeof KINDS)[string], seconds: number): Promise<Throughput> {
  const client = new RealClient();
  return withFleet({ ...kind, clients: 0, others: client.table }, async (net, fleet) => {
    await fleet.startAll();
    await fleet.joined();
    await client.start(net, fleet.dir, fleet.groupKey);
    net.node(1).start(["iperf3", "-s"]);
    await sleep(SETTLE_MS);
    const taken = async () => [performance.now() / 1e3, await fleet.cpuSeconds(1), await fleet.cpuSecondsBeside(1)];
    const before = await taken();
    const mbps: number[] = [];
    for (let i = 0; i < STREAMS; i++) mbps.push(await oneStream(net, seconds));
    const [wallS, nodeS, besideS] = (await taken()).map((value, k) => value - before[k]!) as [number, number, number];
    const gbps = mbps.reduce((sum, value) => sum + value) / STREAMS / 1e3;
    return { mbps: median(mbps), nodeMs: ((nodeS / wallS) * 1e3) / gbps, besidePercent: (besideS / wallS) * 100 };
  });
}

async function oneStream(net: GroupNet, seconds: number): Promise<number> {
  const { stdout } = await net.clients.run(["iperf3", "-c", ECHO, "-J", "-O", "1", "-t", String(seconds)], 60_000);
  const bps = (JSON.parse(stdout) as { end?: { sum_received?: { bits_per_second: number } } }).end?.sum_received;
  if (bps === undefined) throw new Error(`iperf3 says: ${stdout.slice(0, 300)}`);
  return bps.bits_per_second / 1e6;
}

/** Also says where the time goes: on this machine the neighbours share the processors of the node that is measured. */
export async function measureSpeed(rounds: number, seconds: number): Promise<Finding[]> {
  const { code } = await run(["iperf3", "--version"]);
  if (code !== 0) throw new Error("This takes iperf3 (Debian: apt install iperf3).");
  const figures = new Map(Object.keys(KINDS).map((name) => [name, new Map<number, Throughput>()]));
  for (let round = 0; round < rounds; round++)
    for (const [name, kind] of Object.entries(KINDS)) figures.get(name)!.set(round, await throughput(kind, seconds));
  /** One figure of each round, by round. */
  const column = (name: string, what: keyof Throughput) =>
    new Map([...figures.get(name)!].map(([round, values]) => [round, values[what]]));
  return Object.keys(KINDS).flatMap((name): Finding[] => {
    const found = (what: keyof Throughput, text: string, unit: string, more: string): Finding => {
      return { what: `${text}, ${name}`, value: median([...column(name, what).values()]), unit, goal: undefined, more };
    };
    const mbps = [...column(name, "mbps").values()].map(Math.round);
    const range = `${Math.min(...mbps)} to ${Math.max(...mbps)} in ${rounds} rounds of ${STREAMS} times ${seconds} s`;
    const findings = [
      found("mbps", "one TCP stream", "Mbit/s", range),
      found("nodeMs", "time of the node", "ms/Gbit", "its threads, median"),
      found("besidePercent", "beside it", "% of a processor", "daemons and engines, median"),
    ];
    if (name === ALONE) return findings;
    const ratio = ratioOf(column(name, "mbps"), column(ALONE, "mbps"))!;
    const percent = (share: number): string => ((1 - share) * 100).toFixed(1);
    const more = `median of rounds, ${percent(ratio.max)} to ${percent(ratio.min)} %`;
    const cost = (1 - ratio.median) * 100;
    return [...findings, { what: `cost of ${name}`, value: cost, unit: "%", goal: GOAL_PERCENT, more }];
  });
}

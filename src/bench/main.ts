#!/usr/bin/env node
/**
 * `npm run bench`: the tunnel beside its peers, in two network namespaces of this machine; `npm run bench -- micro`:
 * nanoseconds per stage. Rounds are interleaved (A B C, A B C ...), so that drift of the machine hits all alike: the
 * ratio is the result, not the figure. Progress goes to stderr, the result to stdout.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, release, tmpdir } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import { type Failure, type Measurement, measure, startIperfServer } from "./measure.ts";
import { runMicro } from "./micro.ts";
import { createPair, findProgram } from "./netns.ts";
import { type Peer, peers } from "./peers.ts";
import { stages } from "./stages.ts";
import { formatColumns, formatMedians, formatRatios, isFailure, summarize } from "./table.ts";

const say = (text: string): void => void process.stderr.write(`${text}\n`);
const print = (text: string): void => void process.stdout.write(`${text}\n`);

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 3600) {
    throw new InvalidArgumentError("It must be a whole number from 1 to 3600.");
  }
  return value;
}

function machine(): { cpu: string; cores: number; kernel: string; node: string } {
  return { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, kernel: release(), node: process.version };
}

/** The wanted peers that can run here; those that cannot are named on stderr. */
function choose(wanted: readonly string[] | undefined): Peer[] {
  const unknown = (wanted ?? []).filter((name) => !peers.some((peer) => peer.name === name));
  if (unknown.length > 0) {
    throw new Error(`There is no peer "${unknown.join('", "')}". Choose from: ${peers.map((p) => p.name).join(", ")}.`);
  }
  return peers.filter((peer) => {
    if (wanted !== undefined && !wanted.includes(peer.name)) return false;
    const missing = peer.needs.filter((program) => findProgram(program) === undefined);
    if (missing.length > 0) say(`${peer.name}: left out, ${missing.join(" and ")} is not installed.`);
    return missing.length === 0;
  });
}

interface PeersOptions {
  readonly seconds: number;
  readonly rounds: number;
  readonly peers?: readonly string[];
  readonly json: boolean;
}

async function measureAll(chosen: readonly Peer[], options: PeersOptions): Promise<(Measurement | Failure)[]> {
  const results: (Measurement | Failure)[] = [];
  const dir = await mkdtemp(`${tmpdir()}/anyhop-bench-`);
  const pair = await createPair("bench");
  try {
    startIperfServer(pair.right);
    for (let round = 1; round <= options.rounds; round++) {
      for (const peer of chosen) {
        const result = await measure(peer, pair, round, options.seconds, `${dir}/${peer.name}-${round}`);
        results.push(result);
        const shown = isFailure(result)
          ? `FAILED: ${result.error}`
          : `TCP ${result.tcpMbps.toFixed(0)} Mbit/s, 64 B ${result.udp64Kpps.toFixed(1)} kpps, RTT ${result.rttMs.toFixed(3)} ms`;
        say(`round ${round} of ${options.rounds}, ${peer.name}: ${shown}`);
      }
    }
  } finally {
    await pair.close();
    await rm(dir, { recursive: true, force: true });
  }
  return results;
}

async function benchPeers(options: PeersOptions): Promise<void> {
  for (const program of ["ip", "iperf3", "ping"]) {
    if (findProgram(program) === undefined) {
      throw new Error(`The benchmark needs ${program}. On Debian: apt install iproute2 iperf3 iputils-ping.`);
    }
  }
  if (process.getuid?.() !== 0) throw new Error("The benchmark makes network namespaces: run it as root.");
  const chosen = choose(options.peers);
  if (chosen.length === 0) throw new Error("No peer is left to measure: install one, or name another with --peers.");
  const results = await measureAll(chosen, options);
  const summaries = summarize(results);
  if (options.json) {
    print(JSON.stringify({ machine: machine(), seconds: options.seconds, results, summaries }, null, 2));
  } else {
    const { cpu, cores, kernel, node } = machine();
    print(`${cores} cores of ${cpu}, Linux ${kernel}, Node ${node}, ${options.seconds} s a measurement\n`);
    if (summaries.length > 0) print(formatMedians(summaries));
    for (const subject of ["ours", "ours-null"]) {
      const ratios = formatRatios(summaries, subject);
      if (ratios !== undefined) print(`\n${ratios}`);
    }
  }
  if (results.some(isFailure)) process.exitCode = 1;
}

function benchMicro(options: { readonly rounds: number; readonly only?: string; readonly json: boolean }): void {
  const chosen = stages().filter(({ name }) => options.only === undefined || name.includes(options.only));
  if (chosen.length === 0) throw new Error(`No micro benchmark has "${options.only}" in its name.`);
  const results = chosen.map((benchmark) => {
    const result = runMicro(benchmark, options.rounds);
    say(`${result.name}: ${result.medianNs.toFixed(1)} ns`);
    return result;
  });
  if (options.json) print(JSON.stringify({ machine: machine(), results }, null, 2));
  else {
    const rows = results.map(({ name, unit, medianNs, minNs }) => [name, medianNs.toFixed(1), minNs.toFixed(1), unit]);
    print(formatColumns([["stage", "median ns", "best ns", "per"], ...rows]));
  }
}

const program = new Command("anyhop-bench").description("Measures anyhop beside its peers.").showHelpAfterError();
program
  .command("peers", { isDefault: true })
  .description(`end to end in two network namespaces; peers: ${peers.map((peer) => peer.name).join(", ")}`)
  .addOption(new Option("--seconds <n>", "length of one measurement").argParser(positive).default(4))
  .addOption(new Option("--rounds <n>", "interleaved rounds").argParser(positive).default(3))
  .option("--peers <list>", "names separated by commas; default: all that are installed", (text) => text.split(","))
  .option("--json", "print every measurement and the medians as JSON", false)
  .action(benchPeers);
program
  .command("micro")
  .description("nanoseconds per packet of single stages, without network")
  .addOption(new Option("--rounds <n>", "rounds of each benchmark").argParser(positive).default(15))
  .option("--only <text>", "only benchmarks with this text in their name")
  .option("--json", "print the result as JSON", false)
  .action(benchMicro);

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
program.parseAsync().catch((error: unknown) => {
  say(`anyhop-bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});

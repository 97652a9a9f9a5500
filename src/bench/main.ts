#!/usr/bin/env node
/**
 * `npm run bench`: measures anyhop end to end beside its peers, stage by stage, and with many tunnels and routes; writes
 * docs/bench. `npm run bench -- check` compares a short new run with what is written there. Progress goes to stderr.
 */
import { Command, InvalidArgumentError, Option } from "commander";
import { compare, formatRows, isRegression } from "./check.ts";
import { RESULTS_FILE, readResults, writeJson, writePage } from "./files.ts";
import { peers } from "./peers.ts";
import { page } from "./report.ts";
import { isFailure, mergeResults, type Results } from "./results.ts";
import { PART_NAMES, type PartName, type RunOptions, runBenchmark } from "./run.ts";

const say = (text: string): void => void process.stderr.write(`${text}\n`);
const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** Exit codes: what was measured is bad; nothing could be measured or compared. */
const EXIT_BAD = 1;
const EXIT_UNUSABLE = 2;

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 3600) {
    throw new InvalidArgumentError("It must be a whole number from 1 to 3600.");
  }
  return value;
}

/** Twice as many would not fit a node, and a client that agrees new keys has two sessions for a while. */
const SESSIONS_MAX = 100_000;

function positiveCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > SESSIONS_MAX) {
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${SESSIONS_MAX}.`);
  }
  return value;
}

interface Options {
  readonly quick?: boolean;
  readonly only?: PartName;
  readonly seconds?: number;
  readonly rounds?: number;
  readonly peers?: readonly string[];
  readonly json?: string;
  readonly write?: boolean;
  readonly fresh?: string;
}

/** Lengths of a whole and of a quick run; both measure everything. */
const LENGTHS = {
  whole: { seconds: 4, rounds: 3, shortRounds: 15 },
  quick: { seconds: 2, rounds: 2, shortRounds: 5 },
} as const;

function runOptions(options: Options, quick: boolean): RunOptions {
  const { seconds, rounds, shortRounds } = quick ? LENGTHS.quick : LENGTHS.whole;
  const args = process.argv.slice(2);
  return {
    only: options.only,
    seconds: options.seconds ?? seconds,
    rounds: options.rounds ?? rounds,
    shortRounds,
    peers: options.peers,
    command: ["npm run bench", ...(args.length > 0 ? ["--", ...args] : [])].join(" "),
  };
}

async function bench(options: Options): Promise<void> {
  const fresh = await runBenchmark(runOptions(options, options.quick === true), say);
  if (options.json !== undefined) writeJson(options.json, fresh);
  if (options.write === false) print(page(fresh));
  else for (const name of writePage(mergeResults(fresh, readResults(RESULTS_FILE)))) say(`written: ${name}`);
  if (fresh.endToEnd?.results.some(isFailure)) process.exitCode = EXIT_BAD;
}

async function check(options: Options): Promise<void> {
  const baseline = readResults(RESULTS_FILE);
  if (baseline === undefined)
    throw new Error(`There is no ${RESULTS_FILE} to compare with: run \`npm run bench\` first.`);
  const rows = compare(baseline, await freshResults(options));
  if (rows.length === 0) throw new Error("The two runs have nothing in common that could be compared.");
  print(formatRows(rows));
  const worse = rows.filter(isRegression).length;
  print(worse === 0 ? "\nNo regression." : `\n${worse} of ${rows.length} ratios are clearly worse than before.`);
  if (worse > 0) process.exitCode = EXIT_BAD;
}

async function freshResults(options: Options): Promise<Results> {
  if (options.fresh === undefined) return runBenchmark(runOptions(options, true), say);
  const results = readResults(options.fresh);
  if (results === undefined) throw new Error(`There is no file ${options.fresh}.`);
  return results;
}

const only = new Option("--only <part>", "measure one part").choices(PART_NAMES);
const seconds = new Option("--seconds <n>", "length of one end-to-end measurement; 4, quick: 2").argParser(positive);
const rounds = new Option("--rounds <n>", "interleaved end-to-end rounds; 3, quick: 2").argParser(positive);
const wanted = new Option("--peers <list>", `of ${peers.map((peer) => peer.name).join(",")}; all that are installed`);
wanted.argParser((text) => text.split(","));

const program = new Command("anyhop-bench").description("Measures anyhop beside its peers.").showHelpAfterError();
// Before the commands, which inherit it. Status 1 stays free for what was measured.
program.exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_UNUSABLE));
program
  .command("run", { isDefault: true })
  .description("measure, and write docs/bench and the figures in README.md")
  .addOption(only)
  .addOption(seconds)
  .addOption(rounds)
  .addOption(wanted)
  .option("--quick", "everything, but shorter")
  .option("--json <file>", "also write the figures of this run, and only of this run, to a file")
  .option("--no-write", "leave docs/bench as it is, print the page instead")
  .action(bench);
program
  .command("check")
  .description("compare ratios of a quick run with docs/bench/results.json; status 1 when they are clearly worse")
  .addOption(only)
  .addOption(seconds)
  .addOption(rounds)
  .addOption(wanted)
  .option("--fresh <file>", "compare the figures in this file (of --json) instead of measuring")
  .action(check);
program
  .command("handshakes")
  .description("whole handshakes a second of a node that has one processor core")
  .option("--clients <n>", "clients that come; twice as many sessions must fit a node", positive, 2000)
  .option("--rounds <n>", "nodes that are started one after the other; the median counts", positive, 3)
  .action(async (options: { readonly clients: number; readonly rounds: number }) => {
    const { reportHandshakes } = await import("./handshakes.ts");
    print(await reportHandshakes(options.clients, options.rounds));
  });
program
  .command("flood")
  .description("what one TCP stream in a session keeps under 50,000 forged handshakes a second")
  .option("--rounds <n>", "streams beside and under the flood, in turn; the median counts", positive, 5)
  .action(async (options: { readonly rounds: number }) => {
    const { reportFlood } = await import("./flood.ts");
    print(await reportFlood(options.rounds));
  });
program
  .command("flood-load <order>", { hidden: true })
  .description("forged handshakes, in the namespace of the attacker")
  .action(async (order: string) => {
    const { runFlood } = await import("./flood_load.ts");
    await runFlood(JSON.parse(order));
  });
program
  .command("stranger-load <order>", { hidden: true })
  .description("datagrams in the name of a client, in the namespace of the attacker")
  .action(async (order: string) => {
    const { runStranger } = await import("./stranger_load.ts");
    await runStranger(JSON.parse(order));
  });
program
  .command("group")
  .description("what a group of three nodes costs, and how fast sessions move between them")
  .option("--only <part>", "sync, storm, join, speed or failover")
  .option("--sessions <n>", "sessions of storm (10,000) and of join (100,000)", positiveCount)
  .option("--kills <n>", "owners that are killed", positiveCount, 100)
  .action(async (options: { readonly only?: string; readonly sessions?: number; readonly kills: number }) => {
    const { reportGroup } = await import("./group_report.ts");
    await reportGroup(options.only, options.sessions, options.kills, print);
  });
program
  .command("ab <older>")
  .description("this build and an older, built checkout, alternating; status 1 when a median ratio misses its bound")
  .option("--rounds <n>", "rounds; each runs every probe in both checkouts", positive, 9)
  .option("--only <list>", "speed,handshakes,flip,kill,storm; all", (text: string) => text.split(","))
  .addHelpText("after", "\nAn older checkout: git worktree add ../older REVISION && cd ../older && npm run build")
  .action(async (older: string, options: { readonly rounds: number; readonly only?: readonly string[] }) => {
    const { abRows, chooseProbes, formatAb, measureAb } = await import("./ab.ts");
    const { rounds, only } = options;
    const rows = abRows(await measureAb({ older, rounds, only }, say), chooseProbes(only));
    print(formatAb(rows, rounds));
    if (rows.some(({ met }) => !met)) process.exitCode = EXIT_BAD;
  });

program.parseAsync().catch((error: unknown) => {
  say(`anyhop-bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = EXIT_UNUSABLE;
});

#!/usr/bin/env node
/** `npm run sim -- --seeds A..B`: runs whole groups on virtual time, one a seed, and says which seeds found something. */
import { Command, InvalidArgumentError } from "commander";
import { costsOf, textOfCosts } from "./costs.ts";
import { runSeed } from "./run.ts";
import { lineOf, Summary } from "./summary.ts";

const print = (text: string): void => void process.stdout.write(`${text}\n`);

const EXIT_FOUND = 1;

interface Options {
  readonly seeds: readonly [number, number];
  readonly for?: number;
  readonly verbose?: boolean;
  readonly costs?: boolean;
}

function seedsOf(text: string): readonly [number, number] {
  const match = /^(\d{1,15})(?:\.\.(\d{1,15}))?$/.exec(text);
  const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (match === null || last < first) throw new InvalidArgumentError("It must be a seed, or A..B with A not above B.");
  return [first, last];
}

function secondsOf(text: string): number {
  const value = Number(text);
  if (!(value >= 1 && value <= 3600)) throw new InvalidArgumentError("It must be a number from 1 to 3600.");
  return value;
}

/** Nodes of the groups whose costs are told. */
const COSTS_NODES = [3, 10, 30];

async function tellCosts(): Promise<void> {
  const all = [];
  for (const engine of [true, false]) for (const nodes of COSTS_NODES) all.push(await costsOf(nodes, engine));
  print(textOfCosts(all));
}

async function simulate({ seeds: [first, last], for: seconds, verbose, costs }: Options): Promise<void> {
  if (costs) return tellCosts();
  const summary = new Summary();
  for (let seed = first; seed <= last; seed++) {
    const forMs = seconds === undefined ? undefined : 1000 * seconds;
    const result = await runSeed(seed, { forMs, tell: verbose ? print : undefined });
    summary.add(result);
    print(lineOf(result));
  }
  print(summary.text());
  if (summary.failed > 0) process.exitCode = EXIT_FOUND;
}

await new Command("sim")
  .description("Runs a whole group on virtual time, with faults from a seed, and checks what must hold.")
  .option("--seeds <A..B>", "seeds to run", seedsOf, [1, 100] as const)
  .option("--for <seconds>", "how long things break, virtual time (default: from the seed)", secondsOf)
  .option("--verbose", "say what happens")
  .option("--costs", "instead: what groups of 3, 10 and 30 nodes say to each other when nothing breaks, in bytes")
  .action(simulate)
  .parseAsync();

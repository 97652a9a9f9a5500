/** One run of the benchmark: the wanted parts, one after the other, with progress. Returns figures, writes nothing. */
import { checkMachine, choosePeers, endToEndSeconds, measureEndToEnd } from "./end_to_end.ts";
import { growthSeconds, measureGrowth } from "./growth.ts";
import { originOf } from "./machine.ts";
import { timeOne } from "./micro.ts";
import { formatSeconds, Progress } from "./progress.ts";
import type { Results } from "./results.ts";
import { stages } from "./stages.ts";

export const PART_NAMES = ["end-to-end", "micro", "growth"] as const;
export type PartName = (typeof PART_NAMES)[number];

export interface RunOptions {
  /** Undefined: all. */
  readonly only: PartName | undefined;
  readonly seconds: number;
  readonly rounds: number;
  /** Rounds of the micro and growth parts, which are short. */
  readonly shortRounds: number;
  /** Undefined: all that are installed. */
  readonly peers: readonly string[] | undefined;
  /** What a person types to measure the same again. */
  readonly command: string;
}

/** Expected seconds of one stage: building, warming up and rounds. */
const stageSeconds = (rounds: number): number => 0.3 + 0.03 * rounds;

/** Throws when a part cannot be measured at all; a peer that fails is in the results. */
export async function runBenchmark(options: RunOptions, say: (line: string) => void): Promise<Results> {
  const { only, shortRounds, command } = options;
  const wants = (part: PartName) => only === undefined || only === part;
  const endToEnd = { ...options, peers: wants("end-to-end") ? choosePeers(options.peers, say) : [] };
  if (wants("end-to-end")) {
    checkMachine();
    if (endToEnd.peers.length === 0) throw new Error("No peer is left to measure: install one, or name another.");
  }
  const chosen = wants("micro") ? stages() : [];
  const total =
    endToEndSeconds(endToEnd) +
    chosen.length * stageSeconds(shortRounds) +
    (wants("growth") ? growthSeconds(shortRounds) : 0);
  say(`This takes about ${formatSeconds(total)}. Leave the machine alone meanwhile.`);
  const progress = new Progress(total, () => performance.now(), say);
  const results: Results = { format: 1 };
  if (wants("micro")) {
    const origin = originOf(command);
    results.micro = {
      origin,
      stages: chosen.map((stage) => {
        const ns = timeOne(stage, shortRounds);
        progress.step(stageSeconds(shortRounds), stage.name);
        return { name: stage.name, unit: stage.unit, ns };
      }),
    };
  }
  if (wants("growth")) {
    const origin = originOf(command);
    results.growth = { origin, ...measureGrowth(shortRounds, (seconds, line) => progress.step(seconds, line)) };
  }
  // Last, because it takes longest: what is wrong with the addon shows before.
  if (wants("end-to-end")) results.endToEnd = await measureEndToEnd(endToEnd, progress);
  return results;
}

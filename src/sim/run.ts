/** Runs one seed to its end and says what was found and measured. */
import { type Failure, ofTheRun, probe, whileRunning } from "./checks.ts";
import { type Plan, planOf } from "./plan.ts";
import { type BusLoad, World } from "./world.ts";

/** After the faults: how long things may take until all is well, and how often that is looked at. */
const CALM_MS = 40_000;
const LOOK_MS = 500;
/** All is well when it is so this often in a row. */
const TWICE = 2;

export interface RunResult {
  readonly seed: number;
  readonly failures: readonly Failure[];
  /** From the end of the faults until all was well, ms. */
  readonly settledMs: number;
  readonly virtualMs: number;
  readonly packets: number;
  /** Packets that clients sent and a node took. */
  readonly accepted: number;
  readonly replayed: number;
  readonly forged: number;
  readonly flips: number;
  readonly handovers: number;
  readonly takeovers: number;
  /** Packets that were accepted twice: without an owner, and at one of two. */
  readonly exposed: { readonly forecast: number; readonly twoOwners: number };
  readonly bus: BusLoad;
  /** Two runs of one seed have the same. */
  readonly trace: number;
}

export interface RunOptions {
  /** How long things break, ms; undefined: as the seed says. */
  readonly forMs?: number | undefined;
  readonly tell?: ((line: string) => void) | undefined;
}

export const runSeed = (seed: number, options: RunOptions = {}): Promise<RunResult> =>
  runPlan(planOf(seed, options.forMs), options.tell);

export async function runPlan(plan: Plan, tell?: (line: string) => void): Promise<RunResult> {
  const world = new World(plan, tell);
  const { time, ledger, takeovers, wires } = world;
  const failures: Failure[] = [];
  const look = () => {
    failures.push(...whileRunning(world));
    time.later(100, look);
  };
  time.later(100, look);
  let calmMs = time.nowMs;
  try {
    await world.run();
    world.calm();
    calmMs = time.nowMs;
    failures.push(...(await settle(world)));
  } catch (error) {
    failures.push({ check: "error", text: (error as Error).message });
  }
  failures.push(...ofTheRun(world));
  world.close();
  const { exposures } = takeovers;
  const forecast = exposures.filter(({ kind }) => kind === "forecast").length;
  return {
    ...{ seed: plan.seed, failures: distinct(failures), settledMs: time.nowMs - calmMs, virtualMs: time.nowMs },
    packets: ledger.packets.length,
    accepted: ledger.packets.filter(({ accepted }) => accepted.length > 0).length,
    ...{ replayed: wires.replayed, forged: wires.forged, flips: world.flips, handovers: takeovers.exact },
    takeovers: takeovers.made,
    exposed: { forecast, twoOwners: exposures.length - forecast },
    ...{ bus: world.bus, trace: wires.trace },
  };
}

/** Until all is well, or for as long as that may take. Returns what is not well then. */
async function settle(world: World): Promise<readonly Failure[]> {
  const { time } = world;
  const startMs = time.nowMs;
  let unwell: readonly Failure[] = [];
  for (let good = 0; good < TWICE && time.nowMs - startMs < CALM_MS; ) {
    const found = probe(world);
    await time.pass(LOOK_MS);
    unwell = found();
    good = unwell.length === 0 ? good + 1 : 0;
  }
  return unwell;
}

function distinct(failures: readonly Failure[]): Failure[] {
  const seen = new Set<string>();
  return failures.filter(({ check, text }) => {
    const name = `${check} ${text}`;
    if (seen.has(name)) return false;
    seen.add(name);
    return true;
  });
}

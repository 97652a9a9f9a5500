/**
 * `npm run bench -- ab OLDER`: this build and an older checkout, alternating in one run, so that drift of the machine hits
 * both alike. Each round runs a probe in one checkout and then in the other, and the order changes from round to round.
 * The result is the ratio new / old of each round, then its median with the range of all rounds.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type AbFigure, type AbProbe, abProbes } from "./ab_probes.ts";
import { ROOT } from "./files.ts";
import { Progress } from "./progress.ts";
import { type Rounds, ratioOf, type Spread, spreadOf } from "./statistics.ts";
import { formatColumns, significant } from "./table.ts";

const SIDES = ["old", "new"] as const;
type Side = (typeof SIDES)[number];

/** One figure of one round; a round that failed has none. */
export type AbResults = Readonly<Record<Side, Map<string, Map<number, number>>>>;

export interface AbOptions {
  /** Root of the older checkout, built. */
  readonly older: string;
  readonly rounds: number;
  /** Names of probes; undefined: all. */
  readonly only: readonly string[] | undefined;
}

/** Throws for names that no probe has. */
export function chooseProbes(only: readonly string[] | undefined): AbProbe[] {
  const unknown = (only ?? []).filter((name) => !abProbes.some((probe) => probe.name === name));
  if (unknown.length > 0) {
    const names = abProbes.map(({ name }) => name).join(", ");
    throw new Error(`There is no probe "${unknown.join('", "')}". Choose from: ${names}.`);
  }
  return abProbes.filter(({ name }) => only === undefined || only.includes(name));
}

/** Sides in the order of one round: old first in odd rounds, new first in even ones. */
export const orderOf = (round: number): readonly Side[] => (round % 2 === 1 ? SIDES : [...SIDES].reverse());

function checkOlder(older: string): string {
  const root = resolve(older);
  if (!existsSync(join(root, "package.json"))) throw new Error(`${root} is not a checkout of anyhop.`);
  if (!existsSync(join(root, "dist/bench/main.js")))
    throw new Error(`${root} is not built: type \`npm run build\` there first.`);
  if (root === resolve(ROOT)) throw new Error(`${root} is this checkout: name an older one.`);
  return root;
}

/** Runs all rounds. What fails is said and has no figure; `say` hears progress. */
export async function measureAb(options: AbOptions, say: (line: string) => void): Promise<AbResults> {
  const probes = chooseProbes(options.only);
  const roots: Record<Side, string> = { old: checkOlder(options.older), new: resolve(ROOT) };
  const results: AbResults = { old: new Map(), new: new Map() };
  const total = probes.reduce((sum, { seconds }) => sum + 2 * options.rounds * seconds, 0);
  const progress = new Progress(total, () => performance.now(), say);
  for (let round = 1; round <= options.rounds; round++)
    for (const probe of probes)
      for (const side of orderOf(round)) {
        const output = await runProbe(probe, roots[side]).catch((error: unknown) => {
          say(`${probe.name}, ${side}, round ${round}: ${error instanceof Error ? error.message : String(error)}`);
          return undefined;
        });
        const found = output === undefined ? [] : readFigures(probe, output);
        for (const [name, value] of found) roundsOf(results, side, name).set(round, value);
        progress.step(probe.seconds, `${probe.name}, ${side}, round ${round}: ${sayFigures(found)}`);
      }
  return results;
}

function readFigures({ figures }: AbProbe, output: string): [string, number][] {
  return figures.flatMap(({ name, read }) => {
    const value = read(output);
    return value === undefined ? [] : [[name, value] as [string, number]];
  });
}

const sayFigures = (found: readonly [string, number][]): string =>
  found.length === 0 ? "nothing" : found.map(([name, value]) => `${name} ${significant(value)}`).join("; ");

function roundsOf(results: AbResults, side: Side, name: string): Map<number, number> {
  const rounds = results[side].get(name) ?? new Map<number, number>();
  results[side].set(name, rounds);
  return rounds;
}

/** Longest time that one probe may take, as a multiple of what is expected: the machine may be busy. */
const PATIENCE = 6;
const MS = 1000;

/** Output of the probe's command in the checkout `root`. Throws when it fails, with the end of what it said. */
function runProbe(probe: AbProbe, root: string): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), "anyhop-ab-"));
  const file = join(dir, "results.json");
  const child = spawn(process.execPath, [...probe.args(file)], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGTERM"), probe.seconds * PATIENCE * MS);
  let [output, errors] = ["", ""];
  child.stdout.on("data", (bytes) => {
    output += bytes;
  });
  child.stderr.on("data", (bytes) => {
    errors += bytes;
  });
  return new Promise<string>((done, failed) => {
    child.on("error", failed);
    child.on("close", (code, signal) => {
      const good = code === 0 || (code === 1 && probe.mayMiss);
      if (!good) failed(new Error(`ended with ${signal ?? `status ${code}`}: ${errors.trim().slice(-300)}`));
      else if (probe.toFile) done(readFileSync(file, "utf8"));
      else done(output);
    });
  }).finally(() => {
    clearTimeout(timer);
    rmSync(dir, { recursive: true, force: true });
  });
}

/** One line of the result. */
export interface AbRow {
  readonly figure: AbFigure;
  readonly old: Spread | undefined;
  readonly new: Spread | undefined;
  /** new / old, round by round; undefined when no round has both. */
  readonly ratio: Spread | undefined;
  /** Whether the median ratio keeps the bound; false when there is none. */
  readonly met: boolean;
}

export function abRows(results: AbResults, probes: readonly AbProbe[]): AbRow[] {
  const values = (side: Side, name: string): Rounds => results[side].get(name) ?? new Map();
  return probes
    .flatMap(({ figures }) => figures)
    .map((figure) => {
      const [older, newer] = [values("old", figure.name), values("new", figure.name)];
      const ratio = ratioOf(newer, older);
      const met =
        ratio !== undefined && (figure.better === "more" ? ratio.median >= figure.bound : ratio.median <= figure.bound);
      return { figure, old: spreadOf([...older.values()]), new: spreadOf([...newer.values()]), ratio, met };
    });
}

const cell = (spread: Spread | undefined): string =>
  spread === undefined
    ? "not measured"
    : `${significant(spread.median)} (${significant(spread.min)} to ${significant(spread.max)})`;

/** The table that a person reads: medians with the range of all rounds. */
export function formatAb(rows: readonly AbRow[], rounds: number): string {
  const head = ["figure", "old", "new", "new / old", "bound", ""];
  const lines = rows.map(({ figure, old, new: newer, ratio, met }) => [
    ...[figure.name, cell(old), cell(newer), cell(ratio)],
    ...[`${figure.better === "more" ? ">=" : "<="} ${figure.bound.toFixed(2)}`, met ? "met" : "MISSED"],
  ]);
  return `${rounds} rounds of both builds, alternating; median (least to greatest)\n\n${formatColumns([head, ...lines])}`;
}

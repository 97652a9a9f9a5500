/**
 * `npm start`: builds an anycast lab out of network namespaces on this machine, sends traffic through it and shows
 * what happens - live on a terminal, as progress and a summary elsewhere, as one JSON object with --json.
 */
import { existsSync, readFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import { type GroupLab, type Scenario as GroupLabScenario, runGroupLab } from "./group_lab.ts";
import { carriersText, groupPicture } from "./group_picture.ts";
import { type GroupResult, groupSummaryLines } from "./group_result.ts";
import { threeNodes } from "./group_topology.ts";
import { sweep } from "./host.ts";
import { hearKeys } from "./keys.ts";
import { runLab } from "./lab.ts";
import { picture } from "./picture.ts";
import { type Result, summaryLines } from "./result.ts";
import { type GroupScenario, groupScenarios } from "./scenarios/all.ts";
import { Screen } from "./screen.ts";
import { createState, type LabState, type Scenario, scenarios } from "./state.ts";
import { namespaceOf, oneNode } from "./topology.ts";

/** How long a lab runs that nobody watches and nobody gave a time. */
const UNWATCHED_SECONDS = 10;
/** How long the restart scenario runs by default, and the least: half of it is for going on. */
const RESTART_SECONDS = 20;
const RESTART_SECONDS_MIN = 10;
const REDRAW_MS = 250;
const SAME_SIGNAL_MS = 1000;

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));

function number(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Give a number from ${least} to ${most}.`);
  };
}

/** The group's scenarios, and those of the small lab with one node. */
const names = [...Object.keys(groupScenarios), ...scenarios];
const isOfGroup = (name: string): name is GroupScenario => name in groupScenarios;
const help = Object.entries(groupScenarios).map(([name, scenario]) => `  ${name.padEnd(12)} ${scenario.help}`);

const program = new Command("npm start --")
  .description(
    `Builds an anycast lab on this machine (${threeNodes.title}; real BGP), sends traffic through it, changes routes,
kills and drains nodes, shows what happens, and removes everything again. Needs root. Status 0: what the scenario
promises was measured and holds.`,
  )
  .option("--for <seconds>", "measure this long", number(1, 86_400 * 7))
  .option("--json", "print one JSON object at the end, progress on standard error")
  .option("--rate <pps>", "packets per second on each path (traffic, restart)", number(1, 1000), 50)
  .addOption(new Option("--scenario <name>", "what happens, see below").choices(names).default("tour"))
  .addHelpText(
    "after",
    `
Scenarios:
${help.join("\n")}
  traffic      one node, two clients and a plain host: every path carries its traffic
  restart      the same, and the node is killed in the middle and started again

Without --for the tour and traffic run until Ctrl-C on a terminal, and ${UNWATCHED_SECONDS} seconds elsewhere; every other
scenario takes the time that its numbers need, at most a minute. With less it measures fewer, and says how many.`,
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

interface Options {
  readonly for?: number;
  readonly json?: true;
  readonly rate: number;
  readonly scenario: Scenario | GroupScenario;
}

function contradiction({ scenario, for: seconds }: Options): string | undefined {
  if (seconds === undefined) return undefined;
  const least = isOfGroup(scenario) ? groupScenarios[scenario].secondsMin : leastOf(scenario);
  return seconds >= least ? undefined : `The scenario ${scenario} needs --for ${least} or more.`;
}

/** Half of the time of a restart is for going on. */
const leastOf = (scenario: Scenario): number => (scenario === "restart" ? RESTART_SECONDS_MIN : 1);

/** A reason why no lab can run here, with what to do; or undefined. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) {
    const args = process.argv.slice(2).join(" ");
    return `The lab makes network namespaces and devices and needs root; type: sudo npm start${args ? ` -- ${args}` : ""}`;
  }
  if (!existsSync("/dev/net/tun")) return "There is no /dev/net/tun; type: modprobe tun";
  return undefined;
}

interface Shown {
  picture(columns: number, rows: number, colour: boolean): string[];
  /** One line without an end. */
  progress(): string;
}

/** Draws at each redraw or says a line each second; the returned function ends that. */
function show(shown: Shown, live: boolean): () => void {
  if (live) {
    const screen = new Screen(process.stdout);
    const draw = () =>
      screen.draw((columns, rows) => shown.picture(columns, rows, process.env["NO_COLOR"] === undefined));
    const timer = setInterval(draw, REDRAW_MS);
    process.stdout.on("resize", draw);
    process.once("exit", () => screen.close());
    draw();
    return () => {
      clearInterval(timer);
      process.stdout.off("resize", draw);
      screen.close();
    };
  }
  const progress = () => process.stderr.write(`lab: ${shown.progress()}\n`);
  const timer = setInterval(progress, 1000);
  progress();
  return () => clearInterval(timer);
}

const timeOf = ({ phase, elapsedMs, seconds }: LabState): string =>
  `${phase}, ${Math.floor(elapsedMs / 1000)}${seconds === undefined ? "" : ` of ${seconds}`} s`;

function progressOf(state: LabState): string {
  const sum = (key: "sent" | "received" | "lost") => state.paths.reduce((total, path) => total + path[key], 0);
  const counts = state.elapsedMs > 0 ? `: sent ${sum("sent")}, received ${sum("received")}, lost ${sum("lost")}` : "";
  return `${timeOf(state)}${counts}`;
}

function stopSignal(): AbortSignal {
  const controller = new AbortController();
  let first = 0;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      if (!controller.signal.aborted) {
        first = performance.now();
        controller.abort();
        return;
      }
      // Once more means now; the exit hook still removes everything. npm hands on the Ctrl-C that the terminal already
      // gave to all of us, so a second one at once is the same one.
      if (performance.now() - first > SAME_SIGNAL_MS) process.exit(130);
    });
  }
  // Nobody reads any more (`npm start | head`).
  process.stdout.on("error", () => controller.abort());
  return controller.signal;
}

async function main(): Promise<number> {
  const options = program.parse().opts<Options>();
  const complaint = contradiction(options) ?? obstacle();
  if (complaint !== undefined) {
    process.stderr.write(`${complaint}\n`);
    return 2;
  }
  const live = process.stdout.isTTY === true && options.json === undefined;
  const signal = stopSignal();
  let removed = false;
  process.once("exit", () => {
    if (!removed) sweep((pid) => pid === process.pid);
  });
  const { scenario } = options;
  const ran = isOfGroup(scenario)
    ? await runOfGroup(options, scenario, live, signal)
    : await runSmall(options, scenario, live, signal);
  removed = true;
  if (options.json) for (const problem of ran.result.problems) process.stderr.write(`lab: ${problem}\n`);
  process.stdout.write(options.json ? `${JSON.stringify(ran.result)}\n` : `${ran.summary.join("\n")}\n`);
  return ran.result.ok ? 0 : 1;
}

interface Ran {
  readonly result: Result | GroupResult;
  readonly summary: readonly string[];
}

/** Until somebody stops it where somebody watches. */
const untilStopped = (): number | undefined => (process.stdout.isTTY === true ? undefined : UNWATCHED_SECONDS);
const nameOf = (place: string) => namespaceOf(process.pid, place);

async function runSmall(options: Options, scenario: Scenario, live: boolean, signal: AbortSignal): Promise<Ran> {
  const seconds = options.for ?? (scenario === "restart" ? RESTART_SECONDS : untilStopped());
  const state = createState(oneNode, nameOf, version, seconds, scenario, options.rate);
  const hide = show(
    {
      picture: (columns, rows, colour) => picture(state, columns, rows, colour),
      progress: () => progressOf(state),
    },
    live,
  );
  try {
    const result = await runLab(state, signal);
    return { result, summary: summaryLines(result) };
  } finally {
    hide();
  }
}

async function runOfGroup(options: Options, name: GroupScenario, live: boolean, signal: AbortSignal): Promise<Ran> {
  const scenario: GroupLabScenario = groupScenarios[name];
  const seconds = options.for ?? scenario.seconds ?? untilStopped();
  const state = createState(threeNodes, nameOf, version, seconds);
  let lab: GroupLab | undefined;
  const hide = show(
    {
      picture: (columns, rows, colour) => groupPicture(state, lab, columns, rows, colour),
      progress: () => `${timeOf(state)}${lab === undefined ? "" : `: ${carriersText(lab)}`}`,
    },
    live,
  );
  const unhear = live ? hearKeys((key) => lab?.press(key)) : () => {};
  try {
    const result = await runGroupLab(state, name, scenario, seconds, signal, (made) => {
      lab = made;
    });
    return { result, summary: groupSummaryLines(result) };
  } finally {
    unhear();
    hide();
  }
}

process.exitCode = await main();

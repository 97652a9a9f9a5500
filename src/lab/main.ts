/**
 * `npm start`: builds an anycast lab out of network namespaces on this machine, sends traffic through it and shows
 * what happens - live on a terminal, as progress and a summary elsewhere, as one JSON object with --json.
 */
import { existsSync, readFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import { sweep } from "./host.ts";
import { runLab } from "./lab.ts";
import { picture } from "./picture.ts";
import { type Result, summaryLines } from "./result.ts";
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

const program = new Command("npm start --")
  .description(
    `Builds an anycast lab on this machine (${oneNode.title}), sends traffic through it, shows what happens, and removes
everything again. Needs root. Status 0: every path carried its traffic.`,
  )
  .option("--for <seconds>", "measure this long", number(1, 86_400 * 7))
  .option("--json", "print one JSON object at the end, progress on standard error")
  .option("--rate <pps>", "packets per second on each path", number(1, 1000), 50)
  .addOption(
    new Option("--scenario <name>", "restart: kill -9 the node in the middle, start it again, measure the gap")
      .choices(scenarios)
      .default("traffic"),
  )
  .addHelpText(
    "after",
    `\nWithout --for it runs until Ctrl-C on a terminal, and ${UNWATCHED_SECONDS} seconds elsewhere; the restart scenario runs
${RESTART_SECONDS} seconds.`,
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

interface Options {
  readonly for?: number;
  readonly json?: true;
  readonly rate: number;
  readonly scenario: Scenario;
}

function contradiction(options: Options): string | undefined {
  if (options.scenario !== "restart" || (options.for ?? RESTART_SECONDS) >= RESTART_SECONDS_MIN) return undefined;
  return `The restart scenario needs --for ${RESTART_SECONDS_MIN} or more: half of the time is for going on.`;
}

/** A reason why no lab can run here, with what to do; or undefined. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) {
    const args = process.argv.slice(2).join(" ");
    return `The lab makes network namespaces and devices and needs root; type: sudo npm start${args ? ` -- ${args}` : ""}`;
  }
  if (!existsSync("/dev/net/tun")) return "There is no /dev/net/tun; type: modprobe tun";
  return undefined;
}

/** Calls back at each redraw or each second with what belongs there; the returned function ends that. */
function show(state: LabState, live: boolean): () => void {
  if (live) {
    const screen = new Screen(process.stdout);
    const draw = () =>
      screen.draw((columns, rows) => picture(state, columns, rows, process.env["NO_COLOR"] === undefined));
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
  const progress = () => {
    const sum = (key: "sent" | "received" | "lost") => state.paths.reduce((total, path) => total + path[key], 0);
    const counts = state.elapsedMs > 0 ? `: sent ${sum("sent")}, received ${sum("received")}, lost ${sum("lost")}` : "";
    const left = state.seconds === undefined ? "" : ` of ${state.seconds}`;
    process.stderr.write(`lab: ${state.phase}, ${Math.floor(state.elapsedMs / 1000)}${left} s${counts}\n`);
  };
  const timer = setInterval(progress, 1000);
  progress();
  return () => clearInterval(timer);
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
  const watched = process.stdout.isTTY === true;
  const endless = watched ? undefined : UNWATCHED_SECONDS;
  const seconds = options.for ?? (options.scenario === "restart" ? RESTART_SECONDS : endless);
  const nameOf = (place: string) => namespaceOf(process.pid, place);
  const state = createState(oneNode, nameOf, version, seconds, options.scenario, options.rate);
  const signal = stopSignal();
  let removed = false;
  process.once("exit", () => {
    if (!removed) sweep((pid) => pid === process.pid);
  });
  const hide = show(state, live);
  let result: Result;
  try {
    result = await runLab(state, signal);
    removed = true;
  } finally {
    hide();
  }
  if (options.json) for (const problem of result.problems) process.stderr.write(`lab: ${problem}\n`);
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : `${summaryLines(result).join("\n")}\n`);
  return result.ok ? 0 : 1;
}

process.exitCode = await main();

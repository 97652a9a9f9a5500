/**
 * The lab's only way to the machine: runs programs to their end, starts programs inside namespaces, finds and removes
 * what a lab left behind. Knows no topology. Kills by process id only, and only what runs in the lab's own namespaces.
 */
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { namespacePattern } from "./topology.ts";

/** Runs a program to its end and returns its standard output. Throws with the command and its complaint. */
export function run(command: readonly string[]): string {
  const [program, ...args] = command;
  const result = spawnSync(program!, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  if (result.error) throw new Error(`cannot run \`${command.join(" ")}\`: ${result.error.message}`);
  if (result.status !== 0) {
    throw new Error(`\`${command.join(" ")}\` ended with status ${result.status}: ${result.stderr.trim()}`);
  }
  return result.stdout;
}

/** Of what is not measured, also of the lab itself (package.json): threads that help would take all processors for it. */
const ONE_COLLECTOR = "--single-threaded-gc";

/** Command of a program in this folder. */
export const ownProgram = (file: string): readonly string[] => [
  process.execPath,
  ONE_COLLECTOR,
  fileURLToPath(new URL(file, import.meta.url)),
];

/**
 * Starts a program in a namespace. The kernel sends it SIGTERM when the lab dies, however the lab dies; `ip netns exec`
 * and setpriv replace themselves with the program, so the child's process id is the program's.
 * `output`: file descriptor for standard output and error, "pipe" for a standard input and output to talk to,
 * or "capture" for standard output and error to read.
 */
export function spawnIn(
  namespace: string,
  command: readonly string[],
  output: number | "pipe" | "capture",
): ChildProcess {
  const args = ["netns", "exec", namespace, "setpriv", "--pdeathsig", "TERM", "--", ...command];
  // A process group of its own: Ctrl-C at the terminal reaches the lab alone, which then stops everything in order.
  const stdio: StdioOptions =
    output === "pipe"
      ? ["pipe", "pipe", "inherit"]
      : output === "capture"
        ? ["ignore", "pipe", "pipe"]
        : ["ignore", output, output];
  return spawn("ip", args, { detached: true, stdio });
}

/** Waits until a child has ended, at most `ms`. False: it still runs. */
export function ended(child: ChildProcess, ms: number): Promise<boolean> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return Promise.resolve(true);
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      child.off("exit", onExit);
      resolve(false);
    }, ms);
    const onExit = () => {
      clearTimeout(timer);
      resolve(true);
    };
    child.once("exit", onExit);
  });
}

/** Ends a child: SIGTERM, and SIGKILL when it has not gone after `graceMs`. */
export async function stop(child: ChildProcess, graceMs: number): Promise<void> {
  child.kill("SIGTERM");
  if (await ended(child, graceMs)) return;
  child.kill("SIGKILL");
  await ended(child, graceMs);
}

const directoryPrefix = (pid: number) => `anyhop-lab-${pid}-`;

/** Makes the directory of this lab: configuration, state, sockets, logs. Readable by its owner only. */
export function makeDirectory(): string {
  return mkdtempSync(join(tmpdir(), directoryPrefix(process.pid)));
}

function namespaces(): string[] {
  const lines = run(["ip", "netns", "list"]).split("\n");
  return lines.map((line) => line.split(" ")[0] ?? "").filter((name) => namespacePattern.test(name));
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It went by itself in between.
  }
}

/**
 * Removes every namespace and directory of the labs whose process id satisfies `which`, and kills what still runs in
 * them. Synchronous, so that it also works as the last act of a dying process. Returns the removed namespaces.
 */
export function sweep(which: (pid: number) => boolean): string[] {
  const gone = namespaces().filter((name) => which(Number(namespacePattern.exec(name)![1])));
  for (const name of gone) {
    try {
      for (const pid of run(["ip", "netns", "pids", name]).split("\n").filter(Boolean)) kill(Number(pid));
      run(["ip", "netns", "delete", name]);
    } catch (error) {
      // Two labs that start at once may both find one leftover; only a namespace that is still there is an error.
      if (namespaces().includes(name)) throw error;
    }
  }
  for (const entry of readdirSync(tmpdir())) {
    const pid = namespacePattern.exec(entry)?.[1];
    if (pid !== undefined && which(Number(pid))) rmSync(join(tmpdir(), entry), { recursive: true, force: true });
  }
  return gone;
}

/** Removes what labs left that were killed before they could clean up. Returns the removed namespaces. */
export const sweepLeftovers = (): string[] => sweep((pid) => pid !== process.pid && !alive(pid));

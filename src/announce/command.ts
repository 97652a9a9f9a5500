/**
 * A program of the operator as announcer: run as `PROGRAM announce|drain|withdraw`, once for each change. Status 0 is
 * done; anything else, or its time limit, is a failure, and it is run again.
 */
import { spawn } from "node:child_process";
import { AnyhopError } from "../base/errors.ts";
import type { AnnounceSpec, Phase } from "./spec.ts";
import type { Driver } from "./steering.ts";

const verbs: Readonly<Record<Phase, string>> = { announced: "announce", draining: "drain", withdrawn: "withdraw" };

/** Every variable of the program with its meaning; docs/OPERATIONS.md has the same table. There are no others. */
export const commandVariables = {
  ANYHOP_ANNOUNCE: "`announce`, `drain` or `withdraw`, as the argument",
  ANYHOP_INSTANCE: "name of the instance",
  ANYHOP_PREFIXES: "prefixes of the service addresses, separated by spaces",
  ANYHOP_ANNOUNCE_DEVICE: "device that holds the service addresses, or empty",
  PATH: "as the daemon has it",
} as const;

/** What is kept of the program's complaints. */
const STDERR_CHARS = 2000;

export class CommandDriver implements Driver {
  readonly #spec: AnnounceSpec;
  readonly #instance: string;
  readonly #path: string;
  #stop: (() => void) | undefined;

  /** `path`: the daemon's PATH. */
  constructor(spec: AnnounceSpec, instance: string, path: string) {
    this.#spec = spec;
    this.#instance = instance;
    this.#path = path;
  }

  apply(phase: Phase): Promise<void> {
    const { command, timeoutMs, prefixes, device } = this.#spec;
    const verb = verbs[phase];
    const env: Record<keyof typeof commandVariables, string> = {
      ANYHOP_ANNOUNCE: verb,
      ANYHOP_INSTANCE: this.#instance,
      ANYHOP_PREFIXES: prefixes.join(" "),
      ANYHOP_ANNOUNCE_DEVICE: device ?? "",
      PATH: this.#path,
    };
    return new Promise((resolve, reject) => {
      // A group of its own, so that the time limit ends what the program has started, too.
      const child = spawn(command, [verb], { env, detached: true, stdio: ["ignore", "ignore", "pipe"] });
      let stderr = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr = (stderr + text).slice(-STDERR_CHARS);
      });
      const fail = (why: string) =>
        reject(new AnyhopError("announce_command", `The program ${command} ${verb} failed: ${why}.`));
      const stop = () => {
        if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
          process.kill(-child.pid, "SIGKILL");
      };
      const timer = setTimeout(() => {
        fail(`it had not ended after ${timeoutMs / 1000} s and was killed`);
        stop();
      }, timeoutMs);
      this.#stop = stop;
      child.on("error", (error) => {
        clearTimeout(timer);
        fail(error.message);
      });
      child.on("exit", (code, signal) => {
        clearTimeout(timer);
        this.#stop = undefined;
        if (code === 0) return resolve();
        const said = stderr.trim().split("\n").at(-1);
        fail(said || (signal === null ? `status ${code}` : `ended by ${signal}`));
      });
    });
  }

  /** A program is run for changes only. */
  async refresh(): Promise<boolean> {
    return false;
  }

  close(): void {
    this.#stop?.();
  }
}

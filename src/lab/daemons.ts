/**
 * The anyhop daemons of a lab: real ones, started from the built program with a configuration file each, asked over
 * their control sockets like any other client would, and stopped with SIGTERM.
 */
import type { ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { getStatus } from "../api/client.ts";
import type { Status } from "../api/contract.ts";
import { ended, spawnIn, stop } from "./host.ts";
import type { DaemonState, LabState } from "./state.ts";
import { configText } from "./topology.ts";

const program = fileURLToPath(new URL("../../bin/anyhop", import.meta.url));
const READY_MS = 15_000;
const ASK_MS = 2000;
const GRACE_MS = 3000;
/** Lines of a daemon's log that are shown when it fails. */
const LOG_LINES = 12;

interface Daemon {
  readonly place: string;
  readonly child: ChildProcess;
  readonly directory: string;
  /** Why the last question had no answer, as a sentence. */
  silence: string;
  /** We asked it to stop. */
  stopping: boolean;
}

export class Daemons {
  readonly #state: LabState;
  readonly #daemons: Daemon[];

  /** Writes the configuration files below `directory` and starts the daemons. */
  constructor(state: LabState, directory: string) {
    this.#state = state;
    this.#daemons = state.topology.places.flatMap((place) => {
      if (place.daemon === undefined) return [];
      const own = join(directory, place.name);
      mkdirSync(join(own, "state"), { recursive: true, mode: 0o700 });
      const file = join(own, "anyhop.toml");
      writeFileSync(file, configText(place.name, place.daemon, own), { mode: 0o600 });
      const log = openSync(join(own, "log"), "w", 0o600);
      const child = spawnIn(state.namespaces.get(place.name)!, [process.execPath, program, "run", file], log);
      closeSync(log);
      const daemon: Daemon = { place: place.name, child, directory: own, silence: "", stopping: false };
      child.once("error", (error) => this.#fail(daemon, `did not start: ${error.message}`));
      child.once("exit", (code, signal) => {
        if (daemon.stopping && code === 0) return;
        const when = daemon.stopping ? "did not stop cleanly" : "ended by itself";
        this.#fail(daemon, `${when} (${signal ?? `status ${code}`})`);
      });
      return [daemon];
    });
  }

  #fail({ place, directory }: Daemon, what: string): void {
    const log = readFileSync(join(directory, "log"), "utf8").trimEnd().split("\n").slice(-LOG_LINES);
    this.#state.problems.push(`The daemon at ${place} ${what}. Its last words:\n  ${log.join("\n  ")}`);
  }

  /** Waits until every daemon answers on its control socket. Throws when one ends or stays silent. */
  async ready(signal: AbortSignal): Promise<void> {
    const until = performance.now() + READY_MS;
    for (;;) {
      signal.throwIfAborted();
      await this.ask();
      const silent = this.#daemons.filter(({ place }) => !this.#state.daemons.has(place));
      if (silent.length === 0) return;
      const dead = silent.find(({ child }) => child.exitCode !== null || child.signalCode !== null);
      if (dead !== undefined) throw new Error(`The lab cannot start without the daemon at ${dead.place}.`);
      if (performance.now() > until) {
        for (const daemon of silent) {
          this.#fail(daemon, `does not answer after ${READY_MS / 1000} s (${daemon.silence})`);
        }
        throw new Error("The lab cannot start without its daemons.");
      }
      await pause(50);
    }
  }

  /** Asks every daemon for its status; one that does not answer keeps its last report. */
  async ask(): Promise<void> {
    await Promise.all(
      this.#daemons.map(async (daemon) => {
        const { place, directory } = daemon;
        try {
          this.#state.daemons.set(place, reportOf(place, await getStatus(join(directory, "control.sock"), ASK_MS)));
        } catch (error) {
          // Not up yet, or gone: the first is waited for in `ready`, the second reported by its exit.
          daemon.silence = error instanceof Error ? error.message : String(error);
        }
      }),
    );
  }

  /** Stops the daemons and waits for them. */
  async end(): Promise<void> {
    await Promise.all(
      this.#daemons.map(async (daemon) => {
        if (await ended(daemon.child, 0)) return;
        daemon.stopping = true;
        await stop(daemon.child, GRACE_MS);
      }),
    );
  }
}

function reportOf(place: string, status: Status): DaemonState {
  return {
    tunnels: status.tunnels.map(({ name, endpoint, rx, tx, drops, problem }) => {
      return { place, name, endpoint, rx, tx, drops, problem };
    }),
    drops: status.drops.filter(({ count }) => count > 0).map(({ name, count, help }) => ({ place, name, count, help })),
  };
}

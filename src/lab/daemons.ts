/**
 * The anyhop daemons of a lab: real ones, started from the built program with a configuration file and a key each, asked
 * over their control sockets like any other client would, and stopped with SIGTERM. One can be killed and started again.
 */
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ask, getStatus } from "../api/client.ts";
import type { ApiSession } from "../api/contract/control.ts";
import type { Answer, Asked, OperationName } from "../api/contract/operations.ts";
import type { Status } from "../api/contract.ts";
import { formatKey } from "../control/text/keys/key_text.ts";
import { privateKeyFrom, publicKeyOf } from "../control/text/keys/x25519.ts";
import { ended, spawnIn, stop } from "./host.ts";
import { addReport, type DaemonState, type LabState } from "./state.ts";
import { configText, type ExtraClient } from "./topology.ts";

const program = fileURLToPath(new URL("../../bin/anyhop", import.meta.url));
const READY_MS = 15_000;
const RESTART_POLL_MS = 10;
const ASK_MS = 2000;
const GRACE_MS = 3000;
/** Lines of a daemon's log that are shown when it fails. */
const LOG_LINES = 12;

interface Daemon {
  readonly place: string;
  readonly directory: string;
  /** Has sessions to tell of. */
  readonly isNode: boolean;
  child: ChildProcess;
  /** Why the last question had no answer, as a sentence. */
  silence: string;
  /** How we asked it to go. */
  asked: "SIGTERM" | "SIGKILL" | undefined;
}

export class Daemons {
  readonly #state: LabState;
  readonly #daemons: Daemon[];
  readonly #publicKeys: ReadonlyMap<string, string>;

  /** Makes keys and configuration files below `directory` and starts the daemons. `extra`: nodes know them too. */
  constructor(state: LabState, directory: string, extra: readonly ExtraClient[] = []) {
    this.#state = state;
    const places = state.topology.places.filter(({ daemon }) => daemon !== undefined);
    // Nodes of one group have one key, and a fleet key beside it.
    const groups = new Map<string, GroupKeys>();
    this.#publicKeys = new Map(
      places.map(({ name, daemon }) => {
        const keyOf = daemon?.kind === "node" ? daemon.member?.keyOf : undefined;
        if (keyOf === undefined) return [name, writeKeys(join(directory, name), makeKeys())];
        const shared = groups.get(keyOf) ?? { ...makeKeys(), fleetKey: randomBytes(32) };
        groups.set(keyOf, shared);
        return [name, writeKeys(join(directory, name), shared)];
      }),
    );
    this.#daemons = places.map(({ name: place, daemon }) => {
      const own = join(directory, place);
      const text = configText(state.topology, place, own, this.#publicKeys, extra);
      writeFileSync(configFile(own), text, { mode: 0o600 });
      const child = this.#spawn(place, own);
      const made: Daemon = {
        ...{ place, directory: own, isNode: daemon?.kind === "node", child, silence: "", asked: undefined },
      };
      this.#watch(made);
      return made;
    });
  }

  #spawn(place: string, directory: string): ChildProcess {
    const log = openSync(join(directory, "log"), "a", 0o600);
    const command = [process.execPath, program, "run", configFile(directory)];
    const child = spawnIn(this.#state.namespaces.get(place)!, command, log);
    closeSync(log);
    return child;
  }

  #watch(daemon: Daemon): void {
    const { child } = daemon;
    child.once("error", (error) => this.#fail(daemon, `did not start: ${error.message}`));
    child.once("exit", (code, signal) => {
      if (daemon.asked === "SIGTERM" && code === 0) return;
      if (daemon.asked === "SIGKILL" && signal === "SIGKILL") return;
      const when = daemon.asked === "SIGTERM" ? "did not stop cleanly" : "ended by itself";
      this.#fail(daemon, `${when} (${signal ?? `status ${code}`})`);
    });
  }

  /**
   * Kills the daemon at `place` without warning (SIGKILL), starts it again at once, and waits until it answers. Everything
   * that it kept in memory only is lost. What goes wrong becomes a problem of the lab.
   */
  async restart(place: string): Promise<void> {
    const daemon = this.#daemons.find((one) => one.place === place)!;
    await this.ask();
    const report = this.#state.daemons.get(place);
    if (report === undefined || daemon.child.pid === undefined) return this.#fail(daemon, "was gone before the kill");
    daemon.asked = "SIGKILL";
    const killedAt = performance.now();
    this.#state.restart = {
      ...{ place, pid: report.pid, killedAt, atMs: this.#state.elapsedMs, upMs: undefined },
      before: new Map(report.sessions.map(({ id, client }) => [id, client])),
      resumed: new Set(),
    };
    daemon.child.kill("SIGKILL");
    this.#state.daemons.delete(place);
    if (!(await ended(daemon.child, GRACE_MS))) return this.#fail(daemon, "did not die of SIGKILL");
    daemon.asked = undefined;
    daemon.child = this.#spawn(place, daemon.directory);
    this.#watch(daemon);
    while (!this.#state.daemons.has(place) && daemon.child.exitCode === null && daemon.child.signalCode === null) {
      if (performance.now() - killedAt > READY_MS)
        return this.#fail(daemon, `does not answer ${READY_MS / 1000} s after it was killed (${daemon.silence})`);
      await pause(RESTART_POLL_MS);
      await this.#askOne(daemon);
    }
  }

  /** SIGKILL, also of a frozen one; resolves when it is gone. */
  async kill(place: string): Promise<void> {
    const daemon = this.#of(place);
    daemon.asked = "SIGKILL";
    daemon.child.kill("SIGKILL");
    this.#state.daemons.delete(place);
    if (!(await ended(daemon.child, GRACE_MS))) this.#fail(daemon, "did not die of SIGKILL");
  }

  /** SIGSTOP: it still is there, and says nothing any more. */
  freeze(place: string): void {
    this.#of(place).child.kill("SIGSTOP");
  }

  /** Starts the daemon of a killed one again. */
  start(place: string): void {
    const daemon = this.#of(place);
    daemon.asked = undefined;
    daemon.child = this.#spawn(place, daemon.directory);
    this.#watch(daemon);
  }

  /** Whether the daemon at `place` answers now. */
  async answers(place: string): Promise<boolean> {
    this.#state.daemons.delete(place);
    await this.#askOne(this.#of(place));
    return this.#state.daemons.has(place);
  }

  /** 44 characters of base64. */
  publicKeyOf(place: string): string {
    return this.#publicKeys.get(place)!;
  }

  /** Any question to the daemon at `place`. Throws AnyhopError. */
  question<K extends OperationName>(place: string, name: K, asked: Asked<K>): Promise<Answer<K>> {
    return ask(join(this.#of(place).directory, "control.sock"), name, asked, ASK_MS);
  }

  #of(place: string): Daemon {
    return this.#daemons.find((one) => one.place === place)!;
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
    await Promise.all(this.#daemons.map((daemon) => this.#askOne(daemon)));
  }

  async #askOne(daemon: Daemon): Promise<void> {
    const { place, directory, isNode } = daemon;
    const socket = join(directory, "control.sock");
    try {
      const status = await getStatus(socket, ASK_MS);
      const { sessions } = isNode ? await ask(socket, "listSessions", {}, ASK_MS) : { sessions: [] };
      addReport(this.#state, place, reportOf(place, status, sessions), performance.now());
    } catch (error) {
      // Not up yet, or gone: the first is waited for in `ready` and `restart`, the second reported by its exit.
      daemon.silence = error instanceof Error ? error.message : String(error);
    }
  }

  /** Stops the daemons and waits for them. */
  async end(): Promise<void> {
    await Promise.all(
      this.#daemons.map(async (daemon) => {
        if (await ended(daemon.child, 0)) return;
        daemon.asked = "SIGTERM";
        await stop(daemon.child, GRACE_MS);
      }),
    );
  }
}

const configFile = (directory: string): string => join(directory, "anyhop.toml");

interface GroupKeys {
  readonly privateKey: Uint8Array;
  readonly fleetKey?: Uint8Array;
}

const makeKeys = (): GroupKeys => ({ privateKey: privateKeyFrom(randomBytes(32)) });

/** Makes the folder of a place with its keys in it. Returns the public key. */
function writeKeys(directory: string, { privateKey, fleetKey }: GroupKeys): string {
  mkdirSync(join(directory, "state"), { recursive: true, mode: 0o700 });
  writeFileSync(join(directory, "key"), `${formatKey(privateKey)}\n`, { mode: 0o600 });
  if (fleetKey !== undefined) writeFileSync(join(directory, "fleet.key"), `${formatKey(fleetKey)}\n`, { mode: 0o600 });
  return formatKey(publicKeyOf(privateKey));
}

function reportOf(place: string, status: Status, sessions: readonly ApiSession[]): DaemonState {
  return {
    pid: status.pid,
    tunnels: status.tunnels.map(({ name, endpoint, rx, tx, drops, problem }) => {
      return { place, name, endpoint, rx, tx, drops, problem };
    }),
    sessions: sessions.map(({ id, client, endpoint, cipher, rx, tx }) => {
      return { place, id, client, endpoint, cipher, rx, tx };
    }),
    resumed: status.services.flatMap((service) => service.sessions.flatMap(({ id, resumed }) => (resumed ? [id] : []))),
    drops: status.drops.filter(({ count }) => count > 0).map(({ name, count, help }) => ({ place, name, count, help })),
  };
}

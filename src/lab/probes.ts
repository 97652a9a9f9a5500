/**
 * The probe processes of a lab: starts one in every namespace, gives them their orders and takes their readings into
 * the state. What a probe does is in `probe.ts`.
 */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { ended, ownProgram, spawnIn, stop } from "./host.ts";
import type { ProbeLine, ProbeOrder } from "./probe.ts";
import { addReading, type LabState } from "./state.ts";

interface Probe {
  readonly place: string;
  readonly child: ChildProcess;
  ready: boolean;
  done: boolean;
}

export class Probes {
  readonly #probes: Probe[];
  readonly #state: LabState;

  /** Starts the probes. They ask along every path at once, and count from `start` on. */
  constructor(state: LabState, packetsPerSecond: number) {
    this.#state = state;
    this.#probes = [...state.namespaces].map(([place, namespace]) => this.#launch(place, namespace, packetsPerSecond));
  }

  #launch(place: string, namespace: string, packetsPerSecond: number): Probe {
    const paths = this.#state.topology.paths.flatMap(({ from, family, address }, id) => {
      return from === place ? [{ id, family, address }] : [];
    });
    const order: ProbeOrder = { paths, packetsPerSecond };
    const child = spawnIn(namespace, [...ownProgram("probe.js"), JSON.stringify(order)], "pipe");
    const probe: Probe = { place, child, ready: paths.length === 0, done: false };
    createInterface({ input: child.stdout! }).on("line", (text) => this.#take(probe, JSON.parse(text) as ProbeLine));
    // A probe that dies shows below; writing to it must not end the lab.
    child.stdin!.on("error", () => {});
    child.once("error", (error) => this.#state.problems.push(`The probe at ${place} did not start: ${error.message}.`));
    child.once("exit", (code, signal) => {
      if (!probe.done) this.#state.problems.push(`The probe at ${place} ended early (${signal ?? `status ${code}`}).`);
      probe.done = true;
    });
    return probe;
  }

  #take(probe: Probe, line: ProbeLine): void {
    probe.ready = line.ready;
    for (const reading of line.paths) addReading(this.#state.paths[reading.id]!, reading, performance.now());
    if (line.done) probe.done = true;
  }

  /** Every path was answered at least once. */
  get ready(): boolean {
    return this.#probes.every((probe) => probe.ready);
  }

  /** Every probe has said its last word. */
  get done(): boolean {
    return this.#probes.every((probe) => probe.done);
  }

  tell(order: "start" | "stop"): void {
    for (const { child } of this.#probes) child.stdin!.write(`${order}\n`);
  }

  /** Ends the processes. */
  async end(): Promise<void> {
    for (const probe of this.#probes) {
      probe.done = true;
      probe.child.stdin!.end();
    }
    await Promise.all(
      this.#probes.map(async ({ child }) => {
        if (!(await ended(child, 1000))) await stop(child, 1000);
      }),
    );
  }
}

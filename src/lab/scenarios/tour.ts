/** What `npm start` shows: routes change by themselves, nodes are killed and drained in turn, and on key press. */
import { setTimeout as pause } from "node:timers/promises";
import { type GroupLab, type Scenario, WAYS, wallMs } from "../group_lab.ts";
import { all, type LabNumber } from "../group_result.ts";
import { CLIENTS, type ClientName, NODES, type NodeName } from "../group_topology.ts";

const STEP_MS = 1500;
const DRAIN_MAX_S = 10;
/** Every so many steps something greater than a flip happens. */
const GREATER = 5;

export const tour: Scenario = {
  seconds: undefined,
  secondsMin: 3,
  help: "flips by themselves, kills and drains in turn, and on key press (the default)",
  async run(lab, seconds, signal): Promise<LabNumber[]> {
    const guide = new Guide(lab, signal);
    lab.onKey = (key) => guide.press(key);
    const end = seconds === undefined ? Number.POSITIVE_INFINITY : wallMs() + seconds * 1000;
    for (let step = 1; wallMs() < end && !signal.aborted; step++) {
      if (step % GREATER !== 0) guide.flip(CLIENTS[step % CLIENTS.length]!);
      else if (step % (2 * GREATER) === 0) guide.kill();
      else guide.drain();
      await pause(Math.max(0, Math.min(STEP_MS, end - wallMs())), undefined, { signal }).catch(() => {});
    }
    lab.onKey = () => {};
    await guide.settled();
    const streams = WAYS.filter(({ id }) => lab.count(id).sent > 0);
    const alive = streams.filter(({ id }) => lab.count(id).received > 0);
    return [all("streams that carried packets", alive.length, streams.length)];
  },
};

/** Does one great thing at a time: of three nodes, one may be away. */
class Guide {
  readonly #lab: GroupLab;
  readonly #signal: AbortSignal;
  #away: Promise<void> | undefined;
  #engine = true;

  constructor(lab: GroupLab, signal: AbortSignal) {
    this.#lab = lab;
    this.#signal = signal;
  }

  press(key: string): void {
    const client = CLIENTS[Number(key) - 1];
    if (client !== undefined) this.flip(client);
    else if (key === "k") this.kill();
    else if (key === "d") this.drain();
    else if (key === "e") this.engine();
  }

  flip(client: ClientName): void {
    const next = NODES[(NODES.indexOf(this.#lab.router.preferences[client]) + 1) % NODES.length]!;
    this.#failing(this.#lab.flip([client], next));
  }

  kill(): void {
    const node = this.#busiest();
    this.#goesAway(async () => {
      await this.#lab.kill(node);
      await pause(1000, undefined, { signal: this.#signal });
      await this.#lab.start(node, this.#signal);
    });
  }

  drain(): void {
    const node = this.#busiest();
    this.#goesAway(() => this.#lab.drainAndReturn(node, DRAIN_MAX_S, this.#signal));
  }

  engine(): void {
    this.#engine = !this.#engine;
    const { services } = this.#lab;
    this.#lab.note({ what: this.#engine ? "engine on" : "engine off" });
    if (this.#engine) services.start(undefined, ["hub", "leaf"]);
    else this.#failing(services.kill(undefined, ["hub", "leaf"]));
  }

  async settled(): Promise<void> {
    await this.#away;
  }

  /** The node with the most clients: what happens to it is seen. */
  #busiest(): NodeName {
    const load = (node: NodeName) => CLIENTS.filter((client) => this.#lab.wire.carrier(client) === node).length;
    return [...NODES].sort((a, b) => load(b) - load(a))[0]!;
  }

  #goesAway(work: () => Promise<void>): void {
    if (this.#away !== undefined) return;
    this.#away = this.#failing(work()).finally(() => {
      this.#away = undefined;
    });
  }

  /** What goes wrong is a problem of the lab, unless the lab is ending. */
  #failing(work: Promise<void>): Promise<void> {
    return work.catch((error) => {
      if (!this.#signal.aborted) this.#lab.state.problems.push((error as Error).message);
    });
  }
}

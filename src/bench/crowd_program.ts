/** Starts the process of many clients (`crowd.ts`) and talks to it: one command, one line of answer. */
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { CrowdCommand, CrowdLine, CrowdOrder } from "./crowd_order.ts";
import { ECHO, type Fleet, SERVICE_PORT } from "./group_fleet.ts";
import { clientAddresses, type GroupNet, SERVICE } from "./group_net.ts";
import type { Program } from "./netns.ts";
import { BENCH } from "./tunnel_ends.ts";

const SOURCES = 250;
const ANSWER_MS = 240_000;

type LineOf<K extends CrowdLine["kind"]> = Extract<CrowdLine, { kind: K }>;
export type Burst = LineOf<"burst">;

export class CrowdProgram {
  readonly #program: Program;
  readonly #lines: CrowdLine[] = [];
  #wake = () => {};

  /** Clients [0, clients) of the fleet. */
  constructor(net: GroupNet, fleet: Fleet, clients: number) {
    const order: CrowdOrder = {
      ...{ groupKey: fleet.groupKey, echo: ECHO, clients, seed: fleet.seed },
      service: { address: SERVICE, port: SERVICE_PORT },
      sources: clientAddresses(Math.min(SOURCES, clients)),
    };
    const file = `${fleet.dir}/crowd.json`;
    writeFileSync(file, JSON.stringify(order), { mode: 0o600 });
    this.#program = net.clients.start([process.execPath, BENCH, "crowd", file], { stdin: true });
    createInterface({ input: this.#program.child.stdout! }).on("line", (line) => {
      this.#lines.push(JSON.parse(line) as CrowdLine);
      this.#wake();
    });
    this.#program.ended.then(() => this.#wake());
  }

  ready(): Promise<LineOf<"ready">> {
    return this.#next("ready");
  }

  connect(): Promise<LineOf<"connected">> {
    this.#tell({ kind: "connect" });
    return this.#next("connected");
  }

  /** Every session sends so many packets a second until the next command; 0 ends it. */
  steady(perSecond: number): Promise<LineOf<"steady">> {
    this.#tell({ kind: "steady", perSecond });
    return this.#next("steady");
  }

  burst(waitMs: number): Promise<Burst> {
    this.#tell({ kind: "burst", waitMs });
    return this.#next("burst");
  }

  #tell(command: CrowdCommand): void {
    this.#program.child.stdin!.write(`${JSON.stringify(command)}\n`);
  }

  async #next<K extends CrowdLine["kind"]>(kind: K): Promise<LineOf<K>> {
    const deadline = Date.now() + ANSWER_MS;
    for (;;) {
      const line = this.#lines.shift();
      if (line?.kind === kind) return line as LineOf<K>;
      if (line !== undefined) throw new Error(`The crowd says ${line.kind}, not ${kind}.`);
      if (!this.#program.alive) throw new Error(`The crowd has ended: ${this.#program.output.trim()}`);
      if (Date.now() > deadline) throw new Error(`The crowd has not said ${kind} for ${ANSWER_MS / 1000} s.`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async end(): Promise<void> {
    this.#program.child.stdin!.end();
    await this.#program.stop();
  }
}

/** The other end of the process of many clients (`main.ts`): one command, one line of answer. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { CrowdCommand, CrowdLine } from "./order.ts";

/** What is to be started in the clients' namespace, with standard input and output as pipes; the order's file follows. */
export const CROWD = [process.execPath, fileURLToPath(new URL("../../dist/crowd/main.js", import.meta.url))] as const;

const ANSWER_MS = 240_000;
const LOOK_MS = 1000;
const TRIES = 10;

type LineOf<K extends CrowdLine["kind"]> = Extract<CrowdLine, { kind: K }>;
export type Connected = LineOf<"connected">;
export type Burst = LineOf<"burst">;

export class CrowdProgram {
  readonly #child: ChildProcess;
  readonly #signal: AbortSignal | undefined;
  readonly #lines: CrowdLine[] = [];
  #complaint = "";
  #wake = () => {};

  /** `signal`: whoever waits for an answer is thrown out. */
  constructor(child: ChildProcess, signal?: AbortSignal) {
    this.#child = child;
    this.#signal = signal;
    createInterface({ input: child.stdout! }).on("line", (line) => {
      this.#lines.push(JSON.parse(line) as CrowdLine);
      this.#wake();
    });
    child.stderr?.on("data", (text) => {
      this.#complaint += text;
    });
    // It ends by itself: then there is no answer, and that is said.
    child.stdin!.on("error", () => {});
    child.once("exit", () => this.#wake());
    signal?.addEventListener("abort", () => this.#wake(), { once: true });
  }

  ready(): Promise<LineOf<"ready">> {
    return this.#next("ready");
  }

  /** Sessions for the clients [first, first + clients). */
  connect(first: number, clients: number): Promise<Connected> {
    this.#tell({ kind: "connect", first, clients, tries: TRIES, until: "confirmed" });
    return this.#next("connected");
  }

  /** The same for a node that is measured: one try each, and a handshake ends with the first packet of the node. */
  handshakes(first: number, clients: number): Promise<Connected> {
    this.#tell({ kind: "connect", first, clients, tries: 1, until: "heard" });
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
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
  }

  get #isGone(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async #next<K extends CrowdLine["kind"]>(kind: K): Promise<LineOf<K>> {
    const deadline = Date.now() + ANSWER_MS;
    for (;;) {
      this.#signal?.throwIfAborted();
      const line = this.#lines.shift();
      if (line?.kind === kind) return line as LineOf<K>;
      if (line !== undefined) throw new Error(`The crowd says ${line.kind}, not ${kind}.`);
      if (this.#isGone) throw new Error(`The crowd has ended. ${this.#complaint.trim()}`);
      if (Date.now() > deadline) throw new Error(`The crowd has not said ${kind} for ${ANSWER_MS / 1000} s.`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async end(): Promise<void> {
    const ended = this.#isGone ? undefined : once(this.#child, "exit");
    this.#child.stdin!.end();
    await ended;
  }
}

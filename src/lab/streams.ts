/** The stream processes of an anycast lab: starts them, gives orders, keeps their last counts. */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { ended, ownProgram, spawnIn, stop } from "./host.ts";
import type { LabState } from "./state.ts";
import type { StreamLine, StreamOrder } from "./stream.ts";

/** One way of numbered datagrams. */
export interface StreamWay {
  readonly id: number;
  readonly from: string;
  readonly to: string;
  readonly address: string;
}

export interface StreamCount {
  readonly sent: number;
  readonly received: number;
  readonly duplicates: number;
  readonly done: boolean;
}

export class Streams {
  readonly #children = new Map<string, ChildProcess>();
  readonly #lines = new Map<string, StreamLine>();
  readonly #ways: readonly StreamWay[];
  #ending = false;

  constructor(state: LabState, ways: readonly StreamWay[]) {
    this.#ways = ways;
    for (const place of new Set(ways.flatMap(({ from, to }) => [from, to]))) {
      const child = spawnIn(state.namespaces.get(place)!, ownProgram("stream.js"), "pipe");
      child.stdin!.on("error", () => {});
      child.once("exit", (code, signal) => {
        if (!this.#ending) state.problems.push(`The traffic at ${place} ended early (${signal ?? `status ${code}`}).`);
      });
      createInterface({ input: child.stdout! }).on("line", (text) =>
        this.#lines.set(place, JSON.parse(text) as StreamLine),
      );
      this.#children.set(place, child);
    }
  }

  send(id: number, packetsPerSecond: number, bytes: number, count = 0): void {
    const { from, address } = this.#way(id);
    this.#tell(from, { kind: "send", id, address, packetsPerSecond, bytes, count });
  }

  stop(id: number): void {
    this.#tell(this.#way(id).from, { kind: "stop", id });
  }

  connect(id: number, bytesPerSecond: number): void {
    const { from, address } = this.#way(id);
    this.#tell(from, { kind: "connect", id, address, bytesPerSecond });
  }

  count(id: number): StreamCount {
    const { from, to } = this.#way(id);
    const out = this.#lines.get(from)?.sent.find((one) => one.id === id);
    const into = this.#lines.get(to)?.received.find((one) => one.id === id);
    const { sent = 0, done = false } = out ?? {};
    return { sent, done, received: into?.received ?? 0, duplicates: into?.duplicates ?? 0 };
  }

  /** What went wrong with TCP, and how many bytes arrived in all. */
  tcp(): { readonly received: number; readonly problems: readonly string[] } {
    const lines = [...this.#lines.values()];
    const received = lines.reduce((sum, line) => sum + line.tcpReceived, 0);
    const broken = lines.flatMap(({ connections }) => connections.flatMap(({ problem }) => problem ?? []));
    return { received, problems: [...broken, ...lines.flatMap(({ tcpProblems }) => tcpProblems)] };
  }

  #way(id: number): StreamWay {
    return this.#ways.find((way) => way.id === id)!;
  }

  #tell(place: string, order: StreamOrder): void {
    this.#children.get(place)!.stdin!.write(`${JSON.stringify(order)}\n`);
  }

  async end(): Promise<void> {
    this.#ending = true;
    for (const child of this.#children.values()) child.stdin!.end();
    await Promise.all(
      [...this.#children.values()].map(async (child) => {
        if (!(await ended(child, 1000))) await stop(child, 1000);
      }),
    );
  }
}

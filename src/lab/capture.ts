/** tcpdump in a place: a live watch whose packets go to a callback, or a file. */
import type { ChildProcess } from "node:child_process";
import { ended, spawnIn, stop } from "./host.ts";
import { type Captured, PcapReader } from "./pcap.ts";
import type { LabState } from "./state.ts";

const START_MS = 5000;
/** KiB of buffer in the kernel: a second of what a busy lab captures. */
const BUFFER_KIB = 32_768;

const common = ["tcpdump", "-i", "any", "-y", "LINUX_SLL2", "-n", "-Z", "root", "-B", String(BUFFER_KIB)];
const format = ["--time-stamp-precision=nano", "--immediate-mode", "-U"];

export class Capture {
  readonly #child: ChildProcess;
  #words = "";
  #ending = false;

  private constructor(state: LabState, place: string, args: readonly string[]) {
    const command = [...common, ...format, ...args];
    this.#child = spawnIn(state.namespaces.get(place)!, command, "capture");
    this.#child.stderr!.on("data", (chunk) => {
      this.#words += chunk;
    });
    this.#child.once("exit", (code, signal) => {
      if (!this.#ending) state.problems.push(`tcpdump ended early (${signal ?? `status ${code}`}): ${this.#words}`);
    });
  }

  /** Headers of what `filter` matches, as they come. Resolves when the capture runs. */
  static async live(
    state: LabState,
    place: string,
    filter: string,
    take: (captured: Captured) => void,
  ): Promise<Capture> {
    const capture = new Capture(state, place, ["-s", "128", "-w", "-", filter]);
    const reader = new PcapReader(take);
    capture.#child.stdout!.on("data", (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        state.problems.push((error as Error).message);
        capture.#child.kill("SIGTERM");
      }
    });
    await capture.#listening();
    return capture;
  }

  /** Whole packets into a file. */
  static async toFile(state: LabState, place: string, filter: string, file: string): Promise<Capture> {
    const capture = new Capture(state, place, ["-w", file, filter]);
    await capture.#listening();
    return capture;
  }

  #listening(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`tcpdump does not start: ${this.#words}`)), START_MS);
      const look = () => {
        if (!this.#words.includes("listening on")) return;
        clearTimeout(timer);
        this.#child.stderr!.off("data", look);
        resolve();
      };
      this.#child.stderr!.on("data", look);
      this.#child.once("exit", () => {
        clearTimeout(timer);
        reject(new Error(`tcpdump does not start: ${this.#words}`));
      });
    });
  }

  /** Ends the capture. Returns how many packets the kernel dropped because tcpdump was too slow. */
  async end(): Promise<number> {
    this.#ending = true;
    if (!(await ended(this.#child, 0))) {
      // SIGINT lets it write what it has.
      this.#child.kill("SIGINT");
      if (!(await ended(this.#child, 2000))) await stop(this.#child, 1000);
    }
    return Number(/(\d+) packets? dropped by kernel/.exec(this.#words)?.[1] ?? 0);
  }
}

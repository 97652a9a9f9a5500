/**
 * Two network namespaces joined by a veth pair, and programs inside them.
 *
 * The benchmark and the tests against foreign programs stand on this file. Names carry the process id, so that several
 * runs live side by side. Whatever was started or created here is ended and removed by `close`, and also when the
 * process leaves without calling it. It never signals a program that it did not start.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

/** What a finished command said. `code` is -1 when it was ended by a signal or by its time limit. */
export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Characters of output that are kept for one program; older ones are forgotten. */
const OUTPUT_KEPT = 1 << 20;
const STOP_PATIENCE_MS = 30_000;

export const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** The directories of `PATH` and those where daemons live; undefined when no file of that name is there. */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
  return directories.map((directory) => `${directory}/${name}`).find((path) => existsSync(path));
}

/** A running program. Its output, both streams in order of arrival, collects in `output`. */
export class Program {
  output = "";
  exitCode: number | null = null;
  exitSignal: NodeJS.Signals | null = null;
  /** Resolves when the program has ended, whatever the reason. */
  readonly ended: Promise<void>;
  readonly child: ChildProcess;
  private failure: Error | undefined;

  constructor(argv: readonly string[], options: { readonly stdin?: boolean } = {}) {
    this.child = spawn(argv[0]!, argv.slice(1), { stdio: [options.stdin ? "pipe" : "ignore", "pipe", "pipe"] });
    const keep = (text: string) => {
      this.output = (this.output + text).slice(-OUTPUT_KEPT);
    };
    this.child.stdout?.setEncoding("utf8").on("data", keep);
    this.child.stderr?.setEncoding("utf8").on("data", keep);
    this.ended = new Promise((done) => {
      this.child.once("error", (error) => {
        this.failure = error;
        running.delete(this);
        done();
      });
      this.child.once("close", (code, signal) => {
        this.exitCode = code;
        this.exitSignal = signal;
        running.delete(this);
        done();
      });
    });
    running.add(this);
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`The program did not start: ${this.failure?.message ?? ""}`);
    return this.child.pid;
  }

  get alive(): boolean {
    return this.failure === undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Sends the signal and waits for the end; a program that ignores it is killed after half a minute. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.alive) this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), STOP_PATIENCE_MS);
    await this.ended;
    clearTimeout(timer);
  }
}

const running = new Set<Program>();
const namespaces = new Set<Namespace>();

/** Last resort: the process ends without `close`. Only synchronous work is possible here. */
process.once("exit", () => {
  for (const program of running) program.child.kill("SIGKILL");
  for (const namespace of namespaces) spawnSync("ip", ["netns", "del", namespace.name]);
});

/** Runs a command to its end, here or (see `Namespace.run`) in a namespace. Never throws for a failing command. */
export function run(argv: readonly string[], timeoutMs = 90_000): Promise<Output> {
  return new Promise((done) => {
    const options = {
      timeout: timeoutMs,
      killSignal: "SIGKILL" as const,
      maxBuffer: 64 << 20,
      encoding: "utf8" as const,
    };
    execFile(argv[0]!, argv.slice(1), options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      done({ code, stdout, stderr: code === -1 && stderr === "" ? String(error?.message) : stderr });
    });
  });
}

/** Runs a command that has to succeed. */
export async function must(argv: readonly string[]): Promise<string> {
  const output = await run(argv);
  if (output.code !== 0)
    throw new Error(`\`${argv.join(" ")}\` failed: ${output.stderr.trim() || output.stdout.trim()}`);
  return output.stdout;
}

export class Namespace {
  private readonly programs = new Set<Program>();

  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  static async create(name: string): Promise<Namespace> {
    const namespace = new Namespace(name);
    const output = await run(["ip", "netns", "add", name]);
    if (output.code !== 0) {
      throw new Error(`Network namespace ${name} cannot be made (this needs root): ${output.stderr.trim()}`);
    }
    namespaces.add(namespace);
    await namespace.ip("link", "set", "lo", "up");
    return namespace;
  }

  private within(argv: readonly string[]): readonly string[] {
    return ["ip", "netns", "exec", this.name, ...argv];
  }

  /** `ip` of iproute2 in this namespace; throws its complaint. */
  ip(...args: readonly string[]): Promise<string> {
    return must(["ip", "-n", this.name, ...args]);
  }

  run(argv: readonly string[], timeoutMs?: number): Promise<Output> {
    return run(this.within(argv), timeoutMs);
  }

  /**
   * Starts a program that lives until it is stopped or the namespace is closed. The kernel kills it when this process
   * dies without either. `ip` and `setpriv` replace themselves, so that its process id is the program's.
   */
  start(argv: readonly string[], options: { readonly stdin?: boolean } = {}): Program {
    const program = new Program(this.within(["setpriv", "--pdeathsig", "KILL", "--", ...argv]), options);
    this.programs.add(program);
    program.ended.then(() => this.programs.delete(program));
    return program;
  }

  async hasDevice(device: string): Promise<boolean> {
    return (await run(["ip", "-n", this.name, "link", "show", "dev", device])).code === 0;
  }

  async close(): Promise<void> {
    await Promise.all([...this.programs].map((program) => program.stop("SIGKILL")));
    await run(["ip", "netns", "del", this.name]);
    namespaces.delete(this);
  }
}

/** Outer addresses of a pair, by side. */
export const OUTER = {
  left: { v4: "192.0.2.1", v6: "2001:db8::1" },
  right: { v4: "192.0.2.2", v6: "2001:db8::2" },
} as const;

export interface Pair {
  readonly left: Namespace;
  readonly right: Namespace;
  close(): Promise<void>;
}

let pairs = 0;

/** Two namespaces whose `eth0` are the ends of one cable: 192.0.2.1/24 and .2, 2001:db8::1/64 and ::2, MTU 1500. */
export async function createPair(label: string): Promise<Pair> {
  const id = `${label}-${process.pid}-${pairs++}`;
  const left = await Namespace.create(`${id}-l`);
  try {
    const right = await Namespace.create(`${id}-r`);
    const close = async () => {
      await Promise.all([left.close(), right.close()]);
    };
    try {
      // The cable is born inside the namespaces: no name in the host's namespace can clash.
      await left.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", right.name);
      for (const [side, { v4, v6 }] of [
        [left, OUTER.left],
        [right, OUTER.right],
      ] as const) {
        await side.ip("addr", "add", `${v4}/24`, "dev", "eth0");
        await side.ip("addr", "add", `${v6}/64`, "dev", "eth0", "nodad");
        await side.ip("link", "set", "eth0", "up");
      }
      return { left, right, close };
    } catch (error) {
      await close();
      throw error;
    }
  } catch (error) {
    await left.close();
    throw error;
  }
}

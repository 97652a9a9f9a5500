/**
 * Three islands of NATS on loopback, from the files that `anyhop init engine` writes, started as children and ended by
 * their process ids. Ports are free ones; folders are temporary.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { createSetupActions } from "../../src/daemon/setup_actions.ts";
import { readConfigHere } from "../control/session_files.ts";

const READY_MS = 60_000;
export const GROUP = "example.net";
const SERVER = "nats-server";
/** Debian puts it where the PATH of a plain user does not lead. */
const ENV = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` };

export interface Island {
  readonly node: number;
  readonly dir: string;
  readonly url: string;
  readonly clientPort: number;
  /** "U..." seed of the daemon. */
  seed(): Uint8Array;
}

export class Islands {
  readonly folder = mkdtempSync(`${tmpdir()}/anyhop-islands-${process.pid}-`);
  readonly islands: Island[] = [];
  readonly #children = new Map<string, ChildProcess>();

  static async start(count: number): Promise<Islands> {
    const islands = new Islands();
    try {
      await islands.#start(count);
    } catch (error) {
      await islands.stop();
      throw error;
    }
    return islands;
  }

  async #start(count: number): Promise<void> {
    const ports = await freePorts(count * 4);
    const actions = createSetupActions({
      out: () => {},
      err: () => {},
      readConfig: readConfigHere,
      socketDir: this.folder,
    });
    const numbers = Array.from({ length: count }, (_, i) => i + 1);
    const address = (node: number): string => `127.0.0.1:${ports[node * 4 - 4]}`;
    for (const node of numbers) {
      const dir = `${this.folder}/n${node}`;
      const [, client, leaf, hub] = ports.slice(node * 4 - 4, node * 4);
      await actions.initEngine({
        ...{ dir, group: GROUP, node: String(node), address: address(node), force: false, installed: undefined },
        peer: numbers.filter((other) => other !== node).map((other) => `${other}=${address(other)}`),
        ca: node === 1 ? undefined : `${this.folder}/n1`,
        store: `${dir}/store`,
        ...{ clientPort: String(client), leafPort: String(leaf), hubPort: String(hub) },
      });
      const seed = () => new TextEncoder().encode(readFileSync(`${dir}/engine.nk`, "utf8").trim());
      this.islands.push({ node, dir, url: `nats://127.0.0.1:${client}`, clientPort: client, seed });
    }
    for (const { node } of this.islands) this.run(node, "hub");
    for (const { node } of this.islands) this.run(node, "leaf");
    await Promise.all(this.islands.map(({ node }) => this.ready(node)));
  }

  /** Starts a server. */
  run(node: number, what: "hub" | "leaf"): void {
    const { dir } = this.islands[node - 1];
    const log = ["-l", `${dir}/${what}.log`];
    const child = spawn(SERVER, ["-c", `${dir}/${what}.conf`, ...log], { stdio: "ignore", env: ENV });
    this.#children.set(`${what}${node}`, child);
  }

  /** When the leaf takes connections. */
  async ready(node: number): Promise<void> {
    const until = performance.now() + READY_MS;
    while (!(await answers(this.islands[node - 1].clientPort))) {
      if (performance.now() > until) throw new Error(`nats-server of node ${node} did not start:\n${this.log(node)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** When the leaf has found its hub after a start with a new log. */
  async linked(node: number): Promise<void> {
    await this.ready(node);
    const until = performance.now() + READY_MS;
    const log = `${this.islands[node - 1].dir}/leaf.log`;
    while (!/Leafnode connection created/.test(readFileSync(log, "utf8").split("Starting nats-server").at(-1)!)) {
      if (performance.now() > until) throw new Error(`the leaf of node ${node} found no hub:\n${this.log(node)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  log(node: number): string {
    const read = (what: string): string => {
      try {
        return readFileSync(`${this.islands[node - 1].dir}/${what}.log`, "utf8");
      } catch {
        return "";
      }
    };
    return `${read("hub")}${read("leaf")}`;
  }

  /** kill -9, as a crash does. */
  async kill(node: number, what: "hub" | "leaf"): Promise<void> {
    await ended(this.#children.get(`${what}${node}`), "SIGKILL");
    this.#children.delete(`${what}${node}`);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#children.values()].map((child) => ended(child, "SIGKILL")));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function ended(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await exit;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const done = (found: boolean) => {
      socket.destroy();
      resolve(found);
    };
    socket.once("data", () => done(true));
    socket.once("error", () => done(false));
    socket.setTimeout(500, () => done(false));
  });
}

/** Ports that are free now; all are held until the last is found, so they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve, reject) => {
        server.once("error", reject);
        server.listen(0, "127.0.0.1", () => resolve(server));
      });
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/**
 * A node and clients as a person sets them up, in two namespaces: init, invite, run. Everything lies in one folder of
 * /tmp and goes away with `close`.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import {
  createPair,
  must,
  type Namespace,
  type Output,
  type Pair,
  type Program,
  sleep,
} from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";

export const POOL = ["10.9.0.0/24", "2001:db8:9::/64"];
/** Of the node; clients get the ones after it, in the order of invitations. */
export const INNER_NODE = { v4: "10.9.0.1", v6: "2001:db8:9::1" };
const PATIENCE_MS = 60_000;

/** Waits until `test` is true; `what` is for the failure, with what the programs said. */
export async function until(what: string, test: () => boolean | Promise<boolean>, programs: Program[] = []) {
  for (const deadline = Date.now() + PATIENCE_MS; !(await test()); await sleep(20)) {
    if (Date.now() < deadline) continue;
    throw new Error(`Not in time: ${what}.\n${programs.map(({ output }) => output).join("\n---\n")}`);
  }
}

export class SessionPair {
  readonly dir: string;
  readonly pair: Pair;
  readonly nodeSocket: string;

  private constructor(dir: string, pair: Pair) {
    this.dir = dir;
    this.pair = pair;
    this.nodeSocket = `${dir}/node.sock`;
  }

  /** With a node's files; nothing runs yet. */
  static async create(label: string): Promise<SessionPair> {
    const dir = mkdtempSync(`${tmpdir()}/anyhop-${label}-`);
    try {
      const world = new SessionPair(dir, await createPair(label));
      const pools = POOL.flatMap((prefix) => ["--pool", prefix]);
      await must([ANYHOP, "init", "node", "--dir", dir, "--address", "192.0.2.1:4444", ...pools]);
      world.change("node", (text) => `${text}[paths]\nstate = "${dir}/state"\nsocket = "${world.nodeSocket}"\n`);
      return world;
    } catch (error) {
      rmSync(dir, { recursive: true, force: true });
      throw error;
    }
  }

  file = (name: string): string => `${this.dir}/${name}.toml`;
  socket = (name: string): string => `${this.dir}/${name}.sock`;

  change(name: string, edit: (text: string) => string): void {
    writeFileSync(this.file(name), edit(readFileSync(this.file(name), "utf8")), { mode: 0o600 });
  }

  /** Makes a client, on the disk of a node that does not run. */
  async invite(name: string, ...options: string[]): Promise<void> {
    await must([ANYHOP, "invite", name, "-c", this.file("node"), "-o", this.file(name), ...options]);
    const paths = `[paths]\nstate = "${this.dir}/${name}-state"\nsocket = "${this.socket(name)}"\n`;
    this.change(name, (text) => `${text}${paths}`);
  }

  async startNode(): Promise<Program> {
    const node = this.pair.left.start([ANYHOP, "run", this.file("node"), "--log", "stderr:5"]);
    await until("the node is ready", () => node.output.includes("listening on") || !node.alive, [node]);
    return node;
  }

  /** Returns once the service is up, or with `wait` false at once. */
  async startClient(name: string, wait = true): Promise<Program> {
    const client = this.pair.right.start([ANYHOP, "run", this.file(name), "--log", "stderr:5"]);
    if (wait) await until(`${name} is up`, () => / has .*, routes /.test(client.output) || !client.alive, [client]);
    return client;
  }

  /** `anyhop` with the node's control socket. */
  cli(...words: string[]): Promise<Output> {
    return this.pair.left.run([ANYHOP, ...words, "--socket", this.nodeSocket]);
  }

  /** True when one ping came back. */
  async pings(from: Namespace, to: string, waitS = 1): Promise<boolean> {
    return (await from.run(["ping", "-c", "1", "-W", String(waitS), to])).code === 0;
  }

  async close(): Promise<void> {
    await this.pair.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

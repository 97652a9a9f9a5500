/**
 * The nodes of the group benchmark: real daemons with keys, clients and, if wanted, a NATS island each from the files of
 * `anyhop init engine`. What was started is stopped by `close`.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { ask } from "../api/client.ts";
import type { Answer } from "../api/contract/operations.ts";
import type { ClientRecord } from "../control/spec/ports.ts";
import { crowdAddressText, crowdPair } from "../crowd/order.ts";
import { nativePairOf } from "../drivers/native_x25519.ts";
import { openStore } from "../drivers/store.ts";
import { type GroupNet, meshAddress, SERVICE } from "./group_net.ts";
import { LOOP_DELAY } from "./loop_delay.ts";
import { findProgram, must, type Program, sleep } from "./netns.ts";
import { usage } from "./peers.ts";
import { ANYHOP } from "./tunnel_ends.ts";

export const SERVICE_PORT = 4444;
const GROUP_NAME = "bench";
/** Answers echo requests at every node. */
export const ECHO = "10.64.0.1";
/** Inner address of the first client of the crowd. */
export const CROWD_FIRST = "10.64.0.2";
export const DEVICE = "vt0";
const LINK_PORT = 4445;
const ENGINE_URL = "nats://127.0.0.1:4222";
const READY_MS = 60_000;
const PAGE = 1000;
/** A list of all clients costs the node time of its own. */
const LIST_PAUSE_MS = 1000;
/** Ticks a second in /proc (USER_HZ), 100 on every Linux. */
const TICKS = 100;

/** Arguments of Node with which a daemon answers `loopDelay`. */
export const LOOP_WATCH = ["--import", new URL("../../dist/bench/loop_delay.js", import.meta.url).href];

export interface FleetWishes {
  /** Nodes that are in the configuration; whether they run is another matter. */
  readonly nodes: readonly number[];
  /** Without it there is one node that knows of no group. */
  readonly group: boolean;
  readonly engine: boolean;
  /** Clients of the crowd that may come. */
  readonly clients: number;
  /** They were added over the API of the first node, which tells the others; otherwise each file has them. */
  readonly inBook?: boolean;
  /** Other clients, as text of a node file. */
  readonly others?: string;
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

export class Fleet {
  readonly dir = mkdtempSync(`${tmpdir()}/anyhop-group-`);
  readonly seed = randomBytes(8).toString("hex");
  readonly #net: GroupNet;
  readonly #wishes: FleetWishes;
  readonly #daemons = new Map<number, Program>();
  readonly #engines: Program[] = [];
  #clients = "";
  groupKey = "";

  constructor(net: GroupNet, wishes: FleetWishes) {
    this.#net = net;
    this.#wishes = wishes;
  }

  /** Keys, files and engines; no daemon yet. */
  async prepare(): Promise<void> {
    const secret = randomBytes(32);
    this.groupKey = base64(nativePairOf(secret).publicKey);
    writeFileSync(`${this.dir}/node.key`, `${base64(secret)}\n`, { mode: 0o600 });
    writeFileSync(`${this.dir}/fleet.key`, `${base64(randomBytes(32))}\n`, { mode: 0o600 });
    const { clients, others = "", inBook = false, nodes } = this.#wishes;
    const crowd = Array.from({ length: clients }, (_, n) => this.#clientOf(n));
    const one = ({ name, publicKey, addresses: [address] }: ClientRecord): string =>
      `[[client]]\nname = "${name}"\npublic_key = "${publicKey}"\naddresses = ["${address}"]\n`;
    this.#clients = others + (inBook ? "" : crowd.map(one).join(""));
    for (const node of nodes) this.#writeNode(node);
    if (inBook) {
      const store = openStore(`${this.dir}/${nodes[0]}/state`, "node");
      store.changeClients(crowd, []);
      await store.close();
    }
    if (!this.#wishes.engine) return;
    for (const node of this.#wishes.nodes) await this.#initEngine(node);
    for (const what of ["hub", "leaf"]) for (const node of this.#wishes.nodes) this.#startServer(node, what);
    await sleep(3000);
  }

  #clientOf(n: number): ClientRecord {
    const publicKey = base64(crowdPair(this.seed, n).publicKey);
    const [addresses, modes] = [[crowdAddressText(CROWD_FIRST, n)], ["tunnel"] as const];
    return { name: `c${n}`, publicKey, psk: undefined, addresses, prefixes: [], modes, origin: "api", createdMs: 0 };
  }

  #writeNode(node: number): void {
    const dir = `${this.dir}/${node}`;
    mkdirSync(dir, { mode: 0o700 });
    const { nodes, group, engine } = this.#wishes;
    const peers = nodes.filter((other) => other !== node);
    const lines = [
      'name = "node"',
      "[node]",
      `group = "${GROUP_NAME}"`,
      `private_key_file = "${this.dir}/node.key"`,
      'pool = ["10.64.0.0/10"]',
      "keepalive = 0",
      "[listen]",
      `addresses = ["${SERVICE}"]`,
      `port = ${SERVICE_PORT}`,
      "[device]",
      `name = "${DEVICE}"`,
      `addresses = ["${ECHO}/10"]`,
      "[paths]",
      `state = "${dir}/state"`,
      `socket = "${this.socket(node)}"`,
    ];
    if (group) {
      lines.push("[group]", `node = ${node}`, `fleet_key_file = "${this.dir}/fleet.key"`);
      lines.push(`link = "${meshAddress(node)}:${LINK_PORT}"`);
      for (const peer of peers)
        lines.push("[[group.peer]]", `node = ${peer}`, `link = "${meshAddress(peer)}:${LINK_PORT}"`);
    }
    if (engine)
      lines.push("[engine]", 'kind = "nats"', `url = ["${ENGINE_URL}"]`, `nkey_file = "${dir}/engine/engine.nk"`);
    writeFileSync(`${dir}/node.toml`, [...lines, this.#clients].join("\n"), { mode: 0o600 });
  }

  async #initEngine(node: number): Promise<void> {
    const dir = `${this.dir}/${node}/engine`;
    const { nodes } = this.#wishes;
    const peers = nodes
      .filter((other) => other !== node)
      .flatMap((other) => ["--peer", `${other}=${meshAddress(other)}`]);
    const authority = node === nodes[0] ? [] : ["--ca", `${this.dir}/${nodes[0]}/engine`];
    await must([
      ...[ANYHOP, "init", "engine", "--group", GROUP_NAME, "--node", String(node), "--address", meshAddress(node)],
      ...["--dir", dir, "--store", `${dir}/store`, ...peers, ...authority],
    ]);
  }

  #startServer(node: number, what: string): void {
    const dir = `${this.dir}/${node}/engine`;
    const server = findProgram("nats-server");
    if (server === undefined) throw new Error("This takes nats-server (Debian: apt install nats-server).");
    this.#engines.push(this.#net.node(node).start([server, "-c", `${dir}/${what}.conf`, "-l", `${dir}/${what}.log`]));
  }

  /** Ends all state engines at once. */
  async stopEngines(): Promise<void> {
    await Promise.all(this.#engines.splice(0).map((engine) => engine.stop("SIGKILL")));
  }

  socket(node: number): string {
    return `${this.dir}/${node}/node.sock`;
  }

  daemon(node: number): Program {
    return this.#daemons.get(node)!;
  }

  /** Starts a daemon; `argv` stands before the command line (nice, taskset). Not ready yet. */
  launch(node: number, nodeArgs: readonly string[] = []): void {
    const command = [
      process.execPath,
      ...nodeArgs,
      ANYHOP,
      "run",
      `${this.dir}/${node}/node.toml`,
      "--log",
      "stderr:4",
    ];
    this.#daemons.set(node, this.#net.node(node).start(command));
  }

  /** When the daemon takes packets. */
  async ready(node: number): Promise<void> {
    const daemon = this.daemon(node);
    for (const deadline = Date.now() + READY_MS; !daemon.output.includes("listening on"); await sleep(20))
      if (!daemon.alive || Date.now() > deadline)
        throw new Error(`Node ${node} did not start: ${daemon.output.trim()}`);
  }

  async startAll(): Promise<void> {
    for (const node of this.#wishes.nodes) this.launch(node);
    for (const node of this.#wishes.nodes) await this.ready(node);
  }

  /** Until each node hears all others on the link, and its engine if there is one. */
  async joined(): Promise<void> {
    const { nodes, engine } = this.#wishes;
    for (const node of nodes) {
      const wanted = nodes.filter((other) => other !== node).map((other) => `Node ${other} is there`);
      if (engine) wanted.push("State engine: connected");
      for (const deadline = Date.now() + READY_MS; !wanted.every((text) => this.daemon(node).output.includes(text)); ) {
        if (Date.now() > deadline) throw new Error(`Node ${node} is alone: ${this.daemon(node).output.trim()}`);
        await sleep(50);
      }
    }
  }

  async kill(node: number): Promise<void> {
    await this.daemon(node).stop("SIGKILL");
  }

  /** Until a node knows all clients that were added at others. */
  async knowsClients(node: number): Promise<void> {
    for (const deadline = Date.now() + READY_MS; ; await sleep(LIST_PAUSE_MS)) {
      let count = 0;
      for (let after: string | null = ""; after !== null; ) {
        const page: Answer<"listClients"> = await ask(
          this.socket(node),
          "listClients",
          { after, limit: PAGE },
          READY_MS,
        );
        count += page.clients.length;
        after = page.next;
      }
      if (count >= this.#wishes.clients) return;
      if (Date.now() > deadline) throw new Error(`Node ${node} knows ${count} clients only.`);
    }
  }

  /** Sessions of its group that a node knows, and those of them that its data plane has. */
  async held(node: number): Promise<{ readonly known: number; readonly served: number }> {
    const { group } = await ask(this.socket(node), "status", {}, READY_MS);
    const { known, own, foreign } = group!.sessions;
    return { known, served: own + foreign };
  }

  /** Whether a node finds that all others know the same sessions. */
  async agrees(node: number): Promise<boolean> {
    const { group } = await ask(this.socket(node), "status", {}, READY_MS);
    return group!.peers.every(({ agrees }) => agrees === true);
  }

  /** How late the event loop of a node with LOOP_WATCH was since the last time, ms. */
  async loopDelay(node: number): Promise<{ readonly maxMs: number; readonly p99Ms: number }> {
    const daemon = this.daemon(node);
    const from = daemon.output.length;
    daemon.child.kill("SIGUSR2");
    for (const deadline = Date.now() + READY_MS; Date.now() < deadline; await sleep(5)) {
      const line = new RegExp(`${LOOP_DELAY} (\\S+) (\\S+)\n`).exec(daemon.output.slice(from));
      if (line !== null) return { maxMs: Number(line[1]), p99Ms: Number(line[2]) };
    }
    throw new Error(`Node ${node} does not say how late its event loop is.`);
  }

  /** Counters of a node by name. */
  async counters(node: number): Promise<ReadonlyMap<string, number>> {
    const { counters } = await ask(this.socket(node), "counters", {}, READY_MS);
    return new Map(counters.map(({ name, count }) => [name, count]));
  }

  /** Processor time of a daemon since it started, seconds. */
  async cpuSeconds(node: number): Promise<number> {
    return (await usage([this.daemon(node)])).ticks / TICKS;
  }

  /** Processor time so far of all that runs beside a node: the other daemons, and all engines. */
  async cpuSecondsBeside(node: number): Promise<number> {
    const others = [...this.#daemons].filter(([other]) => other !== node).map(([, daemon]) => daemon);
    return (await usage([...others, ...this.#engines])).ticks / TICKS;
  }

  /** Resident memory of a daemon, KiB. */
  async memoryKb(node: number): Promise<number> {
    const status = await readFile(`/proc/${this.daemon(node).pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1]);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#daemons.values()].map((daemon) => daemon.stop("SIGKILL")));
    await this.stopEngines();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/**
 * Nodes of a group as real daemons, a router and clients, each in a network namespace of its own. Where the clients'
 * packets go is one route in the router. Everything lies in one folder of /tmp and goes away with `close`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import type { GroupStatus } from "../../src/api/contract/group.ts";
import { Namespace, type Output, type Program, run } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { privateKeyFrom, publicKeyOf } from "../../src/control/text/keys/x25519.ts";
import { systemEntropy } from "../../src/crypto/entropy.ts";
import { until } from "./session_pair.ts";
import { readStatus } from "./status.ts";

export const SERVICE = { v4: "192.0.2.1", v6: "2001:db8::1" } as const;
export const INNER = { v4: "10.9.0.1", v6: "fd00:9::1" } as const;
let worlds = 0;

/** What makes one node other than the rest. */
export interface NodeChange {
  /** Key text instead of the group's. */
  readonly privateKey?: string;
  readonly fleetKey?: string;
  /** Number in [group], instead of its place. */
  readonly node?: number;
  /** Of [group], milliseconds. */
  readonly hold?: number;
  /** Lines of [group] beside the usual ones. */
  readonly group?: string;
  /** Lines of [announce] beside device and addresses. */
  readonly announce?: string;
  /** As `init node --group-node` writes it for a name: all addresses, no [announce]; the service addresses are on the host. */
  readonly unnamed?: true;
  /** Networks behind the node that clients are told. */
  readonly networks?: readonly string[];
  /** Words before `anyhop`. */
  readonly before?: readonly string[];
}

interface Client {
  readonly name: string;
  readonly privateKey: string;
}

const newKey = (): string => formatKey(privateKeyFrom(systemEntropy.bytes(32)));
const publicKey = (privateKey: string): string => formatKey(publicKeyOf(Buffer.from(privateKey, "base64")));

export class GroupWorld {
  readonly dir = mkdtempSync(`${tmpdir()}/anyhop-group-`);
  readonly router: Namespace;
  readonly nodes: readonly Namespace[];
  readonly clients: readonly Namespace[];
  readonly groupKey = newKey();
  readonly groupPublicKey = publicKey(this.groupKey);
  readonly fleetKey = formatKey(systemEntropy.bytes(32));
  readonly people: readonly Client[];
  readonly #programs: Program[] = [];

  private constructor(router: Namespace, nodes: Namespace[], clients: Namespace[]) {
    this.router = router;
    this.nodes = nodes;
    this.clients = clients;
    this.people = clients.map((_, k) => ({ name: `client${k + 1}`, privateKey: newKey() }));
  }

  static async create(nodes: number, clients: number): Promise<GroupWorld> {
    const id = `anyhop-g${process.pid}-${worlds++}`;
    const made: Namespace[] = [];
    for (const name of ["r", ...numbers(nodes).map((i) => `n${i}`), ...numbers(clients).map((k) => `c${k}`)])
      made.push(await Namespace.create(`${id}-${name}`));
    const world = new GroupWorld(made[0], made.slice(1, nodes + 1), made.slice(nodes + 1));
    try {
      for (const i of numbers(nodes)) await world.#wire(world.nodes[i - 1], `n${i}`, `198.51.100.${4 * i - 3}`, `${i}`);
      for (const k of numbers(clients))
        await world.#wire(world.clients[k - 1], `c${k}`, `203.0.113.${4 * k - 3}`, `c${k}`);
      await world.router.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
      await world.route(1);
      return world;
    } catch (error) {
      await world.close();
      throw error;
    }
  }

  /** A cable between the router and `there`; its router's end has `gateway`. */
  async #wire(there: Namespace, device: string, gateway: string, subnet: string): Promise<void> {
    const { router } = this;
    const [gateway6, own6] = [`2001:db8:${subnet}::1`, `2001:db8:${subnet}::2`];
    await router.ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", there.name);
    for (const [where, name, v4, v6] of [
      [router, device, gateway, gateway6],
      [there, "eth0", next(gateway), own6],
    ] as const) {
      await where.ip("addr", "add", `${v4}/30`, "dev", name);
      await where.ip("addr", "add", `${v6}/64`, "dev", name, "nodad");
      await where.ip("link", "set", name, "up");
    }
    await there.ip("route", "add", "default", "via", gateway);
    await there.ip("-6", "route", "add", "default", "via", gateway6);
  }

  /** Packets to the service addresses go to this node from now on. */
  async route(node: number): Promise<void> {
    for (const args of routesTo(node)) await this.router.ip(...args);
  }

  /** A program for kind "command" that sends clients to `node` while announced, and to `other` else. */
  announcer(node: number, other: number): string {
    const path = `${this.dir}/announce${node}`;
    const to = (i: number) =>
      routesTo(i)
        .map((args) => `ip -n ${this.router.name} ${args.join(" ")}`)
        .join(" && ");
    writeFileSync(path, `#!/bin/sh\nif [ "$1" = announce ]; then ${to(node)}; else ${to(other)}; fi\n`, {
      mode: 0o755,
    });
    return path;
  }

  socket = (node: number): string => `${this.dir}/${node}/sock`;
  state = (node: number): string => `${this.dir}/${node}/state`;

  /** Starts a node and returns at once. */
  launch(node: number, change: NodeChange = {}): Program {
    const words = [...(change.before ?? []), ANYHOP, "run", this.write(node, change), "--log", "stderr:5"];
    const program = this.nodes[node - 1].start(words);
    this.#programs.push(program);
    return program;
  }

  /** Writes the file of a node. */
  write(node: number, change: NodeChange = {}): string {
    mkdirSync(this.state(node), { recursive: true });
    const file = `${this.dir}/${node}/node.toml`;
    const places = this.nodes.map((_, i) => `198.51.100.${4 * (i + 1) - 2}:4445`);
    const number = change.node ?? node;
    const peers = places.flatMap((link, i) =>
      i + 1 === node || i + 1 === number ? [] : [`[[group.peer]]\nnode = ${i + 1}\nlink = "${link}"`],
    );
    writeFileSync(
      file,
      `[node]
group = "example"
private_key = "${change.privateKey ?? this.groupKey}"
pool = ["10.9.0.0/24", "fd00:9::/64"]
networks = ${JSON.stringify(change.networks ?? [])}
${change.unnamed ? "" : `[listen]\naddresses = ["${SERVICE.v4}", "${SERVICE.v6}"]`}
[group]
node = ${number}
fleet_key = "${change.fleetKey ?? this.fleetKey}"
link = "${places[node - 1]}"
${change.hold === undefined ? "" : `hold = ${change.hold}`}
${change.group ?? ""}
${peers.join("\n")}
${change.unnamed ? "" : `[announce]\ndevice = "anyc0"\naddresses = ["${SERVICE.v4}", "${SERVICE.v6}"]`}
${change.announce ?? ""}
[paths]
state = "${this.state(node)}"
socket = "${this.socket(node)}"
${this.people.map(({ name, privateKey }, k) => `[[client]]\nname = "${name}"\npublic_key = "${publicKey(privateKey)}"\naddresses = ["10.9.0.${k + 2}", "fd00:9::${k + 2}"]\n`).join("")}`,
      { mode: 0o600 },
    );
    return file;
  }

  async start(node: number, change: NodeChange = {}): Promise<Program> {
    const program = this.launch(node, change);
    await until(`node ${node} is ready`, () => program.output.includes("listening on") || !program.alive, [program]);
    return program;
  }

  /** Both know each other's start. */
  async meet(...nodes: readonly number[]): Promise<void> {
    await until(
      `nodes ${nodes} meet`,
      async () => {
        for (const node of nodes) {
          const { peers } = await this.group(node);
          if (!peers.every((peer) => !nodes.includes(peer.node) || peer.alive)) return false;
        }
        return true;
      },
      this.#programs,
    );
  }

  /** Returns once the service is up, found at one outer address. `service`: further lines of [[service]]. */
  async startClient(client: number, at: string = SERVICE.v4, port = 0, service = ""): Promise<Program> {
    const { name, privateKey } = this.people[client - 1];
    const dir = `${this.dir}/${name}`;
    mkdirSync(dir, { recursive: true });
    writeFileSync(
      `${dir}/client.toml`,
      `[client]
private_key = "${privateKey}"
port = ${port}
[[service]]
name = "example"
public_key = "${this.groupPublicKey}"
address = ["${at.includes(":") ? `[${at}]` : at}:4444"]
${service}
[paths]
state = "${dir}"
socket = "${dir}/sock"
`,
      { mode: 0o600 },
    );
    const program = this.clients[client - 1].start([ANYHOP, "run", `${dir}/client.toml`, "--log", "stderr:5"]);
    this.#programs.push(program);
    await until(
      `${name} is up`,
      () => / has .*, (routes|\d+ routes)/.test(program.output) || !program.alive,
      this.#programs,
    );
    return program;
  }

  async group(node: number): Promise<GroupStatus> {
    const { group } = await readStatus(this.socket(node));
    if (group === null) throw new Error(`Node ${node} says nothing of a group.`);
    return group;
  }

  async peer(node: number, of: number): Promise<GroupStatus["peers"][number]> {
    const found = (await this.group(node)).peers.find((peer) => peer.node === of);
    if (found === undefined) throw new Error(`Node ${node} does not know node ${of}.`);
    return found;
  }

  cli(node: number, ...words: string[]): Promise<Output> {
    return run([ANYHOP, ...words, "--socket", this.socket(node)]);
  }

  /** Of `count` pings: how many came back. */
  async pings(client: number, count: number): Promise<number> {
    const words = ["ping", "-c", String(count), "-i", "0.02", "-W", "1", INNER.v4];
    return Number(/(\d+) received/.exec((await this.clients[client - 1].run(words)).stdout)?.[1] ?? 0);
  }

  async close(): Promise<void> {
    for (const there of [...this.nodes, ...this.clients, this.router]) await there.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
const next = (address: string): string => address.replace(/\d+$/, (last) => String(Number(last) + 1));
const routesTo = (node: number): string[][] => [
  ["route", "replace", `${SERVICE.v4}/32`, "via", `198.51.100.${4 * node - 2}`],
  ["-6", "route", "replace", `${SERVICE.v6}/128`, "via", `2001:db8:${node}::2`],
];

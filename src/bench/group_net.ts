/**
 * The network of the group benchmark: three nodes that all have the service address, a router that sends it to one of
 * them, and the clients' machine. Engine and node link have a network of their own, so that its counters are theirs alone.
 */
import { Namespace } from "./netns.ts";

export const NODES = [1, 2, 3] as const;
export const SERVICE = "192.0.2.1";
export const meshAddress = (node: number): string => `198.51.100.${node}`;
const wanAddress = (node: number, end: 1 | 2): string => `192.0.2.${8 * node + end}`;
const CLIENT_WAN = { router: "192.0.2.249", client: "192.0.2.250" };
/** All addresses of this network are one machine of clients. */
const CLIENT_NETWORK = "203.0.113.0/24";
export const clientAddresses = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `203.0.113.${i + 1}`);

let made = 0;

export class GroupNet {
  readonly #spaces: Namespace[];
  readonly router: Namespace;
  readonly clients: Namespace;

  private constructor(spaces: Namespace[]) {
    this.#spaces = spaces;
    this.router = spaces[0]!;
    this.clients = spaces[1]!;
  }

  static async create(): Promise<GroupNet> {
    const id = `ahg-${process.pid}-${made++}`;
    const spaces: Namespace[] = [];
    try {
      for (const place of ["r", "c", ...NODES.map((node) => `n${node}`)])
        spaces.push(await Namespace.create(`${id}-${place}`));
      const net = new GroupNet(spaces);
      await net.#connect();
      return net;
    } catch (error) {
      for (const space of spaces) await space.close();
      throw error;
    }
  }

  node(node: number): Namespace {
    return this.#spaces[1 + node]!;
  }

  async #connect(): Promise<void> {
    const { router, clients } = this;
    await router.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    await router.ip("link", "add", "mesh", "type", "bridge");
    await router.ip("link", "set", "mesh", "up");
    await this.#cable("c", clients, "wan0");
    await router.ip("addr", "add", `${CLIENT_WAN.router}/30`, "dev", "c");
    await clients.ip("addr", "add", `${CLIENT_WAN.client}/30`, "dev", "wan0");
    await clients.ip("route", "add", "default", "via", CLIENT_WAN.router);
    await clients.ip("route", "add", "local", CLIENT_NETWORK, "dev", "lo");
    await router.ip("route", "add", CLIENT_NETWORK, "via", CLIENT_WAN.client);
    for (const node of NODES) {
      const space = this.node(node);
      await this.#cable(`w${node}`, space, "wan0");
      await router.ip("addr", "add", `${wanAddress(node, 1)}/30`, "dev", `w${node}`);
      await space.ip("addr", "add", `${wanAddress(node, 2)}/30`, "dev", "wan0");
      await space.ip("route", "add", "default", "via", wanAddress(node, 1));
      await space.ip("addr", "add", `${SERVICE}/32`, "dev", "lo");
      await this.#cable(`m${node}`, space, "mesh0");
      await router.ip("link", "set", `m${node}`, "master", "mesh");
      await space.ip("addr", "add", `${meshAddress(node)}/24`, "dev", "mesh0");
    }
    await this.route(1);
  }

  /** Both ends are up; the far one is `name` in `space`. */
  async #cable(near: string, space: Namespace, name: string): Promise<void> {
    await this.router.ip("link", "add", near, "type", "veth", "peer", "name", name, "netns", space.name);
    await this.router.ip("link", "set", near, "up");
    await space.ip("link", "set", name, "up");
  }

  /** From now on the clients' packets go to this node. */
  async route(node: number): Promise<void> {
    await this.router.ip("route", "replace", `${SERVICE}/32`, "via", wanAddress(node, 2));
  }

  /** Bytes that engine and node link of a node have received and sent since it was made. */
  async meshBytes(node: number): Promise<number> {
    const { stdout } = await this.node(node).run(["cat", "/proc/net/dev"]);
    const fields = /mesh0:\s*(.*)/.exec(stdout)![1]!.trim().split(/\s+/).map(Number);
    return fields[0]! + fields[8]!;
  }

  async close(): Promise<void> {
    for (const space of this.#spaces) await space.close();
  }
}

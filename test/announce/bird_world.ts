/**
 * A router and a node, each with Debian's BIRD and exactly docs/samples/bird, and a client behind the router, in three
 * network namespaces. Only the control sockets are given by option. Everything goes away with `close`.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { Namespace, type Program, run, sleep } from "../../src/bench/netns.ts";

export const SERVICE = { v4: "192.0.2.1", v6: "2001:db8::1" } as const;
export const PREFIXES = [`${SERVICE.v4}/32`, `${SERVICE.v6}/128`] as const;
export const CLIENT = { v4: "198.51.100.2", v6: "2001:db8:c::2" } as const;
const SAMPLES = fileURLToPath(new URL("../../docs/samples/bird/", import.meta.url));
const PATIENCE_MS = 60_000;
const POLL_MS = 5;

/** What the router knows of one prefix. */
export type AtRouter = "none" | "normal" | "drain";
let worlds = 0;

export class BirdWorld {
  readonly dir = mkdtempSync(`${tmpdir()}/anyhop-bird-`);
  readonly nodeSocket = `${this.dir}/node.ctl`;
  readonly router: Namespace;
  readonly node: Namespace;
  readonly client: Namespace;
  readonly #birds = new Map<"node" | "router", Program>();

  private constructor(router: Namespace, node: Namespace, client: Namespace) {
    this.router = router;
    this.node = node;
    this.client = client;
  }

  /** Links and addresses as the samples have them; BIRD runs on the router. */
  static async create(): Promise<BirdWorld> {
    const id = `anyhop-bird-${process.pid}-${worlds++}`;
    const made: Namespace[] = [];
    for (const role of ["r", "n", "c"]) made.push(await Namespace.create(`${id}-${role}`));
    const world = new BirdWorld(...(made as [Namespace, Namespace, Namespace]));
    try {
      const { router, node, client } = world;
      await router.ip("link", "add", "n0", "type", "veth", "peer", "name", "eth0", "netns", node.name);
      await router.ip("link", "add", "c0", "type", "veth", "peer", "name", "eth0", "netns", client.name);
      for (const [where, device, ...addresses] of [
        [router, "n0", "203.0.113.1/30", "2001:db8:51::1/64"],
        [node, "eth0", "203.0.113.2/30", "2001:db8:51::2/64"],
        [router, "c0", "198.51.100.1/30", "2001:db8:c::1/64"],
        [client, "eth0", `${CLIENT.v4}/30`, `${CLIENT.v6}/64`],
      ] as const) {
        for (const address of addresses) {
          const nodad = address.includes(":") ? ["nodad"] : [];
          await where.ip("addr", "add", address, "dev", device, ...nodad);
        }
        await where.ip("link", "set", device, "up");
      }
      for (const [where, v4, v6] of [
        [node, "203.0.113.1", "2001:db8:51::1"],
        [client, "198.51.100.1", "2001:db8:c::1"],
      ] as const) {
        await where.ip("route", "add", "default", "via", v4);
        await where.ip("-6", "route", "add", "default", "via", v6);
      }
      await router.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
      await world.startBird("router");
      return world;
    } catch (error) {
      await world.close();
      throw error;
    }
  }

  async startBird(where: "node" | "router"): Promise<Program> {
    const bird = this[where].start(["bird", "-f", "-c", `${SAMPLES}${where}.conf`, "-s", `${this.dir}/${where}.ctl`]);
    this.#birds.set(where, bird);
    await this.until(`BIRD of the ${where} answers`, async () => (await this.birdc(where, "show status")) !== "");
    return bird;
  }

  async stopBird(where: "node" | "router", signal: NodeJS.Signals): Promise<void> {
    await this.#birds.get(where)?.stop(signal);
  }

  /** Both BGP sessions are up, and BFD watches them. */
  async established(): Promise<void> {
    await this.until("BGP and BFD are up", async () => {
      const bgp = await this.birdc("router", "show protocols");
      const bfd = await this.birdc("router", "show bfd sessions");
      return (bgp.match(/Established/g)?.length ?? 0) === 2 && (bfd.match(/ Up /g)?.length ?? 0) === 2;
    });
  }

  /** Standard output of birdc, or "" when BIRD does not answer. */
  async birdc(where: "node" | "router", ...words: string[]): Promise<string> {
    const { code, stdout } = await run(["birdc", "-s", `${this.dir}/${where}.ctl`, ...words]);
    return code === 0 ? stdout : "";
  }

  async atRouter(prefix: string): Promise<AtRouter> {
    const text = await this.birdc("router", `show route ${prefix} all`);
    if (!text.includes("BGP.as_path")) return "none";
    return text.includes("(65535,0)") ? "drain" : "normal";
  }

  /** Waits until the router has the prefixes so. Returns the milliseconds that it took. */
  async seen(wanted: AtRouter, prefixes: readonly string[] = PREFIXES): Promise<number> {
    const begin = performance.now();
    for (const prefix of prefixes)
      await this.until(`${prefix} is ${wanted} at the router`, async () => (await this.atRouter(prefix)) === wanted);
    return performance.now() - begin;
  }

  async until(what: string, test: () => boolean | Promise<boolean>): Promise<void> {
    for (const deadline = Date.now() + PATIENCE_MS; !(await test()); await sleep(POLL_MS)) {
      if (Date.now() < deadline) continue;
      const said = [...this.#birds].map(([name, { output }]) => `${name}:\n${output}`);
      throw new Error(`Not in time: ${what}.\n${said.join("\n")}`);
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.router, this.node, this.client].map((namespace) => namespace.close()));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/**
 * Three nodes, a router and a client as machines of their own, set up by typing what docs/OPERATIONS.md says in "Three nodes
 * in ten minutes", line by line: real BIRD, real NATS servers, real daemons. A machine is a shell with its own network,
 * processes, /etc, /run and /var/lib; all of it ends with `close`, and with this process.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { Namespace, type Program, sleep } from "../../src/bench/netns.ts";

const CLONE = fileURLToPath(new URL("../..", import.meta.url));
const SECTION = "### Three nodes in ten minutes";
export const PROGRAMS = ["bird", "nats-server", "openssl", "unshare"];
const PATIENCE_MS = 60_000;
const POLL_MS = 100;
let worlds = 0;

/** What a machine without systemd and apt does instead. */
const WITHOUT_SYSTEMD = `apt-get() { :; }
systemctl() {
  for unit; do
    case $unit in
      anyhop-*)
        file=/etc/systemd/system/$unit.service
        sh -c "$(sed -n 's/^ExecStartPre=//p' $file)"
        setsid $(sed -n 's/^ExecStart=//p' $file) >>/var/lib/$unit.log 2>&1 &
        echo $! >/run/$unit.pid ;;
      bird) mkdir -p /run/bird; bird ;;
    esac
  done
}`;

export interface Typed {
  readonly code: number;
  readonly output: string;
}

export class Machine {
  readonly name: string;
  readonly space: Namespace;
  readonly #shell: Program;
  #typed = 0;

  private constructor(name: string, space: Namespace, shell: Program) {
    this.name = name;
    this.space = space;
    this.#shell = shell;
  }

  /** `folder`: empty; the machine's own disk is mounted there. `work`: where its shell stands. */
  static async boot(name: string, space: Namespace, folder: string, work: string): Promise<Machine> {
    const alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"];
    const machine = new Machine(name, space, space.start(alone, { stdin: true }));
    await machine.must(
      `mount -t tmpfs tmpfs ${folder} && mkdir ${folder}/{etc,work,run,lib}
mount -t overlay overlay -o lowerdir=/etc,upperdir=${folder}/etc,workdir=${folder}/work /etc
mount --bind ${folder}/lib /var/lib && mount --bind ${folder}/run /run`,
    );
    await machine.must(`PATH=${CLONE}bin:$PATH:/usr/sbin:/sbin; cd ${work}\n${WITHOUT_SYSTEMD}`);
    return machine;
  }

  /** How this process finds a file of the machine. */
  path(file: string): string {
    return `/proc/${this.#shell.pid}/root${file}`;
  }

  /** What one command says, both streams, and its status. */
  async type(command: string): Promise<Typed> {
    const mark = `@@${this.name}-${this.#typed++}@`;
    this.#shell.child.stdin?.write(`echo "${mark}>"; { ${command}\n} </dev/null 2>&1; echo "${mark}$?"\n`);
    const answer = new RegExp(`${mark}>\n([\\s\\S]*)${mark}(\\d+)\n`);
    for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(5)) {
      const found = answer.exec(this.#shell.output);
      if (found !== null) return { code: Number(found[2]), output: found[1] };
      if (Date.now() > deadline || !this.#shell.alive)
        throw new Error(`${this.name}: ${command}\ndoes not end:\n${this.#shell.output.slice(-2000)}`);
    }
  }

  async must(command: string): Promise<string> {
    const { code, output } = await this.type(command);
    if (code !== 0) throw new Error(`${this.name}: ${command}\nended with ${code}:\n${output}`);
    return output;
  }

  /** Waits until what a command says fits, and returns it. */
  async until(command: string, wanted: RegExp): Promise<string> {
    for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(POLL_MS)) {
      const { output } = await this.type(command);
      if (wanted.test(output)) return output;
      if (Date.now() > deadline) throw new Error(`${this.name}: ${command}\ndoes not say ${wanted}:\n${output}`);
    }
  }
}

export class ThreeNodes {
  readonly dir = mkdtempSync(`${tmpdir()}/anyhop-three-`);
  /** Everything that the commands of the document said. */
  said = "";
  readonly #spaces: Namespace[];
  nodes: Machine[] = [];
  router!: Machine;
  client!: Machine;

  private constructor(spaces: Namespace[]) {
    this.#spaces = spaces;
  }

  /** Machines and cables as the document takes them for granted; nothing of anyhop is there. */
  static async create(): Promise<ThreeNodes> {
    const id = `anyhop-t${process.pid}-${worlds++}`;
    const spaces: Namespace[] = [];
    for (const role of ["n1", "n2", "n3", "r", "c"]) spaces.push(await Namespace.create(`${id}-${role}`));
    const world = new ThreeNodes(spaces);
    try {
      await world.#boot();
      return world;
    } catch (error) {
      await world.close();
      throw error;
    }
  }

  async #boot(): Promise<void> {
    const [one, two, three, router, client] = this.#spaces;
    await router.ip("link", "add", "br0", "type", "bridge");
    const cables = [one, two, three].map((space, i) => [space, `n${i + 1}`, `198.51.100.${i + 1}/24`, i + 1] as const);
    for (const [space, port, v4, host] of cables) {
      await router.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space.name);
      await router.ip("link", "set", port, "master", "br0", "up");
      await address(space, "eth0", v4, `2001:db8:51::${host}/64`);
    }
    await address(router, "br0", "198.51.100.254/24", "2001:db8:51::254/64");
    await router.ip("link", "add", "c0", "type", "veth", "peer", "name", "eth0", "netns", client.name);
    await address(router, "c0", "203.0.113.1/30", "2001:db8:c::1/64");
    await address(client, "eth0", "203.0.113.2/30", "2001:db8:c::2/64");
    for (const [space, v4, v6] of [
      ...[one, two, three].map((space) => [space, "198.51.100.254", "2001:db8:51::254"] as const),
      [client, "203.0.113.1", "2001:db8:c::1"] as const,
    ]) {
      await space.ip("route", "add", "default", "via", v4);
      await space.ip("-6", "route", "add", "default", "via", v6);
    }
    await router.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    const boot = (name: string, space: Namespace) => {
      const [disk, work] = [`${this.dir}/${name}`, `${this.dir}/${name}-work`];
      for (const folder of [disk, work]) mkdirSync(folder);
      symlinkSync(`${CLONE}docs`, `${work}/docs`);
      return Machine.boot(name, space, disk, work);
    };
    this.nodes = await Promise.all([one, two, three].map((space, i) => boot(`node${i + 1}`, space)));
    this.router = await boot("router", router);
    this.client = await boot("client", client);
  }

  /** Types the whole section. Returns the seconds that it took. */
  async setUp(): Promise<number> {
    const begin = performance.now();
    for (const { where, lines } of documented()) {
      const there = this.#machines(where);
      const typing = there.map(async ([machine, number]) => {
        for (const line of lines)
          await this.#line(machine, where === "each node" ? line.replace(/\bN\b/g, number) : line);
      });
      await Promise.all(typing);
    }
    return (performance.now() - begin) / 1000;
  }

  #machines(where: string): (readonly [Machine, string])[] {
    const nodes = this.nodes.map((machine, i) => [machine, String(i + 1)] as const);
    if (where === "each node") return nodes;
    if (where === "the router") return [[this.router, ""]];
    if (where === "the client") return [[this.client, ""]];
    return [nodes[Number(/^node ([123])$/.exec(where)![1]) - 1]];
  }

  async #line(machine: Machine, line: string): Promise<void> {
    const copy = /^scp -r?p (.+) 198\.51\.100\.([123]):(\S+)$/.exec(line);
    const mail = `${this.dir}/mail`;
    if (copy !== null) {
      const [, files, node, to] = copy;
      await machine.must(`rm -rf ${mail} && mkdir -m 700 ${mail} && cp -a ${files} ${mail}/`);
      await this.nodes[Number(node) - 1].must(`cp -a ${mail}/* ${to} && rm -r ${mail}`);
      return;
    }
    // By hand: anna.toml is taken to its client.
    if (line.includes("./anna.toml")) await machine.must(`cp -a ${this.dir}/node1-work/anna.toml .`);
    this.said += `$ ${line}\n${await machine.must(line)}`;
  }

  /** Machine at which a client is. */
  async nodeOf(client: string): Promise<Machine> {
    const owner = new RegExp(`^.*\\b${client}\\b.*$`, "m");
    for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await sleep(POLL_MS)) {
      for (const node of this.nodes) {
        const { output } = await node.type("anyhop status --json");
        const { sessions } = output.startsWith("{") ? JSON.parse(output).group : { sessions: { own: 0 } };
        if (sessions.own > 0 && owner.test((await node.type("anyhop sessions list")).output)) return node;
      }
    }
    throw new Error(`${client} is nowhere.`);
  }

  async close(): Promise<void> {
    for (const space of this.#spaces) await space.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

async function address(space: Namespace, device: string, v4: string, v6: string): Promise<void> {
  await space.ip("addr", "add", v4, "dev", device);
  await space.ip("addr", "add", v6, "dev", device, "nodad");
  await space.ip("link", "set", device, "up");
}

/** Blocks of shell in the section, each with the machine that its first line names. */
function documented(): { readonly where: string; readonly lines: readonly string[] }[] {
  const text = readFileSync(`${CLONE}docs/OPERATIONS.md`, "utf8");
  const from = text.indexOf(SECTION);
  const section = text.slice(from, text.indexOf("\n### ", from + 1));
  return [...section.matchAll(/^```sh\n# on (.+)\n([\s\S]*?)^```$/gm)].map(([, where, block]) => {
    return { where, lines: block.trim().split("\n") };
  });
}

/**
 * Programs of others that the lab runs beside its daemons, BIRD and NATS: started in a place, stopped, frozen and thawed.
 * One that ends without being asked is a problem of the lab, with its last words.
 */
import type { ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { nodeBirdText, type Preferences, preferenceText, routerBirdText } from "./bird.ts";
import { cableOf, NODES, type NodeName, ROUTER } from "./group_topology.ts";
import { ended, run, spawnIn, stop } from "./host.ts";
import type { LabState } from "./state.ts";
import { birdSocket, engineDirectory, GROUP } from "./topology.ts";

const anyhop = fileURLToPath(new URL("../../bin/anyhop", import.meta.url));
const GRACE_MS = 2000;
const LOG_LINES = 8;

export type ServiceName = "bird" | "hub" | "leaf";

interface Service {
  readonly place: string;
  readonly name: ServiceName;
  readonly command: readonly string[];
  readonly log: string;
  child: ChildProcess | undefined;
  asked: boolean;
}

export class Services {
  readonly #state: LabState;
  readonly #services: Service[] = [];

  /** Writes the files below `directory` and starts everything. `directory/<place>` must be there for nodes. */
  constructor(state: LabState, directory: string, preferences: Preferences) {
    this.#state = state;
    for (const node of NODES) {
      const own = join(directory, node);
      mkdirSync(own, { recursive: true });
      this.#addBird(node, own, nodeBirdText(node));
      makeEngine(directory, node);
      const engine = engineDirectory(own);
      for (const name of ["hub", "leaf"] as const)
        this.#add(node, name, own, ["nats-server", "-c", join(engine, `${name}.conf`)]);
    }
    const own = join(directory, ROUTER);
    mkdirSync(own, { recursive: true });
    const file = preferenceFile(directory);
    writeFileSync(file, preferenceText(preferences));
    this.#addBird(ROUTER, own, routerBirdText(file));
    for (const service of this.#services) this.#launch(service);
  }

  #addBird(place: string, own: string, text: string): void {
    const file = join(own, "bird.conf");
    writeFileSync(file, text);
    this.#add(place, "bird", own, ["bird", "-f", "-c", file, "-s", birdSocket(own), "-P", join(own, "bird.pid")]);
  }

  #add(place: string, name: ServiceName, own: string, command: readonly string[]): void {
    this.#services.push({ place, name, command, log: join(own, `${name}.log`), child: undefined, asked: false });
  }

  #launch(service: Service): void {
    const log = openSync(service.log, "a", 0o600);
    const child = spawnIn(this.#state.namespaces.get(service.place)!, service.command, log);
    closeSync(log);
    service.child = child;
    service.asked = false;
    child.once("error", (error) => this.#state.problems.push(`${service.name} did not start: ${error.message}`));
    child.once("exit", (code, signal) => {
      if (service.asked) return;
      const words = readFileSync(service.log, "utf8").trimEnd().split("\n").slice(-LOG_LINES).join("\n  ");
      const how = signal ?? `status ${code}`;
      this.#state.problems.push(`${service.name} at ${service.place} ended by itself (${how}):\n  ${words}`);
    });
  }

  #of(place: NodeName | undefined, names: readonly ServiceName[]): Service[] {
    return this.#services.filter((one) => names.includes(one.name) && (place === undefined || one.place === place));
  }

  /** SIGSTOP: alive for the kernel, silent for everybody else. */
  freeze(place: NodeName): void {
    for (const { child } of this.#of(place, ["bird", "hub", "leaf"])) child?.kill("SIGSTOP");
  }

  /** SIGKILL, also of what is frozen. `place` undefined: at every node. */
  async kill(place: NodeName | undefined, names: readonly ServiceName[]): Promise<void> {
    const these = this.#of(place, names).filter(({ place }) => place !== ROUTER);
    for (const service of these) {
      service.asked = true;
      service.child?.kill("SIGKILL");
    }
    await Promise.all(these.map(({ child }) => child && ended(child, GRACE_MS)));
  }

  start(place: NodeName | undefined, names: readonly ServiceName[]): void {
    for (const service of this.#of(place, names)) if (service.place !== ROUTER) this.#launch(service);
  }

  async end(): Promise<void> {
    await Promise.all(
      this.#services.map(async (service) => {
        if (service.child === undefined || (await ended(service.child, 0))) return;
        service.asked = true;
        service.child.kill("SIGCONT");
        await stop(service.child, GRACE_MS);
      }),
    );
  }
}

/** The files of a node's two NATS servers, by the program that operators use; the authority is at the first node. */
function makeEngine(directory: string, node: NodeName): void {
  const own = engineDirectory(join(directory, node));
  const number = (name: NodeName) => String(NODES.indexOf(name) + 1);
  const peers = NODES.filter((other) => other !== node).flatMap((other) => {
    return ["--peer", `${number(other)}=${cableOf(other).place4}`];
  });
  const ca = node === NODES[0] ? [] : ["--ca", engineDirectory(join(directory, NODES[0]))];
  const files = ["--dir", own, "--store", join(own, "store"), ...ca];
  const who = ["--group", GROUP, "--node", number(node), "--address", cableOf(node).place4];
  run([process.execPath, anyhop, "init", "engine", ...who, ...peers, ...files]);
}

export const preferenceFile = (directory: string): string => join(directory, ROUTER, "prefer.conf");

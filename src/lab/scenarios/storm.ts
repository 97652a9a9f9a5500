/** Ten thousand sessions change to another node at the same moment. */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type GroupLab, type Scenario, wallMs } from "../group_lab.ts";
import { all, atMost, type LabNumber, toMicros } from "../group_result.ts";
import { cableOf, ROUTER, SERVER4, SERVICE4, STRANGER } from "../group_topology.ts";
import { run, spawnIn } from "../host.ts";
import { STORM_STREAM, type StormLine, type StormOrder } from "../storm_format.ts";
import { PORT } from "../topology.ts";

const SECONDS = 55;
const SESSIONS = 10_000;
const LIMIT_MS = 1000;
const PATIENCE_MS = 3000;
/** Each address is one machine to a node, which limits the requests of each. */
const NETWORKS = ["192.0.2", "198.51.100", "203.0.113"];
const CONNECT_MS = 30_000;

export const storm: Scenario = {
  seconds: SECONDS,
  secondsMin: 40,
  extraClients: SESSIONS,
  help: "10,000 sessions change their node at once",
  async run(lab, _seconds, signal): Promise<LabNumber[]> {
    const load = new Load(lab);
    try {
      await lab.flip(["x", "s"], "n1");
      const sessions = await load.connect(signal);
      lab.note({ what: "connected", node: "n1" });
      // Once where they are: every session is in use, and known to all nodes a moment later.
      await load.burst(signal);
      await lab.flip(["x"], "n2");
      const { served, lastMs } = await load.burst(signal, "n2");
      lab.note({ what: "storm over", node: "n2" });
      return [
        all("sessions made", sessions, SESSIONS),
        all(`sessions served by the new node within ${LIMIT_MS / 1000} s`, served, sessions),
        atMost("last session served after", lastMs, LIMIT_MS, "ms", sessions),
      ];
    } finally {
      load.end();
    }
  },
};

interface Served {
  /** Within LIMIT_MS. */
  readonly served: number;
  /** When the last one was, after the first packet was sent; null: never. */
  readonly lastMs: number | null;
}

/** The process of many clients in the stranger's namespace. */
class Load {
  readonly #lab: GroupLab;
  readonly #child: ChildProcess;
  #sessions = 0;
  #lines: StormLine[] = [];

  constructor(lab: GroupLab) {
    this.#lab = lab;
    const stranger = lab.state.namespaces.get(STRANGER)!;
    const { place4 } = cableOf(STRANGER);
    for (const network of NETWORKS) {
      const range = `${network}.128/25`;
      run(["ip", "-n", stranger, "route", "add", "local", range, "dev", "lo"]);
      run(["ip", "-n", lab.state.namespaces.get(ROUTER)!, "route", "add", range, "via", place4]);
    }
    const order: StormOrder = {
      ...{ groupKey: lab.daemons.publicKeyOf("n1"), node: SERVICE4, port: PORT, server: SERVER4 },
      ...{ clients: SESSIONS, seed: lab.seed },
      sources: NETWORKS.flatMap((network) => Array.from({ length: 126 }, (_, i) => `${network}.${128 + i}`)),
    };
    const program = fileURLToPath(new URL("../storm_load.js", import.meta.url));
    this.#child = spawnIn(stranger, [process.execPath, program, JSON.stringify(order)], "pipe");
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.#lines.push(JSON.parse(line)));
    this.#child.stdin!.on("error", () => {});
  }

  async connect(signal: AbortSignal): Promise<number> {
    this.#child.stdin!.write("connect\n");
    const line = await this.#line("connected", signal);
    this.#sessions = line.kind === "connected" ? line.sessions : 0;
    return this.#sessions;
  }

  /** One datagram in every session at once, then again for those that were lost. `node`: where they are to come out. */
  async burst(signal: AbortSignal, node?: string): Promise<Served> {
    const first = new Map<number, number>();
    this.#lab.wire.onInner((stream, seq, atMs, from) => {
      if (stream !== STORM_STREAM || (node !== undefined && from !== node)) return;
      const client = seq % SESSIONS;
      if (!first.has(client)) first.set(client, atMs);
    });
    const since = wallMs();
    this.#child.stdin!.write("burst\n");
    await this.#line("sent", signal);
    const met = () => (first.size >= this.#sessions || wallMs() > since + PATIENCE_MS ? true : undefined);
    await this.#lab.until("the storm does not end", met, signal);
    this.#lab.wire.onInner(() => {});
    const waits = [...first.values()].map((at) => at - since);
    const last = waits.reduce((most, wait) => Math.max(most, wait), 0);
    return {
      served: waits.filter((wait) => wait <= LIMIT_MS).length,
      lastMs: first.size < this.#sessions ? null : toMicros(last),
    };
  }

  async #line(kind: StormLine["kind"], signal: AbortSignal): Promise<StormLine> {
    const next = () => {
      if (this.#child.exitCode !== null)
        throw new Error(`The clients of the storm ended with ${this.#child.exitCode}.`);
      const i = this.#lines.findIndex((line) => line.kind === kind);
      return i < 0 ? undefined : this.#lines.splice(i, 1)[0];
    };
    return this.#lab.until("the clients of the storm are silent", next, signal, CONNECT_MS);
  }

  end(): void {
    this.#child.stdin!.end();
  }
}

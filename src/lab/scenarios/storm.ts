/** Ten thousand sessions change to another node at the same moment. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { CrowdOrder } from "../../crowd/order.ts";
import { CROWD, CrowdProgram } from "../../crowd/program.ts";
import type { GroupLab, Scenario } from "../group_lab.ts";
import { all, atMost, type LabNumber, percentile, shown, toMicros } from "../group_result.ts";
import { cableOf, NODE4, type NodeName, numberOf, ROUTER, SERVICE4, STORM_FIRST, STRANGER } from "../group_topology.ts";
import { run, spawnIn } from "../host.ts";
import { PORT } from "../topology.ts";

const SECONDS = 30;
const SESSIONS = 10_000;
const LIMIT_MS = 1000;
const FROM: NodeName = "n1";
const TO: NodeName = "n2";
/** Answers are waited for so long at most. */
const CALM_MS = 2000;
const STORM_MS = 3000;
/** Handshakes and moves are known to all nodes by then. */
const SETTLE_MS = 3000;
/** The router's kernel has the route, and its BIRD goes through its other tables. */
const ROUTER_MS = 300;
/** Beside making sessions, and how many of these a second are made at least. */
const OTHER_S = 10;
const SESSIONS_PER_S = 500;
/** Each address is one machine to a node, which limits the requests of each. */
const NETWORKS = ["192.0.2", "198.51.100", "203.0.113"];
const ADDRESSES = 126;

const sessionsIn = (seconds: number): number => Math.min(SESSIONS, Math.floor((seconds - OTHER_S) * SESSIONS_PER_S));

export const storm: Scenario = {
  seconds: SECONDS,
  secondsMin: 12,
  extraClients: sessionsIn,
  looks: true,
  help: "10,000 sessions change their node at once",
  async run(lab, seconds = SECONDS, signal): Promise<LabNumber[]> {
    const clients = sessionsIn(seconds);
    // The goal is one of the nodes, which would share their processors with the lab.
    await lab.endTraffic(signal);
    await steer(lab, FROM, signal);
    const crowd = startCrowd(lab, clients, signal);
    try {
      await crowd.ready();
      const { sessions } = await crowd.connect(0, clients);
      lab.note({ what: "connected", node: FROM });
      await pause(SETTLE_MS, undefined, { signal });
      // Once where they are: what a burst takes without a flip, and every session is in use.
      const calmMs = (await crowd.burst(CALM_MS)).answers.map(({ atMs }) => atMs);
      await pause(SETTLE_MS, undefined, { signal });
      await steer(lab, TO, signal);
      const { sent, sentMs, answers } = await crowd.burst(STORM_MS);
      lab.note({ what: "storm over", node: TO });
      const served = answers.filter(({ node }) => node === numberOf(TO)).map(({ atMs }) => atMs);
      const inTime = served.filter((atMs) => atMs <= LIMIT_MS);
      return [
        all("sessions made", sessions, clients),
        all("sessions served by the new node", served.length, sent),
        all(`sessions served by the new node within ${LIMIT_MS / 1000} s`, inTime.length, sent),
        atMost("last session served after, ms", percentile(served, 1), LIMIT_MS, "ms", served.length),
        shown("first packets of all sessions sent within, ms", toMicros(sentMs), sent),
        shown("last answer where no session moves after, ms", percentile(calmMs, 1), calmMs.length),
      ];
    } finally {
      await crowd.end();
    }
  },
};

/** From now on the router sends the stranger's packets to `node`: not only its BIRD knows that, but its kernel. */
async function steer(lab: GroupLab, node: NodeName, signal: AbortSignal): Promise<void> {
  await lab.flip([STRANGER], node);
  const asked = ["route", "get", SERVICE4, "from", cableOf(STRANGER).place4, "iif", STRANGER];
  const goes = () => run(["ip", "-n", lab.state.namespaces.get(ROUTER)!, ...asked]).includes(` dev ${node} `);
  await lab.until(`the router does not send to ${node}`, () => goes() || undefined, signal);
  await pause(ROUTER_MS, undefined, { signal });
}

/** Many clients in the stranger's namespace, whose addresses are steered together. */
function startCrowd(lab: GroupLab, clients: number, signal: AbortSignal): CrowdProgram {
  const stranger = lab.state.namespaces.get(STRANGER)!;
  for (const network of NETWORKS) {
    const range = `${network}.128/25`;
    run(["ip", "-n", stranger, "route", "add", "local", range, "dev", "lo"]);
    run(["ip", "-n", lab.state.namespaces.get(ROUTER)!, "route", "add", range, "via", cableOf(STRANGER).place4]);
  }
  const order: CrowdOrder = {
    ...{ groupKey: lab.daemons.publicKeyOf(FROM), service: { address: SERVICE4, port: PORT }, echo: NODE4 },
    ...{ clients, firstAddress: STORM_FIRST, seed: lab.seed },
    sources: NETWORKS.flatMap((network) => Array.from({ length: ADDRESSES }, (_, i) => `${network}.${128 + i}`)),
  };
  const file = join(lab.directory, "crowd.json");
  writeFileSync(file, JSON.stringify(order), { mode: 0o600 });
  return new CrowdProgram(spawnIn(stranger, [...CROWD, file], "pipe"), signal);
}

/** The many clients of the group benchmark, at the clients' machine of its network. */
import { writeFileSync } from "node:fs";
import type { CrowdOrder } from "../crowd/order.ts";
import { CROWD, CrowdProgram } from "../crowd/program.ts";
import { CROWD_FIRST, ECHO, type Fleet, SERVICE_PORT } from "./group_fleet.ts";
import { clientAddresses, type GroupNet, SERVICE } from "./group_net.ts";

const SOURCES = 250;

/** Clients [0, clients) of the fleet; resolves when they can be told what to do. */
export async function startCrowd(net: GroupNet, fleet: Fleet, clients: number): Promise<CrowdProgram> {
  const order: CrowdOrder = {
    ...{ groupKey: fleet.groupKey, echo: ECHO, clients, firstAddress: CROWD_FIRST, seed: fleet.seed },
    service: { address: SERVICE, port: SERVICE_PORT },
    sources: clientAddresses(Math.min(SOURCES, clients)),
  };
  const file = `${fleet.dir}/crowd.json`;
  writeFileSync(file, JSON.stringify(order), { mode: 0o600 });
  const crowd = new CrowdProgram(net.clients.start([...CROWD, file], { stdin: true }).child);
  await crowd.ready();
  return crowd;
}

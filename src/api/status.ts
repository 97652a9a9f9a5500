/** Builds the status answer from what a running instance knows. Reads shared columns; holds nothing up. */
import type { Clock } from "../base/clock.ts";
import { formatEndpoint } from "../base/ip.ts";
import type { Supervisor } from "../control/supervisor.ts";
import { describeTransforms } from "../control/transforms.ts";
import { VERDICTS, verdicts } from "../dataplane/verdict.ts";
import type { Status, TunnelStatus } from "./contract.ts";

export function buildStatus(instance: Supervisor, clock: Clock, version: string): Status {
  const { spec } = instance;
  const counters = new Float64Array(instance.memory.verdicts);
  const now = clock.wallMs();
  return {
    name: spec.name,
    version,
    pid: process.pid,
    startedAt: new Date(instance.startedAtMs).toISOString(),
    uptimeS: Math.round((now - instance.startedAtMs) / 100) / 10,
    listen: spec.listen.flatMap((l, i) =>
      instance.ports[i] === 0 ? [] : [{ address: l.address, port: instance.ports[i] ?? l.port }],
    ),
    senderId: spec.senderId,
    shards: 1,
    device: {
      name: instance.deviceName,
      type: spec.device.type,
      mtu: spec.device.mtuBytes,
      addresses: [...spec.device.addresses],
    },
    offloads: instance.offloads.map((offload) => ({ ...offload })),
    tunnels: spec.tunnels.map((_, index) => tunnelStatus(instance, index, clock)),
    verdicts: Object.fromEntries(verdicts.slice(1).map((v, i) => [v.name, counters[i + 1]])),
    drops: verdicts
      .map((v, i) => ({ name: v.name, count: counters[i], help: v.help, kind: v.kind }))
      .filter((v) => v.kind === "drop")
      .map(({ name, count, help }) => ({ name, count, help })),
    host: [...instance.hostChanges],
  };
}

function tunnelStatus(instance: Supervisor, t: number, clock: Clock): TunnelStatus {
  const spec = instance.spec.tunnels[t];
  const table = instance.tunnels;
  const drops: Record<string, number> = {};
  for (let v = 0; v < VERDICTS; v++) {
    const count = table.drops[t * VERDICTS + v];
    if (count > 0) drops[verdicts[v].name] = count;
  }
  const problem = instance.problems.get(t);
  return {
    name: spec.name,
    mux: spec.mux,
    role: spec.role,
    transforms: describeTransforms(spec),
    endpoint:
      table.known[t] === 1
        ? formatEndpoint(table.addr0[t], table.addr1[t], table.addr2[t], table.addr3[t], table.port[t])
        : null,
    window: table.used[t] === 1 ? table.window[t] : spec.window,
    routes: spec.routes ? [...spec.routes] : null,
    rx: { packets: table.rxPackets[t], bytes: table.rxBytes[t] },
    tx: { packets: table.txPackets[t], bytes: table.txBytes[t] },
    lastReceivedMs: table.lastRx[t] > 0 ? Math.max(0, Math.round(clock.monotonicMs() - table.lastRx[t])) : null,
    seq: { next: table.seqNext[t], reserved: table.seqLimit[t] },
    senders: table.senders[t],
    drops,
    problem: problem
      ? {
          reason: verdicts[problem.verdict].name,
          peer: problem.peer,
          hint: verdicts[problem.verdict].help,
          count: table.problems[t],
          agoMs: Math.round(clock.monotonicMs() - problem.atMs),
        }
      : null,
  };
}

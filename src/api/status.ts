/** Builds the status answer from what a running instance knows. Reads shared columns; holds nothing up. */
import type { Clock } from "../base/clock.ts";
import { formatEndpoint } from "../base/ip.ts";
import type { ClientControl, Control, ServiceStatus as ServiceView } from "../control/asked/control_port.ts";
import type { NodeGroupView } from "../control/asked/group_view.ts";
import type { Supervisor } from "../control/instance/supervisor.ts";
import type { AnnounceView } from "../control/routing/announcing.ts";
import { describeTransforms } from "../control/text/transforms.ts";
import { verdicts } from "../dataplane/verdict.ts";
import type { AnnounceStatus, HostChange, ServiceStatus, Status, TunnelStatus } from "./contract.ts";
import { groupStatus } from "./group.ts";
import { bestKnown, countersOf, dropsOf, latest, shardStatus, total } from "./totals.ts";

export interface StatusParts {
  readonly version: string;
  /** Of an instance that is a service of a client. */
  readonly client?: ClientControl | undefined;
  /** What routers are told; undefined where there is nothing to announce. */
  readonly announce?: AnnounceView | undefined;
  /** What is wrong now. */
  readonly faults?: readonly string[] | undefined;
  /** Of a node. */
  readonly control?: Pick<Control, "handshakes" | "refused" | "sessionCount"> | undefined;
  /** Of a node that is one of several. */
  readonly group?: NodeGroupView | undefined;
  /** Packets for a device that the kernel dropped. */
  readonly queueDrops: (device: string) => number | undefined;
}

export function buildStatus(instance: Supervisor, clock: Clock, parts: StatusParts): Status {
  const { version, client, announce, group, queueDrops } = parts;
  const services = client?.services() ?? [];
  const given = services.find(({ device }) => device === instance.deviceName)?.addresses ?? [];
  const { spec } = instance;
  const counters = countersOf(instance.shards);
  const now = clock.wallMs();
  const own = instance.hostChanges.map((change) => ({ ...change }));
  const changes = [...own, ...services.flatMap(({ host }) => host.map((change) => ({ ...change })))];
  return {
    name: spec.name,
    version,
    pid: process.pid,
    startedAt: new Date(instance.startedAtMs).toISOString(),
    uptimeS: Math.round((now - instance.startedAtMs) / 100) / 10,
    listen: spec.listen.flatMap((l, i) =>
      instance.ports[i] === 0
        ? []
        : [{ address: l.address, port: instance.ports[i] ?? l.port, receiveBuffer: instance.receiveBuffers[i] ?? 0 }],
    ),
    senderId: spec.senderId,
    shards: instance.shards.length,
    perShard: instance.shards.map((shard) => shardStatus(shard, spec.tunnels.length)),
    device: {
      name: instance.deviceName,
      type: spec.device.type,
      mtu: spec.device.mtuBytes,
      addresses: [...(given.length > 0 ? given : spec.device.addresses)],
      queueDropped: queueDrops(instance.deviceName) ?? null,
    },
    offloads: instance.offloads.map((offload) => ({ ...offload })),
    tunnels: spec.tunnels.map((_, index) => tunnelStatus(instance, index, clock)),
    verdicts: Object.fromEntries(verdicts.slice(1).map((v, i) => [v.name, counters[i + 1]])),
    drops: verdicts
      .map((v, i) => ({ name: v.name, count: counters[i], help: v.help, kind: v.kind }))
      .filter((v) => v.kind === "drop")
      .map(({ name, count, help }) => ({ name, count, help })),
    services: services.map(serviceStatus),
    node: parts.control === undefined ? null : nodeStatus(parts.control),
    host: [...new Set([...changes.filter(isThere).map(({ what }) => what), ...services.flatMap(({ hooks }) => hooks)])],
    changes,
    faults: [...(parts.faults ?? []), ...own.filter((change) => change.state === "missing").map(missing)],
    announce: announce === undefined ? null : copyOf(announce),
    group: group === undefined ? null : groupStatus(group),
  };
}

function nodeStatus(control: Pick<Control, "handshakes" | "refused" | "sessionCount">): Status["node"] {
  return {
    sessions: control.sessionCount(),
    refused: control.refused().map((one) => ({ ...one })),
    requests: control.handshakes().map(({ name, count, done, help }) => ({ name, count, refused: !done, help })),
  };
}

const isThere = ({ state }: HostChange): boolean => state === "ok" || state === "restored";
const missing = ({ what, why, sinceMs }: HostChange): string =>
  `${what}: missing since ${new Date(sinceMs).toISOString()}; ${why}`;

function serviceStatus(service: ServiceView): ServiceStatus {
  const { addresses, routes, dns, sessions, asking, problem, host, hooks, beside, hostProblems } = service;
  return {
    ...service,
    ...{ hooks: [...hooks], beside: [...beside] },
    ...{ host: host.map((change) => ({ ...change })), hostProblems: hostProblems.map((one) => ({ ...one })) },
    ...{ addresses: [...addresses], routes: [...routes], dns: [...dns] },
    ...{ asking: asking && { ...asking }, problem: problem && { ...problem } },
    sessions: sessions.map((session) => ({ ...session })),
  };
}

function tunnelStatus(instance: Supervisor, t: number, clock: Clock): TunnelStatus {
  const spec = instance.spec.tunnels[t];
  const { shards } = instance;
  const table = bestKnown(shards, t);
  const sequences = shards.map(({ senderId, tunnels }) => {
    return { senderId, next: tunnels.seqNext[t], reserved: tunnels.seqLimit[t] };
  });
  const lastRx = latest(shards, (tunnels) => tunnels.lastRx[t]);
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
    rx: {
      packets: total(shards, (tunnels) => tunnels.rxPackets[t]),
      bytes: total(shards, (tunnels) => tunnels.rxBytes[t]),
    },
    tx: {
      packets: total(shards, (tunnels) => tunnels.txPackets[t]),
      bytes: total(shards, (tunnels) => tunnels.txBytes[t]),
    },
    lastReceivedMs: lastRx > 0 ? Math.max(0, Math.round(clock.monotonicMs() - lastRx)) : null,
    seq: { next: sequences[0].next, reserved: sequences[0].reserved },
    sequences,
    senders: latest(shards, (tunnels) => tunnels.senders[t]),
    drops: dropsOf(shards, t),
    problem: problem
      ? {
          reason: verdicts[problem.verdict].name,
          peer: problem.peer,
          hint: verdicts[problem.verdict].help,
          count: total(shards, (tunnels) => tunnels.problems[t]),
          agoMs: Math.round(clock.monotonicMs() - problem.atMs),
        }
      : null,
  };
}

/** The contract's own copy of a view. */
function copyOf({ prefixes, selfTest, drain, ...rest }: AnnounceView): AnnounceStatus {
  return {
    ...rest,
    prefixes: [...prefixes],
    selfTest:
      selfTest === null
        ? null
        : { ...selfTest, targets: selfTest.targets.map((target) => ({ ...target })), faults: [...selfTest.faults] },
    drain: drain === null ? null : { ...drain },
  };
}

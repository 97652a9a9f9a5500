/** Makes nodes and clients: real ends on simulated machines. */
import { createLogger, type Logger, type LogRecord, NOTICE } from "../base/log.ts";
import { parsePrefix } from "../base/prefix.ts";
import { Prng } from "../base/prng.ts";
import type { Bus, BusListener } from "../cluster/bus.ts";
import type { LifelineOptions } from "../cluster/lifeline_types.ts";
import { EventHub } from "../control/asked/event_hub.ts";
import { ClientEnd } from "../control/client/client_end.ts";
import { NodeGroup } from "../control/group/node_group.ts";
import { NodeEnd } from "../control/node/node_end.ts";
import type { ClientSpec, ClusterSpec, EngineSpec, NodeSpec, ServiceSpec } from "../control/spec/instance.ts";
import type { ClientRecord, LifelinePort, LinkSocket, Store } from "../control/spec/ports.ts";
import { formatKey } from "../control/text/keys/key_text.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { keyPairFromPrivate } from "../crypto/x25519.ts";
import { createMemoryHost } from "../drivers/memory_host.ts";
import { SERVICE_PORT } from "./machine.ts";
import type { Plan } from "./plan.ts";
import type { VirtualTime } from "./virtual_time.ts";
import { linkOf, SERVICE } from "./wires.ts";

/** What is said of it; the bus itself is the simulator's. */
const ENGINE: EngineSpec = {
  ...{ kind: "nats", url: [], nkeySeed: undefined, ca: undefined, cert: undefined, key: undefined },
};

export const NODE_INNER = "198.51.100.1";
export const FLEET_KEY = new Uint8Array(32).fill(9);
export const ROWS = 256;
const PSK = new Uint8Array(32).fill(0x55);
const WALL_MS = Date.UTC(2026, 0, 1);
const HOLD_MS = 10;

const pairOf = (seed: number) => {
  const privateKey = new Uint8Array(32).fill(seed);
  return { privateKey, publicKey: keyPairFromPrivate(privateKey).publicKey };
};
const GROUP = pairOf(1);
const FIRST_CLIENT = 2;
/** As many as the runs of this process had. */
const clientPairs: ReturnType<typeof pairOf>[] = [];
const pairOfClient = (client: number) => {
  clientPairs[client] ??= pairOf(FIRST_CLIENT + client);
  return clientPairs[client];
};

export const innerOfClient = (client: number): string => `198.51.100.${100 + client}`;
export const keyTextOfClient = (client: number): string => formatKey(pairOfClient(client).publicKey);

/** Deterministic, and so no secret: for simulations only. */
export function seededEntropy(seed: number): Entropy {
  const prng = new Prng(seed);
  const bytes = (n: number) => {
    const all = new Uint8Array(n);
    for (let k = 0; k < n; k++) all[k] = prng.nextU32();
    return all;
  };
  return { bytes, keyPair: () => keyPairFromPrivate(bytes(32)) };
}

export const clockOf = (time: VirtualTime, skewMs: number) => ({
  monotonicMs: () => time.nowMs,
  wallMs: () => WALL_MS + skewMs + time.nowMs,
});

export function logOf(time: VirtualTime, name: string, tell: ((line: string) => void) | undefined): Logger {
  const write = ({ event, message }: LogRecord) => tell?.(`${name} ${event}: ${message}`);
  const sinks = tell === undefined ? [] : [{ level: NOTICE, write, close: () => {} }];
  return createLogger(clockOf(time, 0), sinks);
}

export const LOCAL = {
  kind: "local",
  addresses: [parsePrefix(`${NODE_INNER}/32`)!],
  broadcasts: [],
} as const;

export interface Member {
  readonly time: VirtualTime;
  readonly entropy: Entropy;
  readonly log: Logger;
  readonly skewMs: number;
  readonly store: Store;
}

/** Makes the lifeline of a start of a node. */
export type LifelineMaker = (options: LifelineOptions) => LifelinePort;

/** A node's end and its part in the group. */
export function makeNode(
  plan: Plan,
  node: number,
  networks: readonly string[],
  member: Member & { readonly link: LinkSocket; readonly lifeline: LifelineMaker; openBus(listener: BusListener): Bus },
): { readonly end: NodeEnd; readonly group: NodeGroup; readonly spec: NodeSpec } {
  const { time, entropy, log, skewMs, store, link, lifeline, openBus } = member;
  const others = plan.nodes.map((_, k) => k + 1).filter((other) => other !== node);
  const cluster: ClusterSpec = {
    ...{ node, fleetKey: FLEET_KEY, holdMs: HOLD_MS, link: { host: "", port: 0 }, engine: ENGINE },
    peers: others.map((other) => ({ node: other, link: { host: "", port: 0 } })),
  };
  const spec: NodeSpec = {
    instance: {
      ...{ name: `node${node}`, listen: [{ address: SERVICE, port: SERVICE_PORT }], senderId: node, tunnels: [] },
      ...{ shards: 1, fanoutMax: 256, floodPps: 1000, dscp: "copy", stateDir: "/nowhere", socketPath: "/nowhere" },
      device: {
        ...{ type: "tun", name: undefined, mtuBytes: 1400, hostRoutes: [], postUp: undefined },
        addresses: [`${NODE_INNER}/24`],
      },
    },
    ...{ group: "example", privateKey: GROUP.privateKey, publicKey: GROUP.publicKey, addresses: [] },
    ...{ pool: ["198.51.100.0/24"], networks, dns: [], clients: [], keepaliveMs: 25_000, rekeyMs: plan.rekeyMs },
    ...{ announce: NO_ANNOUNCE, cluster, sessionsMax: ROWS },
  };
  const clock = clockOf(time, skewMs);
  const events = new EventHub(clock);
  let group!: NodeGroup;
  const end = new NodeEnd(
    spec,
    {
      ...{ clock, log, entropy, store, pairOf: keyPairFromPrivate, events },
      join(self) {
        const peers = others.map((other) => ({ node: other, endpoint: linkOf(other) }));
        const engine = "memory" as const;
        const ports = {
          clock,
          log,
          entropy,
          link,
          lifeline: lifeline({ node, bootId: self.sender.bootId, peers, entropy }),
          engine,
          openBus,
          peers,
          events,
          ticketKeys: () => store.ticketKeys(),
          agreed: store.agreed,
          agree: store.agree,
        };
        group = new NodeGroup(self, spec, cluster, ports);
        return group;
      },
    },
    { rekeyAfterMs: plan.rekeyMs, overlapMs: plan.overlapMs, expireAfterMs: 600_000 },
  );
  plan.clients.forEach((_, client) => {
    end.admit(recordOf(client), PSK);
  });
  return { end, group, spec };
}

export function makeClient(client: number, { time, entropy, log, skewMs, store }: Member): ClientEnd {
  const clock = clockOf(time, skewMs);
  const service: ServiceSpec = {
    ...{
      name: "example",
      remotes: [{ host: SERVICE, port: SERVICE_PORT }],
      publicKey: GROUP.publicKey,
      operator: undefined,
      psk: PSK,
    },
    ...{ routes: undefined, addresses: undefined, device: undefined, mtuBytes: undefined, keepaliveMs: 0 },
    ...{ killSwitch: false, hooks: { dns: undefined, postUp: undefined, postDown: undefined } },
  };
  const spec: ClientSpec = {
    ...{ name: `client${client}`, ...pairOfClient(client), port: SERVICE_PORT, services: [service] },
    ...{ stateDir: "/nowhere", socketPath: "/nowhere" },
  };
  return new ClientEnd(spec, service, {
    ...{ clock, log, entropy, host: createMemoryHost(), resolve: async (name) => [name], path: "/bin", store },
    ...{ boot: "boot", events: new EventHub(clock), probe: async () => "silent" },
  });
}

const recordOf = (client: number): ClientRecord => ({
  ...{ name: `client${client}`, publicKey: keyTextOfClient(client), psk: formatKey(PSK) },
  ...{ addresses: [innerOfClient(client)], prefixes: [], modes: ["tunnel"], origin: "file", createdMs: 0 },
});

/** Routes are the simulator's. */
const NO_ANNOUNCE: NodeSpec["announce"] = {
  ...{ kind: "none", device: undefined, addresses: [], prefixes: [], timeoutMs: 5000, socket: "", protocols: [] },
  ...{ drainProtocols: [], pipe: "", nextHop: { v4: "self", v6: "self" }, command: "" },
  ...{ goodToAnnounce: 3, badToWithdraw: 2 },
};

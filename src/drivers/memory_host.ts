/**
 * The network configuration of a host in memory: twin of `host_network.ts` for tests and simulations. Has one device of ours,
 * which is always there, and does what it is asked; `done` says what that was.
 */
import type { HostFacts, HostItem, HostNetwork, HostRoute } from "../control/spec/ports.ts";

export interface MemoryHost extends HostNetwork {
  /** What was asked for, one sentence each. */
  readonly done: string[];
  /** Everybody's routes; ours come and go here. */
  routes: HostRoute[];
  link: { up: boolean; mtuBytes: number; addresses: string[] } | undefined;
  ipv6Off: boolean;
  rules: string[];
  /** Where `deviceTo` leads. */
  detour: string | undefined;
  /** Complaint about an item, undefined: it is done. */
  refuse: (item: HostItem) => string | undefined;
  /** Tells that something has changed. */
  tell(): void;
}

/** A way out of this host. */
const GATEWAY: Omit<HostRoute, "prefix"> = {
  ...{ type: "unicast", device: "eth0", way: "via 192.0.2.254 dev eth0", direct: false, metric: 0, own: false },
};

/** `done`: where to write down what is asked. */
export function createMemoryHost(done: string[] = []): MemoryHost {
  const listeners = new Set<() => void>();
  const host: MemoryHost = {
    done,
    routes: [
      { ...GATEWAY, prefix: "0.0.0.0/0" },
      { ...GATEWAY, prefix: "::/0", way: "via 2001:db8::fe dev eth0" },
    ],
    link: { up: false, mtuBytes: 1500, addresses: [] },
    ...{ ipv6Off: false, rules: [], detour: undefined, refuse: () => undefined },
    async look(): Promise<HostFacts> {
      const { link, ipv6Off, routes, rules } = host;
      return {
        device: link && { ...link, addresses: [...link.addresses] },
        ipv6Off,
        routes: [...routes],
        rules: [...rules],
      };
    },
    deviceTo: async () => host.detour,
    async add(items) {
      return items.map((item) => {
        const complaint = host.refuse(item);
        done.push(`${complaint === undefined ? "add" : "refused"} ${textOf(item)}`);
        if (complaint === undefined) set(host, item);
        return complaint;
      });
    },
    async remove(items) {
      return items.map((item) => {
        done.push(`remove ${textOf(item)}`);
        unset(host, item);
        return undefined;
      });
    },
    watch(changed) {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
    async run(program) {
      done.push(`run ${program}`);
    },
    tell() {
      for (const listener of listeners) listener();
    },
  };
  return host;
}

function textOf(item: HostItem): string {
  switch (item.kind) {
    case "link":
      return `link ${item.device} ${item.mtuBytes}`;
    case "address":
      return `address ${item.address} ${item.device}`;
    case "route":
      return `route ${item.prefix} ${item.device}`;
    case "unreachable":
      return `unreachable ${item.prefix}`;
    case "pin":
      return `pin ${item.prefix} ${item.way}`;
  }
}

function set(host: MemoryHost, item: HostItem): void {
  if (item.kind === "link") host.link = { up: true, mtuBytes: item.mtuBytes, addresses: host.link?.addresses ?? [] };
  else if (item.kind === "address") host.link?.addresses.push(item.address);
  else {
    const device = item.kind === "route" ? item.device : item.kind === "pin" ? "eth0" : "lo";
    const way = item.kind === "pin" ? item.way : `dev ${device}`;
    const type = item.kind === "unreachable" ? "nowhere" : "unicast";
    if (item.kind === "pin") unset(host, item);
    const own = item.kind !== "route";
    host.routes.push({ prefix: item.prefix, type, device, way, direct: item.kind === "route", metric: 0, own });
  }
}

function unset(host: MemoryHost, item: HostItem): void {
  if (item.kind === "link") {
    if (host.link !== undefined) host.link.up = false;
  } else if (item.kind === "address") {
    if (host.link !== undefined) host.link.addresses = host.link.addresses.filter((one) => one !== item.address);
  } else {
    const own = item.kind !== "route";
    host.routes = host.routes.filter(
      (route) =>
        route.prefix !== item.prefix || route.own !== own || (item.kind === "route" && route.device !== item.device),
    );
  }
}

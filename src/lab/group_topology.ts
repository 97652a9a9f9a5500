/**
 * The anycast lab as data: three nodes that share the service address, a router that speaks BGP with each, three clients,
 * a plain server behind the router, and a stranger that replays and floods. The router has one kernel table for each
 * place that sends, so that each has a catchment of its own and is steered alone.
 */
import type { Daemon, Link, Member, NodeDaemon, Path, Place, Topology } from "./topology.ts";
import { PORT } from "./topology.ts";

export const NODES = ["n1", "n2", "n3"] as const;
export const CLIENTS = ["c1", "c2", "c3"] as const;
export const ROUTER = "r";
export const SERVER = "s";
export const STRANGER = "x";
/** Places whose packets are steered: clients and the stranger to a node, the server's answers through one. */
export const SOURCES = [...CLIENTS, SERVER, STRANGER] as const;
export type NodeName = (typeof NODES)[number];
export type ClientName = (typeof CLIENTS)[number];
export type SourceName = (typeof SOURCES)[number];

export const SERVICE4 = "192.0.2.1";
export const SERVICE6 = "2001:db8::1";
export const POOL4 = "10.9.0.0/16";
export const POOL6 = "fd00:9::/64";
const SERVERS4 = "10.30.0.0/24";
const SERVERS6 = "fd00:30::/64";
export const SERVER4 = "10.30.0.2";
export const SERVER6 = "fd00:30::2";
const LINK_PORT = 4445;
const NATS_URL = "nats://127.0.0.1:4222";
/** AS numbers of RFC 5398. */
export const ROUTER_AS = 64500;
export const NODE_AS = 64501;
/** Every node has it inside the tunnel. */
export const NODE4 = "10.9.0.1";
/** Clients of the storm have inner addresses from here. */
export const STORM_FIRST = "10.9.16.0";

/** "n2" -> 2. */
export const numberOf = (place: string): number => Number(place.slice(1));

/** Both ends of a cable to the router, without prefix lengths. */
export interface Cable {
  readonly router4: string;
  readonly place4: string;
  readonly router6: string;
  readonly place6: string;
}

export function cableOf(place: string): Cable {
  if (place === SERVER) return { router4: "10.30.0.1", place4: SERVER4, router6: "fd00:30::1", place6: SERVER6 };
  const node = place.startsWith("n");
  const n = place === STRANGER ? 10 : numberOf(place);
  const net4 = node ? "198.51.100" : "203.0.113";
  const net6 = `2001:db8:${node ? 50 : 30}${n}`;
  return {
    ...{ router4: `${net4}.${4 * n + 1}`, place4: `${net4}.${4 * n + 2}` },
    ...{ router6: `${net6}::1`, place6: `${net6}::2` },
  };
}

function linkOf(place: string): Link {
  const { router4, place4, router6, place6 } = cableOf(place);
  const bits4 = place === SERVER ? 24 : 30;
  return {
    name: place,
    ends: [
      { place: ROUTER, addresses: [`${router4}/${bits4}`, `${router6}/64`] },
      { place, addresses: [`${place4}/${bits4}`, `${place6}/64`] },
    ],
  };
}

const toRouter = (place: string): Place["routes"] => {
  const { router4, router6 } = cableOf(place);
  return [
    ["0.0.0.0/0", router4],
    ["::/0", router6],
  ];
};

function memberOf(name: NodeName): Member {
  const at = (node: string) => ({ node: numberOf(node), link: `${cableOf(node).place4}:${LINK_PORT}` });
  return {
    ...at(name),
    keyOf: NODES[0],
    peers: NODES.filter((other) => other !== name).map(at),
    engine: NATS_URL,
    protocols: ["pool4", "pool6"],
  };
}

function nodePlace(name: NodeName): Place {
  const daemon: NodeDaemon = {
    kind: "node",
    listen: [SERVICE4, SERVICE6],
    senderId: numberOf(name),
    addresses: [`${NODE4}/16`, "fd00:9::1/64"],
    pool: [POOL4, POOL6],
    networks: [SERVERS4, SERVERS6],
    clients: CLIENTS,
    member: memberOf(name),
  };
  return { name, what: "node, with BIRD and NATS", forwards: true, routes: toRouter(name), daemon };
}

function clientPlace(name: ClientName): Place {
  const n = numberOf(name);
  // One of the three comes over IPv6.
  const remote = name === "c2" ? `[${SERVICE6}]:${PORT}` : `${SERVICE4}:${PORT}`;
  const addresses = [`10.9.0.${n + 1}/32`, `fd00:9::${n + 1}/128`];
  const daemon: Daemon = { kind: "client", node: NODES[0], remote, addresses };
  const what = `client over IPv${name === "c2" ? 6 : 4}`;
  return { name, what, forwards: false, routes: toRouter(name), daemon };
}

const plain = (name: string, what: string, forwards: boolean): Place => {
  return { name, what, forwards, routes: name === ROUTER ? [] : toRouter(name), daemon: undefined };
};

const paths: readonly Path[] = [
  ...CLIENTS.map((from): Path => ({ from, to: SERVER, family: 4, address: SERVER4 })),
  { from: "c1", to: SERVER, family: 6, address: SERVER6 },
  { from: "c1", to: "c2", family: 4, address: "10.9.0.3" },
  { from: "c2", to: "c3", family: 6, address: "fd00:9::4" },
];

export const threeNodes: Topology = {
  title: "three nodes with one address, a router, three clients, a plain server",
  node: NODES[0],
  places: [
    ...NODES.map(nodePlace),
    plain(ROUTER, "router, BGP with every node", true),
    ...CLIENTS.map(clientPlace),
    plain(SERVER, "plain server behind the router", false),
    plain(STRANGER, "a stranger, with a catchment of its own", false),
  ],
  links: [...NODES, ...CLIENTS, SERVER, STRANGER].map(linkOf),
  paths,
};

/** The kernel table in which the router looks first for packets from this place. */
export const tableOf = (source: SourceName): number => 101 + SOURCES.indexOf(source);

/** Commands that give every source its own table at the router. `router`: its namespace. */
export function steeringCommands(router: string): string[][] {
  return SOURCES.flatMap((source) =>
    ["-4", "-6"].map((family) => {
      const rule = ["rule", "add", "iif", source, "lookup", String(tableOf(source))];
      return ["ip", family, "-n", router, ...rule];
    }),
  );
}

/** Commands that cut nodes off from the others, engine and node link both, and nothing else; or undo that. */
export function cutCommands(router: string, nodes: readonly NodeName[], how: "add" | "del"): string[][] {
  const pairs = NODES.flatMap((from) => NODES.filter((to) => to !== from).map((to) => [from, to] as const));
  const cut = pairs.filter((pair) => pair.some((node) => nodes.includes(node)));
  return cut.map(([from, to]) => {
    const between = ["from", cableOf(from).place4, "to", cableOf(to).place4];
    return ["ip", "-4", "-n", router, "rule", how, ...between, "prio", "50", "blackhole"];
  });
}

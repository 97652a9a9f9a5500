/**
 * What a lab consists of, as data: places (network namespaces), links between them, the daemons that run there and the
 * paths that are probed. Functions here only turn that description into `ip` commands and file texts; they run nothing.
 *
 * Addresses outside the tunnels are documentation addresses, so a lab can never reach a real network by mistake.
 */

/** A network namespace. */
export interface Place {
  readonly name: string;
  /** What it is, for people. */
  readonly what: string;
  /** Forwards packets between its links and devices. */
  readonly forwards: boolean;
  /** Routes beside those of its links: [prefix, next hop]. */
  readonly routes: readonly (readonly [prefix: string, via: string])[];
  /** undefined: a plain host that knows nothing of tunnels. */
  readonly daemon: Daemon | undefined;
}

/** What one anyhop daemon is told. Written as its configuration file by `configText`. */
export type Daemon = NodeDaemon | ClientDaemon;

export interface NodeDaemon {
  readonly kind: "node";
  readonly listen: readonly string[];
  readonly senderId: number;
  /** Inner addresses with prefix length; the first of each family is the place's inner address. */
  readonly addresses: readonly string[];
  /** Inner addresses of all clients are from here. */
  readonly pool: readonly string[];
  /** What is behind the node. */
  readonly networks: readonly string[];
  /** Places of the clients that may come. */
  readonly clients: readonly string[];
  /** One of several nodes that share the service address; undefined: a node on its own. */
  readonly member?: Member;
}

/** What makes a node one of a group. Its service addresses are those that it listens on. */
export interface Member {
  readonly node: number;
  /** Place whose private key all nodes of the group have. */
  readonly keyOf: string;
  /** Own unicast address with port, and those of the others. */
  readonly link: string;
  readonly peers: readonly { readonly node: number; readonly link: string }[];
  /** Of the NATS server on its own loopback. */
  readonly engine: string;
  /** Protocols of its BIRD beside any4 and any6 that it steers. */
  readonly protocols: readonly string[];
}

export interface ClientDaemon {
  readonly kind: "client";
  /** Place of the node whose key is the group's. */
  readonly node: string;
  /** "address:port" or "[address]:port" of the node. */
  readonly remote: string;
  /** Inner addresses, with the length of a host: the node's file has them, and gives them to the client. */
  readonly addresses: readonly string[];
}

/** A cable with two ends, each a device with addresses in its place. */
export interface Link {
  readonly name: string;
  readonly ends: readonly [End, End];
}
interface End {
  readonly place: string;
  readonly addresses: readonly string[];
}

/** One probed direction. `address` is where the probe of `to` answers. */
export interface Path {
  readonly from: string;
  readonly to: string;
  readonly family: 4 | 6;
  readonly address: string;
}

export interface Topology {
  readonly title: string;
  /** Place of the node that a restart kills. */
  readonly node: string;
  readonly places: readonly Place[];
  readonly links: readonly Link[];
  readonly paths: readonly Path[];
}

export const PORT = 4444;
export const GROUP = "lab";
export const DEVICE = "anyhop0";
/** Holds the service addresses of a node in a group. */
export const SERVICE_DEVICE = "anyc0";
/** Files of `anyhop init engine` for the node of a place. */
export const engineDirectory = (directory: string): string => `${directory}/engine`;
/** Control socket of the BIRD of a place. */
export const birdSocket = (directory: string): string => `${directory}/bird.ctl`;
/** Fits the tunnel's overhead (IPv6 40 + UDP 8 + SATP 8 + type 2 + tag 16) into a 1500-byte underlay with room to spare. */
const INNER_MTU = 1400;
const INNER4 = "10.9.0.0/24";
const INNER6 = "2001:db8:9::/64";
const HOST4 = "203.0.113.0/24";
const HOST6 = "2001:db8:3::/64";

/** A client of the node with the `n`th inner address. */
const client = (n: number, remote: string, outerName: string): Place => ({
  name: `client${n}`,
  what: `client, session over ${outerName}`,
  forwards: false,
  routes: [],
  daemon: { kind: "client", node: "node", remote, addresses: [`10.9.0.${n + 1}/32`, `2001:db8:9::${n + 1}/128`] },
});

/** One node, a client over IPv4, a client over IPv6, and a plain host behind the node. */
export const oneNode: Topology = {
  title: "one node, two clients, one plain host",
  node: "node",
  places: [
    client(1, `192.0.2.1:${PORT}`, "IPv4"),
    client(2, `[2001:db8:2::1]:${PORT}`, "IPv6"),
    {
      name: "node",
      what: "anyhop node, knows both clients by their keys",
      forwards: true,
      routes: [],
      daemon: {
        kind: "node",
        listen: ["192.0.2.1", "2001:db8:2::1"],
        senderId: 1,
        addresses: ["10.9.0.1/24", "2001:db8:9::1/64"],
        pool: [INNER4, INNER6],
        networks: [HOST4, HOST6],
        clients: ["client1", "client2"],
      },
    },
    {
      name: "host",
      what: "plain host behind the node",
      forwards: false,
      routes: [
        [INNER4, "203.0.113.1"],
        [INNER6, "2001:db8:3::1"],
      ],
      daemon: undefined,
    },
  ],
  links: [
    {
      name: "cable1",
      ends: [
        { place: "client1", addresses: ["192.0.2.10/24"] },
        { place: "node", addresses: ["192.0.2.1/24"] },
      ],
    },
    {
      name: "cable2",
      ends: [
        { place: "client2", addresses: ["2001:db8:2::10/64"] },
        { place: "node", addresses: ["2001:db8:2::1/64"] },
      ],
    },
    {
      name: "cable3",
      ends: [
        { place: "host", addresses: ["203.0.113.10/24", "2001:db8:3::10/64"] },
        { place: "node", addresses: ["203.0.113.1/24", "2001:db8:3::1/64"] },
      ],
    },
  ],
  paths: [
    { from: "client1", to: "client2", family: 4, address: "10.9.0.3" },
    { from: "client2", to: "client1", family: 4, address: "10.9.0.2" },
    { from: "client1", to: "host", family: 4, address: "203.0.113.10" },
    { from: "client2", to: "host", family: 4, address: "203.0.113.10" },
    { from: "client1", to: "node", family: 4, address: "10.9.0.1" },
    { from: "client1", to: "client2", family: 6, address: "2001:db8:9::3" },
    { from: "client2", to: "host", family: 6, address: "2001:db8:3::10" },
  ],
};

/** Namespaces of all labs match this; the number is the process id of the lab. */
export const namespacePattern = /^anyhop-lab-(\d+)-/;
export const namespaceOf = (pid: number, place: string): string => `anyhop-lab-${pid}-${place}`;

/**
 * Commands that build the namespaces, links, addresses and routes, in order; each is a program and its arguments.
 * `name` maps a place to its namespace.
 */
export function setUpCommands(topology: Topology, name: (place: string) => string): string[][] {
  const commands: string[][] = [];
  for (const place of topology.places) {
    commands.push(["ip", "netns", "add", name(place.name)], ["ip", "-n", name(place.name), "link", "set", "lo", "up"]);
    if (!place.forwards) continue;
    for (const knob of ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]) {
      commands.push(["ip", "netns", "exec", name(place.name), "sh", "-c", `echo 1 > /proc/sys/net/${knob}`]);
    }
  }
  for (const link of topology.links) {
    const [a, b] = link.ends;
    const far = ["peer", "name", link.name, "netns", name(b.place)];
    commands.push(["ip", "link", "add", link.name, "netns", name(a.place), "type", "veth", ...far]);
    for (const end of link.ends) {
      const at = ["ip", "-n", name(end.place)];
      for (const address of end.addresses) {
        // Duplicate address detection would keep an IPv6 address unusable for a second; here nobody can take it.
        const nodad = address.includes(":") ? ["nodad"] : [];
        commands.push([...at, "address", "add", address, "dev", link.name, ...nodad]);
      }
      commands.push([...at, "link", "set", link.name, "up"]);
    }
  }
  for (const place of topology.places) {
    for (const [prefix, via] of place.routes) {
      commands.push(["ip", "-n", name(place.name), "route", "add", prefix, "via", via]);
    }
  }
  return commands;
}

/** Addresses of a place on its links, without prefix lengths. */
export function outerAddresses(topology: Topology, place: string): string[] {
  const ends = topology.links.flatMap((link) => link.ends).filter((end) => end.place === place);
  return ends.flatMap((end) => end.addresses.map((address) => address.split("/")[0] ?? address));
}

/** Inner addresses of a place, without prefix lengths. */
export function innerAddresses(topology: Topology, place: string): string[] {
  const { daemon } = topology.places.find(({ name }) => name === place)!;
  return (daemon?.addresses ?? []).map((address) => address.split("/")[0] ?? address);
}

const quoted = (text: string) => JSON.stringify(text);
const list = (texts: readonly string[]) => `[${texts.map(quoted).join(", ")}]`;

/**
 * The configuration file of a place's daemon. `directory` holds its state, its socket and its private key in the file
 * `key`. `publicKeys`: of every place with a daemon, 44 characters of base64.
 */
export function configText(
  topology: Topology,
  place: string,
  directory: string,
  publicKeys: ReadonlyMap<string, string>,
  extra: readonly ExtraClient[] = [],
): string {
  const { daemon } = topology.places.find(({ name }) => name === place)!;
  if (daemon === undefined) throw new Error(`there is no daemon at ${place}`);
  const tables = daemon.kind === "node" ? nodeTables(topology, daemon, publicKeys) : clientTables(daemon, publicKeys);
  if (daemon.kind === "node") tables.push(...extra.flatMap(clientLines));
  if (daemon.kind === "node" && daemon.member) tables.push(...memberTables(daemon, daemon.member, directory));
  const paths = [
    "[paths]",
    `state = ${quoted(`${directory}/state`)}`,
    `socket = ${quoted(`${directory}/control.sock`)}`,
  ];
  return `${[`name = ${quoted(place)}`, ...paths, ...tables].join("\n")}\n`;
}

/** A client without a place: nodes know it, and the lab has other means to speak for it. */
export interface ExtraClient {
  readonly name: string;
  /** 44 characters of base64. */
  readonly publicKey: string;
  readonly addresses: readonly string[];
}

const clientLines = ({ name, publicKey, addresses }: ExtraClient): string[] => [
  "[[client]]",
  `name = ${quoted(name)}`,
  `public_key = ${quoted(publicKey)}`,
  `addresses = ${list(addresses)}`,
];

function nodeTables(topology: Topology, node: NodeDaemon, publicKeys: ReadonlyMap<string, string>): string[] {
  const lines = [
    "[node]",
    `group = ${quoted(GROUP)}`,
    'private_key_file = "key"',
    `pool = ${list(node.pool)}`,
    `networks = ${list(node.networks)}`,
    "[listen]",
    `addresses = ${list(node.listen)}`,
    `port = ${PORT}`,
    ...(node.member === undefined ? [`sender_id = ${node.senderId}`] : []),
    "[device]",
    `name = ${quoted(DEVICE)}`,
    `mtu = ${INNER_MTU}`,
    `addresses = ${list(node.addresses)}`,
  ];
  for (const name of node.clients) {
    const addresses = innerAddresses(topology, name);
    lines.push(...clientLines({ name, publicKey: publicKeys.get(name)!, addresses }));
  }
  return lines;
}

/** [group], [engine] and [announce] of a node; the keys of the group and BIRD's socket are in `directory`. */
function memberTables({ listen }: NodeDaemon, member: Member, directory: string): string[] {
  return [
    "[group]",
    `node = ${member.node}`,
    'fleet_key_file = "fleet.key"',
    `link = ${quoted(member.link)}`,
    ...member.peers.flatMap(({ node, link }) => ["[[group.peer]]", `node = ${node}`, `link = ${quoted(link)}`]),
    "[engine]",
    'kind = "nats"',
    `url = [${quoted(member.engine)}]`,
    `nkey_file = ${quoted(`${engineDirectory(directory)}/engine.nk`)}`,
    "[announce]",
    'kind = "bird"',
    `device = ${quoted(SERVICE_DEVICE)}`,
    `addresses = ${list(listen)}`,
    `socket = ${quoted(birdSocket(directory))}`,
    `protocols = ${list(["any4", "any6", ...member.protocols])}`,
    // One good self-test is enough: nodes come back many times in a run.
    "good = 1",
  ];
}

const clientTables = ({ node, remote }: ClientDaemon, publicKeys: ReadonlyMap<string, string>): string[] => [
  "[client]",
  'private_key_file = "key"',
  `port = ${PORT}`,
  "[[service]]",
  `name = ${quoted(GROUP)}`,
  `address = ${list([remote])}`,
  `public_key = ${quoted(publicKeys.get(node)!)}`,
  `device = ${quoted(DEVICE)}`,
];

/**
 * A node file: text in, `NodeSpec` or faults out. The instance part has the rules of a file with static keys; here are
 * those of the group, the pool and the clients. The device takes the first address of each pool when it has none.
 */
import { formatAddress } from "../../base/ip.ts";
import { isName, NAME_RULE } from "../../base/names.ts";
import { overlap, parsePrefix, specialIn } from "../../base/prefix.ts";
import type { ConfigEnv } from "../spec/config_env.ts";
import type { InstanceSpec, NodeClient, NodeSpec } from "../spec/instance.ts";
import { hostOf } from "../text/address_pool.ts";
import { canonical, familyOf, readEndpoint } from "../text/address_text.ts";
import { explainKey, formatKey, parseKey } from "../text/keys/key_text.ts";
import { isSoundPublicKey, publicKeyOf } from "../text/keys/x25519.ts";
import { readAnnounce } from "./announce_config.ts";
import { readCluster } from "./cluster_config.ts";
import { folderOf, judged, type Parsed, readInstance } from "./config.ts";
import { readSchema, type TomlFile } from "./config_read.ts";
import type { Report } from "./config_report.ts";
import { checkRoutes, REMOTE_PORT_DEFAULT, routePrefix, unique } from "./config_rules.ts";
import { MTU_MIN_IPV6 } from "./config_schema.ts";
import { KeyReader } from "./key_sources.ts";
import { type NodeConfig, nodeKind } from "./node_schema.ts";

/** Above this, the mux in a packet belongs to a session (docs/PROTOCOL.md). */
const CLASSIC_MUX_MAX = 0x7fff;
const NO_KEY = new Uint8Array(32);

export function parseNode(toml: TomlFile, env: ConfigEnv): Parsed<NodeSpec> {
  const { report } = toml;
  const config = readSchema(toml, nodeKind);
  const keys = new KeyReader(report, env, folderOf(report.file));
  const { node } = config;
  checkGroup(config, report);
  const privateKey = keys.privateKey(node, ["node"]);
  const publicKey = privateKey === undefined ? NO_KEY : publicKeyOf(privateKey);
  const pool = checkPool(config, report);
  const routes = checkClassic(config, pool, report);
  const own = readInstance(config, routes, report, env);
  const cluster = readCluster(config, keys, report);
  const senderId = cluster?.node ?? own.senderId;
  const instance = { ...own, senderId, device: withAddresses(own.device, pool) };
  const owners = new Map(routes.flatMap((list, i) => (list ?? []).map((route) => [route, `tunnel[${i}]`])));
  for (const text of instance.device.addresses)
    owners.set(`${text.split("/")[0]}/${text.includes(":") ? 128 : 32}`, "the device");
  const names = new Map<string, number>();
  const publicKeys = new Map<string, number>();
  const clients = config.client.map((client, i): NodeClient => {
    const path = ["client", i];
    const key = readPublicKey(client.public_key, path, report);
    if (client.name === undefined) missing(path, "name", 'add name = "..."', report);
    else if (!isName(client.name)) report.error([...path, "name"], `client[${i}].name ${NAME_RULE}`);
    else unique(names, client.name, i, `the client name "${client.name}"`, "name", report, "client");
    // What each node gave from the pool by itself could differ.
    if (cluster !== undefined && client.addresses.length === 0)
      report.error(
        path,
        `client[${i}] has no addresses, and nodes of one [group] must agree on them`,
        'add addresses = ["10.9.0.2"], the same on each node, or add the client with anyhop clients add',
      );
    if (key !== undefined) unique(publicKeys, formatKey(key), i, "this public key", "public_key", report, "client");
    if (key !== undefined && formatKey(key) === formatKey(publicKey))
      report.error([...path, "public_key"], `client[${i}].public_key is the key of the group itself`);
    return {
      name: client.name ?? "",
      publicKey: formatKey(key ?? NO_KEY),
      psk: keys.psk(client, path),
      addresses: clientAddresses(client.addresses, i, owners, report),
      prefixes: clientPrefixes(client.prefixes, i, owners, report),
      modes: client.modes,
    };
  });
  checkFamilies(config, report);
  return judged(
    {
      instance,
      group: node.group ?? "",
      privateKey: privateKey ?? NO_KEY,
      publicKey,
      addresses: node.address.map((text, i) => readRemote(text, ["node", "address", i], report)),
      pool,
      networks: prefixList(node.networks, ["node", "networks"], report),
      dns: node.dns.map((text, i) => {
        if (familyOf(text) === undefined) report.error(["node", "dns", i], `"${text}" is not an IPv4 or IPv6 address`);
        return canonical(text);
      }),
      keepaliveMs: node.keepalive * 1000,
      rekeyMs: node.rekey * 1000,
      sessionsMax: node.sessions,
      clients,
      announce: readAnnounce(config.announce, instance, report),
      cluster,
    },
    report,
  );
}

function missing(path: (string | number)[], key: string, advice: string, report: Report): void {
  if (!report.isTainted([...path, key])) report.error(path, `${report.show(path)} has no ${key}`, advice);
}

function checkGroup({ node }: NodeConfig, report: Report): void {
  if (node.group === undefined) missing(["node"], "group", 'add group = "..."', report);
  else if (!isName(node.group)) report.error(["node", "group"], `node.group ${NAME_RULE}`);
}

/** The key of a table, or undefined when it was reported. Never shows the value: it may be a private key. */
export function readPublicKey(
  text: string | undefined,
  path: (string | number)[],
  report: Report,
): Uint8Array | undefined {
  if (text === undefined) {
    missing(path, "public_key", 'add public_key = "..."', report);
    return undefined;
  }
  const at = [...path, "public_key"];
  const key = parseKey(text);
  if (key === undefined) report.error(at, `${report.show(at)} is no key: ${explainKey(text)}`);
  else if (!isSoundPublicKey(key)) report.error(at, `${report.show(at)} is a point of small order, which is no key`);
  else return key;
  return undefined;
}

/** Canonical "host:port". */
function readRemote(text: string, path: (string | number)[], report: Report): string {
  const remote = readEndpoint(text, REMOTE_PORT_DEFAULT);
  if (typeof remote === "string") {
    report.error(path, remote);
    return text;
  }
  return remote.host.includes(":") ? `[${remote.host}]:${remote.port}` : `${remote.host}:${remote.port}`;
}

function prefixList(list: readonly string[], at: (string | number)[], report: Report): string[] {
  const seen: string[] = [];
  for (const [i, text] of list.entries()) {
    const prefix = routePrefix(text, [...at, i], report);
    if (prefix === undefined) continue;
    if (seen.includes(prefix.network)) report.error([...at, i], `the prefix ${text} is listed twice`);
    else seen.push(prefix.network);
  }
  return seen;
}

function checkPool({ node, client, device }: NodeConfig, report: Report): string[] {
  const pool = prefixList(node.pool, ["node", "pool"], report);
  for (const [i, text] of pool.entries()) {
    const { family, length } = parsePrefix(text)!;
    if (length > (family === 4 ? 30 : 126))
      report.error(["node", "pool", i], `the prefix ${text} has no room for a node and a client`);
    const special = specialIn(parsePrefix(text)!);
    if (special !== undefined)
      report.error(["node", "pool", i], `the prefix ${text} holds what no client can have: ${special}`);
    for (const earlier of pool.slice(0, i))
      if (overlap(parsePrefix(text)!, parsePrefix(earlier)!) && text !== earlier)
        report.error(["node", "pool", i], `the prefix ${text} overlaps ${earlier} of the same pool`);
  }
  if (pool.length === 0 && !report.isTainted(["node", "pool"])) {
    const without = client.findIndex((c) => c.addresses.length === 0);
    if (without >= 0)
      report.error(
        ["client", without],
        `client[${without}] has no addresses, and there is no pool`,
        'add addresses here, or pool = ["10.9.0.0/24"] in [node]',
      );
  }
  if (device.type === "tap" && !report.isTainted(["device", "type"]))
    report.error(["device", "type"], "sessions carry IP: with [node] the device is tun");
  return pool;
}

/** Classic tunnels beside sessions: they share the device, so each needs routes, and their muxes stay below sessions. */
function checkClassic(config: NodeConfig, pool: readonly string[], report: Report): (string[] | undefined)[] {
  for (const [i, tunnel] of config.tunnel.entries()) {
    if (tunnel.mux > CLASSIC_MUX_MAX)
      report.error(
        ["tunnel", i, "mux"],
        `tunnel[${i}].mux is ${tunnel.mux}, and with [node] the muxes above ${CLASSIC_MUX_MAX} belong to sessions`,
      );
    if (tunnel.routes === undefined && config.tunnel.length === 1 && !report.isTainted(["tunnel", i, "routes"]))
      report.error(
        ["tunnel", i],
        `tunnel[${i}] has no routes, and it shares the device with sessions`,
        'say which inner addresses are behind it: routes = ["10.20.0.0/16"]',
      );
  }
  const routes = checkRoutes(config, report);
  for (const [i, list] of routes.entries())
    for (const [n, route] of (list ?? []).entries())
      if (pool.includes(route))
        report.error(["tunnel", i, "routes", n], `the route ${route} is the whole pool of the clients`);
  return routes;
}

/** The device, with the first address of each pool when it has none. */
function withAddresses(device: InstanceSpec["device"], pool: readonly string[]): InstanceSpec["device"] {
  if (device.addresses.length > 0) return device;
  const addresses = pool.map((text) => {
    const prefix = parsePrefix(text)!;
    const host = hostOf(prefix, 1);
    return `${formatAddress(host.w0, host.w1, host.w2, host.w3)}/${prefix.length}`;
  });
  return { ...device, addresses };
}

function clientAddresses(list: readonly string[], i: number, owners: Map<string, string>, report: Report): string[] {
  return list.map((text, n) => {
    const path = ["client", i, "addresses", n];
    const family = familyOf(text);
    if (family === undefined) {
      report.error(path, `"${text}" is not an IPv4 or IPv6 address`, "write it without a prefix length");
      return text;
    }
    const address = canonical(text);
    const special = specialIn(parsePrefix(address)!);
    if (special !== undefined) report.error(path, `${address} can't be an inner address: ${special}`);
    claim(`${address}/${family === 4 ? 32 : 128}`, i, path, owners, report);
    return address;
  });
}

function clientPrefixes(list: readonly string[], i: number, owners: Map<string, string>, report: Report): string[] {
  return list.flatMap((text, n) => {
    const path = ["client", i, "prefixes", n];
    const prefix = routePrefix(text, path, report);
    if (prefix === undefined) return [];
    claim(prefix.network, i, path, owners, report);
    return [prefix.network];
  });
}

function claim(
  network: string,
  i: number,
  path: (string | number)[],
  owners: Map<string, string>,
  report: Report,
): void {
  const owner = owners.get(network);
  if (owner === undefined) owners.set(network, `client[${i}]`);
  else report.error(path, `${network} already belongs to ${owner === `client[${i}]` ? "this client" : owner}`);
}

/** IPv6 anywhere inside needs its MTU. */
function checkFamilies(config: NodeConfig, report: Report): void {
  if (config.device.mtu >= MTU_MIN_IPV6 || report.isTainted(["device", "mtu"])) return;
  const places: [readonly string[], (string | number)[]][] = [
    [config.node.pool, ["node", "pool"]],
    [config.node.networks, ["node", "networks"]],
    ...config.client.flatMap((client, i): [readonly string[], (string | number)[]][] => [
      [client.addresses, ["client", i, "addresses"]],
      [client.prefixes, ["client", i, "prefixes"]],
    ]),
  ];
  for (const [list, path] of places)
    for (const [n, text] of list.entries())
      if (text.includes(":")) {
        const { line } = report.places.at([...path, n]);
        report.error(
          ["device", "mtu"],
          `device.mtu is ${config.device.mtu}, but ${report.show([...path, n])} (line ${line}) is IPv6`,
          `IPv6 needs an MTU of at least ${MTU_MIN_IPV6}`,
        );
        return;
      }
}

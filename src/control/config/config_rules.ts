/**
 * Rules of the configuration file that need more than one key, or more than a type: addresses, prefixes, uniqueness.
 * Each takes the checked values and reports; what it returns is only used when nothing was an error.
 */

import { isName, NAME_RULE } from "../../base/names.ts";
import { whyNotShards } from "../../dataplane/shared.ts";
import type { InstanceSpec } from "../spec/instance.ts";
import { canonical, familyOf, type PrefixText, readEndpoint, readPrefix } from "../text/address_text.ts";
import type { Report } from "./config_report.ts";
import { type Config, MTU_MIN_IPV6, type TunnelConfig } from "./config_schema.ts";

/** sun_path has 108 bytes with the zero; the daemon binds a name beside it that is 12 bytes longer. */
export const SOCKET_PATH_MAX = 95;
/** IFNAMSIZ without the zero. */
export const DEVICE_NAME_MAX = 15;
export const REMOTE_PORT_DEFAULT = 4444;

export const isDeviceName = (text: string): boolean =>
  text.length <= DEVICE_NAME_MAX && /^[^\s/:%]+$/.test(text) && !/^\.+$/.test(text);

/** `written`: the name as it stands in the file, if it does. */
export function checkPaths(
  paths: Config["paths"],
  written: string | undefined,
  name: string,
  socketPath: string,
  report: Report,
): void {
  if (!isName(name)) {
    if (written !== undefined) report.error(["name"], `name ${NAME_RULE}`);
    else report.error(["name"], `the name comes from the file's name, and ${NAME_RULE}`, `set name = "..."`);
  }
  for (const key of ["state", "socket"] as const) {
    const path = paths[key];
    if (path !== undefined && !path.startsWith("/"))
      report.error(["paths", key], `paths.${key} must be an absolute path, not "${path}"`);
  }
  if (new TextEncoder().encode(socketPath).length > SOCKET_PATH_MAX)
    report.error(["paths", "socket"], `the socket path is longer than ${SOCKET_PATH_MAX} bytes, "${socketPath}"`);
}

/** Canonical listen addresses. */
export function checkListen(config: Config, report: Report): string[] {
  const seen = new Map<string, number>();
  const { addresses } = config.listen;
  if (addresses.length === 0)
    report.error(["listen", "addresses"], "listen.addresses is empty", 'use ["0.0.0.0", "::"] for all addresses');
  for (const [i, address] of addresses.entries()) {
    const path = ["listen", "addresses", i];
    if (familyOf(address) === undefined) {
      const hint = address.includes(":") || /^[0-9.]+:/.test(address) ? "the port belongs in listen.port" : undefined;
      report.error(path, `"${address}" is not an IPv4 or IPv6 address`, hint);
      continue;
    }
    if (seen.has(canonical(address))) report.error(path, `the address ${address} is listed twice`);
    seen.set(canonical(address), i);
  }
  return [...seen.keys()];
}

/** Reports a prefix that cannot be used as a route; otherwise returns it. */
export function routePrefix(text: string, path: (string | number)[], report: Report): PrefixText | undefined {
  const prefix = readPrefix(text);
  if (typeof prefix === "string") report.error(path, prefix);
  else if (prefix.hostBits)
    report.error(path, `${text} has bits set behind its prefix length`, `did you mean ${prefix.network}?`);
  else return prefix;
  return undefined;
}

export function checkDevice(config: Config, report: Report): InstanceSpec["device"] {
  const { device } = config;
  if (device.name !== undefined && !isDeviceName(device.name))
    report.error(
      ["device", "name"],
      `"${device.name}" is no interface name: at most ${DEVICE_NAME_MAX} characters without space, /, : or %`,
    );
  let needs: (string | number)[] | undefined;
  const addresses: string[] = [];
  for (const [i, text] of device.addresses.entries()) {
    const path = ["device", "addresses", i];
    const prefix = readPrefix(text);
    if (typeof prefix === "string") report.error(path, prefix);
    else {
      if (prefix.family === 6) needs ??= path;
      const shown = `${prefix.address}/${prefix.bits}`;
      if (addresses.includes(shown)) report.error(path, `the address ${text} is listed twice`);
      addresses.push(shown);
    }
  }
  const hostRoutes: string[] = [];
  for (const [i, text] of device.host_routes.entries()) {
    const path = ["device", "host_routes", i];
    const prefix = routePrefix(text, path, report);
    if (prefix === undefined) continue;
    if (prefix.family === 6) needs ??= path;
    if (hostRoutes.includes(prefix.network)) report.error(path, `the prefix ${text} is listed twice`);
    hostRoutes.push(prefix.network);
  }
  if (device.mtu < MTU_MIN_IPV6 && needs !== undefined)
    report.error(
      ["device", "mtu"],
      `device.mtu is ${device.mtu}, but ${report.show(needs)} (line ${report.places.at(needs).line}) is IPv6`,
      `IPv6 needs an MTU of at least ${MTU_MIN_IPV6}`,
    );
  if (device.post_up !== undefined && !device.post_up.startsWith("/"))
    report.error(["device", "post_up"], `device.post_up must be an absolute path, not "${device.post_up}"`);
  return {
    type: device.type,
    name: device.name,
    mtuBytes: device.mtu,
    addresses,
    hostRoutes,
    postUp: device.post_up,
  };
}

/** Every shard has a sender id of its own. */
export function checkShards(config: Config, report: Report): void {
  const { shards } = config.limits;
  const reason = whyNotShards(shards, config.listen.sender_id);
  if (reason !== undefined) report.error(["limits", "shards"], `limits.shards is ${shards}, but ${reason}`);
}

/** Without sessions there is at least one tunnel. */
export function checkTunnels(config: Config, report: Report): void {
  if (config.tunnel.length === 0 && !report.isTainted(["tunnel"]))
    report.error(
      [],
      "there is neither a [node], nor a [[service]] of a client, nor a [[tunnel]]",
      "`anyhop init node` and `anyhop init client` write whole files; a [[tunnel]] needs name, role and passphrase_file",
    );
}

/** Names and muxes of tunnels differ. */
export function checkNames(config: Config, report: Report): void {
  const names = new Map<string, number>();
  const muxes = new Map<number, number>();
  for (const [i, tunnel] of config.tunnel.entries()) {
    const at = ["tunnel", i];
    if (tunnel.name === undefined) {
      if (!report.isTainted([...at, "name"])) report.error(at, `tunnel[${i}] has no name`, 'add name = "..."');
    } else if (!isName(tunnel.name)) report.error([...at, "name"], `tunnel[${i}].name ${NAME_RULE}`);
    else unique(names, tunnel.name, i, `the tunnel name "${tunnel.name}"`, "name", report);
    if (report.isTainted([...at, "mux"])) continue;
    unique(
      muxes,
      tunnel.mux,
      i,
      `mux ${tunnel.mux}${report.places.has([...at, "mux"]) ? "" : " (the default)"}`,
      "mux",
      report,
    );
  }
}

/** Reports that `value` stands in row `i` of [[table]] when an earlier row has it; otherwise notes it in `seen`. */
export function unique<T>(
  seen: Map<T, number>,
  value: T,
  i: number,
  what: string,
  key: string,
  report: Report,
  table = "tunnel",
): void {
  const first = seen.get(value);
  if (first === undefined) seen.set(value, i);
  else {
    const { line } = report.places.at([table, first, key]);
    report.error([table, i, key], `${what} is already taken by ${table}[${first}] (line ${line})`);
  }
}

/** Every remote parses, and a remote that is an address can be reached from a listen address of its family. */
export function checkRemotes(config: Config, report: Report): void {
  const families = new Set(config.listen.addresses.map(familyOf));
  for (const [i, tunnel] of config.tunnel.entries()) {
    if (tunnel.remote === undefined) continue;
    const path = ["tunnel", i, "remote"];
    const remote = readEndpoint(tunnel.remote, REMOTE_PORT_DEFAULT);
    if (typeof remote === "string") {
      report.error(path, remote);
      continue;
    }
    const family = familyOf(remote.host);
    if (family !== undefined && !families.has(family) && !report.isTainted(["listen", "addresses"]))
      report.error(path, `${remote.host} is IPv${family}, but no address in listen.addresses is`);
  }
}

/** Canonical routes of each tunnel; undefined = everything. */
export function checkRoutes(config: Config, report: Report): (string[] | undefined)[] {
  const owners = new Map<string, { tunnel: number; path: (string | number)[] }>();
  return config.tunnel.map((tunnel, i) => {
    const at = ["tunnel", i, "routes"];
    if (tunnel.routes === undefined) return missingRoutes(config, tunnel, i, report);
    if (config.device.type === "tap" && !report.isTainted(["device"])) {
      report.error(
        at,
        `tunnel[${i}].routes has no meaning on a tap device, which learns MAC addresses`,
        'remove it, or set device.type = "tun"',
      );
      return undefined;
    }
    if (tunnel.routes.length === 0)
      report.error(
        at,
        `tunnel[${i}].routes is empty, so nothing could pass`,
        "list prefixes, or remove the key if there is only one tunnel",
      );
    const routes: string[] = [];
    for (const [n, text] of tunnel.routes.entries()) {
      const path = [...at, n];
      const prefix = routePrefix(text, path, report);
      if (prefix === undefined) continue;
      if (prefix.family === 6 && config.device.mtu < MTU_MIN_IPV6 && !report.isTainted(["device", "mtu"]))
        report.error(
          path,
          `${text} is IPv6, but device.mtu is ${config.device.mtu}`,
          `IPv6 needs an MTU of at least ${MTU_MIN_IPV6}`,
        );
      const owner = owners.get(prefix.network);
      if (owner !== undefined) {
        const { line } = report.places.at(owner.path);
        const who = owner.tunnel === i ? "this tunnel" : `tunnel[${owner.tunnel}]`;
        report.error(path, `the route ${prefix.network} already belongs to ${who} (line ${line})`);
        continue;
      }
      owners.set(prefix.network, { tunnel: i, path });
      routes.push(prefix.network);
    }
    return routes;
  });
}

function missingRoutes(config: Config, tunnel: TunnelConfig, i: number, report: Report): undefined {
  const tun = config.device.type === "tun" && !report.isTainted(["device", "type"]);
  if (config.tunnel.length > 1 && tun && !report.isTainted(["tunnel", i, "routes"]))
    report.error(
      ["tunnel", i],
      `tunnel ${tunnel.name === undefined ? i : `"${tunnel.name}"`} has no routes, and there are ${config.tunnel.length} tunnels`,
      'say which inner addresses are behind it: routes = ["10.9.0.2/32"]',
    );
  return undefined;
}

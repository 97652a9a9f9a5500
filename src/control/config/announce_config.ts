/** [announce] of a node file: from checked keys to `AnnounceSpec`, with every fault at its place. */
import type { AnnounceKind, AnnounceSpec } from "../../announce/spec.ts";
import type { InstanceSpec } from "../spec/instance.ts";
import { canonical, familyOf, readPrefix } from "../text/address_text.ts";
import type { AnnounceConfig } from "./announce_schema.ts";
import type { Report } from "./config_report.ts";
import { DEVICE_NAME_MAX, isDeviceName } from "./config_rules.ts";

/** Keys that say something to one kind only. */
const ONLY: Readonly<Record<string, AnnounceKind>> = {
  socket: "bird",
  protocols: "bird",
  drain_protocols: "bird",
  pipe: "exabgp",
  next_hop: "exabgp",
  command: "command",
};
const at = (...path: (string | number)[]) => ["announce", ...path];

/** `instance`: whose listen addresses and device it goes with. */
export function readAnnounce(config: AnnounceConfig, instance: InstanceSpec, report: Report): AnnounceSpec {
  const { kind } = config;
  checkKeys(config, report);
  const found = readAddresses(config.addresses, instance, report);
  checkDevice(config, instance, report);
  const families = new Set(found.map(({ family }) => family));
  const named = (prefix: string) => [4, 6].filter((f) => families.has(f as 4 | 6)).map((f) => `${prefix}${f}`);
  return {
    kind,
    device: config.device,
    addresses: found.map(({ address, bits }) => `${address}/${bits}`),
    prefixes: [...new Set(found.map(({ network }) => network))],
    socket: absolute(config.socket ?? "/run/bird/bird.ctl", "socket", report),
    protocols: protocolNames(config.protocols ?? named("any"), "protocols", report),
    drainProtocols: protocolNames(config.drain_protocols ?? named("drain"), "drain_protocols", report),
    pipe: absolute(config.pipe ?? "/run/exabgp/exabgp.in", "pipe", report),
    nextHop: nextHops(config.next_hop ?? [], report),
    command: config.command === undefined ? "" : absolute(config.command, "command", report),
    timeoutMs: config.timeout * 1000,
    goodToAnnounce: config.good,
    badToWithdraw: config.bad,
  };
}

function checkKeys(config: AnnounceConfig, report: Report): void {
  const { kind } = config;
  for (const [key, only] of Object.entries(ONLY))
    if (config[key as keyof AnnounceConfig] !== undefined && kind !== only && !report.isTainted(at("kind")))
      report.error(at(key), `announce.${key} is of kind "${only}", and the kind here is "${kind}"`);
  if (kind === "command" && config.command === undefined && !report.isTainted(at("command")))
    report.error(at("kind"), "announce has no command", 'say which program: command = "/usr/local/sbin/announce"');
  if (kind !== "none" && config.addresses.length === 0 && !report.isTainted(at("addresses")))
    report.error(at("kind"), "announce has no addresses", 'name the service addresses: addresses = ["192.0.2.1"]');
  if (kind === "bird" && config.protocols?.length === 0)
    report.error(at("protocols"), "announce.protocols is empty", "name the protocols of BIRD that announce");
  if (kind === "bird" && config.device === undefined && !report.isTainted(at("device")))
    report.warning(
      at("kind"),
      "announce has no device: after kill -9 of the daemon BIRD goes on announcing",
      'add device = "anyc0" and let BIRD take the routes from it (docs/samples/bird/node.conf)',
    );
  if (config.device !== undefined && config.addresses.length === 0 && !report.isTainted(at("addresses")))
    report.error(at("device"), "announce.device has no addresses to hold", 'add addresses = ["192.0.2.1"]');
}

interface ServiceAddress {
  readonly family: 4 | 6;
  readonly address: string;
  readonly bits: number;
  readonly network: string;
}

function readAddresses(list: readonly string[], { listen }: InstanceSpec, report: Report): ServiceAddress[] {
  const found: ServiceAddress[] = [];
  for (const [i, written] of list.entries()) {
    const family = familyOf(written);
    const prefix = readPrefix(family === undefined ? written : `${written}/${family === 4 ? 32 : 128}`);
    if (typeof prefix === "string") {
      report.error(at("addresses", i), written.includes("/") ? prefix : `"${written}" is not an IPv4 or IPv6 address`);
      continue;
    }
    const { address } = prefix;
    if (found.some((one) => one.address === address))
      report.error(at("addresses", i), `the address ${address} is listed twice`);
    const wildcard = prefix.family === 4 ? "0.0.0.0" : "::";
    if (listen.length > 0 && !listen.some((l) => l.address === address || l.address === wildcard))
      report.error(
        at("addresses", i),
        `the service address ${address} is not in listen.addresses`,
        "packets to it would not be received",
      );
    found.push({ family: prefix.family, address, bits: prefix.bits, network: prefix.network });
  }
  return found;
}

function checkDevice({ device }: AnnounceConfig, instance: InstanceSpec, report: Report): void {
  if (device === undefined) return;
  if (!isDeviceName(device))
    report.error(
      at("device"),
      `"${device}" is no interface name: at most ${DEVICE_NAME_MAX} characters without space, /, : or %`,
    );
  else if (device === instance.device.name)
    report.error(at("device"), `announce.device is ${device}, which is the device of the clients`, "take another name");
}

function absolute(path: string, key: string, report: Report): string {
  if (!path.startsWith("/")) report.error(at(key), `announce.${key} must be an absolute path, not "${path}"`);
  return path;
}

/** Names go into BIRD's command lines: nothing but a symbol of its grammar. */
function protocolNames(names: readonly string[], key: string, report: Report): readonly string[] {
  for (const [i, name] of names.entries()) {
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(name))
      report.error(at(key, i), `"${name}" is no name of a protocol: letters, digits and underscores`);
    if (names.indexOf(name) < i) report.error(at(key, i), `the protocol ${name} is listed twice`);
  }
  return names;
}

function nextHops(list: readonly string[], report: Report): AnnounceSpec["nextHop"] {
  const hops = { v4: "self", v6: "self" };
  for (const [i, text] of list.entries()) {
    const family = familyOf(text);
    if (family === undefined) {
      report.error(at("next_hop", i), `"${text}" is not an IPv4 or IPv6 address`);
      continue;
    }
    const key = family === 4 ? "v4" : "v6";
    if (hops[key] !== "self") report.error(at("next_hop", i), `there are two next hops of IPv${family}`);
    hops[key] = canonical(text);
  }
  return hops;
}

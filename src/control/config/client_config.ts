/** A client file: text in, `ClientSpec` or faults out. */
import { isName, NAME_RULE } from "../../base/names.ts";
import type { ConfigEnv } from "../spec/config_env.ts";
import type { ClientSpec, ServiceSpec } from "../spec/instance.ts";
import { readEndpoint, readPrefix } from "../text/address_text.ts";
import { explainKey, formatKey, parseKey } from "../text/keys/key_text.ts";
import { publicKeyOf } from "../text/keys/x25519.ts";
import { clientKind, type ServiceConfig } from "./client_schema.ts";
import { folderOf, judged, nameOf, type Parsed } from "./config.ts";
import { readSchema, type TomlFile } from "./config_read.ts";
import type { Report } from "./config_report.ts";
import { checkPaths, DEVICE_NAME_MAX, isDeviceName, REMOTE_PORT_DEFAULT, routePrefix, unique } from "./config_rules.ts";
import { MTU_MIN_IPV6 } from "./config_schema.ts";
import { KeyReader } from "./key_sources.ts";
import { readPublicKey } from "./node_config.ts";

const NO_KEY = new Uint8Array(32);
/** Instead of a prefix: everything. */
const DEFAULT = "default";

export function parseClient(toml: TomlFile, env: ConfigEnv): Parsed<ClientSpec> {
  const { report } = toml;
  const config = readSchema(toml, clientKind);
  const keys = new KeyReader(report, env, folderOf(report.file));
  const name = nameOf(config.name, report.file);
  const socketPath = config.paths.socket ?? `/run/anyhop/${name}.sock`;
  checkPaths(config.paths, config.name, name, socketPath, report);
  const privateKey = keys.privateKey(config.client, ["client"]);
  const publicKey = privateKey === undefined ? NO_KEY : publicKeyOf(privateKey);
  if (config.service.length === 0 && !report.isTainted(["service"]))
    report.error([], "there is no service", "add a [[service]] table with name, address and public_key");
  const names = new Map<string, number>();
  const devices = new Map<string, number>();
  const owners = new Map<string, number>();
  const services = config.service.map((service, i): ServiceSpec => {
    const path = ["service", i];
    checkName(service, i, names, report);
    if (service.device !== undefined) checkDeviceName(service.device, i, devices, report);
    checkHooks(service, i, report);
    const groupKey = readPublicKey(service.public_key, path, report);
    if (groupKey !== undefined && privateKey !== undefined && formatKey(groupKey) === formatKey(publicKey))
      report.error([...path, "public_key"], `service[${i}].public_key is the key of this client itself`);
    return {
      name: service.name ?? "",
      remotes: readRemotes(service, i, report),
      publicKey: groupKey ?? NO_KEY,
      operator: readOperator(service, i, report),
      psk: keys.psk(service, path),
      routes: readRoutes(service, i, owners, report),
      addresses: readAddresses(service, i, report),
      device: service.device,
      mtuBytes: service.mtu,
      keepaliveMs: service.keepalive * 1000,
      killSwitch: service.kill_switch,
      hooks: { dns: service.dns_hook, postUp: service.post_up, postDown: service.post_down },
    };
  });
  return judged(
    {
      name,
      privateKey: privateKey ?? NO_KEY,
      publicKey,
      port: config.client.port,
      services,
      stateDir: config.paths.state,
      socketPath,
    },
    report,
  );
}

function readOperator({ operator }: ServiceConfig, i: number, report: Report): Uint8Array | undefined {
  if (operator === undefined) return undefined;
  const key = parseKey(operator);
  if (key === undefined)
    report.error(["service", i, "operator"], `service[${i}].operator is no key: ${explainKey(operator)}`);
  return key;
}

function checkName({ name }: ServiceConfig, i: number, names: Map<string, number>, report: Report): void {
  const path = ["service", i];
  if (name === undefined) {
    if (!report.isTainted([...path, "name"])) report.error(path, `service[${i}] has no name`, 'add name = "..."');
  } else if (!isName(name)) report.error([...path, "name"], `service[${i}].name ${NAME_RULE}`);
  else unique(names, name, i, `the service name "${name}"`, "name", report, "service");
}

function checkDeviceName(device: string, i: number, devices: Map<string, number>, report: Report): void {
  if (!isDeviceName(device))
    report.error(
      ["service", i, "device"],
      `"${device}" is no interface name: at most ${DEVICE_NAME_MAX} characters without space, /, : or %`,
    );
  else unique(devices, device, i, `the device ${device}`, "device", report, "service");
}

function checkHooks(service: ServiceConfig, i: number, report: Report): void {
  for (const key of ["dns_hook", "post_up", "post_down"] as const) {
    const path = service[key];
    if (path !== undefined && !path.startsWith("/"))
      report.error(["service", i, key], `service[${i}].${key} must be an absolute path, not "${path}"`);
  }
}

function readRemotes({ address }: ServiceConfig, i: number, report: Report): ServiceSpec["remotes"] {
  const path = ["service", i, "address"];
  if (address.length === 0 && !report.isTainted(path))
    report.error(
      report.places.has(path) ? path : ["service", i],
      `service[${i}] has no address`,
      'add address = ["HOST:PORT"]',
    );
  return address.flatMap((text, n) => {
    const remote = readEndpoint(text, REMOTE_PORT_DEFAULT);
    if (typeof remote !== "string") return [remote];
    report.error([...path, n], remote);
    return [];
  });
}

/** The same prefix into two tunnels is an error; a longer one wins over a shorter. */
function readRoutes(
  { routes, mtu }: ServiceConfig,
  i: number,
  owners: Map<string, number>,
  report: Report,
): ServiceSpec["routes"] {
  if (routes === undefined) return undefined;
  const path = ["service", i, "routes"];
  if (routes.includes(DEFAULT)) {
    if (routes.length > 1)
      report.error(path, `service[${i}].routes has "default" and prefixes, and default is everything`, "keep one");
    own(DEFAULT, i, [...path, routes.indexOf(DEFAULT)], owners, report);
    return "everything";
  }
  if (routes.length === 0)
    report.error(path, `service[${i}].routes is empty, so nothing could pass`, "list prefixes, or remove the key");
  return routes.flatMap((text, n) => {
    const prefix = routePrefix(text, [...path, n], report);
    if (prefix === undefined) return [];
    if (prefix.bits === 0)
      report.error([...path, n], `${text} would cut off the way to the service itself`, 'write "default" instead');
    if (prefix.family === 6) checkMtu(mtu, i, [...path, n], text, report);
    own(prefix.network, i, [...path, n], owners, report);
    return [prefix.network];
  });
}

function own(route: string, i: number, path: (string | number)[], owners: Map<string, number>, report: Report): void {
  const owner = owners.get(route);
  if (owner === undefined) owners.set(route, i);
  else
    report.error(path, `the route ${route} already belongs to ${owner === i ? "this service" : `service[${owner}]`}`);
}

function readAddresses({ addresses, mtu }: ServiceConfig, i: number, report: Report): ServiceSpec["addresses"] {
  if (addresses === undefined) return undefined;
  const path = ["service", i, "addresses"];
  if (addresses.length === 0)
    report.error(path, `service[${i}].addresses is empty`, "remove the key, and the node gives them");
  const seen: string[] = [];
  for (const [n, text] of addresses.entries()) {
    const prefix = readPrefix(text);
    if (typeof prefix === "string") {
      report.error([...path, n], prefix);
      continue;
    }
    const shown = `${prefix.address}/${prefix.bits}`;
    if (seen.includes(shown)) report.error([...path, n], `the address ${text} is listed twice`);
    if (prefix.family === 6) checkMtu(mtu, i, [...path, n], text, report);
    seen.push(shown);
  }
  return seen;
}

function checkMtu(mtu: number | undefined, i: number, path: (string | number)[], text: string, report: Report): void {
  if (mtu !== undefined && mtu < MTU_MIN_IPV6)
    report.error(
      path,
      `${text} is IPv6, but service[${i}].mtu is ${mtu}`,
      `IPv6 needs an MTU of at least ${MTU_MIN_IPV6}`,
    );
}

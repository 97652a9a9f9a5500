/**
 * The front door of `anyhop classic`: the command line of anytun 0.3.8 or uanytun in, instance and process settings
 * out. Defaults are theirs but for two: the replay window is on, and a tunnel without a key does not start. Pure;
 * secrets and folders are read through `ClassicEnv`.
 */
import { type LogTarget, parseLogTarget } from "../../base/log.ts";
import { isName } from "../../base/names.ts";
import { SHARDS_MAX, whyNotShards } from "../../dataplane/shared.ts";
import { isDeviceName, SOCKET_PATH_MAX } from "../config/config_rules.ts";
import type { ClassicEnv } from "../spec/config_env.ts";
import type { InstanceSpec, TunnelSpec } from "../spec/instance.ts";
import { canonical, familyOf, readPrefix } from "../text/address_text.ts";
import { type AnytunDir, readAnytunDir } from "./anytun_dir.ts";
import { classicHelp, listOf, parseOptions, type RawOptions, textOf } from "./classic_options.ts";
import { type ProcessTransforms, readConnection, readTransforms } from "./classic_tunnel.ts";
import { Problems } from "./classic_values.ts";

/** What the process itself is to do, as opposed to the tunnel. */
export interface ProcessSpec {
  readonly daemonize: boolean;
  readonly username: string | undefined;
  readonly groupname: string | undefined;
  readonly chroot: string | undefined;
  readonly writePid: string | undefined;
  readonly log: readonly LogTarget[];
}

export type ParsedClassic =
  | {
      readonly kind: "run";
      readonly spec: InstanceSpec;
      readonly process: ProcessSpec;
      readonly warnings: readonly string[];
    }
  | { readonly kind: "help"; readonly text: string }
  | { readonly kind: "version" }
  /** Sentences; at least one. */
  | { readonly kind: "error"; readonly errors: readonly string[]; readonly warnings: readonly string[] };

/** The kernel's MTU of a new device, which the originals leave alone without -n, and what they set with it. */
const MTU_UNTOUCHED = 1500;
const MTU_IFCONFIG = 1400;
const PORT_DEFAULT = 4444;

const SYNC_REASON =
  "is refused: anytun's cluster protocol hands every key in clear to anybody who connects and sets sequence numbers " +
  "back; describe several tunnels in one file and use anyhop run, or --config FOLDER with conf.d";

/** `argv` without program and subcommand. */
export function parseClassic(argv: readonly string[], env: ClassicEnv): ParsedClassic {
  const own = parseOptions(argv, "classic");
  if (typeof own === "string") return { kind: "error", errors: [own], warnings: [] };
  if (own["help"]) return { kind: "help", text: classicHelp() };
  if (own["version"]) return { kind: "version" };
  const problems = new Problems();
  const folder = textOf(own, "config");
  const dir = folder === undefined ? undefined : readAnytunDir(folder, env);
  if (typeof dir === "string") return { kind: "error", errors: [dir], warnings: [] };
  for (const warning of dir?.warnings ?? []) problems.warn(warning);
  // The folder speaks first, so that the command line can overrule it.
  const raw = dir === undefined ? own : parseOptions([...dir.argv, ...argv], "classic");
  if (typeof raw === "string") return { kind: "error", errors: [`${folder}/config: ${raw}`], warnings: [] };
  warnVisibleSecrets(own, problems);
  const spec = readInstance(raw, dir, env, problems);
  const process = readProcess(raw, problems);
  if (problems.errors.length > 0) return { kind: "error", errors: problems.errors, warnings: problems.warnings };
  return { kind: "run", spec, process, warnings: problems.warnings };
}

function warnVisibleSecrets(raw: RawOptions, problems: Problems): void {
  if (raw["passphrase"] !== undefined)
    problems.warn("-E shows the passphrase to every user who runs ps; use --passphrase-file");
  if (raw["key"] !== undefined) problems.warn("-K shows the key to every user who runs ps; use --key-file");
}

function readProcess(raw: RawOptions, problems: Problems): ProcessSpec {
  const debug = raw["debug"] === true;
  const log: LogTarget[] = [];
  for (const text of listOf(raw, "log")) {
    const target = parseLogTarget(text);
    if (typeof target === "string") problems.fail(`-L: ${target}`);
    else log.push(target);
  }
  if (debug) log.push({ kind: "stdout", level: 5 });
  const fallback = parseLogTarget("syslog:3,anyhop,daemon") as LogTarget;
  return {
    daemonize: !debug && raw["nodaemonize"] !== true,
    username: textOf(raw, "username"),
    groupname: textOf(raw, "groupname"),
    chroot: textOf(raw, "chroot"),
    writePid: textOf(raw, "writePid"),
    log: log.length === 0 ? [fallback] : log,
  };
}

function readInstance(raw: RawOptions, dir: AnytunDir | undefined, env: ClassicEnv, problems: Problems): InstanceSpec {
  refuse(raw, dir, problems);
  const device = readDevice(raw, problems);
  const transforms = readTransforms(raw, problems);
  const listen = readListen(raw, problems);
  const tunnels = readTunnels(raw, dir, device.type, transforms, env, problems);
  for (const { name, remote } of tunnels) {
    const family = remote === undefined ? undefined : familyOf(remote.host);
    if (family !== undefined && !listen.some(({ address }) => familyOf(address) === family))
      problems.fail(`-r ${remote?.host} is IPv${family}, but -i, -4 or -6 leave no such socket (tunnel ${name})`);
  }
  const name = (dir?.name ?? device.name ?? instanceName(raw, listen))
    .replace(/[^A-Za-z0-9_.-]/g, "_")
    .replace(/^[_.-]+/, "");
  if (!isName(name))
    problems.fail(`the instance name "${name}" is not a name; rename the folder, or use --config with its full path`);
  const stateDir = textOf(raw, "stateDir") ?? "/var/lib/anyhop";
  const socketPath = textOf(raw, "controlSocket") ?? `/run/anyhop/${name}.sock`;
  if (new TextEncoder().encode(socketPath).length > SOCKET_PATH_MAX)
    problems.fail(`the socket path "${socketPath}" is longer than ${SOCKET_PATH_MAX} bytes`);
  const senderId = problems.number(raw, "-s", "senderId", 0, 65535, 0);
  return {
    name,
    listen,
    senderId,
    device,
    tunnels,
    fanoutMax: 256,
    floodPps: 10_000,
    // The originals leave the TOS byte of outer packets alone.
    dscp: 0,
    shards: readShards(raw, senderId, problems),
    stateDir,
    socketPath,
  };
}

function readShards(raw: RawOptions, senderId: number, problems: Problems): InstanceSpec["shards"] {
  if ((textOf(raw, "shards") ?? "auto") === "auto") return "auto";
  const shards = problems.number(raw, "--shards", "shards", 1, SHARDS_MAX, 1);
  const reason = whyNotShards(shards, senderId);
  if (reason !== undefined) problems.fail(`--shards ${shards}: ${reason}`);
  return shards;
}

function refuse(raw: RawOptions, dir: AnytunDir | undefined, problems: Problems): void {
  const sync = { syncInterface: "-I", syncPort: "-S", syncHosts: "-M" };
  for (const [name, flag] of Object.entries(sync)) if (raw[name] !== undefined) problems.fail(`${flag} ${SYNC_REASON}`);
  if (raw["controlHost"] !== undefined) {
    if ((dir?.clients.length ?? 0) > 0)
      problems.warn("-X is not needed: conf.d is read directly, without anytun-controld");
    else problems.fail(`-X ${SYNC_REASON}`);
  }
  if (raw["railMode"]) problems.fail("-Y is refused: anyhop sends each packet once, over one port");
}

/** Type from -t by its first three letters, else from the name, else tun; a name alone must tell. */
function readDevice(raw: RawOptions, problems: Problems): InstanceSpec["device"] {
  const name = textOf(raw, "dev");
  const typeText = textOf(raw, "type");
  const prefix = (typeText ?? name ?? "tun").slice(0, 3);
  if (prefix !== "tun" && prefix !== "tap") {
    if (typeText !== undefined) problems.fail(`-t ${typeText}: the device type is tun or tap`);
    else problems.fail(`-d ${name} does not begin with tun or tap; add -t tun or -t tap`);
  }
  if (name !== undefined && !isDeviceName(name)) problems.fail(`-d: "${name}" is no interface name`);
  const ifconfig = textOf(raw, "ifconfig");
  const address = ifconfig === undefined ? undefined : readPrefix(ifconfig);
  if (typeof address === "string") problems.fail(`-n: ${address}`);
  return {
    type: prefix === "tap" ? "tap" : "tun",
    name,
    mtuBytes: address === undefined ? MTU_UNTOUCHED : MTU_IFCONFIG,
    addresses: typeof address === "object" ? [`${address.address}/${address.bits}`] : [],
    hostRoutes: [],
    postUp: textOf(raw, "postUpScript"),
  };
}

function readListen(raw: RawOptions, problems: Problems): InstanceSpec["listen"] {
  if (textOf(raw, "port")?.includes(":"))
    problems.fail("-p with a port range is refused: anyhop sends each packet once, over one port");
  const port = problems.port(raw, "-p", "port", PORT_DEFAULT);
  const only = families(raw, problems);
  const address = textOf(raw, "interface")?.replace(/^\[(.*)\]$/, "$1");
  if (address === undefined) {
    const all = { 4: ["0.0.0.0"], 6: ["::"], both: ["0.0.0.0", "::"] };
    return all[only].map((any) => ({ address: any, port }));
  }
  const family = familyOf(address);
  if (family === undefined)
    problems.fail(`-i: "${address}" is not an IPv4 or IPv6 address; names are not resolved here`);
  else if (only !== "both" && only !== family) problems.fail(`-i ${address} is IPv${family}, but -${only} is given`);
  return [{ address: family === undefined ? address : canonical(address), port }];
}

function families(raw: RawOptions, problems: Problems): 4 | 6 | "both" {
  if (raw["ipv4Only"] && raw["ipv6Only"]) problems.fail("-4 and -6 exclude each other");
  if (raw["ipv4Only"]) return 4;
  return raw["ipv6Only"] ? 6 : "both";
}

/** Two instances without -d differ in port or address, so their sockets do not meet. */
function instanceName(raw: RawOptions, listen: InstanceSpec["listen"]): string {
  const [{ address, port }] = listen;
  return raw["interface"] === undefined ? `classic-${port}` : `classic-${port}-${address}`;
}

function readTunnels(
  raw: RawOptions,
  dir: AnytunDir | undefined,
  type: "tun" | "tap",
  transforms: ProcessTransforms,
  env: ClassicEnv,
  problems: Problems,
): TunnelSpec[] {
  const clients = dir?.clients ?? [];
  const tunnels: TunnelSpec[] = [];
  // As in anytun: beside clients, the process has a connection of its own only with -r.
  if (clients.length === 0 || raw["remoteHost"] !== undefined)
    tunnels.push(readConnection(raw, dir?.name ?? "classic", transforms, env, problems));
  else if (raw["passphrase"] !== undefined || raw["key"] !== undefined)
    problems.warn(`the key in ${dir?.name}/config is not used: conf.d has clients, and there is no remote-host`);
  for (const { name, file, argv } of clients) {
    const client = parseOptions(argv, "client");
    if (typeof client === "string") problems.fail(`${file}: ${client}`);
    else tunnels.push(readConnection(client, name, transforms, env, problems.inside(file)));
  }
  return checkTunnels(tunnels, type, clients.length > 0, problems);
}

function checkTunnels(tunnels: TunnelSpec[], type: "tun" | "tap", routing: boolean, problems: Problems): TunnelSpec[] {
  const muxes = new Map<number, string>();
  const owners = new Map<string, string>();
  for (const tunnel of tunnels) {
    const taken = muxes.get(tunnel.mux);
    if (taken !== undefined) problems.fail(`tunnels ${taken} and ${tunnel.name} have the same mux ${tunnel.mux}`);
    muxes.set(tunnel.mux, tunnel.name);
    for (const route of tunnel.routes ?? []) {
      const owner = owners.get(route);
      if (owner !== undefined) problems.fail(`tunnels ${owner} and ${tunnel.name} have the same route ${route}`);
      owners.set(route, tunnel.name);
    }
    if (routing && type === "tun" && tunnels.length > 1 && tunnel.routes === undefined)
      problems.fail(
        `tunnel ${tunnel.name} has no route, and there are ${tunnels.length} tunnels; add a line "route PREFIX"`,
      );
  }
  if (routing && type === "tun") return tunnels;
  if (owners.size > 0)
    problems.warn(
      type === "tap"
        ? "-R has no effect on a tap device, as in anytun"
        : "-R has no effect with one tunnel, as in anytun: everything goes to the only peer",
    );
  return tunnels.map((tunnel) => ({ ...tunnel, routes: undefined }));
}

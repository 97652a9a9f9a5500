/**
 * The front door for files with static keys: text of a TOML file in, instance or faults out. Reads nothing by itself:
 * secrets and environment come through `ConfigEnv`. What the other kinds of file share with it is here, too.
 */
import type { ConfigEnv } from "../spec/config_env.ts";
import type { Fault } from "../spec/faults.ts";
import type { InstanceSpec } from "../spec/instance.ts";
import { readSchema, readToml } from "./config_read.ts";
import type { Report } from "./config_report.ts";
import {
  checkDevice,
  checkListen,
  checkNames,
  checkPaths,
  checkRemotes,
  checkRoutes,
  checkShards,
  checkTunnels,
} from "./config_rules.ts";
import { type Config, classicKind } from "./config_schema.ts";
import { readTunnel } from "./config_tunnel.ts";

/** What a front door returns. */
export interface Parsed<T> {
  /** Only when no fault is an error. */
  readonly spec: T | undefined;
  /** In the order of the file. */
  readonly faults: readonly Fault[];
}
export type ParsedConfig = Parsed<InstanceSpec>;

/** Judges a whole file. `file` is its path: for messages, the default name, and relative secret files. */
export function parseConfig(text: string, file: string, env: ConfigEnv): ParsedConfig {
  const toml = readToml(text, file);
  if ("severity" in toml) return { spec: undefined, faults: [toml] };
  const { report } = toml;
  const config = readSchema(toml, classicKind);
  checkTunnels(config, report);
  return judged(readInstance(config, checkRoutes(config, report), report, env), report);
}

/** The specification, unless something was reported as an error. */
export function judged<T>(spec: T, report: Report): Parsed<T> {
  const faults = report.sorted();
  return { spec: faults.some((fault) => fault.severity === "error") ? undefined : spec, faults };
}

/** Folder of a path with a slash at the end, or "". */
export const folderOf = (file: string): string => file.slice(0, file.lastIndexOf("/") + 1);

/** The name in the file, or the file's own. */
export function nameOf(name: string | undefined, file: string): string {
  const base = file.slice(file.lastIndexOf("/") + 1);
  return name ?? (base.replace(/\.toml$/, "") || "anyhop");
}

/**
 * Everything that needs more than one key to judge, and the instance that comes out of it. `routes`: the canonical
 * routes of each tunnel; undefined = everything.
 */
export function readInstance(
  config: Config,
  routes: readonly (string[] | undefined)[],
  report: Report,
  env: ConfigEnv,
): InstanceSpec {
  const name = nameOf(config.name, report.file);
  const socketPath = config.paths.socket ?? `/run/anyhop/${name}.sock`;
  checkPaths(config.paths, config.name, name, socketPath, report);
  const addresses = checkListen(config, report);
  const deviceSpec = checkDevice(config, report);
  checkShards(config, report);
  checkNames(config, report);
  checkRemotes(config, report);
  const context = { directory: folderOf(report.file), inlineChecked: false };
  return {
    name,
    listen: addresses.map((address) => ({ address, port: config.listen.port })),
    senderId: config.listen.sender_id,
    device: deviceSpec,
    tunnels: config.tunnel.map((tunnel, i) => readTunnel(tunnel, i, routes[i], report, env, context)),
    fanoutMax: config.limits.fanout,
    floodPps: config.limits.flood_pps,
    dscp: config.dscp,
    shards: config.limits.shards,
    stateDir: config.paths.state,
    socketPath,
  };
}

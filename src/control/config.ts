/**
 * The front door of `anyhop run` and `anyhop check`: text of a TOML file in, instance or faults out. Reads nothing by
 * itself: secrets and environment come through `ConfigEnv`. Every fault is found in one go: what the schema refuses is
 * reported and cut out, the rest is judged as if it were the whole file.
 */
import { getStaticTOMLValue, ParseError, parseTOML } from "toml-eslint-parser";
import type { z } from "zod";
import type { ConfigEnv } from "./config_env.ts";
import { Places } from "./config_places.ts";
import { Report } from "./config_report.ts";
import {
  checkDevice,
  checkListen,
  checkNames,
  checkPaths,
  checkRemotes,
  checkRoutes,
  checkShards,
} from "./config_rules.ts";
import { type Config, configSchema, SECRET_KEYS, tables } from "./config_schema.ts";
import { readTunnel } from "./config_tunnel.ts";
import { closest, type Fault } from "./faults.ts";
import type { InstanceSpec } from "./instance.ts";

export interface ParsedConfig {
  /** Only when no fault is an error. */
  readonly spec: InstanceSpec | undefined;
  /** In the order of the file. */
  readonly faults: readonly Fault[];
}

/** Judges a whole file. `file` is its path: for messages, the default name, and relative secret files. */
export function parseConfig(text: string, file: string, env: ConfigEnv): ParsedConfig {
  let program: ReturnType<typeof parseTOML>;
  try {
    program = parseTOML(text);
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    return { spec: undefined, faults: [syntaxFault(error, file)] };
  }
  const report = new Report(file, new Places(program));
  const config = readSchema(getStaticTOMLValue(program), report);
  const spec = readInstance(config, report, env);
  const faults = report.sorted();
  return { spec: faults.some((fault) => fault.severity === "error") ? undefined : spec, faults };
}

function syntaxFault(error: ParseError, file: string): Fault {
  return {
    severity: "error",
    file,
    line: error.lineNumber,
    column: error.column + 1,
    key: "",
    message: `this is not TOML: ${error.message.replace(/\.$/, "").toLowerCase()}`,
    suggestion: "text values need quotes, and each key may stand only once in its table",
  };
}

type Raw = Record<string | number, unknown>;

/** Reports what the schema refuses, cuts it out and returns the rest with defaults filled in. */
function readSchema(value: unknown, report: Report): Config {
  for (;;) {
    const result = configSchema.safeParse(value);
    if (result.success) return result.data;
    for (const issue of result.error.issues) {
      if (issue.code === "unrecognized_keys") {
        for (const key of issue.keys) {
          reportUnknown(issue, key, report);
          cut(value as Raw, [...issue.path, key] as (string | number)[]);
        }
      } else reportValue(value as Raw, issue, report);
    }
  }
}

function reportUnknown(issue: z.core.$ZodIssue, key: string, report: Report): void {
  const table = String(issue.path[0] ?? "");
  const known = Object.keys(tables[table].shape);
  const meant = closest(key, known);
  const homes = Object.keys(tables).filter((name) => name !== table && key in tables[name].shape);
  const home = homes.find((name) => name !== "tunnel" || homes.length === 1);
  let suggestion = `the keys here are ${known.join(", ")}`;
  if (meant !== undefined) suggestion = `did you mean ${meant}?`;
  else if (home !== undefined)
    suggestion = `${key} belongs ${home === "" ? "to the top of the file" : `in ${bracket(home)}`}`;
  const where = table === "" ? "at the top of the file" : `in ${bracket(table)}`;
  report.error([...(issue.path as (string | number)[]), key], `there is no key ${key} ${where}`, suggestion);
}

const bracket = (table: string): string => (table === "tunnel" ? "[[tunnel]]" : `[${table}]`);

function reportValue(root: Raw, issue: z.core.$ZodIssue, report: Report): void {
  const path = issue.path as (string | number)[];
  const value = path.reduce<unknown>((at, key) => (at as Raw)[key], root);
  const key = path[path.length - 1];
  const shown = SECRET_KEYS.has(String(key)) ? "" : showValue(value);
  const names = issue.code === "invalid_value" && typeof value === "string" ? issue.values.map(String) : [];
  const meant = typeof value === "string" ? closest(value, names) : undefined;
  report.error(path, `${report.show(path)} ${issue.message}${shown}`, meant && `did you mean "${meant}"?`);
  // A list with one bad element is judged no further; nor is a tunnel that is no table.
  const element = typeof key === "number";
  const whole = element && path[path.length - 2] !== "tunnel" ? path.slice(0, -1) : path;
  report.taint(whole);
  cut(root, whole, element && whole === path ? {} : undefined);
}

function showValue(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return `, not ${value}`;
  if (typeof value === "string" && value.length <= 60) return `, not "${value}"`;
  return "";
}

/** Removes or replaces what stands at the path. */
function cut(root: Raw, path: readonly (string | number)[], replacement?: unknown): void {
  const parent = path.slice(0, -1).reduce<Raw>((at, key) => (at?.[key] ?? {}) as Raw, root);
  const key = path[path.length - 1];
  if (replacement === undefined) delete parent[key];
  else parent[key] = replacement;
}

/** Everything that needs more than one key to judge, and the instance that comes out of it. */
function readInstance(config: Config, report: Report, env: ConfigEnv): InstanceSpec {
  const base = report.file.slice(report.file.lastIndexOf("/") + 1);
  const name = config.name ?? (base.replace(/\.toml$/, "") || "anyhop");
  const socketPath = config.paths.socket ?? `/run/anyhop/${name}.sock`;
  checkPaths(config, name, socketPath, report);
  const addresses = checkListen(config, report);
  const deviceSpec = checkDevice(config, report);
  checkShards(config, report);
  checkNames(config, report);
  checkRemotes(config, report);
  const routes = checkRoutes(config, report);
  const mode = { directory: report.file.slice(0, report.file.lastIndexOf("/") + 1), inlineChecked: false };
  return {
    name,
    listen: addresses.map((address) => ({ address, port: config.listen.port })),
    senderId: config.listen.sender_id,
    device: deviceSpec,
    tunnels: config.tunnel.map((tunnel, i) => readTunnel(tunnel, i, routes[i], report, env, mode)),
    fanoutMax: config.limits.fanout,
    floodPps: config.limits.flood_pps,
    dscp: config.dscp,
    shards: config.limits.shards,
    stateDir: config.paths.state,
    socketPath,
  };
}

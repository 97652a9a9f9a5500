/**
 * The network configuration of this host by iproute2: looks with `ip -json`, changes with `ip -batch`, each line by itself.
 * Adds and never replaces, so what others set stays. `host_watch.ts` tells of changes.
 */
import { execFile, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { AnyhopError } from "../base/errors.ts";
import { formatPrefix, parsePrefix } from "../base/prefix.ts";
import type { HostFacts, HostItem, HostNetwork, HostRoute } from "../control/spec/ports.ts";
import { watchHost } from "./host_watch.ts";

/** Marks our routes: a number of RTPROT_* that no program of iproute2's rt_protos has. */
const OWN_PROTOCOL = "145";
/**
 * Packets that wait in the device while a shard is not running. The kernel's 500 last 24 ms at 200 Mbit/s; a thread that
 * waits for its turn on a busy machine was away for up to 75 ms.
 */
const QUEUE_PACKETS = 2048;
/** Metric that every other route beats. */
const LAST_METRIC = 4294967295;
/** RTN_UNICAST, and those of RTN_* that lead nowhere: blackhole, unreachable, prohibit. */
const UNICAST = "1";
const NOWHERE = ["6", "7", "8"];
/** Of the main table; the kernel's own rules are 0 (local), this one, and the one behind it. */
const MAIN_PRIORITY = 32766;

export const hostNetwork: HostNetwork = {
  async look(device, allRoutes) {
    // Asked for one device, it does not repeat which.
    const of = allRoutes ? ["table", "main"] : ["table", "main", "dev", device];
    const [links, routes4, routes6, rules4, rules6] = await Promise.all([
      json<ShownLink>(["-j", "-N", "address", "show", "dev", device]),
      json<ShownRoute>(["-j", "-N", "-4", "route", "show", ...of]),
      json<ShownRoute>(["-j", "-N", "-6", "route", "show", ...of]),
      json<ShownRule>(["-j", "-4", "rule", "show"]),
      json<ShownRule>(["-j", "-6", "rule", "show"]),
    ]);
    return {
      device: deviceOf(links),
      ipv6Off: isIpv6Off(device),
      routes: [
        ...routes4.flatMap((route) => routeOf(allRoutes ? route : { dev: device, ...route }, 4)),
        ...routes6.flatMap((route) => routeOf(allRoutes ? route : { dev: device, ...route }, 6)),
      ],
      rules: [...rules4, ...rules6].filter(isBeforeMain).map(ruleText),
    };
  },

  async deviceTo(address) {
    const [route] = await json<ShownRoute>(["-j", address.includes(":") ? "-6" : "-4", "route", "get", address]);
    return route?.dev;
  },

  add: (items) => change(items.map(addLines)),
  remove: (items) => change(items.map((item) => [removeLine(item)])),
  watch: watchHost,

  run(program, args, environment) {
    return new Promise((resolve, reject) => {
      execFile(
        program,
        [...args],
        { timeout: 60_000, env: environment ?? { PATH: process.env["PATH"] } },
        (error, _out, stderr) => {
          if (!error) return resolve();
          const why = stderr.trim().split("\n").at(-1) || error.message;
          reject(new AnyhopError("hook", `The program ${program} failed: ${why}`, { cause: error }));
        },
      );
    });
  },
};

/** Packets for a device that the kernel dropped, because its queue was full; undefined: it does not say. */
export function queueDrops(device: string): number | undefined {
  try {
    return Number(readFileSync(`/sys/class/net/${device}/statistics/tx_dropped`, "utf8"));
  } catch {
    return undefined;
  }
}

interface ShownLink {
  readonly flags?: readonly string[];
  readonly mtu?: number;
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number; readonly tentative?: true }[];
}

interface ShownRoute {
  readonly type?: string;
  readonly dst: string;
  readonly dev?: string;
  readonly gateway?: string;
  readonly via?: { readonly family: string; readonly host: string };
  readonly protocol?: string;
  readonly metric?: number;
  readonly nexthops?: readonly Pick<ShownRoute, "dev" | "gateway" | "via">[];
}

interface ShownRule {
  readonly priority: number;
  readonly table?: string;
  readonly src?: string;
  readonly dst?: string;
}

function deviceOf([link]: readonly ShownLink[]): HostFacts["device"] {
  if (link?.mtu === undefined) return undefined;
  const addresses = (link.addr_info ?? []).flatMap(({ local, prefixlen }) =>
    local === undefined ? [] : [`${local}/${prefixlen}`],
  );
  return { up: link.flags?.includes("UP") ?? false, mtuBytes: link.mtu, addresses };
}

function isIpv6Off(device: string): boolean {
  try {
    return readFileSync(`/proc/sys/net/ipv6/conf/${device}/disable_ipv6`, "utf8").trim() === "1";
  } catch {
    // Either the device is gone, or the kernel has no IPv6 at all.
    return true;
  }
}

function routeOf(route: ShownRoute, family: 4 | 6): HostRoute[] {
  const { type = UNICAST, protocol, metric = 0 } = route;
  const prefix = prefixOf(route.dst, family);
  if (prefix === undefined) return [];
  const hop = route.dev === undefined ? (route.nexthops?.[0] ?? {}) : route;
  const { gateway, via, dev = "" } = hop;
  const over = gateway !== undefined ? `via ${gateway} ` : via === undefined ? "" : `via ${via.family} ${via.host} `;
  return [
    {
      ...{ prefix, device: dev, way: `${over}dev ${dev}`, metric, own: protocol === OWN_PROTOCOL },
      type: type === UNICAST ? "unicast" : NOWHERE.includes(type) ? "nowhere" : "other",
      direct: over === "" && type === UNICAST,
    },
  ];
}

/** "default", "10.0.0.0/8" or "192.0.2.1". */
function prefixOf(dst: string, family: 4 | 6): string | undefined {
  if (dst === "default") return family === 4 ? "0.0.0.0/0" : "::/0";
  const prefix = parsePrefix(dst);
  return prefix && formatPrefix(prefix);
}

const isBeforeMain = ({ priority, table }: ShownRule): boolean =>
  priority < MAIN_PRIORITY && !(priority === 0 && table === "local");

const ruleText = ({ priority, src, dst, table }: ShownRule): string =>
  `rule ${priority}${src === undefined || src === "all" ? "" : ` from ${src}`}${dst === undefined ? "" : ` to ${dst}`}` +
  (table === undefined ? "" : ` lookup ${table}`);

function addLines(item: HostItem): string[] {
  switch (item.kind) {
    case "link":
      return [
        // Without an IPv6 address of its own it sends no router solicitations. Not everywhere there is such a thing.
        ...(item.linkLocal ? [] : [`${OPTIONAL}link set dev ${item.device} addrgenmode none`]),
        `link set dev ${item.device} mtu ${item.mtuBytes} txqueuelen ${QUEUE_PACKETS}`,
        `link set dev ${item.device} up`,
      ];
    case "address":
      return [`address replace ${item.address} dev ${item.device}${item.address.includes(":") ? " nodad" : ""}`];
    case "route":
      return [`route add ${item.prefix} dev ${item.device}`];
    case "unreachable":
      return [`route add unreachable ${item.prefix} metric ${LAST_METRIC} protocol ${OWN_PROTOCOL}`];
    case "pin":
      return [`route ${item.replaces ? "replace" : "add"} ${item.prefix} ${item.way} protocol ${OWN_PROTOCOL}`];
  }
}

function removeLine(item: HostItem): string {
  switch (item.kind) {
    case "link":
      return `link set dev ${item.device} down`;
    case "address":
      return `address del ${item.address} dev ${item.device}`;
    case "route":
      return `route del ${item.prefix} dev ${item.device}`;
    case "unreachable":
      return `route del unreachable ${item.prefix} metric ${LAST_METRIC} protocol ${OWN_PROTOCOL}`;
    case "pin":
      return `route del ${item.prefix} protocol ${OWN_PROTOCOL}`;
  }
}

/** Before a line whose failure does not matter. */
const OPTIONAL = "?";

/** Runs the lines of each item; the first complaint about each. */
async function change(items: readonly (readonly string[])[]): Promise<(string | undefined)[]> {
  if (items.length === 0) return [];
  const owners = items.flatMap((lines, k) => lines.map((line) => (line.startsWith(OPTIONAL) ? -1 : k)));
  const lines = items.flat().map((line) => (line.startsWith(OPTIONAL) ? line.slice(1) : line));
  const complaints: (string | undefined)[] = items.map(() => undefined);
  const stderr = await batch(lines);
  let said = "";
  for (const line of stderr.split("\n")) {
    const failed = /^Command failed -:(\d+)/.exec(line);
    if (failed === null) {
      if (line.trim() !== "") said ||= line.trim();
      continue;
    }
    const owner = owners[Number(failed[1]) - 1] ?? -1;
    if (owner >= 0) complaints[owner] ??= said.replace(/^(RTNETLINK answers|Error): /, "");
    said = "";
  }
  return complaints;
}

/** `ip -batch` that goes on behind a line that failed. What it says on stderr. */
function batch(lines: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn("ip", ["-force", "-batch", "-"], { stdio: ["pipe", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    child.on("error", (cause) => reject(noTool(cause)));
    child.on("close", () => resolve(stderr));
    child.stdin.on("error", () => {});
    child.stdin.end(`${lines.join("\n")}\n`);
  });
}

/** What `ip` prints as JSON; nothing when it fails: what is asked for is not there. */
function json<T>(args: readonly string[]): Promise<readonly T[]> {
  return new Promise((resolve, reject) => {
    execFile("ip", [...args], { maxBuffer: 256 * 1024 * 1024 }, (error, stdout) => {
      // A text, and not the exit code: it did not run.
      if (error !== null && typeof error.code === "string") return reject(noTool(error));
      try {
        resolve(error === null && stdout.trim() !== "" ? (JSON.parse(stdout) as T[]) : []);
      } catch {
        resolve([]);
      }
    });
  });
}

function noTool(cause: Error & { readonly code?: unknown }): AnyhopError {
  const why =
    cause.code === "ENOENT"
      ? "is missing: install it with `apt-get install iproute2`."
      : `could not be run: ${cause.message}.`;
  return new AnyhopError("ip_tool", `The program \`ip\` ${why}`, { cause });
}

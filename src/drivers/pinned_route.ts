/**
 * A host route to one outer address that goes the way that the host's other routes go, and follows them: `ip monitor`
 * wakes it, the routes of the main table decide. It never looks at its own route, at those of the tunnel's device, or at
 * those that lead nowhere.
 */
import { spawn } from "node:child_process";
import { parsePrefix } from "../base/prefix.ts";

/** What `ip -j -N route show` says of one route, as far as it counts here. */
export interface ShownRoute {
  readonly type?: string;
  readonly dst: string;
  readonly dev?: string;
  readonly gateway?: string;
  readonly via?: { readonly family: string; readonly host: string };
  readonly protocol?: string;
  readonly metric?: number;
  readonly nexthops?: readonly Pick<ShownRoute, "dev" | "gateway" | "via">[];
}

/** Marks our routes: a number of RTPROT_* that no program of iproute2's rt_protos has. */
export const PIN_PROTOCOL = "145";
/** Routes come in bunches: wait for the rest of one. */
const SETTLE_MS = 100;
const RESTART_MS = 2000;

/**
 * Where packets leave the host beside `device`: "via 192.0.2.254 dev eth0", as `ip route` takes it. Undefined: nowhere.
 * The longest prefix wins, then the lowest metric; of a route with several next hops the first one.
 */
export function bestWay(routes: readonly ShownRoute[], device: string): string | undefined {
  let best: { readonly way: string; readonly length: number; readonly metric: number } | undefined;
  for (const route of routes) {
    if (route.protocol === PIN_PROTOCOL || (route.type ?? "unicast") !== "unicast") continue;
    const hop = route.dev === undefined ? route.nexthops?.[0] : route;
    if (hop?.dev === undefined || hop.dev === device) continue;
    const length = lengthOf(route.dst);
    const metric = route.metric ?? 0;
    if (best !== undefined && (length < best.length || (length === best.length && metric >= best.metric))) continue;
    const { gateway, via } = hop;
    const over = gateway !== undefined ? `via ${gateway} ` : via === undefined ? "" : `via ${via.family} ${via.host} `;
    best = { way: `${over}dev ${hop.dev}`, length, metric };
  }
  return best?.way;
}

/** "default" or "10.0.0.0/8" or "192.0.2.1". */
function lengthOf(dst: string): number {
  if (dst === "default") return 0;
  return parsePrefix(dst)?.length ?? 0;
}

export interface PinTools {
  /** Runs `ip` with these words; its standard output. Rejects with its complaint. */
  ip(words: readonly string[]): Promise<string>;
}

/** See HostNetwork.pin. */
export async function pinRoute(
  { ip }: PinTools,
  address: string,
  device: string,
  told: (way: string) => void,
): Promise<() => Promise<void>> {
  const family = address.includes(":") ? "-6" : "-4";
  const host = `${address}/${address.includes(":") ? 128 : 32}`;
  let way: string | undefined;
  let ended = false;

  const follow = async (): Promise<void> => {
    const shown = JSON.parse((await ip(["-j", "-N", family, "route", "show", "match", host])) || "[]") as ShownRoute[];
    const best = bestWay(shown, device);
    // Without another way the old one is as good as any.
    if (best === undefined || ended) return;
    const ours = shown.some(({ protocol }) => protocol === PIN_PROTOCOL);
    if (best === way && ours) return;
    await ip([family, "route", "replace", host, ...best.split(" "), "protocol", PIN_PROTOCOL]);
    const isNew = best !== way;
    way = best;
    if (isNew) told(`${host} ${best}`);
  };

  await follow();
  if (way === undefined) throw new Error("no route leads there");
  // Two at a time could end in the wrong order.
  let running = Promise.resolve();
  const watch = watchRoutes(() => {
    running = running.then(follow).catch(() => {});
  });
  return async () => {
    ended = true;
    watch.stop();
    await running;
    await ip([family, "route", "del", host, "protocol", PIN_PROTOCOL]);
  };
}

/** Calls `changed` soon after links, addresses or routes of this host have changed. */
function watchRoutes(changed: () => void): { stop(): void } {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let child: ReturnType<typeof spawn>;
  const soon = (ms: number, act: () => void) => {
    if (timer === undefined && !stopped)
      timer = setTimeout(() => {
        timer = undefined;
        act();
      }, ms);
  };
  const start = () => {
    child = spawn("ip", ["monitor", "link", "address", "route"], { stdio: ["ignore", "pipe", "ignore"] });
    child.stdout?.on("data", () => soon(SETTLE_MS, changed));
    child.on("error", () => {});
    // Something may have changed while nobody looked.
    child.on("close", () =>
      soon(RESTART_MS, () => {
        start();
        changed();
      }),
    );
  };
  start();
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
      child.kill();
    },
  };
}

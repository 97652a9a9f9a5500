/**
 * What is wanted of a host beside what its kernel has: is it there, may it be there, what goes beside the tunnel. Pure. The
 * rule of overlaps is in docs/OPERATIONS.md, "Networks that overlap".
 */
import { formatAddress, parseAddress } from "../../base/ip.ts";
import { contains, formatPrefix, mask, overlap, type Prefix, parsePrefix } from "../../base/prefix.ts";
import type { HostFacts, HostItem, HostRoute } from "../spec/ports.ts";

/** As an item, but that the way of a pin is what the host's other routes say. */
export type Wish =
  | Exclude<HostItem, { kind: "pin" }>
  | {
      readonly kind: "pin";
      /** "203.0.113.1/32". */
      readonly prefix: string;
      /** The host sends on another way now. */
      readonly moved: () => void;
    };

export const familyOfPrefix = (prefix: string): 4 | 6 => (prefix.includes(":") ? 6 : 4);

/** Undefined: of the host as a whole. */
export function familyOfWish(wish: Wish | HostItem): 4 | 6 | undefined {
  if (wish.kind === "link") return undefined;
  return familyOfPrefix(wish.kind === "address" ? wish.address : wish.prefix);
}

/** The network that an address with prefix length is in: "10.9.0.1/24" gives 10.9.0.0/24. None for a host's own length. */
export function networkOf(address: string): string[] {
  const prefix = parsePrefix(address)!;
  return prefix.length >= (prefix.family === 4 ? 31 : 127) ? [] : [formatPrefix(prefix)];
}

/** Tells wishes apart. */
export function wishKey(wish: Wish | HostItem): string {
  if (wish.kind === "link") return "link";
  return `${wish.kind} ${wish.kind === "address" ? wish.address : wish.prefix}`;
}

/** What it is, for people. `way`: of a pin. */
export function sentence(wish: Wish, device: string, way: string | undefined): string {
  switch (wish.kind) {
    case "link":
      return `device ${device}: mtu ${wish.mtuBytes}, up`;
    case "address":
      return `address ${wish.address} on ${device}`;
    case "route":
      return `route ${wish.prefix} via ${device}`;
    case "unreachable":
      return `kill switch: ${wish.prefix} unreachable outside the tunnel`;
    case "pin":
      return `host route ${wish.prefix}${way === undefined ? "" : ` ${way}`}`;
  }
}

const isOwn = (route: HostRoute, device: string): boolean => route.own || route.device === device;

/** Link-local and multicast networks are on every device. */
const isEverywhere = (prefix: string): boolean => /^(fe80:|ff00:|224\.|169\.254\.)/.test(prefix);

/** Whether packets of a family could leave this host by another device than ours. */
export const hasFamily = (facts: HostFacts, family: 4 | 6, device: string): boolean =>
  facts.routes.some(
    (route) =>
      route.type === "unicast" &&
      familyOfPrefix(route.prefix) === family &&
      route.device !== "lo" &&
      !isOwn(route, device) &&
      !isEverywhere(route.prefix),
  );

/** The route of others that packets to `address` take: the longest prefix, then the lowest metric. */
export function bestWay(routes: readonly HostRoute[], address: string, device: string): HostRoute | undefined {
  const to = parsePrefix(address)!;
  let best: { readonly route: HostRoute; readonly length: number } | undefined;
  for (const route of routes) {
    if (route.type !== "unicast" || route.device === "" || isOwn(route, device)) continue;
    const { length, ...prefix } = parsePrefix(route.prefix)!;
    if (!contains({ ...prefix, length }, to.w0, to.w1, to.w2, to.w3)) continue;
    if (best !== undefined && (length < best.length || (length === best.length && route.metric >= best.route.metric)))
      continue;
    best = { route, length };
  }
  return best?.route;
}

/** Canonical "address/length" of a pool or a kernel: host bits stay. */
const sameAddress = (a: string, b: string): boolean => {
  const [x, y] = [a, b].map((text) => parseAddress(text.split("/")[0]));
  return (
    x?.w0 === y?.w0 && x?.w1 === y?.w1 && x?.w2 === y?.w2 && x?.w3 === y?.w3 && a.split("/")[1] === b.split("/")[1]
  );
};

export function isThere(wish: Wish, facts: HostFacts, device: string): boolean {
  switch (wish.kind) {
    case "link":
      return facts.device?.up === true && (wish.mtuMayChange === true || facts.device.mtuBytes === wish.mtuBytes);
    case "address":
      return facts.device?.addresses.some((address) => sameAddress(address, wish.address)) ?? false;
    case "route":
      return facts.routes.some((r) => r.prefix === wish.prefix && r.device === device && r.type === "unicast");
    case "unreachable":
      return facts.routes.some((r) => r.own && r.type === "nowhere" && r.prefix === wish.prefix);
    case "pin": {
      const best = bestWay(facts.routes, wish.prefix, device);
      if (best === undefined) return false;
      // Somebody else's host route does the same, as long as it is there.
      if (best.prefix === wish.prefix) return true;
      return facts.routes.some((r) => r.own && r.prefix === wish.prefix && r.way === best.way);
    }
  }
}

/**
 * Why the host must not get it: a network that the host has already, or is connected to. Undefined: nothing is against it.
 * A wider route over a gateway is no overlap, and of a narrower one nothing is taken away.
 */
export function overlapOf(wish: Wish, facts: HostFacts, device: string): string | undefined {
  if ((wish.kind !== "route" && wish.kind !== "address") || ("network" in wish && wish.network)) return undefined;
  const own = parsePrefix(wish.kind === "route" ? wish.prefix : wish.address.split("/")[0])!;
  for (const route of facts.routes) {
    if (route.type !== "unicast" || isOwn(route, device) || isEverywhere(route.prefix)) continue;
    const other = parsePrefix(route.prefix)!;
    const isInside = other.family === own.family && other.length <= own.length && overlap(other, own);
    if (!isInside || other.length === 0) continue;
    const isSame = wish.kind === "route" && other.length === own.length;
    if (!isSame && !route.direct) continue;
    const what = isSame
      ? route.prefix
      : `${wish.kind === "route" ? wish.prefix : wish.address} lies in ${route.prefix}, which`;
    const has = route.direct ? `is the network of ${route.device}` : `has a route of this host already, ${route.way}`;
    return `${what} ${has}: give one of the two networks another prefix, or list in routes of the service what is to go into the tunnel without it`;
  }
  return undefined;
}

/** Networks of the host inside of what goes into the tunnel: they stay where they are. */
export function besideOf(routes: readonly string[], facts: HostFacts, device: string): string[] {
  const wished = routes.map((text) => parsePrefix(text)!);
  return facts.routes.flatMap((route) => {
    if (route.type !== "unicast" || isOwn(route, device) || isEverywhere(route.prefix)) return [];
    const prefix = parsePrefix(route.prefix)!;
    return wished.some((wish) => wish.length < prefix.length && overlap(wish, prefix))
      ? [`${route.prefix} ${route.way}`]
      : [];
  });
}

/** An address of the prefix for the question where its packets go: in the middle, because ends are often special. */
export function sampleOf(text: string): string {
  const prefix: Prefix = parsePrefix(text)!;
  const width = prefix.family === 4 ? 32 : 128;
  const words = [prefix.w0, prefix.w1, prefix.w2, prefix.w3];
  // The highest host bit, and the last one where there is room for both.
  if (prefix.length < width) {
    const bit = prefix.length + (128 - width);
    words[bit >> 5] |= mask(1, 0) >>> (bit & 31);
    if (width - prefix.length > 1) words[3] |= 1;
  }
  return formatAddress(words[0], words[1], words[2], words[3]);
}

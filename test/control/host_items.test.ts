/** What is wanted of a host beside what its kernel has: ways, overlaps, what stays beside the tunnel. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseAddress } from "../../src/base/ip.ts";
import { contains, parsePrefix } from "../../src/base/prefix.ts";
import {
  besideOf,
  bestWay,
  hasFamily,
  isThere,
  overlapOf,
  sampleOf,
  type Wish,
} from "../../src/control/host/host_items.ts";
import type { HostFacts, HostRoute } from "../../src/control/spec/ports.ts";

const route = (prefix: string, way: string, more: Partial<HostRoute> = {}): HostRoute => ({
  ...{ prefix, way, type: "unicast", metric: 0, own: false },
  device: /dev (\S+)/.exec(way)![1],
  direct: !way.startsWith("via"),
  ...more,
});
const default0 = route("0.0.0.0/0", "via 192.0.2.254 dev eth0");
const facts = (...routes: HostRoute[]): HostFacts => ({ device: undefined, ipv6Off: false, rules: [], routes });

test.each<[string, HostRoute[], string | undefined]>([
  ["nothing", [], undefined],
  ["the default route", [default0], "via 192.0.2.254 dev eth0"],
  ["the longer prefix", [default0, route("203.0.113.0/24", "dev eth1")], "dev eth1"],
  [
    "a host route of somebody else",
    [route("203.0.113.0/24", "dev eth1"), route("203.0.113.1/32", "dev eth2")],
    "dev eth2",
  ],
  [
    "the lower metric",
    [route("0.0.0.0/0", "dev wlan0", { metric: 600 }), route("0.0.0.0/0", "dev eth0", { metric: 100 })],
    "dev eth0",
  ],
  ["no metric before any", [route("0.0.0.0/0", "dev wlan0", { metric: 1 }), default0], "via 192.0.2.254 dev eth0"],
  ["not the tunnel", [default0, route("203.0.0.0/8", "dev tun0")], "via 192.0.2.254 dev eth0"],
  ["not its own", [default0, route("203.0.113.1/32", "dev eth1", { own: true })], "via 192.0.2.254 dev eth0"],
  [
    "not where nothing goes",
    [default0, route("203.0.0.0/8", "dev lo", { type: "nowhere" })],
    "via 192.0.2.254 dev eth0",
  ],
  ["not another family", [route("::/0", "dev eth0")], undefined],
])("the way to an outer address: %s", (_, routes, way) => {
  for (const order of [routes, routes.toReversed()]) expect(bestWay(order, "203.0.113.1/32", "tun0")?.way).toBe(way);
});

const lan = "192.0.2.0/24";
const routed = (prefix: string): Wish => ({ kind: "route", device: "tun0", prefix });
test.each<[string, Wish, HostRoute, RegExp | undefined]>([
  ["everything, and a default route", routed("0.0.0.0/1"), default0, undefined],
  [
    "a network inside of a wider route over a gateway",
    routed("10.9.0.0/24"),
    route("10.0.0.0/8", "via 192.0.2.7 dev eth0"),
    undefined,
  ],
  ["a wide network around a narrower one of the host", routed("192.0.0.0/8"), route(lan, "dev eth0"), undefined],
  ["another family", routed("::/1"), default0, undefined],
  ["somewhere else", routed("198.51.100.0/24"), route(lan, "dev eth0"), undefined],
  ["our own device", routed(lan), route(lan, "dev tun0"), undefined],
  ["link-local networks", routed("fe80::/64"), route("fe80::/64", "dev eth0"), undefined],
  [
    "the network of the host",
    routed(lan),
    route(lan, "dev eth0"),
    /^192\.0\.2\.0\/24 is the network of eth0: give one/,
  ],
  [
    "a part of it",
    routed("192.0.2.64/26"),
    route(lan, "dev eth0"),
    /^192\.0\.2\.64\/26 lies in 192\.0\.2\.0\/24, which is the network of eth0/,
  ],
  [
    "the same route over a gateway",
    routed("10.0.0.0/8"),
    route("10.0.0.0/8", "via 192.0.2.7 dev eth0"),
    /^10\.0\.0\.0\/8 has a route of this host already, via 192\.0\.2\.7 dev eth0: /,
  ],
  [
    "an inner address in the network of the host",
    { kind: "address", device: "tun0", address: "192.0.2.5/32" },
    route(lan, "dev eth0"),
    /^192\.0\.2\.5\/32 lies in 192\.0\.2\.0\/24, which is the network of eth0/,
  ],
  [
    "an inner address behind a gateway",
    { kind: "address", device: "tun0", address: "192.0.2.5/32" },
    route(lan, "via 198.51.100.1 dev eth0"),
    undefined,
  ],
  [
    "IPv6 alike",
    routed("2001:db8:1::/64"),
    route("2001:db8:1::/64", "dev eth0"),
    /^2001:db8:1::\/64 is the network of eth0/,
  ],
  ["a kill switch takes nothing away", { kind: "unreachable", prefix: lan }, route(lan, "dev eth0"), undefined],
])("overlap: %s", (_, wish, other, said) => {
  const found = overlapOf(wish, facts(default0, other), "tun0");
  if (said === undefined) expect(found).toBeUndefined();
  else expect(found).toMatch(said);
});

test("what is narrower than the tunnel's routes stays beside it, and is named", () => {
  const routes = [
    default0,
    route(lan, "dev eth0"),
    route("10.0.0.0/8", "via 192.0.2.7 dev eth0"),
    route("fe80::/64", "dev eth0"),
  ];
  expect(besideOf(["0.0.0.0/1", "128.0.0.0/1"], facts(...routes), "tun0")).toEqual([
    "192.0.2.0/24 dev eth0",
    "10.0.0.0/8 via 192.0.2.7 dev eth0",
  ]);
  expect(besideOf(["10.9.0.0/24"], facts(...routes), "tun0")).toEqual([]);
});

test("a family is there when packets of it can leave beside us", () => {
  const local = [route("fe80::/64", "dev eth0"), route("ff00::/8", "dev eth0"), route("::1/128", "dev lo")];
  const own = [route("::/1", "dev tun0"), route("8000::/1", "dev lo", { type: "nowhere", own: true })];
  expect(hasFamily(facts(default0, ...local, ...own), 6, "tun0")).toBe(false);
  expect(hasFamily(facts(default0), 4, "tun0")).toBe(true);
  expect(hasFamily(facts(route("2001:db8::/64", "dev eth0")), 6, "tun0")).toBe(true);
});

test("the sample of a prefix is inside of it, and of no narrower one at its edges", () => {
  const prefixes = fc.oneof(
    fc.tuple(fc.ipV4(), fc.nat(32)).map(([a, n]) => `${a}/${n}`),
    fc.tuple(fc.nat(0xffff), fc.nat(128)).map(([a, n]) => `${a.toString(16)}:db8::7/${n}`),
  );
  fc.assert(
    fc.property(prefixes, (text) => {
      const prefix = parsePrefix(text)!;
      const { w0, w1, w2, w3 } = parseAddress(sampleOf(text))!;
      expect(contains(prefix, w0, w1, w2, w3)).toBe(true);
    }),
  );
  expect(["0.0.0.0/1", "128.0.0.0/1", "::/1", "10.9.0.0/24", "203.0.113.1/32"].map(sampleOf)).toEqual([
    "64.0.0.1",
    "192.0.0.1",
    "4000::1",
    "10.9.0.129",
    "203.0.113.1",
  ]);
});

test("a default MTU is only a beginning: one that somebody sets by hand stays; one that was named does not", () => {
  const host = (mtuBytes: number, up = true): HostFacts => ({ ...facts(), device: { up, mtuBytes, addresses: [] } });
  const link = (mtuMayChange: boolean): Wish => ({
    ...{ kind: "link", device: "tap0", mtuBytes: 1400, linkLocal: false, mtuMayChange },
  });
  expect(isThere(link(true), host(1508), "tap0")).toBe(true);
  expect(isThere(link(false), host(1508), "tap0")).toBe(false);
  for (const mayChange of [true, false]) {
    expect(isThere(link(mayChange), host(1400), "tap0")).toBe(true);
    expect(isThere(link(mayChange), host(1400, false), "tap0")).toBe(false);
  }
});

/** Which way the pinned route takes, from what `ip -j -N route show match` says. */
import { expect, test } from "vitest";
import { bestWay, PIN_PROTOCOL, pinRoute, type ShownRoute } from "../../src/drivers/pinned_route.ts";

const route = (dst: string, dev: string, more: Partial<ShownRoute> = {}): ShownRoute => ({ dst, dev, ...more });
const default0 = route("default", "eth0", { gateway: "192.0.2.254" });

test.each<[string, ShownRoute[], string | undefined]>([
  ["nothing", [], undefined],
  ["the default route", [default0], "via 192.0.2.254 dev eth0"],
  ["the longer prefix", [default0, route("203.0.113.0/24", "eth1")], "dev eth1"],
  ["a host route of somebody else", [route("203.0.113.0/24", "eth1"), route("203.0.113.1", "eth2")], "dev eth2"],
  [
    "the lower metric",
    [route("default", "wlan0", { metric: 600 }), route("default", "eth0", { metric: 100 })],
    "dev eth0",
  ],
  ["no metric before any", [route("default", "wlan0", { metric: 1 }), default0], "via 192.0.2.254 dev eth0"],
  ["not the tunnel", [default0, route("203.0.0.0/8", "tun0")], "via 192.0.2.254 dev eth0"],
  ["not its own", [default0, route("203.0.113.1", "eth1", { protocol: PIN_PROTOCOL })], "via 192.0.2.254 dev eth0"],
  [
    "not where nothing goes",
    [default0, { type: "unreachable", dst: "203.0.0.0/8", dev: "lo" }],
    "via 192.0.2.254 dev eth0",
  ],
  [
    "the first of several hops",
    [{ dst: "default", nexthops: [{ gateway: "192.0.2.3", dev: "eth3" }, { dev: "eth4" }] }],
    "via 192.0.2.3 dev eth3",
  ],
  [
    "IPv4 over an IPv6 hop",
    [route("default", "eth0", { via: { family: "inet6", host: "2001:db8::9" } })],
    "via inet6 2001:db8::9 dev eth0",
  ],
  [
    "IPv6",
    [route("default", "eth0", { gateway: "2001:db8::1", metric: 1024 }), route("2001:db8:3::/64", "eth1")],
    "dev eth1",
  ],
])("%s", (_, routes, way) => {
  expect(bestWay(routes, "tun0")).toBe(way);
  expect(bestWay(routes.toReversed(), "tun0")).toBe(way);
});

test("without a way it says so, and changes nothing", async () => {
  const asked: string[] = [];
  const ip = async (words: readonly string[]) => {
    asked.push(words.join(" "));
    return "[]";
  };
  await expect(pinRoute({ ip }, "203.0.113.1", "tun0", () => {})).rejects.toThrow("no route leads there");
  expect(asked).toEqual(["-j -N -4 route show match 203.0.113.1/32"]);
});

/** The pure parts around a measurement: processor ticks, progress, errors for publication, sizes of the growth part. */
import { describe, expect, it } from "vitest";
import { choosePeers, shortened } from "../../src/bench/end_to_end.ts";
import { sizes } from "../../src/bench/growth.ts";
import { ticksOf } from "../../src/bench/peers.ts";
import { routeAddress } from "../../src/bench/plane_bench.ts";
import { formatSeconds, Progress } from "../../src/bench/progress.ts";

describe("processor ticks of /proc/PID/stat", () => {
  const stat = (name: string) => `4711 (${name}) S 1 2 3 0 -1 4194304 100 0 0 0 250 50 7 9 20 0 11 0 999 1 2 3`;

  it.each(["fastd", "tmux: server", "a) S 1 2 (b", ") ) ("])("counts fields behind the name %j", (name) => {
    expect(ticksOf(stat(name))).toBe(300);
  });
});

describe("progress", () => {
  it("expects what is left at the pace so far", () => {
    let now = 5000;
    const said: string[] = [];
    const progress = new Progress(
      100,
      () => now,
      (line) => void said.push(line),
    );
    expect(progress.remaining()).toBe(100);
    now += 20_000;
    progress.step(10, "one");
    now += 20_000;
    progress.step(10, "two");
    expect(said).toEqual(["one  (3 min 00 s left)", "two  (2 min 40 s left)"]);
    progress.step(90, "more than was expected");
    expect(progress.remaining()).toBe(0);
  });

  it.each([
    [0.4, "0 s"],
    [59.4, "59 s"],
    [59.6, "1 min 00 s"],
    [125, "2 min 05 s"],
  ])("writes %d seconds as %s", (seconds, text) => expect(formatSeconds(seconds)).toBe(text));
});

describe("an error for publication", () => {
  it("is one line without the paths of this machine", () => {
    expect(shortened("ended with code 2: /srv/some where/x.node\n  at file:///home/me/dist/a.js:3:4")).toBe(
      "ended with code 2: some where/x.node at a.js:3:4",
    );
    expect(shortened("x".repeat(1000))).toHaveLength(200);
  });
});

describe("the growth part", () => {
  it("has every number of tunnels and routes, smallest first, and a route for each tunnel", () => {
    const all = sizes();
    expect(all[0]).toEqual({ tunnels: 1, routes: 1 });
    for (const tunnels of [1, 100, 10_000]) expect(all).toContainEqual({ tunnels, routes: 100_000 });
    for (const routes of [1, 1000, 100_000]) expect(all).toContainEqual({ tunnels: 1, routes });
    expect(all.every((size) => size.routes >= size.tunnels)).toBe(true);
    expect(new Set(all.map((size) => `${size.tunnels} ${size.routes}`)).size).toBe(all.length);
  });

  it("gives each route an address of its own in 10.0.0.0/8", () => {
    const addresses = new Set(Array.from({ length: 100_000 }, (_, r) => routeAddress(r)));
    expect(addresses.size).toBe(100_000);
    expect([...addresses].every((address) => address >>> 24 === 10)).toBe(true);
  });
});

describe("peers", () => {
  it("are chosen by name, in the order of the report", () => {
    expect(choosePeers(["ours", "raw"], () => {}).map((peer) => peer.name)).toEqual(["raw", "ours"]);
  });
  it("that do not exist are named", () => {
    expect(() => choosePeers(["raw", "nobody"], () => {})).toThrow(/no peer "nobody".*wireguard-go/);
  });
});

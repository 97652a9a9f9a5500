/**
 * What a client asked of its host against what somebody else does to it: real daemons, a real kernel, `ip` and `sysctl` in
 * the hands of others. What was removed is set again, or the client says that it does not protect.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Health, healthSchema, type ServiceStatus, type Status, statusSchema } from "../../src/api/contract.ts";
import type { Namespace, Output, Program } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { whyNoNetns } from "../support/netns.ts";
import { INNER_NODE, POOL, SessionPair, until } from "./session_pair.ts";

const why = whyNoNetns({ tun: true, programs: ["ping", "curl"] });
const LAN = "192.168.77.0/24";

describe.skipIf(why !== undefined)(`a client's host${why === undefined ? "" : ` (${why})`}`, () => {
  let world: SessionPair;
  let host: Namespace;
  let original = "";
  const programs: Program[] = [];

  beforeAll(async () => {
    world = await SessionPair.create("host");
    host = world.pair.right;
    await world.invite("anna");
    world.change("anna", (text) => {
      original = text;
      return text;
    });
    await world.startNode();
    await host.ip("route", "add", "default", "via", "192.0.2.1");
    await host.ip("-6", "route", "add", "default", "via", "2001:db8::1");
  });
  afterAll(() => world?.close());
  afterEach(async () => {
    await Promise.all(programs.splice(0).map((program) => program.stop("SIGKILL")));
    // What a test that failed would leave to the next.
    await host.run(["ip", "rule", "del", "pref", "100"]);
    await host.run(["ip", "link", "del", "lan0"]);
    await host.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0"]);
    await host.run(["ip", "addr", "replace", "2001:db8::2/64", "dev", "eth0", "nodad"]);
    await host.run(["ip", "-6", "route", "replace", "default", "via", "2001:db8::1"]);
  });

  const start = async (change: (text: string) => string = (text) => text): Promise<Program> => {
    world.change("anna", () => change(original));
    const client = await world.startClient("anna");
    programs.push(client);
    return client;
  };
  const ask = (...words: string[]): Promise<Output> => host.run([ANYHOP, ...words, "--socket", world.socket("anna")]);
  const status = async (): Promise<Status> => statusSchema.parse(JSON.parse((await ask("status", "--json")).stdout));
  const service = async (): Promise<ServiceStatus> => (await status()).services[0];
  const health = async (): Promise<Health> => {
    const url = "http://localhost/v1/health";
    const { stdout } = await host.run(["curl", "-s", "--unix-socket", world.socket("anna"), url]);
    return healthSchema.parse(JSON.parse(stdout));
  };
  const passes = async () => (await world.pings(host, INNER_NODE.v4)) && (await world.pings(host, INNER_NODE.v6));
  /** As of one answer; the exit code says the same. */
  const isProtected = async (): Promise<boolean> => {
    const { code, stdout } = await ask("status", "--json");
    const [one] = statusSchema.parse(JSON.parse(stdout)).services;
    expect(code).toBe(one.hostProblems.length > 0 ? 3 : 0);
    expect(one.protected).toBe(!one.hostProblems.some(({ leaks }) => leaks));
    return one.protected;
  };
  /** Nobody is told that all is well while it is not: while nothing changes, text, exit code and health say the same. */
  const allSay = async (what: "protected" | "NOT protected"): Promise<void> => {
    const { code, stdout } = await ask("status");
    expect(stdout).toContain(what === "protected" ? "  protected: " : "  NOT protected since ");
    expect(code).toBe(what === "protected" ? 0 : 3);
    expect(await health()).toMatchObject({ ok: what === "protected" });
    expect(await isProtected()).toBe(what === "protected");
  };
  const routes = async () => `${await host.ip("-4", "route")}${await host.ip("-6", "route")}`.replace(/ +$/gm, "");

  test("whatever somebody removes from the device is there again, counted and shown with its time", async () => {
    const client = await start();
    const { device } = await service();
    const restored = async () => {
      const list = (await service()).host;
      return Object.fromEntries(list.filter((one) => one.restored > 0).map(({ what, restored }) => [what, restored]));
    };
    expect(await restored()).toEqual({});
    const v4 = [`address 10.9.0.2/32 on ${device}`, `route ${POOL[0]} via ${device}`];
    const v6 = [`address 2001:db8:9::2/128 on ${device}`, `route ${POOL[1]} via ${device}`];
    const link = `device ${device}: mtu 1400, up`;
    const [route4, route6] = [v4[1], v6[1]];
    const steps: [string[], string[]][] = [
      [["route", "del", POOL[0], "dev", device], [route4]],
      [["-6", "route", "del", POOL[1], "dev", device], [route6]],
      [
        ["addr", "flush", "dev", device],
        // The kernel takes the routes of IPv4 along.
        [...v4, v6[0]],
      ],
      [
        ["link", "set", device, "down"],
        [link, route4, ...v6],
      ],
      [["link", "set", device, "mtu", "1300"], [link]],
    ];
    for (const [words, lost] of steps) {
      const before = await restored();
      await host.ip(...words);
      const isCounted = async () => {
        const now = await restored();
        return lost.every((what) => (now[what] ?? 0) > (before[what] ?? 0));
      };
      await until(`${words.join(" ")} was noticed and undone`, isCounted, [client]);
      await until("packets pass", passes, [client]);
    }
    await until("all of it is counted", async () => Object.keys(await restored()).length === 5, [client]);
    for (const one of (await service()).host) {
      expect(one.state, one.what).toBe("restored");
      expect(one.restoredMs).toBeGreaterThan(0);
    }
    expect(client.output).toContain("was removed by somebody, and is set again");
    expect((await ask("status")).stdout).toMatch(
      /route 10\.9\.0\.0\/24 via tun\d+ \(removed by somebody and set again \d times?, last /,
    );
    await allSay("protected");
    await client.stop();
    expect(client.exitCode).toBe(0);
  });

  test("who removes a route for ever does not keep it busy: the rate is bounded, and it says NOT protected", async () => {
    const client = await start();
    const { device } = await service();
    const script = `for n in $(seq 400); do ip route del ${POOL[0]} dev ${device} 2>/dev/null; sleep 0.05; done`;
    const enemy = host.start(["sh", "-c", script]);
    programs.push(enemy);
    await until("it gives up for now, and says so", async () => {
      const problem = (await service()).hostProblems.find(({ text }) => text.startsWith(POOL[0]));
      return problem?.leaks === true && /removes it again and again, it was set again \d+ times/.test(problem.text);
    }, [client]);
    await enemy.stop("SIGKILL");
    await until("it is there again when nobody fights any more", async () => await isProtected(), [client]);
    expect((await service()).host.find(({ what }) => what.startsWith(`route ${POOL[0]}`))!.restored).toBeLessThan(60);
    await client.stop();
  });

  test("a rule that leads packets beside the tunnel: NOT protected, with the rule, until it is gone", async () => {
    const client = await start((text) => text.replace(/routes = .*/, 'routes = ["default"]'));
    expect(await isProtected()).toBe(true);
    expect((await service()).beside).toContain("192.0.2.0/24 dev eth0");
    await host.ip("route", "add", "default", "via", "192.0.2.1", "table", "77");
    await host.ip("rule", "add", "pref", "100", "lookup", "77");
    await until("it is seen", async () => !(await isProtected()), [client]);
    await allSay("NOT protected");
    const [problem] = (await service()).hostProblems;
    expect(problem.text).toMatch(
      /^0\.0\.0\.0\/1, 128\.0\.0\.0\/1: packets leave this host in clear; .*rule 100 lookup 77/,
    );
    await host.ip("rule", "del", "pref", "100");
    await until("it is seen, too", isProtected, [client]);
    await client.stop();
  });

  test.each([false, true])("no IPv6 on the device while the host has it, kill switch %s", async (killSwitch) => {
    const before = await routes();
    // New devices have none, eth0 has: what is to go into the tunnel could leave there.
    await host.run(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
    const client = await start((text) =>
      text.replace(
        /routes = .*/,
        `routes = ["default"]
kill_switch = ${killSwitch}`,
      ),
    );
    await host.run(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=0"]);
    const { device } = await service();
    expect(await world.pings(host, INNER_NODE.v4)).toBe(true);
    const leaves = async () =>
      (await host.run(["ip", "-6", "route", "get", "2001:db8:ffff::1"])).stdout.includes("eth0");
    expect(await leaves()).toBe(!killSwitch);
    expect((await service()).protected).toBe(killSwitch);
    const { code, stdout } = await ask("status");
    expect(code).toBe(3);
    const said = killSwitch
      ? /::\/1.*: missing; IPv6 is off on tun/
      : /NOT protected since [\s\S]*::\/1, 8000::\/1: packets leave this host in clear; IPv6 is off on tun/;
    expect(stdout).toMatch(said);
    expect(stdout.includes("NOT protected")).toBe(!killSwitch);
    // What is missing is set as soon as it can be.
    await host.run(["sysctl", "-qw", `net.ipv6.conf.${device}.disable_ipv6=0`]);
    await host.ip("link", "set", device, "down");
    await until("IPv6 is in the tunnel", async () => (await ask("status")).code === 0 && (await passes()), [client]);
    expect(await leaves()).toBe(false);
    await client.stop();
    expect(await routes()).toBe(before);
  });

  test("no IPv6 on the whole host: IPv4 is protected, IPv6 is left out and that is said", async () => {
    await host.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]);
    const client = await start((text) => text.replace(/routes = .*/, 'routes = ["default"]'));
    expect(await world.pings(host, INNER_NODE.v4)).toBe(true);
    await allSay("protected");
    const states = new Set((await service()).host.filter(({ what }) => what.includes("::")).map(({ state }) => state));
    expect([...states]).toEqual(["left_out"]);
    expect(client.output).toMatch(/route ::\/1 via tun\d+ is left out: IPv6 is off/);
    // IPv6 comes back, but not for the tunnel.
    await host.run(["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0"]);
    await host.ip("addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad");
    await until("it is seen", async () => !(await isProtected()), [client]);
    await client.stop();
  });

  test("a network of the host that is the tunnel's, too, keeps its route: at start, after a crash, when it comes later", async () => {
    await host.ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan1");
    for (const name of ["lan0", "lan1"]) await host.ip("link", "set", name, "up");
    const change = (text: string) =>
      text.replace(/routes = .*/, `routes = ["${LAN}", "10.0.0.0/8", "2001:db8:9::/64"]`);
    const lan = async () => (await host.ip("route", "show", LAN)).trim();
    await host.ip("addr", "add", "192.168.77.9/24", "dev", "lan0");
    const own = await lan();
    expect(own).toMatch(/dev lan0 proto kernel/);
    for (const signal of ["SIGKILL", "SIGTERM"] as const) {
      const client = await start(change);
      expect(await lan()).toBe(own);
      expect((await ask("status")).stdout).toMatch(
        /NOT protected since [\s\S]*192\.168\.77\.0\/24: packets leave this host in clear; 192\.168\.77\.0\/24 is the network of lan0: give one/,
      );
      await allSay("NOT protected");
      // Only what overlaps is refused.
      expect(await passes()).toBe(true);
      await client.stop(signal);
      expect(await lan()).toBe(own);
    }
    // It comes while the tunnel has it: the tunnel gives way.
    await host.ip("addr", "flush", "dev", "lan0");
    const client = await start(change);
    expect(await isProtected()).toBe(true);
    expect(await lan()).toMatch(/^192\.168\.77\.0\/24 dev tun\d+/);
    await host.ip("addr", "add", "192.168.77.9/24", "dev", "lan0");
    await until("the tunnel gives way", async () => (await lan()) === own, [client]);
    await until("and says so", async () => !(await isProtected()), [client]);
    // A network inside of a wider route stays beside the tunnel, and no harm is done.
    await host.ip("addr", "flush", "dev", "lan0");
    await host.ip("addr", "add", "10.5.0.1/16", "dev", "lan0");
    await until("all of it", isProtected, [client]);
    expect((await service()).beside).toContain("10.5.0.0/16 dev lan0");
    expect(await host.ip("route", "get", "10.5.0.7")).toContain("dev lan0");
    await client.stop();
  });

  test("a network of the node's host that is its pool, too, is said; a route to the pool that somebody removed is set again", async () => {
    const node = world.pair.left;
    const status = () => world.cli("status");
    const isWhole = async () => (await status()).code === 0;
    expect(await isWhole()).toBe(true);
    try {
      await node.ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan1");
      for (const name of ["lan0", "lan1"]) await node.ip("link", "set", name, "up");
      await node.ip("addr", "add", "10.9.0.77/24", "dev", "lan0");
      // As if it had been there first: packets take the first of two equal routes.
      await node.ip("route", "del", POOL[0], "dev", "lan0");
      await node.ip("route", "prepend", POOL[0], "dev", "lan0", "proto", "kernel");
      const said =
        /! route 10\.9\.0\.0\/24 via tun0: missing since .*; packets to 10\.9\.0\.129 leave by lan0, not through the tunnel: give one /;
      await until("it is said", async () => said.test((await status()).stdout));
      expect((await status()).code).toBe(3);
      // Nobody takes the other network its route.
      expect(await node.ip("route", "show", POOL[0], "dev", "lan0")).toContain("proto kernel");
    } finally {
      await node.run(["ip", "link", "del", "lan0"]);
    }
    await until("all is well", isWhole);
    await node.ip("route", "del", POOL[0], "dev", "tun0");
    await until("it is there again", async () => (await node.ip("route", "show", POOL[0])).includes("dev tun0"));
    await until("it is counted", async () =>
      /route 10\.9\.0\.0\/24 via tun0 \(removed by somebody and set again \d/.test((await status()).stdout),
    );
    await node.ip("link", "set", "tun0", "down");
    await until("all is well again", async () => (await isWhole()) && (await node.ip("route", "show", POOL[0])) !== "");
  });
});

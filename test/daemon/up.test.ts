/** `anyhop up` as people meet it: it says what came up, or why it did not, and leaves nothing behind that is not up. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { must, type Output, type Program, run } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { whyNoNetns } from "../support/netns.ts";
import { INNER_NODE, SessionPair, until } from "./session_pair.ts";

const why = whyNoNetns({ tun: true, programs: ["ping"] });

describe.skipIf(why !== undefined)(`anyhop up${why === undefined ? "" : ` (${why})`}`, () => {
  let world: SessionPair;
  let node: Program;
  let original: string;
  const words = (...more: string[]) => [
    ...[ANYHOP, "up", world.file("anna"), "-L", `file:5,${world.dir}/anna.log`],
    ...more,
  ];
  const up = (...more: string[]): Promise<Output> => world.pair.right.run(words(...more));
  /** Processes in the client's namespace. */
  const running = () => execFileSync("ip", ["netns", "pids", world.pair.right.name], { encoding: "utf8" }).trim();
  const ask = (...more: string[]) => world.pair.right.run([ANYHOP, ...more, "--socket", world.socket("anna")]);

  beforeAll(async () => {
    world = await SessionPair.create("up");
    await world.invite("anna");
    await world.invite("gone");
    original = readFileSync(world.file("anna"), "utf8");
    node = await world.startNode();
  });
  afterEach(async () => {
    if (running() !== "") await ask("down");
    world.change("anna", () => original);
    expect([running(), existsSync(world.socket("anna"))]).toEqual(["", false]);
    expect(await world.pair.right.ip("route")).not.toMatch(/10\.9\.0\.0|unreachable/);
  });
  afterAll(() => world?.close());

  test("up: steps on stderr, on stdout what came up; and it is", async () => {
    const { code, stdout, stderr } = await up();
    expect(stderr).toMatch(/Service node: asks 192\.0\.2\.1:4444 for a session\n/);
    expect(stdout).toMatch(
      /^anna is up: service node through node 1 at 192\.0\.2\.1:4444, tun0 \(MTU 1400\) with 10\.9\.0\.2\/32, .*, routes 10\.9\.0\.0\/24, .*\n$/,
    );
    expect(code).toBe(0);
    expect(await world.pings(world.pair.right, INNER_NODE.v4)).toBe(true);
    const again = await up();
    expect(again).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("already running") });
    expect(await world.pings(world.pair.right, INNER_NODE.v4)).toBe(true);
    await ask("down");
    const json = JSON.parse((await up("--json")).stdout);
    expect(json).toMatchObject({ up: true, daemon: "running", reason: null, status: { services: [{ state: "up" }] } });
  });

  const other = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
  test.each<[string, (text: string) => string, string, RegExp]>([
    [
      "a name without an answer",
      (t) => t.replace("192.0.2.1:4444", "vpn.invalid:4444"),
      "no_name",
      /vpn\.invalid was not found/,
    ],
    [
      "a wrong port",
      (t) => t.replace("192.0.2.1:4444", "192.0.2.1:4999"),
      "port_closed",
      /nobody listens on its UDP port 4999/,
    ],
    [
      "an address without a way",
      (t) => t.replace("192.0.2.1:4444", "198.51.100.9:4444"),
      "no_route",
      /no route to 198\.51\.100\.9:4444/,
    ],
    [
      "a host that is not there",
      (t) => t.replace("192.0.2.1:4444", "192.0.2.99:4444"),
      "no_answer",
      /192\.0\.2\.99:4444 does not answer: \d+ requests? in /,
    ],
    [
      "another group key",
      (t) => t.replace(/public_key = "[^"]+"/, `public_key = "${other}"`),
      "no_answer",
      /does not answer: .*another group key/,
    ],
    [
      "another psk",
      (t) => t.replace(/(public_key = "[^"]+")/, `$1\npsk = "${other}"`),
      "wrong_answer",
      /psk is another one there/,
    ],
  ])("%s: the reason, status 1, and nothing is left", async (_, edit, reason, says) => {
    world.change("anna", edit);
    const { code, stdout, stderr } = await up("--timeout", "8");
    expect([code, stdout, running()]).toEqual([1, "", ""]);
    expect(stderr).toMatch(/anyhop: anna is not up within 8 s; it was stopped\.\n {2}service node: /);
    expect(stderr).toContain(`service node: ${reason}: `);
    expect(stderr).toMatch(says);
  });

  test("a client that was removed: where to look, with its key; as JSON, too", async () => {
    expect(await world.cli("clients", "remove", "gone")).toMatchObject({ code: 0 });
    const text = readFileSync(world.file("gone"), "utf8").replaceAll("gone", "anna");
    world.change("anna", () => text);
    const { code, stdout, stderr } = await up("--timeout", "8", "--json");
    const result = JSON.parse(stdout);
    expect([code, result.up, result.daemon, result.reason]).toEqual([1, false, "stopped", "no_answer"]);
    const [, key] = /private_key = "([^"]+)"/.exec(text)!;
    const publicKey = execFileSync(ANYHOP, ["pubkey"], { input: key, encoding: "utf8" }).trim();
    expect(result.message).toContain(`${publicKey} among its clients`);
    expect(result.status.services[0].asking.tries).toBeGreaterThan(1);
    expect(stdout + stderr).not.toContain(key);
    // The node tells its operator what it tells nobody else.
    const atNode = (await world.cli("status")).stdout;
    expect(atNode).toMatch(
      new RegExp(`key ${publicKey.replace(/[+]/g, "\\+")} +192\\.0\\.2\\.2:\\d+ .*client_unknown: `),
    );
    expect(atNode).toMatch(/\d+ +handshake_client_unknown/);
    expect(atNode).not.toContain("No packet was dropped");
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"] as const)(
    "%s to a waiting up ends the daemon that it started, with all that it did to the host",
    async (signal) => {
      world.change("anna", (text) =>
        text
          .replace("192.0.2.1:4444", "192.0.2.99:4444")
          .replace(/routes = .*/, 'routes = ["203.0.113.0/24"]\nkill_switch = true'),
      );
      const waiting = world.pair.right.start(words("--timeout", "600"));
      await until("it asks", () => waiting.output.includes("asks for the 2nd time"), [waiting]);
      expect(await world.pair.right.ip("route")).toContain("unreachable 203.0.113.0/24");
      await waiting.stop(signal);
      if (signal !== "SIGKILL") {
        expect(waiting.exitCode).toBe(1);
        expect(waiting.output).toContain(`Interrupted by ${signal}; the daemon was stopped.`);
        expect(running()).toBe("");
      }
      await until("nothing runs", () => running() === "", [waiting]);
      expect(await world.pair.right.ip("route")).not.toContain("203.0.113.0");
    },
  );

  test("--keep-trying: status 1, but the daemon goes on, says so, and comes up when the node does", async () => {
    await node.stop();
    const { code, stderr } = await up("--timeout", "8", "--keep-trying");
    expect([code, stderr]).toEqual([1, expect.stringContaining("it goes on trying")]);
    expect((await ask("status")).stdout).toMatch(
      /service node: asking for a session.*\n {2}\d+ requests.*\n! (no_answer|port_closed) /,
    );
    node = await world.startNode();
    await until("it is up", async () => (await ask("status")).stdout.includes("service node: up for"), [node]);
    expect((await ask("status")).stdout).toMatch(/it was (no_answer|port_closed) /);
  });

  test("up, but a network of this machine is in the way: status 3, and what is missing is not listed as there", async () => {
    const host = world.pair.right;
    await host.ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan1");
    try {
      for (const name of ["lan0", "lan1"]) await host.ip("link", "set", name, "up");
      await host.ip("addr", "add", "10.9.0.77/24", "dev", "lan0");
      const { code, stdout } = await up();
      expect([code, stdout]).toEqual([
        3,
        expect.stringMatching(
          /^anna is up: .* with [0-9a-f:]+\/128, routes [0-9a-f:]+\/64\n! address 10\.9\.0\.2\/32 .*\n! 10\.9\.0\.0\/24: packets leave this host in clear; 10\.9\.0\.0\/24 is the network of lan0: give one/,
        ),
      ]);
      expect((await ask("status")).stdout).not.toMatch(/ {2}routes .*10\.9\.0\.0/);
      await ask("down");
      const result = JSON.parse((await up("--json")).stdout);
      expect(result).toMatchObject({ up: true, daemon: "running", reason: "host" });
    } finally {
      await host.run(["ip", "link", "del", "lan0"]);
    }
  });

  test("without the program ip nothing is taken to be set: not up, with the reason", async () => {
    const bin = `${world.dir}/bin`;
    mkdirSync(bin);
    for (const name of ["node", "env"])
      symlinkSync(execFileSync("which", [name], { encoding: "utf8" }).trim(), `${bin}/${name}`);
    const waiting = world.pair.right.start(["env", `PATH=${bin}`, ...words("--timeout", "600")]);
    const said =
      /Service node: .*what this host has can't be seen\. The program `ip` is missing: install it with `apt-get install iproute2`/;
    await until("it says why", () => said.test(waiting.output), [waiting]);
    const { code, stdout } = await ask("status");
    expect([code, stdout]).toEqual([3, expect.stringMatching(/! host \([\s\S]*NOT protected since /)]);
    await waiting.stop("SIGINT");
    expect(waiting.exitCode).toBe(1);
    expect(waiting.output).not.toContain("is up");
  });

  test("a daemon that is killed meanwhile, and one whose disk is full: said in a sentence", async () => {
    world.change("anna", (text) => text.replace("192.0.2.1:4444", "192.0.2.99:4444"));
    const waiting = world.pair.right.start(words("--timeout", "600"));
    await until("it asks", () => waiting.output.includes("asks for the 2nd time"), [waiting]);
    const { pid } = JSON.parse((await ask("status", "--json")).stdout);
    process.kill(pid, "SIGKILL");
    await until("up has ended", () => !waiting.alive, [waiting]);
    expect(waiting.exitCode).toBe(1);
    expect(waiting.output).toContain("anyhop: The daemon ended by signal SIGKILL and gave no reason.");
    rmSync(world.socket("anna"), { force: true });

    const state = `${world.dir}/full`;
    mkdirSync(state);
    await must(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", state]);
    try {
      // Nothing is free, and a little, but not enough.
      for (const bytes of [65_536, 40_000]) {
        writeFileSync(`${state}/filler`, Buffer.alloc(bytes));
        world.change("anna", () => original.replace(/state = .*/, `state = "${state}/${bytes}"`));
        const { code, stderr } = await up();
        expect([code, stderr]).toEqual([
          1,
          expect.stringMatching(
            /^anyhop: Nothing can be kept in .*\(No space left on device: fewer than 256 KiB are free\)/,
          ),
        ]);
      }
    } finally {
      await run(["umount", state]);
    }
  });

  test("wrong words and wrong files are status 2, and start nothing", async () => {
    for (const timeout of ["x", "0", "-1", "1.5", "86401"])
      expect(await up("--timeout", timeout)).toMatchObject({ code: 2, stderr: expect.stringContaining("--timeout") });
    world.change("anna", (text) => `${text}nonsense = 1\n`);
    expect(await up()).toMatchObject({ code: 2, stderr: expect.stringContaining("nonsense") });
    const json = await up("--json");
    expect([json.code, JSON.parse(json.stdout)]).toMatchObject([2, { up: false, daemon: "ended", reason: "failed" }]);
  });
});

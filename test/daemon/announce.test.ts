/**
 * A node's daemon with Debian's BIRD and docs/samples/bird as they stand, seen at the router: announced once its data
 * path works, drained, withdrawn when the path fails, and gone with the daemon however it ends.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { must, type Program, sleep } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { BirdWorld, CLIENT, PREFIXES, SERVICE } from "../announce/bird_world.ts";
import { whyNoNetns } from "../support/netns.ts";

const skip = whyNoNetns({ tun: true, programs: ["bird", "birdc"] });

/** TUN devices of a process, by their descriptors. */
function devicesOf(pid: number): [number, string][] {
  const dir = `/proc/${pid}/fdinfo`;
  return readdirSync(dir).flatMap((fd): [number, string][] => {
    const name = /^iff:\s+(\S+)$/m.exec(readFileSync(`${dir}/${fd}`, "utf8"))?.[1];
    return name === undefined ? [] : [[Number(fd), name]];
  });
}

describe.skipIf(skip !== undefined)(`a node with BIRD${skip === undefined ? "" : `, skipped: ${skip}`}`, () => {
  let world: BirdWorld;
  const file = () => `${world.dir}/node.toml`;
  const socket = () => `${world.dir}/node.sock`;
  const running: Program[] = [];

  beforeAll(async () => {
    world = await BirdWorld.create();
    await must([ANYHOP, "init", "node", "--dir", world.dir, "--address", `${SERVICE.v4}:4444`]);
    writeFileSync(
      file(),
      `[node]
group = "example"
private_key_file = "node.key"
address = ["${SERVICE.v4}:4444", "[${SERVICE.v6}]:4444"]
pool = ["10.9.0.0/24"]
[listen]
addresses = ["${SERVICE.v4}", "${SERVICE.v6}"]
[announce]
kind = "bird"
device = "anyc0"
addresses = ["${SERVICE.v4}", "${SERVICE.v6}"]
socket = "${world.nodeSocket}"
[paths]
state = "${world.dir}/state"
socket = "${socket()}"
`,
      { mode: 0o600 },
    );
    await world.startBird("node");
    await world.established();
  });
  afterEach(async () => {
    for (const program of running.splice(0)) await program.stop("SIGKILL");
  });
  afterAll(async () => world?.close());

  async function start(): Promise<Program> {
    const daemon = world.node.start([ANYHOP, "run", file(), "--log", "stderr:5"]);
    running.push(daemon);
    await world.until(`the daemon runs\n${daemon.output}`, () => daemon.output.includes("listening on"));
    return daemon;
  }
  const cli = (...words: string[]) => world.node.run([ANYHOP, ...words, "--socket", socket()]);
  const announce = async () => JSON.parse((await cli("status", "--json")).stdout).announce;

  test("announced after good self-tests, withdrawn when the daemon is stopped", async () => {
    expect(await Promise.all(PREFIXES.map((prefix) => world.atRouter(prefix)))).toEqual(["none", "none"]);
    const daemon = await start();
    await world.seen("normal");
    const status = JSON.parse((await cli("status", "--json")).stdout);
    expect(status.host).toContain("address 192.0.2.1/32 on anyc0");
    expect(status.announce).toMatchObject({
      ...{ kind: "bird", prefixes: PREFIXES, device: "anyc0", phase: "announced", inForce: "announced" },
      ...{ problem: null, wish: "serve", healthy: true, drain: null },
      selfTest: { targets: [{ address: SERVICE.v4 }, { address: SERVICE.v6 }] },
    });
    expect(status.announce.selfTest.good).toBeGreaterThanOrEqual(3);
    expect((await cli("status")).stdout).toMatch(/announce announced by bird: 192\.0\.2\.1\/32, 2001:db8::1\/128/);
    await daemon.stop("SIGTERM");
    expect(daemon.exitCode).toBe(0);
    await world.seen("none");
  });

  test("kill -9: the device goes with the daemon, and BIRD withdraws", async () => {
    const daemon = await start();
    await world.seen("normal");
    // The kernel closes the highest descriptor first, and each device takes it tens of milliseconds.
    const devices = devicesOf(daemon.pid).sort(([a], [b]) => b - a);
    expect([devices.length, devices[0]?.[1]]).toEqual([2, "anyc0"]);
    daemon.child.kill("SIGKILL");
    const ms = await world.seen("none");
    console.log(`kill -9 of the daemon: withdrawn at the router after ${ms.toFixed(0)} ms`);
    expect(await world.node.hasDevice("anyc0")).toBe(false);
    // What the dead daemon left enabled does not announce the next one before its self-test.
    expect(await world.birdc("node", "show protocols")).toMatch(/any4 +Direct +--- +up/);
    const next = await start();
    await world.seen("normal");
    expect(next.output.indexOf("are withdrawn")).toBeLessThan(next.output.indexOf("listening on"));
  });

  test("somebody keeps the device down: withdrawn after two bad self-tests; nobody any more: set up, announced", async () => {
    const daemon = await start();
    await world.seen("normal");
    const enemy = world.node.start(["sh", "-c", "while ip link set anyc0 down; do sleep 0.02; done"]);
    await world.until("it is withdrawn by its own will", async () => (await announce()).inForce === "withdrawn");
    await enemy.stop("SIGKILL");
    await world.seen("normal");
    expect(daemon.output).toContain("the device anyc0 is down or gone");
  });

  test("the path of datagrams is cut: withdrawn, though everything looks well; healed: announced", async () => {
    const daemon = await start();
    await world.seen("normal");
    // Behind the rule for local addresses nothing could be refused; so that one comes later.
    await world.node.ip("rule", "add", "pref", "100", "lookup", "local");
    await world.node.ip("rule", "del", "pref", "0");
    await world.node.ip("rule", "add", "pref", "50", "to", SERVICE.v4, "ipproto", "udp", "dport", "4444", "blackhole");
    try {
      await world.seen("none");
      await expect.poll(announce).toMatchObject({
        healthy: false,
        selfTest: { faults: [], targets: [{ rttMs: null }, {}] },
      });
      expect(daemon.output).toContain("no answer to the self-test of 192.0.2.1 within 400 ms");
    } finally {
      await world.node.ip("rule", "del", "pref", "50");
    }
    await world.seen("normal");
  });

  test("a flood of control datagrams takes away answers to the self-test, and does not withdraw the node", async () => {
    const daemon = await start();
    await world.seen("normal");
    const flood = `
      const socket = require("node:dgram").createSocket("udp4");
      const datagram = Buffer.alloc(1200);
      datagram.set([0xff, 0xff, 1, 1], 6);
      const end = Date.now() + 3000;
      (function more() {
        for (let i = 0; i < 64; i++) socket.send(datagram, 4444, "${SERVICE.v4}", () => {});
        if (Date.now() < end) setImmediate(more);
        else socket.close();
      })();`;
    expect((await world.client.run([process.execPath, "-e", flood])).code).toBe(0);
    const status = JSON.parse((await cli("status", "--json")).stdout);
    expect(status.verdicts.punt_full).toBeGreaterThan(1000);
    expect(status.announce).toMatchObject({ inForce: "announced", healthy: true });
    expect(daemon.output).not.toContain("are to be withdrawn");
  });

  test("drain and undrain: the community comes and goes, the route is never away, no datagram is lost", async () => {
    await start();
    await world.seen("normal");
    const pings = world.client.start(["ping", "-i", "0.005", "-W", "1", SERVICE.v4]);
    const pings6 = world.client.start(["ping", "-i", "0.005", "-W", "1", "-I", CLIENT.v6, SERVICE.v6]);
    running.push(pings, pings6);
    await sleep(200);
    const drain = world.node.start([ANYHOP, "drain", "--max", "30", "--socket", socket()]);
    running.push(drain);
    const ms = await world.seen("drain");
    expect((await announce()).phase).toBe("draining");
    expect((await cli("undrain")).stdout).toBe("node is announced again.\n");
    const back = await world.seen("normal");
    console.log(`drain at the router after ${ms.toFixed(0)} ms, undrain after ${back.toFixed(0)} ms`);
    await drain.ended;
    expect(drain.output).toMatch(/^node: draining, .* left$/m);
    expect([drain.exitCode, drain.output]).toEqual([1, expect.stringContaining("serves again")]);
    await sleep(100);
    for (const program of [pings, pings6]) {
      await program.stop("SIGINT");
      expect(program.output).toMatch(/[1-9]\d+ packets transmitted, .* 0% packet loss/);
    }
  });

  test("drain --exit: after the silence of clients withdrawn, then the daemon ends", async () => {
    const daemon = await start();
    await world.seen("normal");
    // Only the silence of clients ends it: the test does not wait as long as --max.
    const { code, stdout } = await cli("drain", "--max", "600", "--exit");
    expect([code, stdout]).toEqual([0, expect.stringContaining("node is drained and withdrawn; it has ended.")]);
    await world.seen("none");
    await daemon.ended;
    expect(daemon.exitCode).toBe(0);
    expect(daemon.output).toContain("no client sends here any more");
  });

  test("BIRD is killed and comes back: the daemon goes on and announces again", async () => {
    const daemon = await start();
    await world.seen("normal");
    await world.stopBird("node", "SIGKILL");
    await world.until("the daemon says so", async () => (await announce()).problem !== null);
    expect(await announce()).toMatchObject({ phase: "announced", inForce: null, healthy: true });
    expect((await cli("status")).stdout).toMatch(/! BIRD cannot be reached on .*node\.ctl: .*start BIRD/);
    await world.startBird("node");
    await world.seen("normal");
    expect(daemon.alive).toBe(true);
  });

  test("somebody else disables the protocol: it is enabled again", async () => {
    const daemon = await start();
    await world.seen("normal");
    await world.birdc("node", "disable any4");
    await world.seen("normal");
    await world.until("it is in the log", () => daemon.output.includes("Somebody else has changed"));
  });
});

/**
 * The lab as people run it: the built program, real namespaces, real daemons. Needs root; the built program must be there
 * (`npm test` builds it).
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, type TestContext, test } from "vitest";
import { findProgram } from "../../src/bench/netns.ts";
import type { GroupResult } from "../../src/lab/group_result.ts";
import { run, sweepLeftovers } from "../../src/lab/host.ts";
import type { Result } from "../../src/lab/result.ts";
import { namespaceOf, oneNode } from "../../src/lab/topology.ts";

const program = fileURLToPath(new URL("../../dist/lab/main.js", import.meta.url));

function needsRoot(context: TestContext): void {
  if (process.getuid?.() !== 0) context.skip("needs root for network namespaces");
  if (!existsSync("/dev/net/tun")) context.skip("needs /dev/net/tun");
}

/** Namespaces and directories of the lab with this process id. */
function traces(pid: number): string[] {
  const names = [...run(["ip", "netns", "list"]).split("\n"), ...readdirSync(tmpdir())];
  return names.filter((name) => name.startsWith(`anyhop-lab-${pid}-`));
}

interface Ended {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** Everything that a started lab prints, and its status when it ends. */
function ending(child: ChildProcess): Promise<Ended> {
  let out = "";
  let err = "";
  child.stdout!.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr!.on("data", (chunk) => {
    err += chunk;
  });
  return new Promise((resolve) => child.once("close", (status) => resolve({ status, out, err })));
}

/** Resolves when a line of the lab's progress matches; rejects when it ends first. */
function progress(child: ChildProcess, wanted: RegExp): Promise<void> {
  const lines = createInterface({ input: child.stderr! });
  return new Promise((resolve, reject) => {
    lines.on("line", (line) => {
      if (wanted.test(line)) resolve();
    });
    child.once("exit", (status) => reject(new Error(`the lab ended with ${status} before ${wanted}`)));
  });
}

const launch = (...args: string[]) =>
  spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "pipe"] });

test("--for 3 --json: every path carries traffic, one object on standard output, nothing left", async (context) => {
  needsRoot(context);
  const child = launch("--scenario", "traffic", "--for", "3", "--json");
  const { status, out, err } = await ending(child);
  const result = JSON.parse(out) as Result;
  expect(result.problems).toEqual([]);
  expect({ ok: result.ok, status }).toEqual({ ok: true, status: 0 });
  expect(result.seconds).toBeGreaterThanOrEqual(3);
  expect(result.paths.map(({ from, to, family }) => ({ from, to, family }))).toEqual(
    oneNode.paths.map(({ from, to, family }) => ({ from, to, family })),
  );
  for (const path of result.paths) {
    expect(path.sent).toBeGreaterThan(100);
    expect(path.received).toBe(path.sent);
    expect(path.rttMs!.min).toBeGreaterThan(0);
    expect(path.rttMs!.p99).toBeLessThanOrEqual(path.rttMs!.max);
  }
  // The traffic really went through the sessions, each client came over its own IP version, and nobody was killed.
  const sessions = new Map(result.sessions.map((session) => [`${session.place} ${session.client}`, session]));
  expect([...sessions.keys()].sort()).toEqual(["node client1", "node client2"]);
  expect(sessions.get("node client1")).toMatchObject({ endpoint: "192.0.2.10:4444", resumed: false });
  expect(sessions.get("node client2")).toMatchObject({ endpoint: "[2001:db8:2::10]:4444", resumed: false });
  const asked = result.paths.filter(({ from }) => from === "client1").reduce((sum, path) => sum + path.sent, 0);
  expect(sessions.get("node client1")!.rx.packets).toBeGreaterThanOrEqual(asked);
  for (const { cipher } of sessions.values()) expect(cipher).toMatch(/^(aes-(128|256)-gcm|chacha20-poly1305)$/);
  expect(result).toMatchObject({ tunnels: [], restart: null });
  expect(err).toContain("lab: measuring");
  expect(traces(child.pid!)).toEqual([]);
});

test("--scenario restart: the node is killed, every session resumes and every path goes on", async (context) => {
  needsRoot(context);
  const child = launch("--scenario", "restart", "--for", "10", "--json");
  const { status, out } = await ending(child);
  const result = JSON.parse(out) as Result;
  expect(result.problems).toEqual([]);
  expect({ ok: result.ok, status }).toEqual({ ok: true, status: 0 });
  const clients = ["client1", "client2"];
  expect(result.restart).toMatchObject({ place: "node", clients, resumed: clients });
  expect(result.restart!.atS).toBeGreaterThanOrEqual(5);
  expect(result.sessions.map(({ client, resumed }) => [client, resumed]).sort()).toEqual([
    ["client1", true],
    ["client2", true],
  ]);
  for (const path of result.paths) {
    // It was really away: no daemon starts in less, and what was sent meanwhile is lost.
    expect(path.gapMs).toBeGreaterThan(100);
    expect(path.lost).toBeGreaterThan(0);
    expect(path.received).toBeGreaterThan(path.sent / 2);
  }
  expect(traces(child.pid!)).toEqual([]);
});

/** Whether the programs of the anycast lab are here. */
function needsGroup(context: TestContext): void {
  needsRoot(context);
  for (const name of ["bird", "nats-server", "tcpdump", "openssl"])
    if (findProgram(name) === undefined) context.skip(`the program \`${name}\` is missing`);
}

/** Numbers of a result that are no matter of how busy this machine is at the moment. */
const numberOf = (result: GroupResult, name: RegExp) => result.numbers.find((one) => name.test(one.name));

test("--scenario flip: routes change under load between three nodes with real BGP, and nothing is lost", async (context) => {
  needsGroup(context);
  const child = launch("--scenario", "flip", "--for", "9", "--json");
  const { status, out } = await ending(child);
  const result = JSON.parse(out) as GroupResult;
  expect(result.problems).toEqual([]);
  expect(status).toBe(result.ok ? 0 : 1);
  expect(result.ok).toBe(result.numbers.every(({ ok }) => ok));
  expect(numberOf(result, /took place/)).toMatchObject({ ok: true, of: 12 });
  // A receiver that a busy machine keeps waiting loses some itself; nodes that know nothing of each other lose half.
  const { measured, of } = numberOf(result, /packets lost/)!;
  expect(of).toBeGreaterThan(10_000);
  expect(measured).toBeLessThan(of * 0.03);
  expect(numberOf(result, /TCP/)).toMatchObject({ ok: true });
  expect(result).toMatchObject({ scenario: "flip", replayed: 0 });
  const through = result.events.filter(({ what, client }) => what === "through" && client === "c1");
  expect(new Set(through.map(({ node }) => node))).toEqual(new Set(["n1", "n2", "n3"]));
  expect(traces(child.pid!)).toEqual([]);
});

test("--scenario kill: owners die, every client goes on at another node", async (context) => {
  needsGroup(context);
  const child = launch("--scenario", "kill", "--for", "12", "--json");
  const { status, out } = await ending(child);
  const result = JSON.parse(out) as GroupResult;
  expect(result.problems).toEqual([]);
  expect(status).toBe(result.ok ? 0 : 1);
  expect(numberOf(result, /successor served/)).toMatchObject({ ok: true, of: 12 });
  expect(result.events.filter(({ what }) => what === "kill")).toHaveLength(4);
  expect(result.events.filter(({ what }) => what === "silent death")).toHaveLength(1);
  expect(result.replayed).toBe(0);
  expect(traces(child.pid!)).toEqual([]);
});

test("--scenario partition: both sides of a cut serve, and afterwards all nodes say the same", async (context) => {
  needsGroup(context);
  const child = launch("--scenario", "partition", "--for", "16", "--json");
  const { status, out } = await ending(child);
  const result = JSON.parse(out) as GroupResult;
  expect(result.problems).toEqual([]);
  expect(status).toBe(result.ok ? 0 : 1);
  expect(numberOf(result, /across the cut/)).toMatchObject({ ok: true, of: 2 });
  expect(numberOf(result, /flips served after/)).toMatchObject({ ok: true, of: 6 });
  expect(numberOf(result, /know the same sessions/)).toMatchObject({ ok: true, measured: 6 });
  expect(numberOf(result, /one node owns/)).toMatchObject({ ok: true });
  for (const name of [/lost while cut/, /lost after the heal/]) {
    const { measured, of } = numberOf(result, name)!;
    expect(of).toBeGreaterThan(400);
    expect(measured).toBeLessThan(of * 0.03);
  }
  expect(result.replayed).toBe(0);
  expect(traces(child.pid!)).toEqual([]);
});

test("--scenario replay: what was captured is not delivered again, but for what a dead owner had not told", async (context) => {
  needsGroup(context);
  const child = launch("--scenario", "replay", "--for", "15", "--json");
  const { status, out } = await ending(child);
  const result = JSON.parse(out) as GroupResult;
  expect(result.problems).toEqual([]);
  expect(status).toBe(result.ok ? 0 : 1);
  const alive = numberOf(result, /owner alive/)!;
  expect(alive).toMatchObject({ ok: true, measured: 0 });
  expect(alive.of).toBeGreaterThan(10_000);
  const dead = numberOf(result, /owner dead/)!;
  expect(dead.ok).toBe(true);
  expect(dead.of).toBeGreaterThan(1000);
  expect(traces(child.pid!)).toEqual([]);
});

test("--scenario storm: a thousand sessions change their node at once, and all are served", async (context) => {
  needsGroup(context);
  const child = launch("--scenario", "storm", "--for", "12", "--json");
  const { status, out } = await ending(child);
  const result = JSON.parse(out) as GroupResult;
  expect(result.problems).toEqual([]);
  expect(status).toBe(result.ok ? 0 : 1);
  expect(numberOf(result, /sessions made/)).toMatchObject({ ok: true, of: 1000 });
  expect(numberOf(result, /new node$/)).toMatchObject({ ok: true, of: 1000 });
  expect(result.replayed).toBe(0);
  expect(traces(child.pid!)).toEqual([]);
});

test("SIGTERM while measuring: the result so far, then nothing is left", async (context) => {
  needsRoot(context);
  const child = launch("--scenario", "traffic", "--for", "60", "--json");
  const end = ending(child);
  await progress(child, /measuring, [1-9]/);
  child.kill("SIGTERM");
  const { status, out } = await end;
  const result = JSON.parse(out) as Result;
  expect(result.seconds, "ended before its time").toBeLessThan(60);
  expect({ status, problems: result.problems }).toEqual({ status: 0, problems: [] });
  expect(traces(child.pid!)).toEqual([]);
});

// A lab that starts elsewhere at the same time may sweep first; what is expected here holds then too.
test("killed: its processes end by themselves, and the next lab removes what is left", async (context) => {
  needsRoot(context);
  const child = launch("--scenario", "traffic", "--for", "60");
  const end = ending(child);
  await progress(child, /measuring/);
  const places = oneNode.places.map(({ name }) => namespaceOf(child.pid!, name));
  const pids = places.flatMap((place) => run(["ip", "netns", "pids", place]).split("\n").filter(Boolean));
  // Three daemons with the `ip monitor` of each, and what makes the traffic.
  expect(pids).toHaveLength(10);
  child.kill("SIGKILL");
  await end;
  await expect.poll(() => pids.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([]);
  sweepLeftovers();
  expect(traces(child.pid!)).toEqual([]);
});

test("leftovers of a dead lab are removed with what runs in them; those of a living one stay", async (context) => {
  needsRoot(context);
  const owner = spawn("sleep", ["300"], { stdio: "ignore" });
  const ofOwner = namespaceOf(owner.pid!, "x");
  const ofUs = namespaceOf(process.pid, "x");
  const directory = mkdtempSync(join(tmpdir(), `anyhop-lab-${owner.pid}-`));
  try {
    for (const name of [ofOwner, ofUs]) run(["ip", "netns", "add", name]);
    const sleeper = spawn("ip", ["netns", "exec", ofOwner, "sleep", "300"], { stdio: "ignore" });
    const end = new Promise((resolve) => sleeper.once("exit", (_, signal) => resolve(signal)));
    await expect.poll(() => run(["ip", "netns", "pids", ofOwner])).toContain(String(sleeper.pid));
    sweepLeftovers();
    expect(traces(owner.pid!)).toHaveLength(2);
    const died = new Promise((resolve) => owner.once("exit", resolve));
    owner.kill("SIGKILL");
    await died;
    sweepLeftovers();
    expect(await end).toBe("SIGKILL");
    expect(existsSync(directory)).toBe(false);
    expect(traces(owner.pid!)).toEqual([]);
    expect(traces(process.pid)).toEqual([ofUs]);
  } finally {
    owner.kill("SIGKILL");
    for (const name of [ofOwner, ofUs]) spawnSync("ip", ["netns", "delete", name]);
  }
});

test.each([
  [["--for", "0"], "number from 1"],
  [["--for", "soon"], "number from 1"],
  [["--nonsense"], "unknown option"],
  [["extra"], "too many arguments"],
  [["--scenario", "flood"], "Allowed choices are tour, flip, kill, drain"],
  [["--scenario", "restart", "--for", "9"], "needs --for 10 or more"],
  [["--scenario", "storm", "--for", "11"], "needs --for 12 or more"],
])("%j is refused with status 2", (args, complaint) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: "utf8" });
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  expect(stderr).toContain(complaint);
});

test("without root: says what to type", (context) => {
  // A root that may become somebody else can play somebody else.
  const nobody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const { status, stdout, stderr, error } = spawnSync(process.execPath, [program, "--for", "5"], {
    encoding: "utf8",
    cwd: "/",
    ...nobody,
  });
  if (error !== undefined) context.skip(`cannot run as another user: ${error.message}`);
  if (/EACCES|Cannot find module/.test(stderr)) context.skip("another user may not read this folder");
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  expect(stderr).toBe("The lab makes network namespaces and devices and needs root; type: sudo npm start -- --for 5\n");
});

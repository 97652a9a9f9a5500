/**
 * Sessions as people meet them: files made by the commands, daemons in two namespaces, inner TCP connections that live
 * through a kill -9 of the node and through a client that moves.
 */
import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Program } from "../../src/bench/netns.ts";
import { openStore } from "../../src/drivers/store.ts";
import { whyNoNetns } from "../support/netns.ts";
import { allAnswers } from "./all_answers.ts";
import { INNER_NODE, SessionPair, until } from "./session_pair.ts";

const why = whyNoNetns({ tun: true, programs: ["ping"] });
const ECHO_PORT = 7007;
const LINE_MS = 10;

/** Sends back what it gets. */
const SERVER = `require("net").createServer((s) => s.pipe(s).on("error", () => {})).listen(${ECHO_PORT}, "::", () => console.log("listens"))`;
/** One numbered line after another; says how far the answers are, and why it ended. */
const CALLER = `const s = require("net").connect(${ECHO_PORT}, process.argv[1]);
let sent = 0, heard = 0, rest = "";
s.on("connect", () => { setInterval(() => s.write(sent++ + "\\n"), ${LINE_MS}); });
s.on("data", (d) => {
  const lines = (rest + d).split("\\n"); rest = lines.pop();
  for (const line of lines) if (Number(line) !== heard++) console.log("broken");
  console.log("at " + heard);
});
for (const e of ["error", "close"]) s.on(e, (x) => console.log("ended " + e + " " + x));`;

const heardBy = (caller: Program): number => Number([...caller.output.matchAll(/at (\d+)/g)].at(-1)?.[1] ?? 0);

describe.skipIf(why !== undefined)(`a node and its clients${why === undefined ? "" : ` (${why})`}`, () => {
  let world: SessionPair;
  let node: Program;
  let anna: Program;

  beforeAll(async () => {
    world = await SessionPair.create("ses");
    await world.invite("anna", "--psk");
    await world.invite("bela");
    node = await world.startNode();
    anna = await world.startClient("anna");
  });
  afterAll(() => world?.close());

  test("pings pass both ways, in both families", async () => {
    const { left, right } = world.pair;
    for (const [from, to] of [
      [right, INNER_NODE.v4],
      [right, INNER_NODE.v6],
      [left, "10.9.0.2"],
      [left, "2001:db8:9::2"],
    ] as const)
      expect(await world.pings(from, to), `${from.name} to ${to}`).toBe(true);
  });

  test("anyhop ping, sessions and show speak of the client by name", async () => {
    expect((await world.cli("ping", "anna", "-c", "2")).stdout).toMatch(/ ms/);
    expect((await world.cli("sessions", "list")).stdout).toMatch(/anna.*192\.0\.2\.2/);
    expect((await world.cli("show", "anna")).stdout).toContain("10.9.0.2");
    expect(await world.cli("ping", "bela")).toMatchObject({ code: 1, stderr: expect.stringContaining("no session") });
  });

  test("kill -9 of the node under a TCP transfer: the connection lives on, every line in order", async () => {
    const { left, right } = world.pair;
    const server = left.start([process.execPath, "-e", SERVER]);
    await until("the server listens", () => server.output.includes("listens"), [server]);
    const caller = right.start([process.execPath, "-e", CALLER, INNER_NODE.v4]);
    await until("lines flow", () => heardBy(caller) > 50, [caller]);
    await node.stop("SIGKILL");
    node = await world.startNode();
    const before = heardBy(caller);
    await until("lines flow again", () => heardBy(caller) > before + 100, [caller, node, anna]);
    expect(caller.output).not.toMatch(/broken|ended/);
    expect(anna.output).toContain("resumed by ticket");
    await Promise.all([caller.stop(), server.stop()]);
  });

  test("a client that moves to another address goes on, with the same connection", async () => {
    const { left, right } = world.pair;
    const server = left.start([process.execPath, "-e", SERVER]);
    await until("the server listens", () => server.output.includes("listens"), [server]);
    const caller = right.start([process.execPath, "-e", CALLER, INNER_NODE.v6]);
    await until("lines flow", () => heardBy(caller) > 50, [caller]);
    await right.ip("addr", "add", "192.0.2.77/24", "dev", "eth0");
    await right.ip("addr", "del", "192.0.2.2/24", "dev", "eth0");
    // Deleting the first address of a network takes the others along, unless the kernel promotes them.
    await right.ip("addr", "replace", "192.0.2.77/24", "dev", "eth0");
    const before = heardBy(caller);
    await until("lines flow again", () => heardBy(caller) > before + 100, [caller, node, anna]);
    expect(caller.output).not.toMatch(/broken|ended/);
    expect((await world.cli("sessions", "list")).stdout).toContain("192.0.2.77");
    await Promise.all([caller.stop(), server.stop()]);
  });

  test("nothing secret in logs and answers", async () => {
    const keys = [
      readFileSync(`${world.dir}/node.key`, "utf8").trim(),
      ...["anna", "bela"].flatMap((name) =>
        [...readFileSync(world.file(name), "utf8").matchAll(/(?:private_key|psk) = "([^"]+)"/g)].map(([, key]) => key),
      ),
    ];
    expect(keys).toHaveLength(4);
    const text = [
      await allAnswers(world.nodeSocket, "anna"),
      await allAnswers(world.socket("anna"), "anna"),
      node.output,
      anna.output,
      ...(await Promise.all([world.cli("show", "anna"), world.cli("status")])).map(({ stdout }) => stdout),
    ].join("\n");
    expect(text).toContain("10.9.0.2");
    expect(text).toMatch(/session up, aes/);
    for (const key of keys) {
      const bytes = Buffer.from(key, "base64");
      expect(bytes).toHaveLength(32);
      for (const form of ["base64", "base64url", "hex"] as const)
        expect(text.includes(bytes.toString(form).replace(/=$/, ""))).toBe(false);
    }
  });

  test("a client that is removed is cut off by the time that the command ends", async () => {
    expect(await world.pings(world.pair.right, INNER_NODE.v4)).toBe(true);
    expect(await world.cli("clients", "remove", "anna")).toMatchObject({ code: 0 });
    expect(await world.pings(world.pair.right, INNER_NODE.v4, 0.2)).toBe(false);
    expect(await world.pings(world.pair.left, "10.9.0.2", 0.2)).toBe(false);
    expect((await world.cli("sessions", "list")).stdout).not.toContain("anna");
    await anna.stop();
    expect(anna.exitCode).toBe(0);
  });

  test("kill switch: the way out is closed while the client runs, and open again after it; no device stays", async () => {
    const { right } = world.pair;
    world.change("bela", (text) =>
      text.replace(/routes = .*/, 'routes = ["203.0.113.0/24", "10.9.0.0/24"]\nkill_switch = true\ndevice = "vpn0"'),
    );
    await right.ip("route", "add", "default", "via", "192.0.2.1");
    const bela = await world.startClient("bela");
    const routes = () => right.ip("route", "show");
    expect(await world.pings(right, INNER_NODE.v4)).toBe(true);
    expect(await routes()).toMatch(/unreachable 203\.0\.113\.0\/24/);
    expect(await routes()).toMatch(/203\.0\.113\.0\/24 dev vpn0/);
    await right.ip("link", "set", "vpn0", "down");
    expect((await right.run(["ping", "-c", "1", "-W", "1", "203.0.113.9"])).stderr).toMatch(/unreachable|No route/i);
    await bela.stop();
    expect(bela.exitCode).toBe(0);
    expect(await routes()).not.toMatch(/unreachable|vpn0/);
    expect(await right.hasDevice("vpn0")).toBe(false);
    expect(existsSync(world.socket("bela"))).toBe(false);
  });

  test("another group key, or another psk: a sentence that says what may be wrong", async () => {
    const original = readFileSync(world.file("bela"), "utf8");
    const other = (await world.pair.right.run(["sh", "-c", `"$0" genkey | "$0" pubkey`, anyhop()])).stdout.trim();
    expect(other).toHaveLength(44);
    for (const [edit, says] of [
      [
        (text: string) => text.replace(/public_key = "[^"]+"/, `public_key = "${other}"`),
        /192\.0\.2\.1:4444 does not answer: .*another group key/,
      ],
      [
        (text: string) => text.replace(/(public_key = "[^"]+")/, `$1\npsk = "${other}"`),
        /192\.0\.2\.1:4444 answers, but not under the keys of this file: psk/,
      ],
    ] as const) {
      world.change("bela", () => edit(original));
      const bela = await world.startClient("bela", false);
      await until("the log says it", () => says.test(bela.output), [bela]);
      await bela.stop();
      expect(bela.exitCode).toBe(0);
    }
    world.change("bela", () => original);
  });

  test("SIGTERM of the node: the client hears of it; no device, socket or route stays", async () => {
    const bela = await world.startClient("bela");
    await node.stop();
    expect(node.exitCode).toBe(0);
    await until("the client knows", () => bela.output.includes("no session any more"), [bela]);
    expect(await world.pair.left.ip("-br", "link")).not.toMatch(/tun|anyhop/);
    expect(await world.pair.left.ip("route")).not.toContain("10.9.0.0");
    expect(existsSync(world.nodeSocket)).toBe(false);
    // What tickets are sealed under is on disk, and nowhere else.
    const store = openStore(`${world.dir}/state`, "node");
    const [ticket] = store.ticketKeys();
    await store.close();
    for (const form of ["base64", "hex"] as const)
      expect(node.output + bela.output).not.toContain(Buffer.from(ticket.key).toString(form));
    node = await world.startNode();
    await until("the client is back", async () => world.pings(world.pair.right, INNER_NODE.v4), [bela, node]);
    await bela.stop();
  });
});

const anyhop = () => new URL("../../bin/anyhop", import.meta.url).pathname;

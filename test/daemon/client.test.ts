/**
 * A client as people meet it: what it says of itself over its socket, what it does to the routes of its host, how it
 * comes back, and several services in one file.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Status, statusSchema } from "../../src/api/contract.ts";
import { must, type Output, type Program } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { ticketName } from "../../src/control/client/kept_ticket.ts";
import { publicKeyOf } from "../../src/control/text/keys/x25519.ts";
import { openStore } from "../../src/drivers/store.ts";
import { whyNoNetns } from "../support/netns.ts";
import { INNER_NODE, SessionPair, until } from "./session_pair.ts";

const why = whyNoNetns({ tun: true, programs: ["ping"] });
/** Where clients find the node, beyond both of its links. */
const SERVICE = "203.0.113.1";
const SECOND = { address: "192.0.2.1:5555", pool: "10.8.0.0/24", inner: "10.8.0.1" };

describe.skipIf(why !== undefined)(`a client${why === undefined ? "" : ` (${why})`}`, () => {
  let world: SessionPair;
  let node: Program;

  const ask = (...words: string[]): Promise<Output> =>
    world.pair.right.run([ANYHOP, ...words, "--socket", world.socket("anna")]);
  const status = async (): Promise<Status> => statusSchema.parse(JSON.parse((await ask("status", "--json")).stdout));
  const clients: Program[] = [];
  const startClient = async (): Promise<Program> => {
    const client = await world.startClient("anna");
    clients.push(client);
    return client;
  };
  const pinned = () => world.pair.right.ip("route", "show", `${SERVICE}/32`);
  const reaches = (inner: string) => world.pings(world.pair.right, inner);

  beforeAll(async () => {
    world = await SessionPair.create("cli");
    const { left, right } = world.pair;
    await left.ip("addr", "add", `${SERVICE}/32`, "dev", "lo");
    await left.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", right.name);
    await left.ip("addr", "add", "198.51.100.1/24", "dev", "eth1");
    await right.ip("addr", "add", "198.51.100.2/24", "dev", "eth1");
    for (const side of [left, right]) await side.ip("link", "set", "eth1", "up");
    await right.ip("route", "add", "default", "via", "192.0.2.1");
    await world.invite("anna", "--psk");
    node = await world.startNode();
  });
  afterAll(() => world?.close());
  // A test that failed leaves its client behind.
  afterEach(() => Promise.all(clients.splice(0).map((client) => client.stop("SIGKILL"))));

  test("status, show and ping of a client: its session, its addresses, what it did to the host", async () => {
    const anna = await startClient();
    expect(await reaches(INNER_NODE.v4)).toBe(true);
    const { services, device, host, listen } = await status();
    expect(device.addresses).toEqual(["10.9.0.2/32", "2001:db8:9::2/128"]);
    expect(services).toMatchObject([
      {
        ...{ name: "node", state: "up", remote: "192.0.2.1:4444", device: device.name },
        sessions: [{ current: true, resumed: false, endpoint: "192.0.2.1:4444", cipher: "aes-256-gcm", senders: 1 }],
      },
    ]);
    const [session] = services[0].sessions;
    expect(session.rx.packets).toBeGreaterThan(0);
    expect(session.rekeyInMs).toBeGreaterThan(60_000);
    expect(host).toContain(`route 10.9.0.0/24 via ${device.name}`);
    expect(new Set(host).size).toBe(host.length);
    // As root it is what was asked for, doubled by the kernel.
    expect(listen.map(({ receiveBuffer }) => receiveBuffer)).toEqual([8_388_608, 8_388_608]);

    const text = (await ask("status")).stdout;
    expect(text).toMatch(/device .*10\.9\.0\.2\/32/);
    expect(text).toMatch(/service node: up for .*, node 192\.0\.2\.1:4444/);
    expect(text).toMatch(/current .* handshake +aes-256-gcm/);
    expect(text).not.toContain("TUNNEL");
    expect((await ask("show")).stdout).toContain("service node: up for ");
    expect(JSON.parse((await ask("show", "node", "--json")).stdout).services).toHaveLength(1);
    expect(await ask("show", "other")).toMatchObject({ code: 1, stderr: expect.stringContaining("but node") });
    expect(await ask("ping", "node", "-c", "2")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/ ms through node 1\n.* ms through node 1\n/),
    });
    expect(await ask("ping", "other")).toMatchObject({ code: 1, stderr: expect.stringContaining("no service other") });
    expect(await ask("clients", "list")).toMatchObject({ code: 1, stderr: expect.stringContaining("no node") });
    expect((await ask("down")).stdout).toContain("has stopped");
    await anna.ended;
    expect(anna.exitCode).toBe(0);
  });

  test.each(["SIGTERM", "SIGKILL"] as const)(
    "after %s it goes on by its ticket; the ticket is seen nowhere",
    async (signal) => {
      const first = await startClient();
      await first.stop(signal);
      const second = await startClient();
      expect(second.output).toContain("session resumed by ticket");
      expect(await reaches(INNER_NODE.v4)).toBe(true);
      expect((await status()).services[0].sessions).toMatchObject([{ current: true, resumed: true }]);
      const texts = await Promise.all(
        [
          ["status", "--json"],
          ["show", "--json"],
        ].map((words) => ask(...words)),
      );
      await second.stop();
      const folder = `${world.dir}/anna-state`;
      expect(statSync(`${folder}/seq.mdb`).mode & 0o777).toBe(0o600);
      const store = openStore(folder, "anna");
      const saved = store.savedTicket(nameOfTicket())!;
      await store.close();
      const seen = [first.output, second.output, node.output, ...texts.map(({ stdout }) => stdout)].join("\n");
      expect(seen).toContain("aes-256-gcm");
      for (const secret of [saved.ticket, saved.resumption])
        for (const form of ["base64", "hex"] as const)
          expect(seen).not.toContain(Buffer.from(secret).toString(form).slice(0, 40));
      expect(node.output).not.toContain("another machine");
    },
  );

  test("everything into the tunnel: the way to the node follows the routes of the host", async () => {
    const { right } = world.pair;
    const original = readFileSync(world.file("anna"), "utf8");
    world.change("anna", (text) =>
      text
        .replace(/address = \[.*\]/, `address = ["${SERVICE}:4444"]`)
        .replace(/routes = .*/, 'routes = ["default"]\nkill_switch = true'),
    );
    const anna = await startClient();
    const goes = async (way: string) => {
      await until(`pinned ${way}`, async () => (await pinned()).includes(way), [anna]);
      await until("packets pass", () => reaches(INNER_NODE.v4), [anna, node]);
      expect((await status()).host).toContain(`host route ${SERVICE}/32 ${way}`);
    };
    await goes("via 192.0.2.1 dev eth0");
    expect((await status()).host).toContainEqual(expect.stringContaining("kill switch: "));

    await right.ip("route", "replace", "default", "via", "198.51.100.1");
    await goes("via 198.51.100.1 dev eth1");
    // From the address of the new way: a provider need not carry another one.
    expect((await world.cli("sessions", "list")).stdout).toContain("198.51.100.2");
    expect(anna.output).not.toContain("the peer is at");

    // A link that goes takes its routes along, and the kernel says nothing of each.
    await right.ip("route", "add", "default", "via", "192.0.2.1", "metric", "50");
    await right.ip("link", "set", "eth1", "down");
    await goes("via 192.0.2.1 dev eth0");

    // No way at all for a while: the session waits for the next one.
    await right.ip("link", "set", "eth0", "down");
    expect(await reaches(INNER_NODE.v4)).toBe(false);
    await right.ip("link", "set", "eth0", "up");
    await right.ip("route", "add", "default", "via", "192.0.2.1");
    await goes("via 192.0.2.1 dev eth0");
    expect(anna.output.match(/: session (up|resumed)/g)).toHaveLength(1);

    await anna.stop();
    expect(anna.exitCode).toBe(0);
    expect(await right.ip("route", "show")).not.toMatch(/203\.0\.113\.1|unreachable/);
    expect(execFileSync("ip", ["netns", "pids", right.name], { encoding: "utf8" })).toBe("");
    await right.ip("link", "set", "eth1", "up");
    world.change("anna", () => original);
  });

  test("two services in one file: both at once; when one node dies, the other goes on", async () => {
    const { left } = world.pair;
    const dir = world.dir;
    const init = ["init", "node", "--dir", dir, "--name", "second", "--address", SECOND.address];
    await must([ANYHOP, ...init, "--pool", SECOND.pool]);
    const socket = `${dir}/second.sock`;
    world.change("second", (text) => `${text}[paths]\nstate = "${dir}/second-state"\nsocket = "${socket}"\n`);
    const start = async () => {
      const program = left.start([ANYHOP, "run", world.file("second"), "--log", "stderr:5"]);
      await until("the second node is ready", () => program.output.includes("listening on"), [program]);
      return program;
    };
    let second = await start();
    const [, key] = /private_key = "([^"]+)"/.exec(readFileSync(world.file("anna"), "utf8"))!;
    const pubkey = (text: string) => execFileSync(ANYHOP, ["pubkey"], { input: text, encoding: "utf8" }).trim();
    const words = ["clients", "add", "anna", "--public-key", pubkey(key), "--socket", socket];
    expect(await left.run([ANYHOP, ...words])).toMatchObject({ code: 0 });
    const group = pubkey(readFileSync(`${dir}/second.key`, "utf8"));
    const table = `[[service]]\nname = "second"\naddress = ["${SECOND.address}"]\npublic_key = "${group}"\n`;
    world.change("anna", (text) => `${text}${table}routes = ["${SECOND.pool}"]\n`);

    const anna = await startClient();
    await until("both are up", () => anna.output.split(" has ").length > 2, [anna]);
    for (const inner of [INNER_NODE.v4, SECOND.inner]) expect(await reaches(inner), inner).toBe(true);
    const { services } = await status();
    expect(services.map(({ name, state }) => [name, state])).toEqual([
      ["node", "up"],
      ["second", "up"],
    ]);
    expect(services[0].device).not.toBe(services[1].device);
    expect((await ask("ping", "second", "-c", "1")).code).toBe(0);
    const own = JSON.parse(
      (await world.pair.right.run([ANYHOP, "status", "--json", "--socket", `${dir}/anna-second.sock`])).stdout,
    ) as Status;
    expect(own.services.map(({ name }) => name)).toEqual(["second"]);

    await second.stop("SIGKILL");
    expect(await reaches(SECOND.inner)).toBe(false);
    for (let n = 0; n < 5; n++) expect(await reaches(INNER_NODE.v4)).toBe(true);
    expect((await ask("ping", "node", "-c", "1")).code).toBe(0);
    second = await start();
    await until("the second is back", () => reaches(SECOND.inner), [anna, second]);
    await Promise.all([anna.stop(), second.stop()]);
    expect([anna.exitCode, second.exitCode]).toEqual([0, 0]);
  });

  /** Name of the one ticket of the client's file. */
  function nameOfTicket(): string {
    const text = readFileSync(world.file("anna"), "utf8");
    const key = (word: string) => Buffer.from(new RegExp(`${word} = "([^"]+)"`).exec(text)![1], "base64");
    return ticketName(key("public_key"), publicKeyOf(key("private_key")), key("psk"));
  }
});

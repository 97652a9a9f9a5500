/**
 * Clients that are added and removed on nodes of a group that do not hear each other, with real daemons: who was removed
 * stays removed, an address that two were given is settled under a running session, and tickets of a node that began later
 * are good at the others.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask } from "../../src/api/client.ts";
import type { Program } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { privateKeyFrom, publicKeyOf } from "../../src/control/text/keys/x25519.ts";
import { systemEntropy } from "../../src/crypto/entropy.ts";
import { whyNoNetns } from "../support/netns.ts";
import { GroupWorld, SERVICE } from "./group_world.ts";
import { until } from "./session_pair.ts";

const skip = whyNoNetns({ tun: true });
const SHARED = "10.9.0.77";

describe.skipIf(skip !== undefined)(`clients of a group${skip === undefined ? "" : `, skipped: ${skip}`}`, () => {
  let world: GroupWorld;
  const nodes: Program[] = [];
  beforeAll(async () => {
    world = await GroupWorld.create(3, 2);
    for (const node of [1, 2]) nodes[node] = await world.start(node);
    await world.meet(1, 2);
  });
  afterAll(async () => world?.close());

  const newKey = () => {
    const privateKey = privateKeyFrom(systemEntropy.bytes(32));
    return { privateKey: formatKey(privateKey), publicKey: formatKey(publicKeyOf(privateKey)) };
  };
  const add = async (node: number, name: string, publicKey: string, addresses: string[] = []) =>
    (await ask(world.socket(node), "addClient", { name, publicKey, addresses })).client.addresses;
  /** Clients that were added. */
  const listed = async (node: number) => {
    const { clients } = await ask(world.socket(node), "listClients", {});
    return clients.filter(({ origin }) => origin === "api").map(({ name }) => name);
  };
  const hears = (node: number, names: string[]) =>
    until(`node ${node} has ${names}`, async () => (await listed(node)).join() === names.join(), nodes.slice(1));
  /** Nothing goes from one of these two nodes to the other; clients reach both. */
  const cut = async (a: number, b: number, action: "add" | "del") => {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ])
      await world.nodes[from - 1].ip("route", action, "blackhole", `198.51.100.${4 * to - 2}/32`);
  };
  const silent = (node: number, of: number) =>
    until(`node ${node} misses node ${of}`, async () => !(await world.peer(node, of)).alive);

  test("removed while a node was away, or at a node that has never heard of it: removed everywhere", async () => {
    const [xena, zoe] = [newKey(), newKey()];
    await add(1, "xena", xena.publicKey);
    await hears(2, ["xena"]);
    await nodes[2].stop();
    expect((await world.cli(1, "clients", "remove", "xena")).code).toBe(0);
    await cut(1, 2, "add");
    nodes[2] = await world.start(2);
    await hears(2, ["xena"]);
    await add(2, "zoe", zoe.publicKey);
    const removed = await world.cli(1, "clients", "remove", "--public-key", zoe.publicKey);
    expect(removed.stdout).toBe("This node knew nobody with this key; it can't come in any more.\n");
    await cut(1, 2, "del");
    await world.meet(1, 2);
    await hears(2, []);
    expect(await listed(1)).toEqual([]);
    // And what is on its disk says the same.
    await nodes[2].stop();
    nodes[2] = await world.start(2);
    expect(await listed(2)).toEqual([]);
    await world.meet(1, 2);
  });

  test("one address named on both sides of a cut: the later client gets another one, its session too, and sync says it", async () => {
    const [older, later] = [newKey(), newKey()];
    await cut(1, 2, "add");
    await silent(1, 2);
    await silent(2, 1);
    expect(await add(1, "older", older.publicKey, [SHARED])).toEqual([SHARED]);
    expect(await add(2, "later", later.publicKey, [SHARED])).toEqual([SHARED]);
    await world.route(2);
    const dir = `${world.dir}/later`;
    mkdirSync(dir);
    writeFileSync(
      `${dir}/client.toml`,
      `[client]\nprivate_key = "${later.privateKey}"\n[[service]]\nname = "example"\npublic_key = "${formatKey(
        publicKeyOf(Buffer.from(world.groupKey, "base64")),
      )}"\naddress = ["${SERVICE.v4}:4444"]\n[paths]\nstate = "${dir}"\nsocket = "${dir}/sock"\n`,
      { mode: 0o600 },
    );
    const client = world.clients[0].start([ANYHOP, "run", `${dir}/client.toml`, "--log", "stderr:5"]);
    await until("later is up", () => client.output.includes(`has ${SHARED}/32`), [client]);
    await until("packets pass", async () => (await world.pings(1, 10)) === 10, [client]);
    await cut(1, 2, "del");
    const addressOf = async (node: number) => (await ask(world.socket(node), "getClient", { name: "later" })).addresses;
    for (const node of [1, 2]) {
      await hears(node, ["later", "older"]);
      // First it has lost its only address, which is a conflict; then the node that wrote it gives it another one.
      await until(
        "the later one has another",
        async () => (await addressOf(node)).filter((address) => address !== SHARED).length > 0,
        [client],
      );
      expect((await ask(world.socket(node), "getClient", { name: "older" })).addresses).toEqual([SHARED]);
      const { stdout } = await world.cli(node, "sync");
      expect(stdout).toMatch(new RegExp(`! conflict settled at .*Z: client later had to leave ${SHARED}/32 to older`));
      expect((await world.group(node)).book.conflicts).toEqual([]);
    }
    const [fresh] = await addressOf(1);
    expect(await addressOf(2)).toEqual([fresh]);
    await until("its session has the new address", () => client.output.includes(`has ${fresh}/32`), [client]);
    await until("packets pass", async () => (await world.pings(1, 10)) === 10, [client]);
    await client.stop();
    // Both begin again with what is on their disks.
    for (const node of [1, 2]) {
      await nodes[node].stop("SIGKILL");
      nodes[node] = await world.start(node);
      expect(await listed(node)).toEqual(["later", "older"]);
      expect(await addressOf(node)).toEqual([fresh]);
    }
    await world.meet(1, 2);
  });

  test("tickets of a node that began later are good at the others", async () => {
    nodes[3] = await world.start(3);
    await world.meet(1, 3);
    await world.meet(2, 3);
    await world.route(3);
    const first = await world.startClient(2);
    await first.stop("SIGKILL");
    await world.route(1);
    const second = await world.startClient(2);
    expect(second.output).toMatch(/session resumed by ticket/);
    await second.stop();
  });
});

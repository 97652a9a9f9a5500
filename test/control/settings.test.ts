/** Settings of clients that have no room in a grant, or change while clients are connected, on virtual time. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { REQUEST_LEN } from "../../src/handshake/control.ts";
import { packet4 } from "../dataplane/world.ts";
import { addressOf, type Machine, NODE_INNER, PSK, publicKeyOf, recordOf, World } from "./ends.ts";

/** Header, payload type, kind, tag: the question for settings. */
const WANTED_LEN = 8 + 2 + 1 + 16;
let world: World;

beforeEach(() => {
  world = new World();
});
afterEach(() => {
  for (const machine of world.machines) machine.end.stop();
  world.close();
});

const networks = (count: number, second = 16) =>
  Array.from({ length: count }, (_, k) => `10.${second + Math.floor(k / 256)}.${k % 256}.0/24`);
const place = (prefix: string) => Number(prefix.split(".")[1]) * 256 + Number(prefix.split(".")[2]);
/** Networks that the device has routes for, in order. */
const configured = (client: Machine) =>
  client.network.routes
    .flatMap(({ device, prefix }) => (device === "tun0" && prefix.startsWith("10.") ? [prefix] : []))
    .sort((a, b) => place(a) - place(b));
type Node = ReturnType<World["node"]>;
const stateOf = (node: Node) => node.end.list()[0]?.settings;
const count = (node: Node, name: string) => node.end.controls().find((one) => one.name === name)?.count;
const talks = (node: Node, client: Machine) => {
  const packet = packet4(addressOf(0), NODE_INNER, 20);
  client.host.io.device!.inject(packet);
  world.settle();
  return node.host.delivered().length === 1;
};

describe("a grant", () => {
  test.each([10, 100, 250, 300, 5000])("of %i networks: the client has all of them, in one go", async (many) => {
    const node = world.node({ networks: networks(many) });
    node.end.admit(recordOf(0), PSK);
    const client = world.client(0);
    await world.run(3000);
    expect(configured(client)).toEqual(networks(many));
    expect(stateOf(node)).toMatchObject({ current: true });
    expect(talks(node, client)).toBe(true);
    // What has room in the grant needs no message.
    expect(count(node, "delivered")).toBe(many > 100 ? 1 : 0);
  });

  test("that names settings which the client has already sends them no second time, in ten rekeys", async () => {
    const node = world.node({ networks: networks(300) });
    node.end.admit(recordOf(0), PSK);
    const client = world.client(0);
    await world.run(20 * 60_000);
    expect(client.said("session_up").length).toBeGreaterThan(10);
    expect(client.done.filter((line) => line.startsWith("remove"))).toEqual([]);
    expect(count(node, "sent")).toBe(1);
    expect(stateOf(node)).toMatchObject({ current: true });
  });

  test("whose rest is lost on the way: the client asks until it comes", async () => {
    const node = world.node({ networks: networks(300) });
    node.end.admit(recordOf(0), PSK);
    let [lost, seen] = [0, 0];
    // Every second page, and the first five questions.
    world.loses = ({ length }) => {
      if (length > 1190 && length !== REQUEST_LEN) return ++seen % 2 === 0;
      return length === WANTED_LEN && ++lost <= 5;
    };
    const client = world.client(0);
    await world.run(60_000);
    expect(lost).toBeGreaterThan(5);
    expect(configured(client)).toEqual(networks(300));
  });

  test("the client sets nothing up before it has all of it", async () => {
    const node = world.node({ networks: networks(300) });
    node.end.admit(recordOf(0), PSK);
    world.loses = ({ length }) => length > 1190 && length !== REQUEST_LEN;
    const client = world.client(0);
    await world.run(30_000);
    expect(client.end.status().state).toBe("confirming");
    expect(client.done).toEqual(["add link tun0 1400"]);
  });
});

describe("a reload", () => {
  test("of 300 networks, name servers and back reaches a connected client at once", async () => {
    const node = world.node();
    node.end.admit(recordOf(0), PSK);
    const client = world.client(0);
    await world.run(1000);
    const first = stateOf(node);
    expect(first).toMatchObject({ current: true });
    const sessions = client.said("session_up").length;
    node.end.reconfigure({ ...node.spec, networks: networks(300), dns: ["192.0.2.53"] });
    expect(stateOf(node)).toEqual({ version: first!.version, current: false });
    await world.run(1000);
    expect(configured(client)).toEqual(networks(300));
    expect(client.end.status().dns).toEqual(["192.0.2.53"]);
    expect(stateOf(node)).toMatchObject({ current: true });
    expect(stateOf(node)!.version).not.toBe(first!.version);
    node.end.reconfigure(node.spec);
    await world.run(1000);
    expect(configured(client)).toEqual([]);
    expect(stateOf(node)).toEqual(first);
    // Without another session, and without anything to say when nothing changes.
    const before = count(node, "sent");
    node.end.reconfigure({ ...node.spec, keepaliveMs: 5000 });
    await world.run(1000);
    expect([client.said("session_up").length, count(node, "sent")]).toEqual([sessions, before]);
    expect(talks(node, client)).toBe(true);
  });

  test("and another one before the first has arrived: the client ends with the last", async () => {
    const node = world.node();
    node.end.admit(recordOf(0), PSK);
    const client = world.client(0);
    await world.run(1000);
    for (let k = 0; k < 20; k++) {
      node.end.reconfigure({ ...node.spec, networks: networks(300, 20 + k) });
      await world.run(10 * (k % 3));
    }
    await world.run(5000);
    expect(configured(client)).toEqual(networks(300, 39));
    expect(stateOf(node)).toMatchObject({ current: true });
  });

  test("while a client is between request and confirmation", async () => {
    const node = world.node();
    node.end.admit(recordOf(0), PSK);
    // What the client sends after its request comes late.
    let held = true;
    world.loses = ({ length }) => held && length < 200;
    const client = world.client(0);
    await world.run(200);
    expect(node.rows()).toBe(1);
    node.end.reconfigure({ ...node.spec, networks: networks(3) });
    await world.run(200);
    held = false;
    await world.run(5000);
    expect(configured(client)).toEqual(networks(3));
    expect(stateOf(node)).toMatchObject({ current: true });
  });

  test("a host that refuses: the node hears of it", async () => {
    const node = world.node();
    node.end.admit(recordOf(0), PSK);
    const client = world.client(0);
    await world.run(1000);
    client.refuses = true;
    node.end.reconfigure({ ...node.spec, networks: networks(2) });
    await world.run(1000);
    expect(node.said("settings_failed")).toHaveLength(1);
  });
});

test("other addresses: the session goes on, and packets pass from and to the new one alone", async () => {
  const node = world.node();
  node.end.admit(recordOf(0), PSK);
  const client = world.client(0);
  await world.run(1000);
  const session = node.end.sessionOf(publicKeyOf(0));
  node.end.admit(recordOf(0, { addresses: ["198.51.100.200"] }), PSK);
  await world.run(1000);
  expect(node.end.sessionOf(publicKeyOf(0))).toBe(session);
  expect(client.end.status().addresses).toEqual(["198.51.100.200/32"]);
  expect(stateOf(node)).toMatchObject({ current: true });
  const ping = (address: string) => {
    client.host.io.device!.inject(packet4(address, NODE_INNER, 20));
    node.host.io.device!.inject(packet4(NODE_INNER, address, 20));
    world.settle();
    return [node.host.delivered().length, client.host.delivered().length];
  };
  expect(ping("198.51.100.200")).toEqual([1, 1]);
  expect(ping(addressOf(0))).toEqual([0, 0]);
  expect([node.host.count("inner_source"), node.host.count("no_route")]).toEqual([1, 1]);
});

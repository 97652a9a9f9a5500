/** A client's service against a real node on virtual time: what it does to its host, what it says, how it comes back. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ticketName } from "../../src/control/client/kept_ticket.ts";
import type { SavedTicket, Store } from "../../src/control/spec/ports.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import { MUX, RESUME, RESUMED, TYPE } from "../../src/handshake/control.ts";
import { packet4 } from "../dataplane/world.ts";
import { addressOf, GROUP, keyOf, type Machine, NODE, NODE_INNER, PSK, publicKeyOf, recordOf, World } from "./ends.ts";

let world: World;
let node: ReturnType<World["node"]>;

beforeEach(() => {
  world = new World();
  node = world.node();
  node.end.admit(recordOf(0), PSK);
});
afterEach(() => {
  for (const machine of world.machines) machine.end.stop();
  world.close();
});

/** Whether a packet of the client comes out at the node. */
function reaches(client: Machine): boolean {
  client.host.io.device!.inject(packet4(addressOf(0), NODE_INNER, 20));
  world.settle();
  return node.host.delivered().length > 0;
}

/** The node loses all that is not on disk, and is there again. */
function restartNode(): void {
  world.kill(node);
  node = world.node();
  node.end.admit(recordOf(0), PSK);
}

const resumes = () =>
  world.recorded.filter(({ bytes }) => bytes[MUX] === 0xff && bytes[MUX + 1] === 0xff && bytes[TYPE] === RESUME).length;

describe("the node forgot everything", () => {
  test("the next packet of the client brings the session back within three round trips, by ticket", async () => {
    const client = world.client(0);
    await world.run(200);
    restartNode();
    const startedMs = world.network.nowMs;
    expect(reaches(client)).toBe(false);
    // No time passes on this network: all of it happens in the turns of one moment.
    expect(reaches(client)).toBe(true);
    expect([world.network.nowMs - startedMs, resumes()]).toEqual([0, 1]);
    expect(client.said("session_up").at(-1)).toContain("resumed by ticket");
    expect(node.said("session_up")).toEqual([expect.stringContaining("resumed by ticket")]);
    expect(client.done.filter((line) => line.startsWith("add address"))).toHaveLength(2);
  });

  test("and the ticket keys too: a new handshake, without a person", async () => {
    const client = world.client(0);
    await world.run(200);
    world.store.setTicketKeys([]);
    restartNode();
    reaches(client);
    await world.run(2000);
    expect(reaches(client)).toBe(true);
    expect(client.said("session_up").at(-1)).not.toContain("resumed");
  });

  test("and does not know the client any more: no session, and the log says what may be wrong", async () => {
    const client = world.client(0);
    await world.run(200);
    world.kill(node);
    node = world.node();
    reaches(client);
    await world.run(60_000);
    expect([reaches(client), node.rows()]).toEqual([false, 0]);
    expect(client.said("no_answer").length).toBeGreaterThan(0);
  });

  test("down for ten minutes: the client comes back by itself when the node does", async () => {
    const client = world.client(0);
    await world.run(200);
    world.kill(node);
    await world.run(600_000);
    node = world.node();
    node.end.admit(recordOf(0), PSK);
    await world.run(21_000);
    expect(reaches(client)).toBe(true);
  });

  test("a client that only listens finds out by its keepalive", async () => {
    const client = world.client(0);
    await world.run(200);
    restartNode();
    await world.run(26_000);
    expect(node.end.list()).toHaveLength(1);
    node.host.io.device!.inject(packet4(NODE_INNER, addressOf(0), 20));
    world.settle();
    expect(client.host.delivered()).toHaveLength(1);
  });
});

describe("why it is not up", () => {
  const place = `${NODE}:4444`;
  test.each<[string, Parameters<World["client"]>[1], string, RegExp]>([
    [
      "another group key",
      { groupKey: keyOf(50).publicKey },
      "no_answer",
      /does not answer: \d+ requests .*another group key/,
    ],
    ["another psk", { psk: new Uint8Array(32).fill(1) }, "wrong_answer", /answers, but not .*psk/],
    [
      "a closed port",
      { remotes: [{ host: NODE, port: 5 }], reach: "port_closed" },
      "port_closed",
      /nobody listens on its UDP port 5/,
    ],
    ["a firewall", { remotes: [{ host: NODE, port: 5 }], reach: "filtered" }, "filtered", /not let through/],
    ["no route", { remotes: [{ host: NODE, port: 5 }], reach: "no_route" }, "no_route", /no route to 192\.0\.2\.1:5/],
    [
      "no name",
      { resolve: async () => Promise.reject(Object.assign(new Error("E"), { code: "ENOTFOUND" })) },
      "no_name",
      /was not found: there is no such name; .*\(ENOTFOUND\)/,
    ],
    ["no family", { resolve: async () => ["2001:db8::1"] }, "no_name", /no address of a family/],
  ])("%s", async (_, options, reason, says) => {
    const client = world.client(0, options);
    await world.run(30_000);
    const { problem, state, upSinceMs, handshakeMs, asking } = client.end.status();
    expect([state, upSinceMs, handshakeMs]).toEqual(["connecting", null, null]);
    expect(problem).toMatchObject({ reason, message: expect.stringMatching(says), over: false });
    expect(client.said(reason)[0]).toMatch(says);
    expect(client.told.filter((event) => event === "service_problem example").length).toBeGreaterThan(0);
    // Nothing is asked before there is somewhere to ask.
    if (reason === "no_name") expect(asking).toBeNull();
    else expect(asking!.tries).toBeGreaterThan(4);
    expect([client.rows(), client.said("session_up").length, node.end.list().length]).toEqual([0, 0, 0]);
    expect(client.said("no_answer").length).toBeLessThan(4);
  });

  test("a client that was removed is told where to look, with the key that the node must know", async () => {
    const client = world.client(7);
    await world.run(10_000);
    const { problem, asking } = client.end.status();
    expect(problem!.message).toContain(`${place} does not answer: ${asking!.tries - 1} requests in `);
    expect(problem!.message).toContain(publicKeyOf(7));
    expect(problem!.message).toContain("anyhop clients list");
  });

  test("a refusal, with the reason of the node; and a session that nothing comes back in", async () => {
    node.end.admit(recordOf(1, { modes: ["relay"] }), PSK);
    const refused = world.client(1);
    await world.run(200);
    expect(refused.end.status()).toMatchObject({
      ...{ state: "connecting" },
      problem: {
        reason: "refused",
        message: expect.stringMatching(/192\.0\.2\.1:4444 refuses \(mode_not_allowed\): .*modes/),
      },
    });
    refused.end.stop();
    world.kill(refused);
    const deliver = world.network.deliver.bind(world.network);
    world.network.deliver = (...words) => {
      const [bytes, at] = [words[7], words[8]];
      return (bytes[at + MUX] << 8) + bytes[at + MUX + 1] !== 0xffff || deliver(...words);
    };
    const deaf = world.client(0);
    let isUp = false;
    void deaf.end.whenUp.then(() => {
      isUp = true;
    });
    await world.run(12_000);
    expect(deaf.end.status()).toMatchObject({
      state: "confirming",
      upSinceMs: null,
      problem: { reason: "unconfirmed" },
    });
    expect(isUp).toBe(false);
    world.network.deliver = deliver;
    await world.run(40_000);
    expect(isUp).toBe(true);
    expect(deaf.end.status()).toMatchObject({
      state: "up",
      asking: null,
      problem: { reason: "unconfirmed", over: true },
    });
  });

  test("up, then a silent node, then up again: since when, and what it was", async () => {
    const client = world.client(0);
    await world.run(200);
    const first = client.end.status();
    expect(first).toMatchObject({ state: "up", problem: null, asking: null, node: 1, moves: 0 });
    expect(first.upSinceMs).toBeGreaterThan(0);
    expect(client.told).toEqual(["service_asks example", "session_up example", "service_up example"]);
    world.kill(node);
    reaches(client);
    await world.run(40_000);
    expect(client.end.status()).toMatchObject({ state: "silent", problem: { reason: "no_answer", over: false } });
    node = world.node();
    node.end.admit(recordOf(0), PSK);
    await world.run(30_000);
    expect(client.end.status()).toMatchObject({
      state: "up",
      asking: null,
      problem: { reason: "no_answer", over: true },
    });
    expect(client.end.status().handshakeMs).toBeGreaterThan(first.handshakeMs!);
  });

  test("a name that is found later, and a second address when the first is dead, each without waiting long", async () => {
    let known = false;
    const resolve = async () => (known ? ["192.0.2.200", NODE] : Promise.reject(new Error("EAI_AGAIN")));
    const client = world.client(0, { resolve, remotes: [{ host: "vpn.example.net", port: 4444 }] });
    await world.run(100_000);
    expect(client.end.status()).toMatchObject({ remote: null, problem: { reason: "no_name" } });
    // Once in 16 s at most.
    expect(client.end.status().problem!.count).toBeLessThan(12);
    known = true;
    await world.run(17_000);
    expect(client.end.status().remote).toBe("192.0.2.200:4444");
    await world.run(10_000);
    expect(client.end.status()).toMatchObject({ state: "up", remote: place });
    expect(client.told.slice(-2)).toEqual(["session_up example", "service_up example"]);
  });
});

describe("what the log says", () => {
  test("no key, psk or secret of a session, at either end, in a life with all its turns", async () => {
    const client = world.client(0);
    await world.run(130_000);
    restartNode();
    reaches(client);
    await world.run(1000);
    const newer = world.client(0, { address: "192.0.2.99" });
    await world.run(1000);
    const ticketKey = world.store.ticketKeys()[0].key;
    const text = JSON.stringify([client.log, newer.log, node.log]);
    expect(text).toContain("takeover");
    for (const secret of [keyOf(0).privateKey, new Uint8Array(32).fill(1), PSK, ticketKey]) {
      const bytes = Buffer.from(secret);
      for (const form of [bytes.toString("base64"), bytes.toString("base64url"), bytes.toString("hex")])
        expect(text).not.toContain(form);
    }
  });
});

describe("another start of the client", () => {
  /** The client is gone as by kill -9, and started again with what it has on disk. */
  async function restarted(boot?: string, damage: (store: Store) => void = () => {}): Promise<Machine> {
    const store = createMemoryStore();
    const before = world.client(0, { store });
    await world.run(200);
    world.kill(before);
    damage(store);
    world.recorded.length = 0;
    const after = world.client(0, { store, ...(boot === undefined ? {} : { boot }) });
    await world.run(200);
    expect(reaches(after)).toBe(true);
    return after;
  }

  test("goes on by its ticket in one round trip; it is no other machine, so no takeover is told", async () => {
    const client = await restarted();
    expect(world.recorded.slice(0, 2).map(({ bytes }) => bytes[TYPE])).toEqual([RESUME, RESUMED]);
    expect(client.said("session_up")).toEqual([expect.stringContaining("resumed by ticket")]);
    expect([node.said("takeover"), node.told]).toEqual([[], ["session_up client0", "session_rekeyed client0"]]);
    await world.run(130_000);
    expect([client.said("session_up").length, client.said("replaced")]).toEqual([2, []]);
    expect(client.said("session_up")[1]).not.toContain("resumed");
    expect(node.said("takeover")).toEqual([]);
  });

  test("in another boot, as a copy of the disk in another machine: a session of its own, and the takeover is told", async () => {
    const client = await restarted("another boot");
    expect(client.said("session_up")).toEqual([expect.not.stringContaining("resumed")]);
    expect([node.said("takeover").length, resumes()]).toEqual([1, 0]);
    expect(node.told).toContain("takeover client0");
  });

  const nameOf = ticketName(GROUP.publicKey, keyOf(0).publicKey, PSK);
  const change = (store: Store, by: Partial<SavedTicket>) => {
    const saved = store.savedTicket(nameOf)!;
    store.saveTicket(nameOf, { ...saved, ...by });
  };
  test.each<[string, (store: Store) => void, number]>([
    ["changed bytes", (store) => change(store, { ticket: new Uint8Array(180).fill(9) }), 1],
    ["another secret", (store) => change(store, { resumption: new Uint8Array(32) }), 3],
    ["too old", (store) => change(store, { savedMs: 0 }), 0],
    ["from the future", (store) => change(store, { savedMs: Number.MAX_SAFE_INTEGER }), 0],
    ["cut", (store) => change(store, { resumption: new Uint8Array(3) }), 0],
    ["empty", (store) => change(store, { ticket: new Uint8Array(0) }), 0],
  ])("a ticket with %s is as good as none", async (_, damage, asked) => {
    const store = createMemoryStore();
    const before = world.client(0, { store });
    await world.run(200);
    world.kill(before);
    damage(store);
    const client = world.client(0, { store });
    await world.run(6000);
    expect(reaches(client)).toBe(true);
    expect(client.said("session_up")).toEqual([expect.not.stringContaining("resumed")]);
    expect(resumes()).toBe(asked);
  });

  test("with another psk it does not go on by the ticket of before", async () => {
    const store = createMemoryStore();
    const before = world.client(0, { store });
    await world.run(200);
    world.kill(before);
    const client = world.client(0, { store, psk: new Uint8Array(32).fill(1) });
    await world.run(200);
    expect([resumes(), client.said("session_up")]).toEqual([0, []]);
  });

  test("a slow disk keeps no packet waiting: the session is confirmed before its ticket is written", async () => {
    const sent: number[] = [];
    const saveTicket = () => void sent.push(client.end.status().sessions[0]!.tx.packets);
    const client = world.client(0, { store: { ...createMemoryStore(), saveTicket } });
    await world.run(200);
    expect(sent).toEqual([1]);
  });

  test("who was sent away by another machine keeps no ticket", async () => {
    const store = createMemoryStore();
    const first = world.client(0, { store });
    await world.run(200);
    expect(store.savedTicket(nameOf)).toBeDefined();
    world.client(0, { address: "192.0.2.99" });
    await world.run(200);
    expect(first.said("replaced")).toHaveLength(1);
    expect(store.savedTicket(nameOf)).toBeUndefined();
  });
});

describe("what it shows", () => {
  test("nothing yet, then a session with all its facts, an old one during the overlap, and a place that is taken", async () => {
    world.kill(node);
    const client = world.client(0);
    await world.run(1000);
    expect(client.end.status()).toMatchObject({ state: "connecting", remote: `${NODE}:4444`, sessions: [], mtu: null });
    await expect(client.end.ping(100)).rejects.toMatchObject({ code: "no_session" });
    node = world.node();
    node.end.admit(recordOf(0), PSK);
    await world.run(20_000);
    expect(reaches(client)).toBe(true);
    const { sessions, ...service } = client.end.status();
    expect(service).toMatchObject({
      ...{ name: "example", state: "up", device: "tun0", mtu: 1400, dns: [], protected: true, hostProblems: [] },
      ...{ addresses: [`${addressOf(0)}/32`, "2001:db8:9::1/128"], routes: ["198.51.100.0/24", "2001:db8:9::/64"] },
    });
    expect(sessions).toEqual([
      {
        ...{ id: node.end.list()[0].id, current: true, resumed: false, endpoint: `${NODE}:4444`, senders: 1 },
        ...{ cipher: "aes-256-gcm", sinceMs: expect.any(Number), heardMs: expect.any(Number) },
        rekeyInMs: expect.any(Number),
        rx: { packets: expect.any(Number), bytes: 0 },
        tx: { packets: 2, bytes: 48 },
      },
    ]);
    expect(sessions[0].rekeyInMs).toBeGreaterThan(85_000);
    await world.run(125_000);
    const later = client.end.status().sessions;
    expect(later.map(({ current, rekeyInMs }) => [current, rekeyInMs === null])).toEqual([
      [true, false],
      [false, true],
    ]);
    expect(client.told.filter((event) => event.startsWith("session"))).toEqual([
      ...["session_up example", "session_rekeyed example"],
    ]);
    world.client(0, { address: "192.0.2.99" });
    await world.run(200);
    expect(client.end.status()).toMatchObject({ state: "replaced", sessions: [] });
    expect(client.told).toContain("session_down example");
  });

  test("a ping from the client comes back", async () => {
    const client = world.client(0);
    await world.run(200);
    const asked = client.end.ping(1000);
    await world.run(20);
    const { rttMs, node: through } = await asked;
    expect(rttMs).toBeLessThanOrEqual(20);
    expect(through).toBe(1);
  });
});

describe("what it does to its host", () => {
  test("everything into the tunnel, with kill switch: pinned, blocked, then configured; all of it undone at the end", async () => {
    const client = world.client(0, { routes: "everything", killSwitch: true });
    await world.run(200);
    const blocked = ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"];
    const pin = `pin ${NODE}/32 via 192.0.2.254 dev eth0`;
    expect(client.done).toEqual([
      "add link tun0 1400",
      `add ${pin}`,
      ...blocked.map((prefix) => `add unreachable ${prefix}`),
      `add address ${addressOf(0)}/32 tun0`,
      "add address 2001:db8:9::1/128 tun0",
      ...blocked.map((prefix) => `add route ${prefix} tun0`),
    ]);
    client.done.length = 0;
    await client.end.leave();
    expect(client.done).toEqual([`remove ${pin}`, ...blocked.map((prefix) => `remove unreachable ${prefix}`)]);
  });

  test("a kill switch holds before the node has answered, for both families", async () => {
    world.kill(node);
    const client = world.client(0, { routes: "everything", killSwitch: true });
    await world.run(2000);
    expect(client.done.slice(2)).toEqual(
      ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"].map((p) => `add unreachable ${p}`),
    );
    expect(client.end.status()).toMatchObject({ protected: true, hostProblems: [] });
  });

  test("nothing before the node has answered", async () => {
    world.kill(node);
    const client = world.client(0);
    await world.run(20_000);
    expect(client.done).toEqual(["add link tun0 1400"]);
    expect(client.end.status()).toMatchObject({ protected: false, hostProblems: [] });
  });
});

/** A node's sessions against real clients on virtual time: who comes in, who is put out, and what strangers can't do. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { INIT, MUX, RESUME, RESUME_TICKET, TYPE } from "../../src/handshake/control.ts";
import { RefusedRequests } from "../../src/handshake/refused_requests.ts";
import { packet4, packet6 } from "../dataplane/world.ts";
import { addressOf, keyOf, type Machine, NODE_INNER, PSK, publicKeyOf, recordOf, World } from "./ends.ts";

const NOTHING = new Uint8Array(0);
const YEAR_MS = 365 * 24 * 3_600_000;
let world: World;
let node: ReturnType<World["node"]>;

beforeEach(() => {
  world = new World();
  node = world.node();
  for (const n of [0, 1]) node.end.admit(recordOf(n), PSK);
});
afterEach(() => {
  for (const machine of world.machines) machine.end.stop();
  world.close();
});

/** One packet each way through the tunnel of client `n`; true when both arrived whole. */
function talks(client: Machine, n: number, through = node): boolean {
  const up = packet4(addressOf(n), NODE_INNER, 20 + n);
  const down = packet4(NODE_INNER, addressOf(n), 40 + n);
  client.host.io.device!.inject(up);
  through.host.io.device!.inject(down);
  world.settle();
  const [atNode, atClient] = [through.host.delivered(), client.host.delivered()];
  return Buffer.from(up).equals(atNode[0] ?? NOTHING) && Buffer.from(down).equals(atClient[0] ?? NOTHING);
}

const requests = (type: number) =>
  world.recorded.filter(({ bytes }) => bytes[MUX] === 0xff && bytes[MUX + 1] === 0xff && bytes[TYPE] === type);

describe("coming in", () => {
  test("one round trip: session, settings, packets both ways in both families", async () => {
    const client = world.client(0);
    await world.run(100);
    expect(client.said("session_up")).toHaveLength(1);
    expect(node.said("session_up")).toEqual(["Client client0: session up, aes-256-gcm"]);
    expect(client.done).toEqual([
      "add link tun0 1400",
      `add address ${addressOf(0)}/32 tun0`,
      "add address 2001:db8:9::1/128 tun0",
      "add route 198.51.100.0/24 tun0",
      "add route 2001:db8:9::/64 tun0",
    ]);
    expect(talks(client, 0)).toBe(true);
    const up = packet6("2001:db8:9::1", "2001:db8:9::ffff", 20);
    client.host.io.device!.inject(up);
    world.settle();
    // No such client: the node has no route for it, which is not the same as refusing the source.
    expect([node.host.count("inner_source"), node.host.count("no_route")]).toEqual([0, 0]);
    expect(node.host.delivered()).toEqual([up]);
    expect(node.end.list()).toMatchObject([
      { publicKey: publicKeyOf(0), endpoint: "192.0.2.10:4444", cipher: "aes-256-gcm" },
    ]);
  });

  test("clients reach each other through the node", async () => {
    const [a, b] = [world.client(0), world.client(1)];
    await world.run(100);
    const packet = packet4(addressOf(0), addressOf(1), 33);
    a.host.io.device!.inject(packet);
    world.settle();
    expect(b.host.delivered()).toEqual([packet]);
  });

  test("a key that the node does not know gets no answer and leaves nothing", async () => {
    const client = world.client(7);
    await world.run(5000);
    expect(requests(INIT).length).toBeGreaterThan(2);
    expect(world.recorded).toHaveLength(requests(INIT).length);
    expect([node.rows(), client.rows(), node.end.responder.sessions.size]).toEqual([0, 0, 0]);
    expect(node.end.responder.counters.get("client_unknown")).toBe(requests(INIT).length);
  });

  test("a session whose client is never heard in it is kept for 15 s, and no row longer", async () => {
    const client = world.client(0);
    // Requests and answers pass, packets of sessions do not.
    const deliver = world.network.deliver.bind(world.network);
    world.network.deliver = (...words) => {
      const [bytes, at] = [words[7], words[8]];
      return (bytes[at + MUX] << 8) + bytes[at + MUX + 1] !== 0xffff || deliver(...words);
    };
    await world.run(100);
    world.kill(client);
    expect([node.rows(), node.end.list()]).toEqual([1, []]);
    await world.run(14_700);
    expect(node.rows()).toBe(1);
    await world.run(400);
    expect(node.rows()).toBe(0);
  });

  test.each([
    ["a year ahead", YEAR_MS],
    ["a year behind", -YEAR_MS],
  ])("a client whose clock is %s", async (_, skewMs) => {
    const client = world.client(0, { skewMs });
    await world.run(200);
    expect(talks(client, 0)).toBe(true);
    // Set right, or lost and behind: the next start is let in too, and the log says whose clock it is.
    client.end.stop();
    world.kill(client);
    await world.run(200);
    const again = world.client(0);
    await world.run(1000);
    expect(talks(again, 0)).toBe(true);
    expect(again.said("clock")).toHaveLength(0);
    expect(client.said("clock")).toHaveLength(skewMs > 0 ? 1 : 0);
    if (skewMs > 0)
      expect(client.said("clock")[0]).toMatch(/is at 2027-01-01.*group at 2026-01-01.*set the clock; going on/);
  });

  test("a node whose clock is a year behind or ahead of before", async () => {
    const client = world.client(0);
    await world.run(200);
    for (const skewMs of [-YEAR_MS, YEAR_MS]) {
      node.end.stop();
      world.kill(node);
      node = world.node({ skewMs });
      node.end.admit(recordOf(0), PSK);
      await world.run(60_000);
      expect(talks(client, 0)).toBe(true);
    }
  });
});

describe("who was refused", () => {
  test("with name or key, address, reason, how often and since when; it says nothing of who came in", async () => {
    expect(node.end.refused()).toEqual([]);
    const good = world.client(0);
    const gone = world.client(7);
    node.end.admit(recordOf(1, { modes: ["relay"] }), PSK);
    const barred = world.client(1);
    const stranger = world.client(3, { groupKey: keyOf(50).publicKey });
    await world.run(60_000);
    const seen = node.end.refused();
    expect(seen).toHaveLength(3);
    const by = (reason: string) => seen.find((one) => one.reason === reason)!;
    expect(by("client_unknown")).toMatchObject({
      client: null,
      publicKey: publicKeyOf(7),
      endpoint: "192.0.2.17:4444",
    });
    expect(by("client_unknown").count).toBe(node.end.responder.counters.get("client_unknown"));
    expect(by("client_unknown").help).toContain("may not come");
    expect(by("refused")).toMatchObject({ client: "client1", publicKey: publicKeyOf(1), detail: "mode_not_allowed" });
    expect(by("refused").lastMs).toBeGreaterThan(by("refused").firstMs + 30_000);
    expect(by("mac1_wrong")).toMatchObject({ client: null, publicKey: null, endpoint: "192.0.2.13:4444" });
    expect(node.end.count()).toBe(1);
    for (const client of [good, gone, barred, stranger]) client.end.stop();
  });

  test("another psk shows as a session that was never confirmed", async () => {
    const client = world.client(0, { psk: new Uint8Array(32).fill(1) });
    await world.run(20_000);
    expect(node.end.refused()).toMatchObject([
      {
        reason: "unconfirmed",
        client: "client0",
        endpoint: "192.0.2.10:4444",
        help: expect.stringContaining("pre-shared key"),
      },
    ]);
    client.end.stop();
  });

  test("a flood of strangers pushes no client out, and is looked at 20 times a second", () => {
    const refused = new RefusedRequests();
    const at = (ms: number) => ({ ms, wallMs: ms });
    const from = (n: number) => ({ family: 4 as const, w0: 0, w1: 0, w2: 0xffff, w3: n, port: n & 0xffff });
    refused.note(at(0), "refused", "node_full", from(1), { clientName: "anna", clientKey: "aa" });
    for (let n = 0; n < 100_000; n++) refused.note(at(n / 5), n % 2 ? "forged" : "mac1_wrong", "", from(n));
    const list = refused.list();
    expect(list.filter(({ clientName }) => clientName === "anna")).toHaveLength(1);
    expect([list.length, list.reduce((sum, { count }) => sum + count, 0)]).toEqual([65, 65]);
    for (let n = 0; n < 1000; n++)
      refused.note(at(30_000), "stale", "", from(n), { clientName: `c${n}`, clientKey: String(n) });
    expect(refused.list()).toHaveLength(128);
    refused.note(at(40_000), "stale", "", from(5), { clientName: "c999", clientKey: "999" });
    expect(refused.list()[0]).toMatchObject({ clientName: "c999", count: 2, firstMs: 30_000, lastMs: 40_000 });
  });
});

describe("rekey", () => {
  test("loses no packet in ten minutes and keeps at most two sessions", async () => {
    const client = world.client(0);
    await world.run(200);
    let sent = 0;
    let most = 0;
    const counts = [0, 0];
    for (; sent < 6000; sent++) {
      client.host.io.device!.inject(packet4(addressOf(0), NODE_INNER, 20));
      node.host.io.device!.inject(packet4(NODE_INNER, addressOf(0), 20));
      await world.run(100);
      counts[0] += node.host.delivered().length;
      counts[1] += client.host.delivered().length;
      most = Math.max(most, node.rows());
    }
    expect(counts).toEqual([sent, sent]);
    expect(client.said("session_up").length).toBeGreaterThanOrEqual(5);
    expect([most, node.said("takeover").length, requests(RESUME).length]).toEqual([2, 0, 0]);
    // The first addresses stay: nobody configures the host again.
    expect(client.done.filter((line) => line.startsWith("add address"))).toHaveLength(2);
  });

  test("every two seconds, with packets under way both ways in every moment: none is lost, none comes twice", async () => {
    world.kill(node);
    node = world.node({ timing: { rekeyAfterMs: 2000, overlapMs: 1000, expireAfterMs: 60_000 } });
    node.end.admit(recordOf(0), PSK);
    const client = world.client(0);
    await world.run(200);
    const counts = [0, 0];
    const sent = 6000;
    for (let k = 0; k < sent; k++) {
      // Sealed before anything of this moment arrives, the control messages too.
      client.host.io.device!.inject(packet4(addressOf(0), NODE_INNER, 20));
      node.host.io.device!.inject(packet4(NODE_INNER, addressOf(0), 20));
      for (const { host } of [client, node]) host.turn();
      await world.run(10);
      counts[0] += node.host.delivered().length;
      counts[1] += client.host.delivered().length;
    }
    expect(counts).toEqual([sent, sent]);
    expect(client.said("session_up").length).toBeGreaterThan(29);
    expect(node.rows()).toBeLessThanOrEqual(2);
  });

  test("a client with nothing to say rekeys, and does nothing else", async () => {
    world.client(0);
    await world.run(600_000);
    expect(requests(RESUME)).toEqual([]);
    expect(requests(INIT).length).toBeLessThanOrEqual(7);
    expect(node.end.list()).toHaveLength(1);
  });
});

describe("going out", () => {
  test("expelled: cut at once, told, and never let in again", async () => {
    const client = world.client(0);
    await world.run(200);
    node.end.expel(publicKeyOf(0));
    world.settle();
    expect(talks(client, 0)).toBe(false);
    expect([node.rows(), node.host.plane.routes.size]).toEqual([0, 1]);
    expect(client.said("session_down")).toHaveLength(1);
    await world.run(60_000);
    expect([node.rows(), node.end.list()]).toEqual([0, []]);
    expect(client.said("no_answer").length).toBeGreaterThan(0);
    node.end.admit(recordOf(0), PSK);
    await world.run(30_000);
    expect(talks(client, 0)).toBe(true);
  });

  test("a session that was ended comes again, since the client may", async () => {
    const client = world.client(0);
    await world.run(200);
    expect(node.end.end(node.end.list()[0].id)).toBe(true);
    expect(node.end.end(12345)).toBe(false);
    await world.run(1000);
    expect(talks(client, 0)).toBe(true);
    expect(client.said("session_up")).toHaveLength(2);
  });

  test("a client that stops says so: its row and routes are free at once", async () => {
    const client = world.client(0);
    await world.run(200);
    client.end.stop();
    world.settle();
    expect(node.told).toEqual(["session_up client0", "session_down client0"]);
    expect([node.rows(), node.host.plane.routes.size, node.end.list()]).toEqual([0, 1, []]);
  });

  test("a client that vanished is forgotten after ten minutes", async () => {
    const client = world.client(0);
    await world.run(200);
    world.kill(client);
    await world.run(610_000);
    expect([node.rows(), node.end.list()]).toEqual([0, []]);
  });

  test("two machines with one key: the newer one is served, the older one stops and says why", async () => {
    const older = world.client(0);
    await world.run(200);
    const newer = world.client(0, { address: "192.0.2.99" });
    await world.run(200);
    expect(node.said("takeover")).toEqual([expect.stringContaining("client0")]);
    expect(older.said("replaced")).toEqual([expect.stringContaining("another machine")]);
    expect(talks(newer, 0)).toBe(true);
    await world.run(120_000);
    expect(talks(newer, 0)).toBe(true);
    expect([node.rows() <= 2, node.said("takeover").length, older.rows()]).toEqual([true, 1, 0]);
  });
});

describe("ticket keys", () => {
  const DAY_MS = 24 * 3_600_000;
  /** The key of the store as if it had been made so long ago. */
  const age = (ms: number) => {
    const [key] = world.store.ticketKeys();
    world.store.setTicketKeys([{ ...key, notBeforeMs: key.notBeforeMs - ms, notAfterMs: key.notAfterMs - ms }]);
    return key;
  };

  test("a new one each day while it runs; what the one before sealed still opens", async () => {
    const old = age(DAY_MS - 30_000);
    const client = world.client(0);
    await world.run(200);
    expect(world.store.ticketKeys().map(({ id }) => id)).toEqual([old.id]);
    const early = client.end.status().sessions[0].id;
    await world.run(70_000);
    const ids = world.store.ticketKeys().map(({ id }) => id);
    expect(ids).toHaveLength(2);
    expect(ids).toContain(old.id);
    // The client still has the ticket that the first key sealed: the node forgets all that is not on disk.
    expect(client.end.status().sessions[0].id).toBe(early);
    world.kill(node);
    node = world.node();
    node.end.admit(recordOf(0), PSK);
    talks(client, 0);
    expect(talks(client, 0)).toBe(true);
    expect(client.said("session_up").at(-1)).toContain("resumed by ticket");
    const fresh = world.store.ticketKeys().find(({ id }) => id !== old.id)!;
    const resumed = world.recorded.filter(({ bytes }) => bytes[MUX] === 0xff && bytes[TYPE] === RESUME).at(-1)!;
    const sealedBy = (bytes: Uint8Array) => new DataView(bytes.slice().buffer).getUint32(RESUME_TICKET);
    expect(sealedBy(resumed.bytes)).toBe(old.id);
    world.kill(node);
    node = world.node();
    node.end.admit(recordOf(0), PSK);
    await world.run(2000);
    talks(client, 0);
    const next = world.recorded.filter(({ bytes }) => bytes[MUX] === 0xff && bytes[TYPE] === RESUME).at(-1)!;
    expect(sealedBy(next.bytes)).toBe(fresh.id);
  });

  test("one that opens nothing any more is forgotten; a clock that was set back makes a usable one", async () => {
    const old = age(2 * DAY_MS);
    world.node();
    const [key, ...others] = world.store.ticketKeys();
    expect([key.id === old.id, others]).toEqual([false, []]);
    world.node({ skewMs: -DAY_MS });
    expect(world.store.ticketKeys()).toHaveLength(2);
  });
});

describe("ping", () => {
  test("a round trip through the session; none without a session or an answer", async () => {
    const client = world.client(0);
    await world.run(200);
    const answered = node.end.ping(publicKeyOf(0), 1000);
    await world.run(10);
    const { rttMs, node: through } = await answered;
    expect(rttMs).toBeLessThanOrEqual(10);
    // It is the whole group.
    expect(through).toBeNull();
    await expect(node.end.ping(publicKeyOf(1), 1000)).rejects.toMatchObject({ code: "no_session" });
    world.kill(client);
    const lost = expect(node.end.ping(publicKeyOf(0), 1000)).rejects.toMatchObject({ code: "ping_timeout" });
    await world.run(1100);
    await lost;
    expect(client.host.delivered()).toEqual([]);
  });
});

describe("strangers", () => {
  test("an INIT played again changes nothing, now, after the session and after a restart of the node", async () => {
    const client = world.client(0);
    await world.run(200);
    const [first] = requests(INIT);
    const state = () => [node.rows(), node.end.responder.sessions.size, node.end.list(), node.host.plane.routes.size];
    const before = state();
    for (let k = 0; k < 5; k++) world.replay(first);
    expect(state()).toEqual(before);
    expect(node.end.responder.counters.get("stale")).toBe(5);
    expect(talks(client, 0)).toBe(true);
    client.end.stop();
    world.kill(client);
    await world.run(200);
    world.replay(first);
    expect([node.rows(), node.end.list()]).toEqual([0, []]);
    world.kill(node);
    node = world.node();
    node.end.admit(recordOf(0), PSK);
    world.replay(first);
    expect([node.rows(), node.end.responder.counters.get("stale")]).toEqual([0, 1]);
  });

  test("every datagram of a whole session played again to both ends changes nothing", async () => {
    const client = world.client(0);
    await world.run(500);
    talks(client, 0);
    const all = [...world.recorded];
    expect(all.length).toBeGreaterThan(5);
    const before = [node.rows(), client.rows(), node.end.list()[0].id, client.said("session_up").length];
    for (const datagram of all) world.replay(datagram);
    await world.run(500);
    expect(node.host.delivered()).toEqual([]);
    expect(client.host.delivered()).toEqual([]);
    expect([node.rows(), client.rows(), node.end.list()[0].id, client.said("session_up").length]).toEqual(before);
    expect(talks(client, 0)).toBe(true);
  });

  test("an answer sent back to the node, and a request sent back to the client, are counted and no more", async () => {
    const client = world.client(0);
    await world.run(200);
    const before = [node.rows(), client.rows()];
    for (const { from, to, bytes } of [...world.recorded]) world.replay({ from: to, to: from, bytes });
    expect([node.rows(), client.rows()]).toEqual(before);
    expect(node.host.count("control_unexpected")).toBeGreaterThan(0);
    expect(talks(client, 0)).toBe(true);
  });

  test("10,000 requests of somebody without a key take no row and no memory of theirs", async () => {
    const client = world.client(0);
    await world.run(200);
    const [{ bytes, from, to }] = requests(INIT);
    for (let k = 0; k < 10_000; k++) {
      const forged = Uint8Array.from(bytes);
      forged[20 + (k % 1000)] ^= 1 + (k & 0x7f);
      new DataView(forged.buffer).setUint32(0, k);
      world.replay({ from, to, bytes: forged });
      world.recorded.length = 0;
    }
    expect([node.rows(), node.end.responder.sessions.size]).toEqual([1, 1]);
    expect(talks(client, 0)).toBe(true);
    expect(node.end.list()[0].endpoint).toBe("192.0.2.10:4444");
  });
});

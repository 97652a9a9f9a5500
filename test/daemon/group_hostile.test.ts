/**
 * What people and attackers do to a group, with real daemons: two nodes with one number, other keys, clocks that are hours
 * apart, a full disk, garbage on the node link. Each is refused, counted and named in status, and the tunnels go on.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ask } from "../../src/api/client.ts";
import { must, type Program, run } from "../../src/bench/netns.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { systemEntropy } from "../../src/crypto/entropy.ts";
import { whyNoNetns } from "../support/netns.ts";
import { GroupWorld } from "./group_world.ts";
import { until } from "./session_pair.ts";
import { readStatus } from "./status.ts";

const skip = whyNoNetns({ tun: true });
const OTHER_KEY = formatKey(new Uint8Array(32).fill(0x41));
/** Sends datagrams of the shapes of the node link, with random contents, from the port that peers are believed on. */
const GARBAGE = `const { randomBytes } = require("crypto");
const s = require("dgram").createSocket("udp4");
s.on("message", (m) => s.send(m, 4445, "198.51.100.2")); // whatever is said comes back, too
s.bind(Number(process.argv[1]), () => {
  let sent = 0;
  const timer = setInterval(() => {
    for (let i = 0; i < 100; i++, sent++) {
      const m = randomBytes([3, 6, 158, 183, 200, 1400][i % 6]);
      m[0] = 1 + i % 4; m[1] = 2; if (m.length > 5) { m.writeUInt16BE(3, 2); m.writeUInt16BE(1, 4); }
      s.send(m, 4445, "198.51.100.2");
    }
    if (sent < 20000) return;
    clearInterval(timer); setTimeout(() => process.exit(), 300);
  }, 5);
});`;

describe.skipIf(skip !== undefined)(`a group under attack${skip === undefined ? "" : `, skipped: ${skip}`}`, () => {
  let world: GroupWorld;
  let client: Program;
  const thirds: Program[] = [];
  beforeAll(async () => {
    world = await GroupWorld.create(3, 1);
    await world.start(1);
    await world.start(2);
    await world.meet(1, 2);
    client = await world.startClient(1);
  });
  afterEach(async () => {
    for (const program of thirds.splice(0)) await program.stop("SIGKILL");
  });
  afterAll(async () => world?.close());

  const third = async (change: Parameters<GroupWorld["start"]>[1]) => {
    const program = await world.start(3, change);
    thirds.push(program);
    return program;
  };
  const status = async (node: number) => (await world.cli(node, "status")).stdout;
  const says = (node: number, text: RegExp) =>
    until(`status of ${node} says ${text}`, async () => text.test(await status(node)));
  const count = async (node: number, name: string) =>
    (await world.group(node)).counters.find((counter) => counter.name === name)!.count;
  /** Both nodes carry the client. */
  const tunnelsGoOn = async () => {
    for (const node of [2, 1]) {
      await world.route(node);
      await until(`packets pass at node ${node}`, async () => (await world.pings(1, 20)) === 20);
    }
    await world.meet(1, 2);
  };

  test("a second node 1: the later one ends with a sentence, the first goes on", async () => {
    const twin = await third({ node: 1 });
    await twin.ended;
    expect(twin.exitCode).toBe(1);
    expect(twin.output).toMatch(/another node is node 1 already: give each node its own number in \[group\] node/);
    await says(2, /! somebody else says that it is node 1/);
    expect(await count(2, "link_wrong_address")).toBeGreaterThan(10);
    await tunnelsGoOn();
  });

  test("another fleet key", async () => {
    await third({ fleetKey: OTHER_KEY });
    await says(1, /! node 3 has another fleet key .*copy one fleet_key_file/);
    await says(3, /! node 1 has another fleet key/);
    expect(await count(1, "link_wrong_key")).toBeGreaterThan(0);
    expect((await world.peer(1, 3)).alive).toBe(false);
    await tunnelsGoOn();
  });

  test("another group key", async () => {
    await third({ privateKey: OTHER_KEY });
    await says(1, /! node 3 has another group key: private_key must be the same/);
    await says(3, /! node 1 has another group key/);
    expect(await count(1, "link_other_group")).toBeGreaterThan(0);
    await tunnelsGoOn();
  });

  test("a clock that is three hours ahead", async () => {
    const shift = `${world.dir}/shift.cjs`;
    writeFileSync(shift, "const now = Date.now; Date.now = () => now() + 3 * 3600_000;");
    await third({ before: ["env", `NODE_OPTIONS=--require=${shift}`] });
    await world.meet(1, 3);
    await says(1, /! the clock of node 3 is \+(2 h 59 min|3 h) from this one: set both by NTP/);
    await says(3, /! the clock of node 1 is -(2 h 59 min|3 h)/);
    await tunnelsGoOn();
    // Records from the past are not believed there; the client comes in all the same, by ticket or handshake.
    await world.route(3);
    await until("the client is served by node 3", async () => (await world.pings(1, 5)) === 5);
    expect(await count(3, "group_record_old")).toBeGreaterThan(0);
    await tunnelsGoOn();
  });

  test("20,000 datagrams of garbage and of its own words on the node link, from a peer's address and a stranger's", async () => {
    const before = (await world.group(1)).counters;
    const [peer, stranger] = [4445, 5555].map((port) =>
      world.nodes[2].start([process.execPath, "-e", GARBAGE, String(port)]),
    );
    expect(await world.pings(1, 50)).toBe(50);
    await Promise.all([peer.ended, stranger.ended]);
    const { counters, peers } = await world.group(1);
    const grown = (name: string) =>
      counters.find((one) => one.name === name)!.count - before.find((one) => one.name === name)!.count;
    const refused = counters
      .filter(({ name }) => name.startsWith("link_"))
      .reduce((sum, { name }) => sum + grown(name), 0);
    console.log(`refused ${refused} of 40,000 and what came back`);
    expect(grown("link_wrong_address")).toBeGreaterThan(5000);
    expect(grown("link_malformed") + grown("link_unknown_start") + grown("link_too_many")).toBeGreaterThan(1000);
    expect(peers.find(({ node }) => node === 3)!.alive).toBe(false);
    await tunnelsGoOn();
  });

  test("a full disk: the node says so and serves; with room again it says that, too", async () => {
    const state = world.state(3);
    mkdirSync(state, { recursive: true });
    await must(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", state]);
    try {
      const node = await third({});
      await world.meet(1, 3);
      // Fills what is left.
      await run(["sh", "-c", `head -c 4000000 /dev/zero > ${state}/filler`]);
      const add = (name: string) =>
        ask(world.socket(3), "addClient", { name, publicKey: formatKey(systemEntropy.bytes(32)) });
      const fill = async () => {
        for (let i = 0; i < 500; i++) await add(`guest${i}`);
      };
      await expect(fill()).rejects.toMatchObject({ code: "state_full", message: expect.stringContaining("make room") });
      // A handshake is to be remembered.
      await world.route(3);
      await client.stop();
      client = await world.startClient(1);
      await says(3, /! .*\/3\/state takes no more/);
      expect(node.alive).toBe(true);
      await until("packets pass", async () => (await world.pings(1, 20)) === 20, [node]);
      await run(["rm", `${state}/filler`]);
      await until("it is said to be over", async () => (await readStatus(world.socket(3))).faults.length === 0);
      await add("late");
      await world.route(1);
      await node.stop();
      expect(node.exitCode, `${node.child.signalCode}: ${node.output.slice(-2000)}`).toBe(0);
      // Node's words when a descriptor of the addon is closed behind its back.
      expect(node.output).not.toMatch(/unmanaged/);
    } finally {
      await run(["umount", state]);
    }
    await tunnelsGoOn();
  });
});

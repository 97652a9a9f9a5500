/**
 * The contract on NATS: three islands from the files of `anyhop init engine`, real servers, mTLS between them. Then what
 * servers do in life: crash, come back empty, refuse.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createUser } from "@nats-io/nkeys";
import { connect, nkeyAuthenticator } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createLogger } from "../../src/base/log.ts";
import type { Bus, BusListener } from "../../src/cluster/bus.ts";
import { openNatsBus } from "../../src/drivers/nats_bus.ts";
import { busContract, bytes, Ear } from "./bus.contract.ts";
import { GROUP, Islands } from "./islands.ts";

let islands: Islands;
beforeAll(async () => {
  islands = await Islands.start(3);
});
afterAll(() => islands?.stop());

/** A test that fails must not leave a second node 3 to the next one. */
const opened = new Set<Bus>();
afterEach(async () => {
  await Promise.all([...opened].map((bus) => bus.close()));
  opened.clear();
});

const clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };
const logger = createLogger(clock, []);

function open(
  node: number,
  listener: BusListener,
  change: { seed?: Uint8Array; group?: string; as?: number } = {},
): Bus {
  const island = islands.islands[node - 1];
  const bus = openNatsBus(
    {
      ...{ url: [island.url], group: change.group ?? GROUP, node: change.as ?? node, tls: undefined, clock, logger },
      others: [1, 2, 3].filter((other) => other !== node),
      nkeySeed: change.seed ?? island.seed(),
      randomName: () => randomBytes(6).toString("hex"),
    },
    listener,
  );
  opened.add(bus);
  return bus;
}

async function until(condition: () => boolean, what: string, ms = 60_000): Promise<void> {
  const end = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
busContract("nats", () => ({ nodes: 3, open, until }));

/** Buses of the nodes 1 to 3, caught up. */
async function three(): Promise<{ buses: Bus[]; ears: Ear[]; close(): Promise<unknown> }> {
  const ears = [1, 2, 3].map(() => new Ear());
  const buses = ears.map((ear, i) => open(i + 1, ear));
  await until(() => ears.every(({ caughtUpAt }) => caughtUpAt.length > 0), "three snapshots");
  return { buses, ears, close: () => Promise.all(buses.map((bus) => bus.close())) };
}
const names = (bus: Bus): string[] => bus.status().errors.map(({ name }) => name);

describe("in life", () => {
  test("an own server that crashes: puts wait and arrive, records go on, shouts too", async () => {
    const { buses, ears, close } = await three();
    await islands.kill(1, "leaf");
    await until(() => ears[0].states.at(-1) === false, "the news");
    for (let i = 0; i < 50; i++) buses[0].put([{ key: "crash.own", value: bytes(String(i)) }]);
    buses[1].put([{ key: "crash.peer", value: bytes("while away") }]);
    expect(buses[0].status()).toMatchObject({ connected: false, outbox: 1 });
    expect(buses[0].status().why).not.toBe("");
    islands.run(1, "leaf");
    await until(() => ears[1].latest.get("1 crash.own") === '"49"', "the put at its peer");
    await until(() => ears[0].latest.get("2 crash.peer") === '"while away"', "the peer's put");
    expect(ears[1].records.filter((record) => record.startsWith("1 crash.own"))).toHaveLength(1);
    expect(ears[0].states).toEqual([true, false, true]);
    await until(() => ears[0].caughtUpAt.length === 2, "a second snapshot");
    buses[0].shout(bytes("back"));
    await until(() => ears[2].shouts.length > 0, "a shout");
    await close();
  });

  test("a hub that crashes: the node goes on alone, and meets the others again", async () => {
    const { buses, ears, close } = await three();
    await islands.kill(2, "hub");
    buses[1].put([{ key: "hub.cut", value: bytes("alone") }]);
    buses[0].put([{ key: "hub.cut", value: bytes("others") }]);
    await until(() => buses[1].status().outbox === 0, "its own server to take the put");
    await until(() => ears[2].latest.get("1 hub.cut") === '"others"', "the others to go on");
    expect([ears[1].states, ears[0].latest.get("2 hub.cut")]).toEqual([[true], undefined]);
    islands.run(2, "hub");
    await until(() => ears[0].latest.get("2 hub.cut") === '"alone"', "its put at the others");
    await until(() => ears[1].latest.get("1 hub.cut") === '"others"', "the others' put");
    await close();
  });

  test("a server that lost its disk: what is put then arrives, what others have comes again", async () => {
    const before = await three();
    for (let i = 0; i < 20; i++) before.buses[2].put([{ key: `wiped.${i}`, value: bytes("old") }]);
    await until(() => before.ears[0].latest.has("3 wiped.19"), "the puts");
    before.buses[0].put([{ key: "c.kept", value: bytes("of node 1") }]);
    before.buses[2].put([{ key: "c.own", value: bytes("of node 3") }]);
    await until(() => before.ears[0].latest.has("3 c.own") && before.ears[1].latest.has("1 c.kept"), "the puts");
    await islands.kill(3, "leaf");
    rmSync(`${islands.islands[2].dir}/store`, { recursive: true, force: true });
    islands.run(3, "leaf");
    await until(() => before.ears[2].states.length === 3, "a new connection");
    // Numbers of the new stream begin at one; the peers must not wait for the twenty-first.
    before.buses[2].put([{ key: "wiped.new", value: bytes("first of its stream") }]);
    await until(() => before.ears[0].latest.has("3 wiped.new"), "the first put of the new stream");
    expect(names(before.buses[2])).toContain("store_lost");
    await until(
      () => before.ears[2].caughtUpAt.length === 2 && before.buses[2].status().outbox === 0,
      "its old records",
    );
    await before.buses[2].close();
    const ear = new Ear();
    const joined = open(3, ear);
    await until(() => ear.caughtUpAt.length === 1, "the snapshot");
    expect(ear.latest.get("1 c.kept")).toBe('"of node 1"');
    // Read at a peer, and put into the new stream again.
    expect([ear.latest.get("3 c.own"), ear.latest.get("3 wiped.19"), ear.latest.get("3 wiped.new")]).toEqual([
      '"of node 3"',
      '"old"',
      '"first of its stream"',
    ]);
    await joined.close();
    await before.close();
  });

  test("a node with an empty server gets the records of a dead one from the living", async () => {
    const { buses, ears, close } = await three();
    buses[1].put([{ key: "c.dead", value: bytes("of node 2") }]);
    buses[2].put([{ key: "c.mine", value: bytes("of node 3") }]);
    await until(() => ears[0].latest.has("2 c.dead") && ears[0].latest.has("3 c.mine"), "the puts");
    await close();
    await islands.kill(2, "leaf");
    await islands.kill(3, "leaf");
    rmSync(`${islands.islands[2].dir}/store`, { recursive: true, force: true });
    islands.run(3, "leaf");
    await islands.ready(3);
    const [first, ear] = [open(1, new Ear()), new Ear()];
    const joined = open(3, ear);
    await until(() => ear.caughtUpAt.length === 1, "the snapshot");
    expect([ear.latest.get("2 c.dead"), ear.latest.get("3 c.mine")]).toEqual(['"of node 2"', '"of node 3"']);
    await Promise.all([first.close(), joined.close()]);
    islands.run(2, "leaf");
    await islands.ready(2);
  });

  // A quiet machine of two cores takes two seconds; the limit is for one that is busy.
  test("100,000 records of 260 bytes come to a node with an empty server within seconds", async () => {
    const { buses, ears, close } = await three();
    const value = new Uint8Array(260).fill(65);
    for (let i = 0; i < 100_000; i++) buses[0].put([{ key: `s.${i}`, value }]);
    await until(() => buses[0].status().outbox === 0, "the puts");
    await buses[2].close();
    await islands.kill(3, "leaf");
    rmSync(`${islands.islands[2].dir}/store`, { recursive: true, force: true });
    islands.run(3, "leaf");
    await islands.linked(3);
    const ear = new Ear();
    const joined = open(3, ear);
    await until(() => ear.caughtUpAt.length === 1, "the snapshot");
    let count = 0;
    for (const key of ear.latest.keys()) if (key.startsWith("1 s.")) count += 1;
    expect(count).toBe(100_000);
    expect(ears[2].states[0]).toBe(true);
    await joined.close();
    await close();
  });
});

describe("who is refused", () => {
  test("another nkey is named as such, and tried for ever", async () => {
    const ear = new Ear();
    const bus = open(1, ear, { seed: createUser().getSeed() });
    await until(() => names(bus).includes("auth"), "the refusal");
    await until(() => bus.status().errors[0].count >= 2, "another attempt");
    expect(bus.status()).toMatchObject({ connected: false, why: expect.stringContaining("nkey") });
    expect(ear.states).toEqual([false]);
    await bus.close();
  });

  test("a node that says it is another one may not write there", async () => {
    const ear = new Ear();
    const bus = open(1, ear, { as: 2 });
    await until(() => names(bus).includes("permission"), "the refusal");
    expect(bus.status().errors.find(({ name }) => name === "permission")?.last).toContain("init engine");
    await bus.close();
  });

  test("an nkey publishes below its own number and nowhere else", async () => {
    const island = islands.islands[0];
    const nc = await connect({
      servers: island.url,
      authenticator: nkeyAuthenticator(island.seed()),
      reconnect: false,
    });
    const refused: string[] = [];
    (async () => {
      for await (const status of nc.status()) if (status.type === "error") refused.push(status.error.message);
    })();
    const token = GROUP.replaceAll(".", "~");
    const foreign = [
      `st.${token}.2.l.k.x`,
      `sh.${token}.2.s`,
      `$JS.${token}-n2.API.STREAM.DELETE.x`,
      "st.other.1.l.k.x",
    ];
    for (const subject of foreign) nc.publish(subject, "x");
    nc.publish(`sh.${token}.1.s`, "x");
    await nc.flush();
    await until(() => refused.length >= foreign.length, "the refusals");
    expect(refused.map((message) => /to "(.*)"/.exec(message)?.[1])).toEqual(foreign);
    await nc.close();
  });

  test("a leaf with a certificate of another authority is no part of the fleet", async () => {
    const { islands: list } = islands;
    const other = await Islands.start(1);
    try {
      // The second island's configuration with the certificates of a stranger.
      const dir = `${other.folder}/stranger`;
      mkdirSync(dir);
      const conf = readFileSync(`${list[1].dir}/leaf.conf`, "utf8")
        .replaceAll(`${list[1].dir}/`, `${other.islands[0].dir}/`)
        .replaceAll(/^server_name: .*$/gm, 'server_name: "stranger"')
        .replaceAll(`127.0.0.1:${list[1].clientPort}`, `127.0.0.1:${other.islands[0].clientPort}`)
        .replace("example~net-n2", "stranger");
      await other.kill(1, "leaf");
      writeFileSync(`${other.islands[0].dir}/leaf.conf`, conf);
      other.run(1, "leaf");
      await other.ready(1);
      await until(() => /tls|certificate/i.test(other.log(1)), "the refusal in its log");
      expect(islands.log(2)).toMatch(/TLS leafnode handshake error|leafnode.*(tls|certificate)/i);
    } finally {
      await other.stop();
    }
  });

  test("a server without JetStream, and no server at all, are named", async () => {
    const { dir } = islands.islands[0];
    const conf = readFileSync(`${dir}/leaf.conf`, "utf8");
    await islands.kill(1, "leaf");
    const ear = new Ear();
    const bus = open(1, ear);
    await until(() => names(bus).includes("unreachable"), "no server");
    writeFileSync(`${dir}/leaf.conf`, conf.replace(/^jetstream \{[^}]*\}/m, ""));
    islands.run(1, "leaf");
    await until(() => names(bus).includes("no_jetstream"), "no JetStream");
    await islands.kill(1, "leaf");
    // A store too small for what is put is a full disk.
    writeFileSync(
      `${dir}/leaf.conf`,
      conf.replace("max_file: 4G", "max_file: 64K").replace(`${dir}/store`, `${dir}/small`),
    );
    islands.run(1, "leaf");
    await until(() => ear.states.at(-1) === true, "a connection");
    for (let i = 0; i < 100; i++) bus.put([{ key: `full.${i}`, value: new Uint8Array(4000) }]);
    await until(() => names(bus).includes("store_full"), "the refusal");
    expect(bus.status()).toMatchObject({ connected: true });
    await islands.kill(1, "leaf");
    writeFileSync(`${dir}/leaf.conf`, conf);
    islands.run(1, "leaf");
    await until(() => bus.status().outbox === 0, "the puts on the full store");
    await bus.close();
  });
});

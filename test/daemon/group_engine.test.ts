/**
 * The state engine from its worst side, with the real servers of three real nodes: a peer with good credentials that
 * floods, servers that come and go, a full disk under one. Streams through the tunnels go on, and status has the words.
 * Then everything that was said in all of that, searched for secrets.
 */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GroupStatus } from "../../src/api/contract/group.ts";
import { openStore } from "../../src/drivers/store.ts";
import { whyNoNetns } from "../support/netns.ts";
import { allAnswers } from "./all_answers.ts";
import { type Machine, PROGRAMS, ThreeNodes } from "./three_nodes.ts";
import { ECHO, STREAM } from "./udp_stream.ts";

const skip = whyNoNetns({ tun: true, programs: PROGRAMS });
const CLONE = new URL("../..", import.meta.url).pathname;
/** Records and shouts of node 3 that nobody sealed, ten each millisecond for three seconds, with the nkey of node 3. */
const FLOOD = `import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect, nkeyAuthenticator } from "@nats-io/transport-node";
const seed = new TextEncoder().encode(readFileSync("/etc/anyhop/engine/engine.nk", "utf8").trim());
const nc = await connect({ servers: "nats://127.0.0.1:4222", authenticator: nkeyAuthenticator(seed) });
let sent = 0;
const begin = performance.now();
while (sent < 30000) {
  for (const due = Math.min(30000, (performance.now() - begin) * 10); sent < due; sent++)
    nc.publish(sent % 2 ? "sh.example.3.s" : "st.example.3.l.k.s." + randomBytes(4).toString("hex"), randomBytes(200));
  await nc.flush();
  await new Promise((done) => setTimeout(done, 1));
}
await nc.drain();
console.log("sent " + sent + " in " + Math.round(performance.now() - begin) + " ms");`;

describe.skipIf(skip !== undefined)(
  `the state engine at its worst${skip === undefined ? "" : `, skipped: ${skip}`}`,
  () => {
    let world: ThreeNodes;
    beforeAll(async () => {
      world = await ThreeNodes.create();
      await world.setUp();
      for (const [name, text] of [
        ["echo", ECHO],
        ["stream", STREAM],
        ["flood", FLOOD],
      ])
        writeFileSync(`${world.dir}/${name}`, text);
      for (const node of world.nodes) await node.must(`node -e "$(cat ${world.dir}/echo)" 10.9.0.1 >/dev/null &`);
    });
    afterAll(async () => world?.close());

    const group = async (node: Machine): Promise<GroupStatus> =>
      JSON.parse(await node.must("anyhop status --json")).group;
    const count = async (node: Machine, name: string) =>
      (await group(node)).counters.find((counter) => counter.name === name)!.count;
    /**
     * A stream of anna of 200 datagrams a second, and what became of it. Servers that start over and over take both cores of a
     * small machine for moments; the sockets of the two programs keep what comes within a second.
     */
    const stream = async (seconds: number) => {
      await world.client.must(`node -e "$(cat ${world.dir}/stream)" 10.9.0.1 ${seconds * 200} 5 >stream &`);
      return async (): Promise<{ sent: number; lost: number; doubled: number }> =>
        JSON.parse(await world.client.until("cat stream", /lost/));
    };

    test("10,000 records and shouts a second that nobody sealed, from a node's own account", async () => {
      const before = await Promise.all(world.nodes.slice(0, 2).map((node) => count(node, "group_bus_refused")));
      const ended = await stream(6);
      const said = await world.nodes[2].must(
        `cd ${CLONE} && node --input-type=module -e "$(cat ${world.dir}/flood)"; cd - >/dev/null`,
      );
      const result = await ended();
      console.log(`flood: ${said.trim()}, stream ${JSON.stringify(result)}`);
      expect(result).toMatchObject({ sent: 1200, doubled: 0 });
      expect(result.lost, "the stream goes on").toBeLessThan(result.sent / 2);
      for (const [i, node] of world.nodes.slice(0, 2).entries()) {
        const grown = (await count(node, "group_bus_refused")) - before[i];
        expect(grown).toBeGreaterThan(20_000);
        await node.until(
          "anyhop status",
          /! what the engine brought was refused \d+ times, its seal is wrong: .*tunnels go on/,
        );
        await expect.poll(async () => (await group(node)).peers.map(({ alive }) => alive)).toEqual([true, true]);
      }
    });

    test("the leaf of the node that serves and the hub of another, 20 times killed and started, 250 ms apart: none is lost", async () => {
      const node = await world.nodeOf("anna");
      const other = world.nodes.find((one) => one !== node)!;
      const ended = await stream(10);
      const again = (what: string) =>
        `for i in $(seq 20); do kill -9 $(cat /run/anyhop-${what}.pid); systemctl restart anyhop-${what}; sleep 0.25; done`;
      await Promise.all([node.must(again("leaf")), other.must(again("hub"))]);
      const result = await ended();
      console.log(`restarts: ${JSON.stringify(result)}`);
      expect(result).toEqual({ sent: 2000, lost: 0, doubled: 0 });
      await node.until("anyhop sync", /engine +nats, connected to .* outbox 0/);
      await node.must("anyhop invite bela -o bela.toml && rm bela.toml");
      for (const one of world.nodes) await one.until("anyhop clients list", /bela/);
    });

    test("the disk of a leaf is full: tunnels go on, status says what to do, and after that it follows", async () => {
      const node = world.nodes[2];
      const kill = "kill -9 $(cat /run/anyhop-leaf.pid)";
      await node.must(
        `${kill}; mount -t tmpfs -o size=32m tmpfs /var/lib/anyhop/engine; systemctl restart anyhop-leaf`,
      );
      await node.until("anyhop sync", /engine +nats, connected to .* outbox 0/);
      await node.type("head -c 40000000 /dev/zero >/var/lib/anyhop/engine/filler");
      const ended = await stream(5);
      for (let i = 0; i < 20; i++) await node.must(`anyhop invite guest${i} -o g.toml; rm g.toml`);
      await node.until("anyhop sync", /! (timeout|the server).*does not answer in time; .*full.*restart anyhop-leaf/);
      expect(await ended()).toEqual({ sent: 1000, lost: 0, doubled: 0 });
      await expect.poll(async () => (await group(node)).peers.map(({ alive }) => alive)).toEqual([true, true]);
      // nats-server 2.9.10 says nothing, hears no SIGTERM and never writes again: systemd kills it, after TimeoutStopSec.
      await node.must(`rm /var/lib/anyhop/engine/filler; ${kill}; systemctl restart anyhop-leaf`);
      await node.until("anyhop sync", /engine +nats, connected to .* outbox 0/);
      for (const one of world.nodes) await one.until("anyhop clients list", /guest19/);
      await node.must(`${kill}; umount /var/lib/anyhop/engine; systemctl restart anyhop-leaf`);
      await node.until("anyhop sync", /engine +nats, connected to .* outbox 0/);
    });

    test("no key of the fleet, the engine, tickets, clients or TLS in logs, answers, arguments and complaints", async () => {
      const { client, nodes, said } = world;
      const [node] = nodes;
      await node.must("anyhop down node && anyhop up node -L file:5,/var/lib/anyhop.log");
      await client.must("anyhop down anna && anyhop up ./anna.toml -L file:5,/var/lib/anyhop.log");
      await client.until("ping -c 1 -W 1 10.9.0.1", /1 received/);
      // A life with its turns: the engine comes and goes, clients too, sessions move.
      await node.must("kill -9 $(cat /run/anyhop-leaf.pid)");
      await node.until("anyhop sync", /not connected/);
      await node.must("systemctl enable --now anyhop-leaf");
      await node.must("anyhop invite cora --psk -o cora.toml && anyhop reload && anyhop clients remove cora");
      for (const machine of nodes.slice(1)) await machine.must("anyhop drain --no-wait");
      await node.until("anyhop status", /1 sessions here/);
      for (const machine of nodes.slice(1)) await machine.must("anyhop undrain");
      await node.until("anyhop sync", /connected to/);
      const heard = [said];
      for (const machine of [client, ...nodes]) {
        const socket = machine === client ? "anna" : "node";
        const status = `anyhop status ${socket}; anyhop status ${socket} --json`;
        heard.push(await machine.must(`cat /var/lib/*.log; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ${status}`));
        heard.push(await allAnswers(machine.path(`/run/anyhop/${socket}.sock`), "anna"));
      }
      const secrets = secretsOf(node, client, `${world.dir}/node1-work`);
      heard.push(await complaints(node));
      const text = heard.join("\n");
      expect(text).toMatch(/nats-server -c \/etc\/anyhop\/engine\/leaf\.conf/);
      expect(text).toMatch(/debug/i);
      // In these forms a key would be found.
      expect(text).toContain(await node.must("anyhop pubkey </etc/anyhop/node.key"));
      const forms = Object.entries(secrets).flatMap(([name, bytes]) =>
        (["latin1", "base64", "base64url", "hex"] as const).map(
          (form) => [name, pieces(bytes.toString(form))] as const,
        ),
      );
      for (const [name, shown] of forms)
        expect([name, shown.filter((piece) => text.includes(piece))]).toEqual([name, []]);
    });
  },
);

/** Runs of 12 characters that together are the whole: a secret that was cut is one, too. */
const pieces = (text: string): string[] => text.match(/.{12}/gs) ?? [];

/** As bytes, by a name for the failure. */
function secretsOf(node: Machine, client: Machine, work: string): Record<string, Buffer> {
  const file = (name: string) => readFileSync(node.path(`/etc/anyhop/${name}`), "utf8");
  const key = (text: string) => Buffer.from(text.trim(), "base64");
  const password = (conf: string, pattern: RegExp) => Buffer.from(pattern.exec(file(`engine/${conf}`))![1]);
  const pem = (name: string) => key(file(`engine/${name}`).replace(/-----.*-----/g, ""));
  cpSync(node.path("/var/lib/anyhop"), `${work}/state`, { recursive: true });
  const store = openStore(`${work}/state`, "node");
  const tickets = store.ticketKeys().map(({ id, key }) => [`ticket key ${id}`, Buffer.from(key)] as const);
  void store.close();
  const invited = readFileSync(client.path(`${work}/../client-work/anna.toml`), "utf8");
  return {
    ...{
      group: key(file("node.key")),
      fleet: key(file("fleet.key")),
      nkey: Buffer.from(file("engine/engine.nk").trim()),
    },
    ...{ tls: pem("node.key"), authority: pem("ca.key"), anna: key(/private_key = "(.*)"/.exec(invited)![1]) },
    leaf: password("leaf.conf", /tls:\/\/leaf:(\w+)@/),
    hub: password("hub.conf", /user: "nobody", password: "(\w+)"/),
    ...Object.fromEntries(tickets),
  };
}

/** What `check` and `run` say of node files with damaged secrets, or with secrets where they should not be. */
async function complaints(node: Machine): Promise<string> {
  const damages: readonly (readonly [what: string, expected: RegExp])[] = [
    ["sed -i 's/....$//' node.key", /a key has 44 characters/],
    ["sed -i 's/....$//' fleet.key", /a key has 44 characters/],
    ["sed -i 's/..$//' engine/engine.nk", /no nkey of a user/],
    ["chmod 644 fleet.key", /chmod 600/],
    [`sed -i "s|^fleet_key_file.*|fleet_key = \\"$(cut -c 1-40 fleet.key)\\"|" node.toml`, /a key has 44 characters/],
    [`sed -i "s|^fleet_key_file.*|fleet_key = \\"$(cat fleet.key)|" node.toml`, /node\.toml:/],
    [`sed -i "s|^node = 1|node = \\"$(cat fleet.key)\\"|" node.toml`, /node\.toml:/],
    [`sed -i "s|^url = .*|url = [\\"nats://$(cat engine/engine.nk)@127.0.0.1\\"]|" node.toml`, /user or password/],
    [`sed -i "s|^nkey_file = .*|nkey_file = \\"$(cat engine/engine.nk)\\"|" node.toml`, /node\.toml:/],
    [
      `sed -i 's|^nkey_file.*|&\\ncert_file = "engine/node.pem"\\nkey_file = "engine/node.key"|; s|nats://|tls://|' node.toml && sed -i 3d engine/node.key`,
      /node\.toml:|tls/i,
    ],
  ];
  await node.must("anyhop down node");
  const said: string[] = [];
  for (const [damage, expected] of damages) {
    await node.must(`rm -rf broken && cp -a /etc/anyhop broken && (cd broken && ${damage})`);
    const { output } = await node.type(
      "anyhop check broken/node.toml; timeout 3 anyhop run broken/node.toml --log stderr:5",
    );
    expect([damage, output]).toEqual([damage, expect.stringMatching(expected)]);
    said.push(output);
  }
  return said.join("\n");
}

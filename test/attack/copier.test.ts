/**
 * Somebody on the path sends each packet of a client to every node at once, while routes change: real daemons, real
 * kernels. As long as the owner of the session lives, nothing is delivered twice, however busy the machine is.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { afterEach, describe, expect, test } from "vitest";
import { sleep } from "../../src/bench/netns.ts";
import { GroupWorld, INNER, SERVICE } from "../daemon/group_world.ts";
import { until } from "../daemon/session_pair.ts";
import { ECHO, STREAM } from "../daemon/udp_stream.ts";
import { whyNoNetns } from "../support/netns.ts";

const skip = whyNoNetns({ tun: true });
/** The acceptance is over 100,000: ANYHOP_COPIES=100000. */
const COUNT = Number(process.env["ANYHOP_COPIES"] ?? 3000);
const NODES = [1, 2, 3];
/** A packet each millisecond, and ten times as long beside busy processes. */
const TIMEOUT_MS = 240_000 + COUNT * 10;
const FLIP_MS = 400;
const BUSY = 8;

describe.skipIf(skip !== undefined)(`a copier${skip === undefined ? "" : `, skipped: ${skip}`}`, () => {
  let world: GroupWorld;
  const busy: ChildProcess[] = [];
  afterEach(async () => {
    for (const child of busy.splice(0)) child.kill("SIGKILL");
    await world?.close();
  });

  /** The router sends what the client sends to all nodes, and not only along its route. */
  const copy = async () => {
    await world.router.run(["nft", "add", "table", "ip", "copier"]);
    await world.router.run(["nft", "add chain ip copier all { type filter hook prerouting priority 0; }"]);
    for (const node of NODES) {
      const to = `dup to 198.51.100.${4 * node - 2} device n${node}`;
      await world.router.run(["nft", `add rule ip copier all iifname c1 udp dport 4444 ${to}`]);
    }
  };

  test.each([
    ["on a quiet machine", 0],
    [`beside ${BUSY} busy processes`, BUSY],
  ])(
    "no packet is delivered twice while owners live, %s",
    async (_, loops) => {
      world = await GroupWorld.create(NODES.length, 1);
      for (const node of NODES) await world.start(node);
      await world.meet(...NODES);
      await world.startClient(1, SERVICE.v4);
      for (const node of NODES) {
        const server = world.nodes[node - 1].start([process.execPath, "-e", ECHO, INNER.v4]);
        await until("the echo is bound", () => server.output.includes("bound"), [server]);
      }
      await copy();
      for (let n = 0; n < loops; n++) busy.push(spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" }));
      const stream = world.clients[0].start([process.execPath, "-e", STREAM, INNER.v4, String(COUNT)]);
      for (let node = 2; stream.alive; node = (node % NODES.length) + 1) {
        await world.route(node);
        await sleep(FLIP_MS);
      }
      const { sent, lost, doubled } = JSON.parse(stream.output);
      console.log(`copied to ${NODES.length} nodes: ${JSON.stringify({ sent, lost, doubled })}`);
      expect({ sent, doubled }).toEqual({ sent: COUNT, doubled: 0 });
      // Packets came through, and copies were held at other nodes: they did meet a group at work.
      expect(lost).toBeLessThan(COUNT);
      const sum = async (...names: string[]) => {
        const counts = (await Promise.all(NODES.map((node) => world.group(node)))).flatMap(({ counters }) => counters);
        return counts.reduce((all, { name, count }) => all + (names.includes(name) ? count : 0), 0);
      };
      expect(await sum("group_held")).toBeGreaterThan(COUNT / 100);
      // A node that gets no processor for long is taken for dead, on a machine that looks quiet, too. It is fenced then, and learns
      // it: nobody takes a session from an owner that others have not condemned.
      if ((await sum("group_forecast", "group_proven")) > 0)
        await until("an owner knows that it was taken for dead", async () => (await sum("group_condemned")) > 0);
    },
    TIMEOUT_MS,
  );
});

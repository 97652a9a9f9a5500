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
const COUNT = Number(process.env["ANYHOP_COPIES"] ?? 4000);
const NODES = [1, 2, 3];
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
      const counts = await Promise.all(NODES.map((node) => world.group(node)));
      const sum = (name: string) =>
        counts.reduce((all, { counters }) => all + counters.find((one) => one.name === name)!.count, 0);
      expect(sum("group_held")).toBeGreaterThan(COUNT / 100);
      // Beside busy processes a node may get no processor for so long that others have to take it for dead: it is fenced then, and
      // what counts is above.
      if (loops === 0) expect([sum("group_forecast"), sum("group_proven")]).toEqual([0, 0]);
    },
    180_000,
  );
});

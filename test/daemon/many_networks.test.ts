/** More networks than a grant has room for, told and changed over real daemons of a group, while the client moves between them. */
import { afterEach, describe, expect, test } from "vitest";
import { whyNoNetns } from "../support/netns.ts";
import { GroupWorld } from "./group_world.ts";
import { until } from "./session_pair.ts";

const skip = whyNoNetns({ tun: true });
const networks = (count: number) => Array.from({ length: count }, (_, k) => `172.${16 + (k >> 8)}.${k & 255}.0/24`);

describe.skipIf(skip !== undefined)(`many networks${skip === undefined ? "" : `, skipped: ${skip}`}`, () => {
  let world: GroupWorld;
  afterEach(async () => world?.close());

  test("300, then 400 by a reload of each node under flips: the client has all of them, and its node knows", async () => {
    world = await GroupWorld.create(2, 1);
    for (const node of [1, 2]) await world.start(node, { networks: networks(300) });
    await world.meet(1, 2);
    const client = await world.startClient(1);
    const routes = async () => {
      const { stdout } = await world.clients[0].run(["ip", "-4", "route", "show"]);
      return stdout.split("\n").filter((line) => line.startsWith("172.")).length;
    };
    expect(await routes()).toBe(300);

    // A packet every 20 ms, and another node for it before, between and after the reloads.
    const flip = async (node: number) => {
      await world.route(node);
      expect(await world.pings(1, 5)).toBeGreaterThan(0);
    };
    await flip(2);
    for (const node of [1, 2]) {
      world.write(node, { networks: networks(400) });
      const { code, stderr } = await world.cli(node, "reload");
      expect([code, stderr]).toEqual([0, ""]);
      await flip(node);
    }
    for (const node of [1, 2, 1, 2, 1]) await flip(node);
    await until("the client has 400 routes", async () => (await routes()) === 400, [client]);

    const known = async () => {
      const { stdout } = await world.cli(1, "sessions", "list", "--json");
      return (JSON.parse(stdout).sessions ?? JSON.parse(stdout)).find((one: { foreign: boolean }) => !one.foreign);
    };
    await until("node 1 knows that it has", async () => (await known())?.settings?.current === true, [client]);
  });
});

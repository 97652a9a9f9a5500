/**
 * Nodes that listen on all addresses and are not told which of them are the group's: whatever a node sends to a client comes
 * from the address that the client asked. A client goes where its newest packet came from, so one wrong answer would show
 * in its status.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { whyNoNetns } from "../support/netns.ts";
import { GroupWorld, SERVICE } from "./group_world.ts";
import { until } from "./session_pair.ts";
import { readStatus } from "./status.ts";

const skip = whyNoNetns({ tun: true, programs: ["ping"] });
/** A second service address of each family, greater and smaller than the first, and others of the host in between. */
const SECOND = { v4: "192.0.2.9", v6: "2001:db8::9" };

describe.skipIf(skip !== undefined)(`a group on all addresses${skip === undefined ? "" : `, skipped: ${skip}`}`, () => {
  let world: GroupWorld;
  beforeAll(async () => {
    world = await GroupWorld.create(2, 4);
    for (const node of world.nodes)
      for (const address of [SECOND.v6, SERVICE.v6, SECOND.v4, SERVICE.v4])
        await node.ip("addr", "add", `${address}/${address.includes(":") ? 128 : 32}`, "dev", "lo");
    for (const node of [1, 2]) await world.start(node, { unnamed: true });
    await world.meet(1, 2);
  });
  afterAll(async () => world?.close());

  const route = async (node: number) => {
    await world.route(node);
    await world.router.ip("route", "replace", `${SECOND.v4}/32`, "via", `198.51.100.${4 * node - 2}`);
    await world.router.ip("-6", "route", "replace", `${SECOND.v6}/128`, "via", `2001:db8:${node}::2`);
  };

  test.each([
    [1, SERVICE.v4],
    [2, SECOND.v4],
    [3, SERVICE.v6],
    [4, SECOND.v6],
  ])("client %i of %s: node 2 speaks first, then is asked, then is asked no more", async (client, address) => {
    await route(1);
    const program = await world.startClient(client, address);
    const { name } = world.people[client - 1];
    const seen = async () => {
      const { services } = await readStatus(`${world.dir}/${name}/sock`);
      const { endpoint, senders, rx } = services[0].sessions.find(({ current }) => current)!;
      return { endpoint, senders, packets: rx.packets };
    };
    const asked = address.includes(":") ? `[${address}]:4444` : `${address}:4444`;
    await until("node 2 has the session", async () => (await world.group(2)).sessions.known === client, [program]);
    await until("the client knows both nodes", async () => (await seen()).senders === 2, [program]);
    const speaks = async (node: number) => {
      const { packets } = await seen();
      await world.nodes[node - 1].run(["ping", "-c", "1", "-W", "1", `10.9.0.${client + 1}`]);
      await until(`a packet of node ${node} has come`, async () => (await seen()).packets > packets, [program]);
      expect((await seen()).endpoint).toBe(asked);
    };
    await speaks(2);
    await route(2);
    expect(await world.pings(client, 5)).toBeGreaterThan(0);
    expect((await seen()).endpoint).toBe(asked);
    await speaks(1);
    await route(1);
    expect(await world.pings(client, 5)).toBeGreaterThan(0);
    await speaks(2);
    expect((await seen()).endpoint).toBe(asked);
  });
});

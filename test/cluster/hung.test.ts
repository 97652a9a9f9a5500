/**
 * The control thread of a node hangs while its shard goes on: others can't ask it, and take its sessions after 10 s. Somebody
 * sends each packet to two nodes at once. On virtual time, with real lifelines and groups.
 */
import { expect, test } from "vitest";
import { UNASKABLE_MS } from "../../src/cluster/core.ts";
import { HUNG_MS, PAUSE_MS } from "../../src/cluster/lifeline_types.ts";
import { World } from "./world.ts";

function copied(hangMs: number) {
  const world = new World(7, [1, 2, 3]);
  const clients = Array.from({ length: 4 }, () => world.session(1));
  const sent: { readonly ms: number; readonly k: number; readonly seq: number }[] = [];
  const run = (forMs: number) => {
    for (let ms = 0; ms < forMs; ms += 50) {
      for (const [k, client] of clients.entries()) {
        const packet = client.packet();
        sent.push({ ms: world.ms, k, seq: packet.seq });
        for (const node of [1, 2]) world.receive(node, packet);
      }
      world.run(50);
    }
  };
  run(500);
  const beganMs = world.ms;
  world.node(1).hang(hangMs);
  for (const client of clients) client.at = 2;
  run(hangMs + 5000);
  world.run(1000);
  const at = ({ k, seq }: (typeof sent)[number]) => world.acceptedAt(clients[k], seq);
  return { world, clients, sent, at, beganMs };
}

test("its shard delivers nothing from before others may take its sessions, and no number is delivered twice", () => {
  const { world, clients, sent, at, beganMs } = copied(20_000);
  expect(sent.filter((one) => at(one).length > 1)).toEqual([]);
  // As long as it is not known to hang it serves.
  const early = sent.filter(({ ms }) => ms < beganMs + HUNG_MS);
  expect(early.every((one) => at(one)[0] === 1)).toBe(true);
  const lastOfNode1 = Math.max(...sent.filter((one) => at(one)[0] === 1).map(({ ms }) => ms));
  expect(lastOfNode1).toBeLessThan(beganMs + HUNG_MS + PAUSE_MS);
  // Another node took them, and has them when the hanging one goes on.
  const late = sent.filter(({ ms }) => ms > beganMs + UNASKABLE_MS + 2000);
  expect(late.filter((one) => at(one).length !== 1)).toEqual([]);
  expect(clients.map((client) => world.owners(client))).toEqual(clients.map(() => [2]));
  expect(world.node(1).outcomes.condemned).toBe(1);
});

test("one that hangs for less than others wait goes on with its own sessions, and nothing is delivered twice", () => {
  const { world, clients, sent, at, beganMs } = copied(8000);
  expect(sent.filter((one) => at(one).length > 1)).toEqual([]);
  const after = sent.filter(({ ms }) => ms > beganMs + 10_000);
  expect(after.filter((one) => at(one).length !== 1)).toEqual([]);
  for (const client of clients) expect(world.owners(client)).toHaveLength(1);
});

/** Who gets the copies of a packet for all: each peer once, in whatever order rows came and went. */
import { expect, test } from "vitest";
import { ALG_AES_256_GCM } from "../../src/dataplane/layout.ts";
import { MemoryNetwork } from "../../src/drivers/memory_network.ts";
import { apply } from "../../src/shard/apply.ts";
import { Host, indexOf, packet4 } from "./world.ts";

const ROWS = [0, 1, 2];
const ORDERS = ROWS.flatMap((a) => ROWS.filter((b) => b !== a).map((b) => [a, b, 3 - a - b]));

/** Adds the row to the node, as a classic tunnel or a session. */
type Add = (node: Host, row: number) => void;
const remote = (row: number) => `198.51.100.${row + 2}`;
const session: Add = (node, row) =>
  void node.session(row, {
    ...{ remote: remote(row), routes: [], end: "node", owner: 1_000_000 + row },
    ...{ sessionIndex: indexOf(row), receiver: 100 + row, senderId: 5 },
    key: { algorithm: ALG_AES_256_GCM, sealKey: new Uint8Array(32).fill(1), openKey: new Uint8Array(32).fill(2) },
  });
const tunnel: Add = (node, row) =>
  void node.tunnel("left", row, { index: row, remote: remote(row), routes: [], seqNext: 0 });

test.each([
  ["tunnels", {}, tunnel],
  ["sessions", { sessions: "node" }, session],
] as const)("%s", (_what, options, add) => {
  for (const order of ORDERS) {
    for (let gone = 1; gone <= ROWS.length; gone++) {
      const node = new Host(new MemoryNetwork(), { address: "192.0.2.1", ...options });
      node.plane.tunnels.seqLimit.fill(2 ** 31);
      /** Copies that each row got of one packet. */
      const copies = () => {
        const before = ROWS.map((row) => node.plane.tunnels.seqNext[row]);
        node.io.device!.inject(packet4("10.9.0.1", "224.0.0.251", 30));
        node.turn();
        return ROWS.map((row) => node.plane.tunnels.seqNext[row] - before[row]);
      };
      const removed = order.slice(0, gone);
      for (const row of ROWS) add(node, row);
      for (const index of removed) apply(node.plane, { kind: "remove", index, routes: [] });
      expect(copies(), `without ${removed}`).toEqual(ROWS.map((row) => (removed.includes(row) ? 0 : 1)));
      for (const row of removed) add(node, row);
      expect(copies(), `with ${removed} again`).toEqual([1, 1, 1]);
    }
  }
});

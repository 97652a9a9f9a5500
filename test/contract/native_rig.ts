/** The hosts of the `PacketIo` contract as two network namespaces, with one native driver in both. */
import { createPair, OUTER, type Pair } from "../../src/bench/netns.ts";
import type { Memory } from "../../src/dataplane/batch.ts";
import { OUT_ROWS } from "../../src/dataplane/layout.ts";
import { SENT } from "../../src/dataplane/verdict.ts";
import { enterNetns, type NativeIo, wake } from "../../src/drivers/native.ts";
import type { Rig } from "./io.contract.ts";
import { putRow } from "./io_rows.ts";

/** The pair with the addresses that the contract wants. */
export async function createIoPair(label: string): Promise<Pair> {
  const pair = await createPair(label);
  await pair.left.ip("addr", "add", "192.0.2.11/24", "dev", "eth0");
  await pair.left.ip("addr", "add", "2001:db8::11/64", "dev", "eth0", "nodad");
  // A fresh link takes a while until both ends know each other; the first datagrams would be lost.
  for (const address of [OUTER.right.v4, OUTER.right.v6]) {
    const { code, stdout } = await pair.left.run(["ping", "-c", "1", "-i", "0.2", "-w", "5", address]);
    if (code !== 0) throw new Error(`${address} does not answer: ${stdout}`);
  }
  return pair;
}

export function nativeRig(pair: Pair, io: NativeIo, memory: Memory): Rig {
  let inside = -1;
  let device = "";
  const netns = (name: string) => enterNetns(`/run/netns/${name}`);
  const side = (name: string) => ({ io, memory, enter: () => netns(name) });
  return {
    left: side(pair.left.name),
    right: side(pair.right.name),
    wakeLeft() {
      wake(io.wakeFd);
    },
    async deviceUp(name, up) {
      device = name;
      if (!up) return void (await pair.left.ip("link", "set", device, "down"));
      // No IPv6 on the device: the kernel's own router solicitations would come between the packets.
      await pair.left.ip("link", "set", device, "addrgenmode", "none");
      await pair.left.ip("addr", "replace", "10.77.0.1/24", "dev", device);
      await pair.left.ip("link", "set", device, "up");
      netns(pair.left.name);
      if (inside < 0) inside = io.openSocket("10.77.0.1", 7777);
    },
    hostSends(payload) {
      putRow(memory, OUT_ROWS - 1, { sock: inside, to: "10.77.0.2", port: 9, payload });
      memory.output.verdict.fill(SENT, 0, OUT_ROWS - 1);
      io.send(OUT_ROWS);
    },
    hostGets() {
      io.poll(100);
      if (io.receive(inside, 1) !== 1) return undefined;
      return memory.slab.slice(memory.input.at[0], memory.input.at[0] + memory.input.len[0]);
    },
    async close() {},
  };
}

/** The in-memory driver keeps the contract, and what only it has: the virtual clock, `carries`, and no allocation. */
import { describe, expect, it } from "vitest";
import { createMemory } from "../../src/dataplane/batch.ts";
import { IN_ROWS } from "../../src/dataplane/layout.ts";
import { LIVE, SENT, TO_DEVICE } from "../../src/dataplane/verdict.ts";
import { MemoryIo } from "../../src/drivers/memory_io.ts";
import { MemoryNetwork } from "../../src/drivers/memory_network.ts";
import { ioContract, type Rig } from "./io.contract.ts";
import { ipv4Udp, putRow, words } from "./io_rows.ts";

const LEFT = ["192.0.2.1", "192.0.2.11", "2001:db8::1", "2001:db8::11"];
const RIGHT = ["192.0.2.2", "2001:db8::2"];

function host(network: MemoryNetwork, addresses: readonly string[], depth?: number) {
  const memory = createMemory();
  const io = new MemoryIo({ memory, network, addresses, ...(depth === undefined ? {} : { depth }) });
  return { io, memory, enter() {} };
}

async function makeRig(): Promise<Rig> {
  const network = new MemoryNetwork();
  const [v4] = words("192.0.2.0").slice(3);
  const [v6] = words("2001:db8::");
  network.hasRoute = (w0, w1, _w2, w3) => (w0 === 0 ? w3 >>> 8 === v4 >>> 8 : w0 === v6 && w1 === 0);
  const left = host(network, LEFT);
  const right = host(network, RIGHT);
  return {
    left,
    right,
    wakeLeft() {
      left.io.wake();
    },
    async deviceUp(_name, up) {
      left.io.device!.up = up;
    },
    hostSends(payload) {
      left.io.device!.inject(ipv4Udp("10.77.0.1", "10.77.0.2", 9, payload));
    },
    hostGets: () => left.io.device!.take()?.subarray(28),
    async close() {
      right.io.close();
    },
  };
}

describe("in-memory PacketIo", () => {
  ioContract(makeRig);

  it("lets `carries` lose datagrams and choose between hosts that share an address", () => {
    const network = new MemoryNetwork();
    const client = host(network, ["198.51.100.1"]);
    const nodes = [host(network, ["192.0.2.53"]), host(network, ["192.0.2.53"])];
    const sock = client.io.openSocket("198.51.100.1", 0);
    for (const node of nodes) node.io.openSocket("192.0.2.53", 4444);
    const arrivals = () => nodes.map((node) => node.io.receive(0, IN_ROWS));
    const send = () => {
      putRow(client.memory, 0, { sock, to: "192.0.2.53", port: 4444, payload: 8 });
      client.io.send(1);
      return client.memory.output.verdict[0];
    };
    expect([send(), arrivals()]).toEqual([SENT, [1, 0]]);
    network.carries = (_from, to) => to === network.sockets[2];
    expect([send(), arrivals()]).toEqual([SENT, [0, 1]]);
    network.carries = () => false;
    expect([send(), arrivals(), network.lost]).toEqual([SENT, [0, 0], 1]);
  });

  it("loses what does not fit a queue, and keeps what does", () => {
    const network = new MemoryNetwork();
    const left = host(network, LEFT);
    const right = host(network, RIGHT, 3);
    const sock = left.io.openSocket(LEFT[0], 0);
    right.io.openSocket(RIGHT[0], 4444);
    for (let i = 0; i < 5; i++) putRow(left.memory, i, { sock, to: RIGHT[0], port: 4444, payload: i });
    left.io.send(5);
    expect(right.io.receive(0, IN_ROWS)).toBe(3);
    expect(Array.from(right.memory.input.len.subarray(0, 3))).toEqual([0, 1, 2]);
    expect(network.lost).toBe(2);
  });

  it("allocates nothing per packet", () => {
    const network = new MemoryNetwork();
    const left = host(network, LEFT);
    const right = host(network, RIGHT);
    const sock = left.io.openSocket("0.0.0.0", 0);
    right.io.openSocket("0.0.0.0", 4444);
    right.io.openDevice(undefined, false);
    const packet = ipv4Udp("10.77.0.1", "10.77.0.2", 9, new Uint8Array(4));
    const sink = new Uint8Array(64);
    for (let i = 0; i < 32; i++) putRow(left.memory, i, { sock, to: RIGHT[0], port: 4444, payload: packet });
    const turns = (count: number) => {
      for (let t = 0; t < count; t++) {
        left.memory.output.verdict.fill(LIVE, 0, 32);
        left.io.send(32);
        right.io.poll(0);
        right.memory.input.verdict.fill(TO_DEVICE, 0, right.io.receive(0, IN_ROWS));
        right.io.writeDevice(32);
        while (right.io.device!.takeInto(sink, 0) >= 0) right.io.device!.inject(packet);
        right.io.readDevice(IN_ROWS);
      }
    };
    turns(2000);
    // The median of many short runs: a collection in one of them would hide what was allocated there.
    const grown = Array.from({ length: 31 }, () => {
      const before = process.memoryUsage().heapUsed;
      turns(50);
      return process.memoryUsage().heapUsed - before;
    });
    grown.sort((x, y) => x - y);
    // 1600 packets; the smallest object has 16 bytes.
    expect(grown[15]).toBeLessThan(1600 * 16);
    expect(network.lost).toBe(0);
  });

  it("keeps virtual time: a wait in vain takes no real time", () => {
    const network = new MemoryNetwork();
    const { io } = host(network, LEFT);
    expect(io.poll(3_600_000)).toBe(0);
    expect(io.now()).toBe(3_600_000);
    io.wake();
    io.poll(1000);
    expect(io.now()).toBe(3_600_000);
  });
});

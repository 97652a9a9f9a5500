/**
 * The addon keeps the contract, in two network namespaces with one process in both; and what only it has: loading,
 * binding, threads, a device that others use too, and the path MTU that the kernel knows.
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Pair } from "../../src/bench/netns.ts";
import { createMemory } from "../../src/dataplane/batch.ts";
import { FLAG_DF, OUT_BASE, READY_SOCKET0, READY_WAKE, SLOT_BYTES } from "../../src/dataplane/layout.ts";
import { SEND_TOO_BIG, SENT } from "../../src/dataplane/verdict.ts";
import { ADDON_PATH, createNativeIo, enterNetns, loadAddon, type NativeIo, wake } from "../../src/drivers/native.ts";
import { HOME_NETNS, whyNoNetns } from "../support/netns.ts";
import { ioContract } from "./io.contract.ts";
import { putRow } from "./io_rows.ts";
import { createIoPair, nativeRig } from "./native_rig.ts";

const reason = whyNoNetns({ tun: true });

/** A thread that loads the addon, evaluates `body` with `addon` and `input`, and posts the result. */
function inThread(body: string, input: unknown): Worker {
  const code = `const { parentPort, workerData } = require("node:worker_threads");
    const addon = require(workerData.path);
    const input = workerData.input;
    parentPort.postMessage((() => { ${body} })());`;
  return new Worker(code, { eval: true, workerData: { path: ADDON_PATH, input } });
}
async function resultOf(worker: Worker): Promise<unknown> {
  const [result] = await once(worker, "message");
  await worker.terminate();
  return result;
}
/** Statement for `inThread`: binds fresh memory of the right sizes. */
const BIND = `addon.bind(new Uint8Array(input.slab), new Int32Array(input.inputs), new Int32Array(input.outputs),
  new Float64Array(1));`;
const shape = createMemory();
const SIZES = { slab: shape.slab.length, inputs: shape.input.columns.length, outputs: shape.output.columns.length };

describe("loading", () => {
  it("says how to get an addon that is not there", () => {
    expect(() => loadAddon("/nonexistent/anyhop.node")).toThrow(/cannot be loaded: run `npm run build`/);
  });

  it("does nothing before memory is bound", async () => {
    const calls = `return [addon.poll(0), addon.receive(0, 1), addon.send(1), addon.readDevice(1), addon.writeDevice(1),
      addon.pathMtu(0), addon.udpOpen(new Uint8Array(16), 0), addon.deviceOpen("", false), addon.wakeFd()]`;
    expect(await resultOf(inThread(calls, {}))).toEqual([-9, -9, 0, -9, 0, -22, -22, -22, -9]);
  });

  it("binds only memory of its layout, and only once", async () => {
    const wrong = `const { slab, inputs, outputs } = input;
      const I = Int32Array, U = Uint8Array, F = Float64Array;
      const tries = [
        [new U(slab - 1), new I(inputs), new I(outputs), new F(1)],
        [new U(slab), new I(inputs - 1), new I(outputs), new F(1)],
        [new U(slab), new I(inputs), new I(outputs + 1), new F(1)],
        [new U(slab), new I(inputs), new I(outputs), new F(0)],
        [new U(slab), new Uint32Array(inputs), new I(outputs), new F(1)],
        [new U(slab), new I(inputs), new I(outputs)],
        [],
        [new U(slab), new I(inputs), new I(outputs), new F(1)],
        [new U(slab), new I(inputs), new I(outputs), new F(1)],
      ];
      return tries.map((t) => addon.bind(...t));`;
    expect(await resultOf(inThread(wrong, SIZES))).toEqual([-22, -22, -22, -22, -22, -22, -22, 0, -114]);
  });
});

describe("wake", () => {
  it("ends the wait of another thread, and knows when that thread is gone", async () => {
    const worker = inThread(
      `${BIND} parentPort.postMessage(addon.wakeFd()); return [addon.poll(-1), addon.poll(0)];`,
      SIZES,
    );
    const [fd] = await once(worker, "message");
    const bits = once(worker, "message");
    expect(wake(fd)).toBe(true);
    expect(await bits).toEqual([[READY_WAKE, 0]]);
    await worker.terminate();
    expect(wake(fd)).toBe(false);
    expect(wake(0)).toBe(false);
    expect(wake(-1)).toBe(false);
  });
});

describe.skipIf(reason !== undefined)(`native PacketIo${reason === undefined ? "" : ` (skipped: ${reason})`}`, () => {
  let pair: Pair;
  let io: NativeIo;
  const memory = createMemory();
  const netns = (name: string) => enterNetns(`/run/netns/${name}`);

  beforeAll(async () => {
    pair = await createIoPair("io");
    // Prefixes with an MTU of their own, as a learnt path MTU would stand there.
    await pair.left.ip("route", "add", "198.51.100.0/24", "via", "192.0.2.2", "mtu", "1400");
    await pair.left.ip("-6", "route", "add", "2001:db8:5::/64", "via", "2001:db8::2", "mtu", "1300");
    io = createNativeIo(memory);
  });
  afterAll(async () => {
    io?.close();
    enterNetns(HOME_NETNS);
    await pair?.close();
  });

  it("says in a sentence that a thread binds once", () => {
    expect(() => createNativeIo(createMemory())).toThrow(/this thread has bound memory before/);
  });

  it("knows the path MTU of a route, and keeps to it with DF", () => {
    netns(pair.left.name);
    const socks = [io.openSocket("192.0.2.1", 0), io.openSocket("2001:db8::1", 0)];
    const [v4, v6] = socks;
    const cases = [
      [v4, "198.51.100.1", 1372, SENT],
      [v4, "198.51.100.1", 1373, SEND_TOO_BIG],
      [v6, "2001:db8:5::1", 1252, SENT],
      [v6, "2001:db8:5::1", 1253, SEND_TOO_BIG],
    ] as const;
    cases.forEach(([sock, to, payload], i) => {
      putRow(memory, i, { sock, to, port: 9, payload, flags: FLAG_DF });
    });
    io.send(cases.length);
    expect(Array.from(memory.output.verdict.subarray(0, 4))).toEqual(cases.map(([, , , verdict]) => verdict));
    expect([io.pathMtu(0), io.pathMtu(2)]).toEqual([1400, 1300]);
    for (const sock of socks) io.closeSocket(sock);
  });

  it("keeps the datagrams of a train that found no row, and lets no other socket overwrite them", () => {
    netns(pair.left.name);
    const from = io.openSocket("192.0.2.1", 0);
    netns(pair.right.name);
    const to = [io.openSocket("192.0.2.2", 0), io.openSocket("192.0.2.2", 0)];
    to.forEach((sock, i) => {
      memory.slab.fill(0x31 + i, OUT_BASE + i * SLOT_BYTES, OUT_BASE + (i + 1) * SLOT_BYTES);
      putRow(memory, i, { sock: from, to: "192.0.2.2", port: io.socketPort(sock), payload: 500, seg: 100 });
    });
    io.send(2);
    const bits = to.map((sock) => READY_SOCKET0 << sock);
    const text = () => String.fromCharCode(memory.slab[memory.input.at[0]]) + memory.input.len[0];
    expect(io.poll(1000) & bits[0]).toBe(bits[0]);
    expect([io.receive(to[0], 2), text()]).toEqual([2, "1100"]);
    expect(io.receive(to[1], 9)).toBe(0);
    expect(io.poll(-1) & (bits[0] | bits[1])).toBe(bits[0] | bits[1]);
    expect([io.receive(to[0], 1), text(), io.receive(to[1], 9), io.receive(to[0], 9)]).toEqual([1, "1100", 0, 2]);
    expect([io.receive(to[1], 3), text()]).toEqual([3, "2100"]);
    // What waits for a closed socket is gone, and the others have their turn.
    io.closeSocket(to[1]);
    expect([io.poll(0) & (bits[0] | bits[1]), io.receive(to[0], 9)]).toEqual([0, 0]);
    for (const sock of [from, to[0]]) io.closeSocket(sock);
  });

  it("opens TUN and TAP, and says what is wrong with a device", async () => {
    netns(pair.left.name);
    const name = `busy${process.pid}`;
    const open = async (device: string, tap: boolean, also = "") => {
      const body = `${BIND} const got = addon.deviceOpen(${JSON.stringify(device)}, ${tap}); ${also} return got;`;
      return resultOf(inThread(body, SIZES));
    };
    const holder = inThread(
      `${BIND} parentPort.postMessage([addon.deviceOpen("${name}", true), addon.wakeFd()]); return addon.poll(-1);`,
      SIZES,
    );
    const [[held, holderFd]] = await once(holder, "message");
    expect(held).toBe(name);
    try {
      expect(() => io.openDevice(name, true)).toThrow(
        `Cannot open the TAP device ${name}: another program uses it; choose another name or stop that program.`,
      );
      expect(() => io.openDevice(name, false)).toThrow(/no TUN device/);
    } finally {
      wake(holderFd);
      await resultOf(holder);
    }
    expect(await pair.left.hasDevice(name)).toBe(false);
    expect(() => io.openDevice("sixteen-letters-", false)).toThrow(/at most 15 characters/);
    expect(() => io.openDevice("eth0", false)).toThrow(/exists and is no TUN device/);
    expect(() => io.openDevice("no/slash", false)).toThrow(/not one that Linux allows/);
    expect(await open("", false)).toMatch(/^tun\d+$/);
    expect(await open("", true)).toMatch(/^tap\d+$/);
  });

  it("says what is wrong with a namespace", () => {
    expect(() => enterNetns("/run/netns/anyhop-none")).toThrow(/does not exist; `ip netns list` shows those that do/);
    expect(() => enterNetns("/etc/hostname")).toThrow(/is not a network namespace/);
  });

  describe("contract", () => {
    ioContract(async () => nativeRig(pair, io, memory));
  });

  it("is gone from the poll set and the host after close", async () => {
    expect(io.poll(0)).toBe(-9);
    expect(await pair.left.hasDevice(`ah${process.pid}`)).toBe(false);
  });
});

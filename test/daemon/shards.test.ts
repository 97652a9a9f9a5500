/**
 * The daemon with several shards, against foreign programs, itself, and a hostile hand: whichever shard the kernel
 * chooses for a packet, the tunnel is one.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  createPair,
  findProgram,
  type Namespace,
  OUTER,
  type Pair,
  type Program,
  sleep,
} from "../../src/bench/netns.ts";
import {
  answers,
  commandOf,
  DEFAULTS,
  DEVICE,
  deviceReady,
  type End,
  end,
  INNER,
  PORT,
  ping,
  scratch,
  socketOf,
  startEnd,
  startTunnel,
} from "../interop/tunnel.ts";
import { headerOf, NetnsSocket } from "../interop/wire.ts";
import { contextOf, echoRequest, HandPeer, TYPE_IPV4 } from "./hand_peer.ts";
import { grown, readStatus } from "./status.ts";

const PASSPHRASE = "correct horse battery staple";
const TAP_PORT = 5000;
/** Another address of the left host. */
const SECOND = "192.0.2.9";
/** Distance between the sender ids of shards, docs/PROTOCOL.md. */
const STRIDE = 4096;

let pair: Pair;
beforeAll(async () => {
  pair = await createPair("shards");
});
afterAll(() => pair?.close());

const shards = (count: number, change: Partial<End> = {}) =>
  end("left", "anyhop", DEFAULTS, { window: 2048, extra: ["--shards", String(count)], ...change });

/** Sends every payload in hexadecimal digits from every port of a range, in a namespace. */
async function sendFromPorts(
  namespace: Namespace,
  ports: readonly [number, number],
  to: string,
  payloads: readonly Uint8Array[],
): Promise<void> {
  const script = `
    const [first, last, to, port, ...lines] = process.argv.slice(1);
    (async () => {
      for (let p = Number(first); p <= Number(last); p++) {
        const socket = require("node:dgram").createSocket("udp4");
        await new Promise((done) => socket.bind(p, done));
        for (const hex of lines)
          await new Promise((done) => socket.send(Buffer.from(hex, "hex"), Number(port), to, done));
        socket.close();
      }
    })();`;
  const hex = payloads.map((bytes) => Buffer.from(bytes).toString("hex"));
  const output = await namespace.run([process.execPath, "-e", script, ...ports.map(String), to, String(PORT), ...hex]);
  expect(output).toMatchObject({ code: 0, stderr: "" });
}

/** Waits until a condition of the status holds, a minute at most. Returns the last status. */
async function statusWhen(dir: string, holds: (status: Awaited<ReturnType<typeof readStatus>>) => boolean) {
  for (let i = 0; ; i++) {
    const status = await readStatus(socketOf(dir, "left"));
    if (holds(status) || i === 3000) return status;
    await sleep(20);
  }
}

function sumOf(shards: Awaited<ReturnType<typeof readStatus>>["perShard"], way: "rx" | "tx"): number {
  return shards.reduce((sum, shard) => sum + shard[way].packets, 0);
}

describe.each(["anytun", "uanytun", "anyhop"] as const)("against %s", (peer) => {
  const missing = peer !== "anyhop" && findProgram(peer) === undefined;
  for (const device of ["tun", "tap"] as const) {
    for (const count of [2, 3]) {
      test.skipIf(missing)(`${count} shards, ${device}: IPv4 and IPv6 both ways, and the sums are right`, async () => {
        const dir = await scratch();
        const settings = { ...DEFAULTS, device };
        const left = shards(count, { remote: undefined });
        const right = end("right", peer, settings, {
          window: 64,
          extra: peer === "anyhop" ? ["--shards", "2"] : [],
        });
        const tunnel = await startTunnel(pair, { left, right }, settings, dir, "right");
        try {
          for (const family of ["v4", "v6"] as const) {
            expect(await ping(pair, "left", family)).toEqual({ sent: 3, received: 3 });
            expect(await ping(pair, "right", family)).toEqual({ sent: 3, received: 3 });
          }
          // A packet may pass between two of the numbers that a status reads.
          const status = await statusWhen(dir, ({ tunnels, perShard }) => {
            const { rx, tx, sequences } = tunnels[0]!;
            const used = sequences.reduce((sum, { next }) => sum + next, 0);
            return used === tx.packets && sumOf(perShard, "rx") === rx.packets && sumOf(perShard, "tx") === tx.packets;
          });
          expect(status.shards).toBe(count);
          expect(status.perShard.map((shard) => shard.senderId)).toEqual(
            Array.from({ length: count }, (_, k) => k * STRIDE),
          );
          const [of] = status.tunnels;
          expect(of!.endpoint).toBe(`${OUTER.right.v4}:${PORT}`);
          expect(of!.rx.packets).toBeGreaterThanOrEqual(12);
          for (const way of ["rx", "tx"] as const) {
            expect(sumOf(status.perShard, way)).toBe(of![way].packets);
          }
          expect(of!.sequences.reduce((sum, { next }) => sum + next, 0)).toBe(of!.tx.packets);
        } finally {
          await tunnel.stop();
        }
        expect(tunnel.left.exitCode).toBe(0);
        expect(await pair.left.hasDevice(DEVICE)).toBe(false);
      });
    }
  }
});

describe.each([2, 3])("%d shards", (count) => {
  /** Runs a server alone, with the test as its peer. */
  async function serving(check: (dir: string, daemon: Program) => Promise<void>, change: Partial<End> = {}) {
    const dir = await scratch();
    const daemon = startEnd(pair, "left", shards(count, { remote: undefined, ...change }), DEFAULTS, dir);
    try {
      await deviceReady(pair.left, "left", daemon);
      await check(dir, daemon);
    } finally {
      await daemon.stop();
    }
    expect(daemon.exitCode, daemon.output).toBe(0);
  }

  test("a peer that changes its port is followed from shard to shard", () =>
    serving(async (dir) => {
      let seq = 0;
      const used = new Set<number>();
      // The kernel's secret decides which shard gets a port: that 64 of them leave one out is one in 10^10.
      for (let port = 6000; port < 6016 || (used.size < count && port < 6064); port++) {
        const peer = await HandPeer.open(pair.right, contextOf(PASSPHRASE), OUTER.right.v4, port);
        peer.seq = seq;
        expect(await peer.echoAnswered()).toBe(true);
        seq = peer.seq;
        await peer.close();
        const status = await readStatus(socketOf(dir, "left"));
        status.perShard.forEach(({ rx }, k) => {
          if (rx.packets > 0) used.add(k);
        });
        expect(status.tunnels[0]!.endpoint).toBe(`${OUTER.right.v4}:${port}`);
      }
      expect(used.size).toBe(count);
    }));

  test("datagrams that were seen on the wire are refused from 64 other ports, and move nothing", () =>
    serving(async (dir) => {
      const peer = await HandPeer.open(pair.right, contextOf(PASSPHRASE));
      expect(await peer.echoAnswered()).toBe(true);
      const captured = Array.from({ length: 80 }, (_, id) => peer.seal(TYPE_IPV4, echoRequest(id)));
      for (const bytes of captured) peer.send(bytes);
      const before = await statusWhen(dir, (status) => status.verdicts["to_device"]! >= 81);
      expect(before.verdicts["to_device"]).toBe(81);
      await sendFromPorts(pair.right, [7000, 7063], OUTER.left.v4, captured);
      const refused = (status: typeof before) => {
        const { replay_duplicate = 0, replay_old = 0, to_device = 0 } = grown(before, status);
        return { refused: replay_duplicate + replay_old, delivered: to_device };
      };
      const after = await statusWhen(dir, (status) => refused(status).refused >= 64 * 80);
      expect(refused(after)).toEqual({ refused: 64 * 80, delivered: 0 });
      expect(after.tunnels[0]!.endpoint).toBe(`${OUTER.right.v4}:${PORT}`);
      expect(after.perShard.every((shard) => shard.dropped > 80)).toBe(true);
      expect(await peer.echoAnswered()).toBe(true);
      await peer.close();
    }));

  test("every shard answers from the address that the peer uses", () =>
    serving(
      async (dir) => {
        await pair.left.ip("addr", "add", `${SECOND}/24`, "dev", "eth0");
        const peer = await HandPeer.open(pair.right, contextOf(PASSPHRASE));
        try {
          expect(await peer.echoAnswered(3000, SECOND)).toBe(true);
          await sendFromPorts(pair.left, [9301, 9332], INNER.right.v4, [new Uint8Array(20)]);
          const { perShard } = await statusWhen(dir, ({ tunnels }) => tunnels[0]!.tx.packets >= 33);
          expect(perShard.every((shard) => shard.tx.packets > 0)).toBe(true);
          expect([...new Set(peer.socket.received.map(({ address }) => address))]).toEqual([SECOND]);
          expect(peer.socket.received.length).toBeGreaterThanOrEqual(32);
        } finally {
          await peer.close();
          await pair.left.ip("addr", "del", `${SECOND}/24`, "dev", "eth0");
        }
      },
      { bind: undefined },
    ));

  test("a second daemon gets neither the port nor the device", () =>
    serving(async () => {
      const other = (extra: readonly string[]) =>
        scratch().then((dir) => pair.left.run(commandOf("left", shards(count, { extra }), DEFAULTS, dir)));
      for (const again of [1, count]) {
        const samePort = await other(["--shards", String(again), "-d", "vt1"]);
        expect(samePort).toMatchObject({ code: 1, stderr: expect.stringMatching(/4444.*another program uses it/) });
        const sameDevice = await other(["--shards", String(again), "-p", "4445"]);
        expect(sameDevice.code).toBe(1);
        expect(sameDevice.stderr).toMatch(/Cannot open the TUN device vt0/);
      }
      expect(await pair.left.hasDevice("vt1")).toBe(false);
    }));
});

/** Numbered datagrams through the tunnel, some flows at once; returns what arrived by flow. */
async function flows(ports: readonly number[], each: number): Promise<Map<number, number[]>> {
  const arrived = new Map<number, number[]>(ports.map((port) => [port, []]));
  const receiver = await NetnsSocket.open(pair.right, INNER.right.v4, 9000);
  receiver.onDatagram = ({ port, bytes }) =>
    void arrived.get(port)?.push(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0));
  const senders = await Promise.all(ports.map((port) => NetnsSocket.open(pair.left, INNER.left.v4, port)));
  for (let n = 0; n < each; n++) {
    const bytes = new Uint8Array(64);
    new DataView(bytes.buffer).setUint32(0, n);
    for (const sender of senders) sender.send(bytes, INNER.right.v4, 9000);
    if (n % 50 === 49) await sleep(10);
  }
  const complete = () => [...arrived.values()].every((numbers) => numbers.length >= each);
  for (let i = 0; i < 100 && !complete(); i++) await sleep(20);
  await Promise.all([receiver.close(), ...senders.map((sender) => sender.close())]);
  return arrived;
}

test("every flow arrives in order, and flows are spread over the shards", async () => {
  const dir = await scratch();
  const right = end("right", "anyhop", DEFAULTS, { window: 2048, extra: ["--shards", "2"] });
  const tunnel = await startTunnel(pair, { left: shards(3), right }, DEFAULTS, dir);
  try {
    const ports = [9101, 9102, 9103, 9104, 9105, 9106];
    const arrived = await flows(ports, 1000);
    for (const port of ports) {
      const numbers = arrived.get(port)!;
      // A busy machine may drop some in the queue of the device; none may overtake another or come twice.
      expect(numbers.length).toBeGreaterThan(900);
      expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    }
    const { perShard } = await readStatus(socketOf(dir, "left"));
    expect(perShard.filter((shard) => shard.tx.packets > 900).length).toBeGreaterThan(1);
  } finally {
    await tunnel.stop();
  }
});

test("no shard uses a sequence number twice, over kills and restarts", async () => {
  const dir = await scratch();
  // Everything from the left passes through the hands of this socket, which stands before the peer.
  const middle = await NetnsSocket.open(pair.right, OUTER.right.v4, TAP_PORT);
  const used = new Map<number, Set<number>>();
  let repeated = 0;
  let back = PORT;
  middle.onDatagram = ({ address, port, bytes }) => {
    if (address !== OUTER.left.v4) return middle.send(bytes, OUTER.left.v4, back);
    back = port;
    const { seq, senderId } = headerOf(bytes);
    const seen = used.get(senderId) ?? new Set();
    used.set(senderId, seen);
    if (seen.has(seq)) repeated++;
    seen.add(seq);
    middle.send(bytes, OUTER.right.v4, PORT);
  };
  const remote = { address: OUTER.right.v4, port: TAP_PORT };
  const left = shards(3, { senderId: 7, remote });
  const right = end("right", "anyhop", DEFAULTS, { remote, window: 64 });
  const tunnel = await startTunnel(pair, { left, right }, DEFAULTS, dir);
  let ours = tunnel.left;
  try {
    for (const signal of ["SIGKILL", "SIGTERM", "SIGKILL"] as const) {
      await flows([9201, 9202, 9203, 9204, 9205, 9206], 40);
      await ours.stop(signal);
      ours = startEnd(pair, "left", left, DEFAULTS, dir);
      await deviceReady(pair.left, "left", ours);
      expect(await answers(pair, "left")).toBe(true);
    }
    await flows([9201, 9202, 9203, 9204, 9205, 9206], 40);
    const ids = [...used.keys()].sort((a, b) => a - b);
    expect(ids.every((id) => [7, 7 + STRIDE, 7 + 2 * STRIDE].includes(id))).toBe(true);
    expect(ids.length).toBeGreaterThan(1);
    expect([...used.values()].reduce((sum, numbers) => sum + numbers.size, 0)).toBeGreaterThan(900);
    expect(repeated).toBe(0);
  } finally {
    await ours.stop();
    await tunnel.stop();
    await middle.close();
  }
});

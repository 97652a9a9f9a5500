/**
 * What very many idle sessions cost: a node's control and its data plane in one process, with the real key slots. Bounds
 * have room for a slow machine; scripts/idle_sessions.mjs measures a daemon.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createLogger } from "../../src/base/log.ts";
import { EventHub } from "../../src/control/asked/event_hub.ts";
import { NodeEnd } from "../../src/control/node/node_end.ts";
import type { NodeSpec } from "../../src/control/spec/instance.ts";
import { systemEntropy } from "../../src/crypto/entropy.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { activate } from "../../src/dataplane/activate.ts";
import { createMemory } from "../../src/dataplane/batch.ts";
import { turnKeepalive } from "../../src/dataplane/pipeline.ts";
import { Plane } from "../../src/dataplane/plane.ts";
import { createTunnelMemory, IN_NODE } from "../../src/dataplane/tunnels.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import { createNativeIo } from "../../src/drivers/native.ts";
import { createNativeCrypto } from "../../src/drivers/native_crypto.ts";
import { useNativeHandshake } from "../../src/drivers/native_handshake.ts";
import { AES_256_GCM } from "../../src/handshake/keys.ts";
import type { NodeSession } from "../../src/handshake/node_sessions.ts";
import { NO_SETTINGS } from "../../src/handshake/settings.ts";
import { apply } from "../../src/shard/apply.ts";
import type { ToShard } from "../../src/shard/messages.ts";
import { NO_ANNOUNCE } from "../announce/parts.ts";

const SESSIONS = 20_000;
const ROWS = 131_072;
const WINDOW = 2048;
const SESSION_BYTES_MAX = 1800;

const bytesOf = (n: number, seed: number) => {
  const bytes = new Uint8Array(32).fill(seed);
  new DataView(bytes.buffer).setUint32(0, Math.imul(n + 1, 0x9e3779b1) >>> 0);
  return bytes;
};
const clientKeyOf = (n: number) => Buffer.from(bytesOf(n, 7));
const addressOf = (n: number) => `10.${1 + (n >>> 16)}.${(n >>> 8) & 255}.${n & 255}`;

const sessionOf = (n: number, timestamp: number): NodeSession => ({
  ...{ index: Math.imul(n + 1, 0x12345) & 0x7fffbfff, receiver: n & 0x3fff, clientKey: clientKeyOf(n).toString("hex") },
  ...{ clientName: `client${n}`, instance: "0011223344556677", aead: AES_256_GCM, modes: 1, secret: bytesOf(n, 9) },
  settings: NO_SETTINGS,
  from: { family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0xc0000200 + (n & 0xff), port: 4000, sock: 0 },
  ...{ timestamp, resumed: false },
});

let nowMs = 1000;
const clock = { monotonicMs: () => nowMs, wallMs: () => 1_700_000_000_000 + nowMs };
const posted: ToShard[] = [];
let plane: Plane;
let node: NodeEnd;
let memoryBefore = 0;

/** What is in use after garbage is gone: resident, because most of it lies outside the heap. */
const resident = () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let k = 0; k < 3; k++) collect();
  if (process.env["ANYHOP_SHOW"] !== undefined) console.log(process.memoryUsage());
  return process.memoryUsage.rss();
};

beforeAll(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  useNativeHandshake();
  const privateKey = new Uint8Array(32).fill(1);
  const spec: NodeSpec = {
    instance: {
      ...{ name: "node", listen: [], senderId: 1, tunnels: [], shards: 1, fanoutMax: 256, floodPps: 1000 },
      device: {
        ...{ type: "tun", name: undefined, mtuBytes: 1400, hostRoutes: [], postUp: undefined },
        addresses: ["10.0.0.1/8"],
      },
      ...{ dscp: "copy", stateDir: "/nowhere", socketPath: "/nowhere" },
    },
    ...{ group: "example", privateKey, publicKey: keyPairFromPrivate(privateKey).publicKey, addresses: [] },
    ...{ pool: ["10.0.0.0/8"], networks: [], dns: [], clients: [], keepaliveMs: 25_000, sessionsMax: ROWS },
    ...{ rekeyMs: 120_000, announce: NO_ANNOUNCE, cluster: undefined },
  };
  const log = createLogger(clock, []);
  node = new NodeEnd(spec, {
    ...{ clock, log, entropy: systemEntropy, store: createMemoryStore() },
    ...{ pairOf: keyPairFromPrivate, events: new EventHub(clock) },
  });
  const memory = createMemory();
  plane = new Plane({
    ...{ memory, tunnels: createTunnelMemory(ROWS), io: createNativeIo(memory), crypto: createNativeCrypto() },
    ...{ ethernet: false, fanoutMax: 256, floodPps: 1000, dscp: -1, windowMax: WINDOW, hashSeed: 1 },
  });
  plane.sessions = IN_NODE;
  node.start(
    { post: (message) => void posted.push(message), tunnels: plane.tunnels, deviceName: "tun0", socketFor: () => 0 },
    0,
  );
  for (let n = 0; n < SESSIONS; n++)
    node.admit(
      {
        ...{ name: `client${n}`, publicKey: clientKeyOf(n).toString("base64"), psk: undefined },
        ...{ addresses: [addressOf(n)], prefixes: [], modes: ["tunnel"], origin: "api", createdMs: 0 },
      },
      undefined,
    );
  // Warm: code is compiled, pools have begun.
  install(0, 2000);
  memoryBefore = resident();
});
afterAll(() => {
  node.stop();
  vi.useRealTimers();
});

/** Processor time in microseconds: others use this machine too. */
const cpuUs = () => process.cpuUsage().user + process.cpuUsage().system;

/** In parts, as they come from elsewhere. Returns microseconds for each, and messages to the shard. */
function install(from: number, to: number, timestamp = 1): { us: number; messages: number } {
  let us = 0;
  let messages = 0;
  for (let first = from; first < to; first += 500) {
    const sessions = Array.from({ length: Math.min(500, to - first) }, (_, k) => sessionOf(first + k, timestamp));
    const began = cpuUs();
    for (const session of sessions) {
      const client = node.client(Buffer.from(session.clientKey, "hex").toString("base64"))!;
      node.takeIn(session, client, false);
    }
    node.settle();
    messages += posted.length;
    for (const message of posted.splice(0)) apply(plane, message);
    us += cpuUs() - began;
  }
  return { us: us / (to - from), messages };
}

describe(`${SESSIONS} sessions`, () => {
  test("sessions that are agreed on elsewhere are in the tables, in few messages", () => {
    const { us, messages } = install(2000, SESSIONS);
    expect(messages).toBeLessThan(SESSIONS / 50);
    expect(plane.byIndex.size).toBe(SESSIONS);
    if (process.env["ANYHOP_SHOW"] !== undefined) console.log(`install ${us.toFixed(1)} us`);
  });

  test("the first packet of each turns its prefix to it", () => {
    const timed = (from: number, to: number) => {
      const began = cpuUs();
      for (let row = from; row < to; row++) {
        const window = plane.replay.create(row, 3);
        plane.replay.commit(window, 0, WINDOW);
        plane.restart.open(window);
        plane.restart.accepted(window, nowMs);
        activate(plane, row);
        node.confirmed(row);
        // The seal of an empty packet goes nowhere: there is no socket.
        for (const message of posted.splice(0)) apply(plane, message);
      }
      return (cpuUs() - began) / (to - from);
    };
    const early = timed(0, 4000);
    timed(4000, SESSIONS - 4000);
    const late = timed(SESSIONS - 4000, SESSIONS);
    if (process.env["ANYHOP_SHOW"] !== undefined) console.log(`confirm ${early.toFixed(1)}, ${late.toFixed(1)} us`);
    expect(plane.memberCount).toBe(SESSIONS);
    expect(plane.routes.size).toBe(SESSIONS);
    expect(plane.routes.lookup4((10 << 24) | (1 << 16) | (3 << 8) | 4)).toBe(3 * 256 + 4);
  });

  test("a session takes few bytes, and what lists them gives pages", () => {
    const bytes = (resident() - memoryBefore) / (SESSIONS - 2000);
    if (process.env["ANYHOP_SHOW"] !== undefined) console.log(`${bytes.toFixed(0)} bytes a session`);
    expect(bytes).toBeLessThan(SESSION_BYTES_MAX);
    const first = node.list(-1, 100);
    const second = node.list(first[99].id, 100);
    const ids = [...first, ...second].map(({ id }) => id);
    expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
    expect(node.sessionOf(first[5].publicKey)).toBe(first[5].id);
    expect(node.get(first[5].id)).toEqual(first[5]);
  });

  test("a tick of the shard and one of control go over all of them, and send and post nothing", () => {
    const began = cpuUs();
    for (let k = 0; k < 10; k++) turnKeepalive(plane, nowMs);
    const ticks = cpuUs();
    for (let k = 0; k < 100; k++) vi.advanceTimersByTime(100);
    if (process.env["ANYHOP_SHOW"] !== undefined)
      console.log(
        `tick ${((ticks - began) / 10).toFixed(0)} us of the shard, ${((cpuUs() - ticks) / 100).toFixed(0)} us of control`,
      );
    expect(posted).toEqual([]);
    expect(plane.byIndex.size).toBe(SESSIONS);
  });

  test("all of them go again, and nothing is left", () => {
    nowMs += 700_000;
    vi.advanceTimersByTime(100);
    for (const message of posted.splice(0)) apply(plane, message);
    expect([plane.byIndex.size, plane.routes.size, plane.memberCount, plane.byOwner.size]).toEqual([0, 0, 0, 0]);
    expect([node.list(), node.responder.sessions.size]).toEqual([[], 0]);
    expect(plane.tunnels.used.reduce((sum, n) => sum + n)).toBe(0);
    // The same ones never come again, later ones do.
    install(0, 100);
    expect(plane.byIndex.size).toBe(0);
    install(0, 100, 2);
    expect(plane.byIndex.size).toBe(100);
  });
});

/**
 * Bad input from the network, against the real daemon: whatever arrives is dropped under the right name, the log stays
 * short, memory stays bounded, and the tunnel works afterwards.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createPair, OUTER, type Pair, type Program, sleep } from "../../src/bench/netns.ts";
import { usage } from "../../src/bench/peers.ts";
import { DEFAULTS, deviceReady, end, PORT, scratch, socketOf, startEnd } from "../interop/tunnel.ts";
import { NetnsSocket } from "../interop/wire.ts";
import { contextOf, echoRequest, HandPeer, TYPE_IPV4, TYPE_IPV6 } from "./hand_peer.ts";
import { until } from "./session_pair.ts";
import { grown, problemOf, readStatus } from "./status.ts";

const PASSPHRASE = "correct horse battery staple";
/** `auth_failed` and its two more precise names. */
const AUTH = ["auth_failed", "auth_equal_roles", "auth_tag_length"];

let pair: Pair;
let dir: string;
let daemon: Program;
let peer: HandPeer;

beforeAll(async () => {
  pair = await createPair("hostile");
});
afterAll(() => pair?.close());

beforeEach(async () => {
  dir = await scratch();
  const settings = end("left", "anyhop", DEFAULTS, { window: 64, remote: undefined, bind: undefined });
  daemon = startEnd(pair, "left", settings, DEFAULTS, dir);
  await deviceReady(pair.left, "left", daemon);
  peer = await HandPeer.open(pair.right, contextOf(PASSPHRASE));
});
afterEach(async () => {
  await peer?.close();
  await daemon?.stop();
});

const logLines = (): string[] => daemon.output.split("\n").filter((line) => line !== "");

/** Fixed bytes that look random, from a multiplicative generator (Lehmer, modulus 2^31 - 1). */
function noise(length: number, seed: number): Uint8Array {
  let state = (seed % 0x7ffffffe) + 1;
  return Uint8Array.from({ length }, () => {
    state = (state * 48271) % 0x7fffffff;
    return state & 0xff;
  });
}

/** Hands datagrams over in small portions, so that the socket buffer of the daemon loses none. */
async function sendAll(datagrams: Iterable<Uint8Array>): Promise<number> {
  let count = 0;
  for (const datagram of datagrams) {
    peer.send(datagram);
    if (++count % 50 === 0) await sleep(5);
  }
  return count;
}

/** A count; `auth_failed` with those that were given a more precise name, by right or by chance. */
function countOf(grew: Record<string, number>, verdict: string): number {
  const names = verdict === "auth_failed" ? AUTH : [verdict];
  return names.reduce((sum, name) => sum + (grew[name] ?? 0), 0);
}

describe("an end that is set up wrongly is told apart", () => {
  const cases = [
    { name: "another key", key: contextOf("another phrase"), verdict: "auth_failed", cause: /key/ },
    { name: "equal roles", key: contextOf(PASSPHRASE, { role: 0 }), verdict: "auth_equal_roles", cause: /left.*right/ },
    { name: "another tag length", key: contextOf(PASSPHRASE, { tagLen: 16 }), verdict: "auth_tag_length", cause: /-b/ },
  ];
  for (const { name, key, verdict, cause } of cases) {
    test(`${name}: ${verdict}`, async () => {
      await peer.close();
      peer = await HandPeer.open(pair.right, key);
      const before = await readStatus(socketOf(dir, "left"));
      await sendAll(Array.from({ length: 300 }, (_, id) => peer.seal(TYPE_IPV4, echoRequest(id))));
      let after = before;
      await until("all are counted and the cause is said", async () => {
        after = await readStatus(socketOf(dir, "left"));
        return countOf(grown(before, after), "auth_failed") >= 300 && cause.test(daemon.output);
      }, [daemon]);
      const grew = grown(before, after);
      // Telling the causes apart is limited per second; what is beyond counts under the general name.
      expect(countOf(grew, "auth_failed")).toBe(300);
      expect(grew[verdict]).toBeGreaterThan(0);
      expect(problemOf(after)).toBe(verdict);
      const lines = logLines().filter((line) => cause.test(line));
      expect(lines.length).toBeGreaterThan(0);
      expect(lines[0]).toContain(OUTER.right.v4);
      expect(logLines().length).toBeLessThan(15);
      expect(daemon.output).not.toContain(PASSPHRASE);
      expect(daemon.alive).toBe(true);
    });
  }
});

/** Builders of datagrams that deserve one certain verdict. */
const datagrams: readonly { readonly name: string; readonly verdict: string; make(): Uint8Array[] }[] = [
  { name: "no bytes at all", verdict: "datagram_short", make: () => [new Uint8Array(0)] },
  {
    name: "cut at every byte of header and tag",
    verdict: "datagram_short",
    make: () => Array.from({ length: 17 }, (_, i) => peer.seal(TYPE_IPV4, echoRequest(1)).slice(0, i + 1)),
  },
  {
    name: "the largest UDP payload",
    verdict: "auth_failed",
    // The header must be one of the tunnel, or it would not be looked at for its length.
    make: () => [Uint8Array.from([...peer.seal(-1, new Uint8Array(0)).slice(0, 8), ...noise(65_499, 1)])],
  },
  {
    name: "a foreign mux",
    verdict: "mux_unknown",
    make: () => {
      peer.mux = 9;
      const datagram = peer.seal(TYPE_IPV4, echoRequest(1));
      peer.mux = 0;
      return [datagram];
    },
  },
  {
    name: "cut behind the tag",
    verdict: "auth_failed",
    make: () => Array.from({ length: 40 }, (_, i) => peer.seal(TYPE_IPV4, echoRequest(1)).slice(0, 18 + i)),
  },
  {
    name: "one flipped bit in every byte",
    verdict: "auth_failed",
    make: () =>
      // 8 header + 2 type + 64 inner + 10 tag bytes.
      Array.from({ length: 84 }, (_, i) => {
        const datagram = peer.seal(TYPE_IPV4, echoRequest(1));
        datagram[i]! ^= 1;
        return datagram;
        // A flipped mux belongs to no tunnel; that case has its own row.
      }).filter((_, i) => i !== 6 && i !== 7),
  },
  {
    name: "a number that was used",
    verdict: "replay_duplicate",
    make: () => {
      const datagram = peer.seal(TYPE_IPV4, echoRequest(1));
      return [datagram, datagram, datagram].slice(0, 3);
    },
  },
  {
    name: "reserved payload types",
    verdict: "type_reserved",
    make: () => [0x0000, 0x0001, 0x0800 - 0x300, 0x05dc].map((type) => peer.seal(type, echoRequest(1))),
  },
  {
    name: "payload types that a tun device cannot take",
    verdict: "type_unsupported",
    make: () => [0x05dd, 0x0806, 0x6558, 0x8100, 0xffff].map((type) => peer.seal(type, echoRequest(1))),
  },
  {
    name: "an IPv4 packet cut at every byte",
    verdict: "inner_malformed",
    make: () => Array.from({ length: 63 }, (_, i) => peer.seal(TYPE_IPV4, echoRequest(1).slice(0, i + 1))),
  },
  {
    name: "an IPv4 header that contradicts itself",
    verdict: "inner_malformed",
    make: () => {
      const changed = (at: number, value: number) => {
        const packet = echoRequest(1);
        packet[at] = value;
        return peer.seal(TYPE_IPV4, packet);
      };
      // Version 6, version 0, header length 4 words, header longer than the packet, total length beyond the packet.
      return [changed(0, 0x65), changed(0, 0x05), changed(0, 0x44), changed(3, 65), changed(2, 0xff)];
    },
  },
  {
    name: "an IPv6 packet cut in its header, or of another version",
    verdict: "inner_malformed",
    make: () => [
      ...[1, 8, 39].map((length) =>
        peer.seal(
          TYPE_IPV6,
          Uint8Array.from({ length }, (_, i) => (i === 0 ? 0x60 : 0)),
        ),
      ),
      peer.seal(TYPE_IPV6, echoRequest(1)),
    ],
  },
];

describe("a datagram that nobody should send", () => {
  for (const { name, verdict, make } of datagrams) {
    test(`${name}: ${verdict}`, async () => {
      expect(await peer.echoAnswered()).toBe(true);
      const before = await readStatus(socketOf(dir, "left"));
      const sent = await sendAll(make());
      const wanted = verdict === "replay_duplicate" ? sent - 1 : sent;
      let grew: Record<string, number> = {};
      await until("all are counted", async () => {
        grew = grown(before, await readStatus(socketOf(dir, "left")));
        return countOf(grew, verdict) >= wanted;
      }, [daemon]);
      expect(countOf(grew, verdict), JSON.stringify(grew)).toBe(wanted);
      expect(await peer.echoAnswered()).toBe(true);
      expect(logLines().length).toBeLessThan(15);
    });
  }
});

test("20,000 datagrams of noise: alive, log short, memory bounded, tunnel works", async () => {
  expect(await peer.echoAnswered()).toBe(true);
  const valid = Array.from({ length: 200 }, (_, id) => peer.seal(TYPE_IPV4, echoRequest(id)));
  const hostile = function* (): Generator<Uint8Array> {
    for (let i = 0; i < 20_000; i++) {
      const base = valid[i % valid.length]!;
      if (i % 5 === 0) yield noise(i % 41, i);
      else if (i % 5 === 1) yield noise(18 + (i % 1480), i);
      else if (i % 5 === 2) yield base.slice(0, i % base.length);
      else if (i % 5 === 3) yield base.map((byte, at) => (at === i % base.length ? byte ^ (1 << (i % 8)) : byte));
      // The tunnel's own mux before noise: passes classification, fails authentication.
      else yield Uint8Array.from([...noise(6, i), 0, 0, ...noise(30 + (i % 100), i + 1)]);
    }
  };
  const before = await usage([daemon]);
  await sendAll(hostile());
  expect(await peer.echoAnswered()).toBe(true);
  const after = await usage([daemon]);
  expect(after.peakKb - before.peakKb).toBeLessThan(32 * 1024);
  expect(daemon.alive).toBe(true);
  expect(logLines().length).toBeLessThan(60);
});

test("an authentic peer with 3,000 sender ids finds a bound", async () => {
  const before = await readStatus(socketOf(dir, "left"));
  const memory = await usage([daemon]);
  const datagrams = Array.from({ length: 3000 }, (_, id) => {
    peer.senderId = id + 1;
    return peer.seal(TYPE_IPV4, echoRequest(1));
  });
  await sendAll(datagrams);
  await until("those beyond the bound are counted", async () => {
    const { senders_full = 0 } = grown(before, await readStatus(socketOf(dir, "left")));
    return senders_full > 1000;
  }, [daemon]);
  expect((await usage([daemon])).peakKb - memory.peakKb).toBeLessThan(32 * 1024);
  // A sender that has its place keeps it.
  peer.senderId = 1;
  expect(await peer.echoAnswered()).toBe(true);
});

test("a stranger cannot claim a tunnel that waits for its peer", async () => {
  const stranger = await NetnsSocket.open(pair.right, OUTER.right.v4, PORT + 1);
  for (let i = 0; i < 50; i++) stranger.send(noise(40 + i, i), OUTER.left.v4, PORT);
  await sleep(50);
  expect(await peer.echoAnswered()).toBe(true);
  expect(stranger.received).toEqual([]);
  await stranger.close();
});

test("the peer is followed from IPv4 to IPv6 and back", async () => {
  expect(await peer.echoAnswered()).toBe(true);
  const later = await HandPeer.open(pair.right, peer.key, OUTER.right.v6);
  later.seq = peer.seq;
  expect(await later.echoAnswered(60_000, OUTER.left.v6)).toBe(true);
  peer.seq = later.seq;
  expect(await peer.echoAnswered()).toBe(true);
  await later.close();
});

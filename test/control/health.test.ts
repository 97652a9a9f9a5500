/** The self-test: alone on virtual time, and through a real node's end and plane. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/base/ip.ts";
import { ROUND_MS, SelfTest, type Target, TIMEOUT_MS, type Work } from "../../src/control/routing/health.ts";
import { type MemorySocket, PacketRing } from "../../src/drivers/memory_network.ts";
import { check } from "../../src/handshake/control.ts";
import { World } from "./ends.ts";

const V4 = { address: "192.0.2.1", port: 4444 };
const V6 = { address: "2001:db8::1", port: 4444 };
const SECRET = new Uint8Array(32).fill(7);

function rig(targets: readonly Target[] = [V4, V6]) {
  const sent: { datagram: Uint8Array; to: Target }[] = [];
  const state = { work: { handled: 0, refused: 0 } as Work, faults: [] as string[] };
  const selfTest = new SelfTest(targets, SECRET, {
    send: (datagram, to) => void sent.push({ datagram, to }),
    work: () => state.work,
    faults: () => state.faults,
  });
  /** The node answers what was sent to these addresses, `ms` later. */
  const answer = (now: number, ...addresses: string[]) => {
    for (const { datagram, to } of sent.splice(0))
      if (addresses.includes(to.address)) selfTest.received(now, selfTest.answer(datagram) as Uint8Array);
  };
  return { selfTest, sent, state, answer };
}

describe("rounds", () => {
  test("good when every address answers; the round trip is shown", () => {
    const { selfTest, sent, answer } = rig();
    expect(selfTest.tick(0)).toBeUndefined();
    expect(sent.map(({ to }) => to)).toEqual([V4, V6]);
    answer(2.5, V4.address, V6.address);
    expect(selfTest.tick(100)).toEqual({ good: true, why: "" });
    expect(selfTest.results()).toEqual([
      { address: V4.address, rttMs: 2.5 },
      { address: V6.address, rttMs: 2.5 },
    ]);
    expect(selfTest.tick(ROUND_MS - 1)).toBeUndefined();
    expect(sent).toEqual([]);
    selfTest.tick(ROUND_MS);
    expect(sent).toHaveLength(2);
  });

  test("bad after the time-out when one does not; a late answer is not counted", () => {
    const { selfTest, sent, answer } = rig();
    selfTest.tick(0);
    const late = sent.find(({ to }) => to === V6)!.datagram;
    answer(1, V4.address);
    expect(selfTest.tick(TIMEOUT_MS - 1)).toBeUndefined();
    const verdict = selfTest.tick(TIMEOUT_MS);
    expect(verdict).toEqual({ good: false, why: "no answer to the self-test of 2001:db8::1 within 400 ms" });
    selfTest.tick(ROUND_MS);
    expect(selfTest.answer(late)).toBeUndefined();
    expect([selfTest.good, selfTest.bad, selfTest.crowded]).toEqual([0, 1, 0]);
  });

  test("a fault beside the path makes it bad", () => {
    const { selfTest, state, answer } = rig([V4]);
    selfTest.tick(0);
    answer(1, V4.address);
    state.faults = ["the device anyc0 is down or gone"];
    expect(selfTest.tick(100)).toEqual({ good: false, why: "the device anyc0 is down or gone" });
  });

  test.each<[string, Work]>([
    ["the ring to control is full", { handled: 10, refused: 1 }],
    ["the shard has very much to do", { handled: 20_000, refused: 0 }],
  ])("a flood is no fault of the node: %s", (_what, work) => {
    const { selfTest, state, answer } = rig([V4]);
    selfTest.tick(0);
    state.work = work;
    expect(selfTest.tick(TIMEOUT_MS)).toBeUndefined();
    expect([selfTest.bad, selfTest.crowded]).toEqual([0, 1]);
    selfTest.tick(ROUND_MS);
    answer(ROUND_MS + 1, "nobody");
    expect(selfTest.tick(ROUND_MS + TIMEOUT_MS)?.good).toBe(false);
  });
});

describe("datagrams", () => {
  test("what is not ours is not answered: another start, changed bits, an answer, another number", () => {
    const { selfTest, sent } = rig([V4]);
    const other = new SelfTest([V4], new Uint8Array(32).fill(8), {
      ...{ send: (datagram) => void sent.push({ datagram, to: V4 }), work: () => ({ handled: 0, refused: 0 }) },
      faults: () => [],
    });
    selfTest.tick(0);
    other.tick(0);
    const [own, foreign] = sent.map(({ datagram }) => datagram);
    const answer = selfTest.answer(own) as Uint8Array;
    expect(answer).toHaveLength(own.length);
    expect(selfTest.answer(foreign)).toBeUndefined();
    expect(selfTest.answer(answer)).toBeUndefined();
    for (let bit = 0; bit < own.length * 8; bit++) {
      const changed = own.slice();
      changed[bit >> 3] ^= 1 << (bit & 7);
      expect(selfTest.answer(changed)).toBeUndefined();
    }
    for (let len = 0; len < own.length; len++) expect(selfTest.answer(own.subarray(0, len))).toBeUndefined();
    // A question that comes back as it was is no answer.
    selfTest.received(1, own);
    expect(selfTest.tick(TIMEOUT_MS)?.good).toBe(false);
    // Nor is it a message of the key exchange.
    expect(check(own)).toBe(0);
  });
});

describe("through a node", () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });
  afterEach(() => world.close());

  test("socket, shard, control, shard, socket; without the hook it is dropped", () => {
    const node = world.node();
    const address = parseAddress("192.0.2.99")!;
    const words = [address.w0, address.w1, address.w2, address.w3] as const;
    const queue = new PacketRing(4);
    const own: MemorySocket = { host: [words], family: 4, address: words, port: 5000, queue };
    world.network.sockets.push(own);
    const { selfTest, sent } = rig([V4]);
    const at = parseAddress(V4.address)!;
    const exchange = (now: number) => {
      selfTest.tick(now);
      const [{ datagram }] = sent.splice(0);
      world.network.deliver(own, words, at.w0, at.w1, at.w2, at.w3, V4.port, datagram, 0, datagram.length, 0);
      world.settle();
      const bytes = new Uint8Array(2048);
      const len = queue.nextLen();
      if (queue.shift(bytes, 0) >= 0) selfTest.received(now + 1, bytes.subarray(0, len));
      return selfTest.tick(now + TIMEOUT_MS);
    };
    expect(exchange(0)?.good).toBe(false);
    node.end.answerSelfTest = (datagram) => selfTest.answer(datagram);
    expect(exchange(ROUND_MS)).toEqual({ good: true, why: "" });
    expect(selfTest.results()).toEqual([{ address: V4.address, rttMs: 1 }]);
  });
});

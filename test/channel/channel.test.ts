/**
 * The channel on virtual time: over a bad network, between a client and several nodes that a session moves between, and against
 * an end that lies.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Channel, type ChannelOutput } from "../../src/channel/channel.ts";
import { PageMemory, PROGRESS_MS, WHOLE_MS } from "../../src/channel/incoming.ts";
import { ControlCounters } from "../../src/channel/outcomes.ts";
import {
  channelOf,
  decodeAck,
  decodePage,
  encodeAck,
  encodePage,
  MESSAGE_MAX,
  PAGE_SIZE,
  type Page,
} from "../../src/channel/page.ts";
import { Prng } from "../support/prng.ts";

const NAME = { node: 3, start: 0xfedcba98 };
const KIND = 200;
const STEP_MS = 20;

interface Weather {
  /** Shares of datagrams. */
  readonly loss: number;
  readonly twice: number;
  /** Each is late by up to so much, so they overtake each other. */
  readonly delayMs: number;
}

/** One end of a channel, and what came out of it. */
class End {
  readonly counters = new ControlCounters();
  readonly memory = new PageMemory(4 * MESSAGE_MAX);
  readonly got: string[] = [];
  readonly channel: Channel;
  constructor(name = NAME) {
    this.channel = new Channel(name, this.memory, this.counters);
  }
}

const random = (prng: Prng) => prng.nextBelow(1_000_000) / 1_000_000;
const text = (kind: number, content: Uint8Array) => `${kind} ${Buffer.from(content).toString("base64")}`;

/** A client and nodes. What the client sends comes to the node that `catchment` names, which passes on what is for another one. */
class World {
  readonly prng: Prng;
  readonly weather: Weather;
  readonly nodes: End[];
  readonly clients: End[];
  catchment = 0;
  nowMs = 0;
  sealed = 0;
  #underWay: { readonly dueMs: number; readonly to: "client" | number; readonly payload: Uint8Array }[] = [];

  constructor(seed: number, weather: Weather, nodes = 1) {
    this.prng = new Prng(seed);
    this.weather = weather;
    const names = [...Array(nodes).keys()].map((node) => ({ node, start: 1000 + node }));
    this.nodes = names.map((name) => new End(name));
    this.clients = names.map((name) => new End(name));
  }

  send(from: "client" | "node", node: number, content: Uint8Array): boolean {
    const end = (from === "client" ? this.clients : this.nodes)[node];
    return this.#act(from === "client" ? "client" : node, end, (out) =>
      end.channel.send(this.nowMs, KIND, [content.subarray(0, 10), content.subarray(10)], false, out),
    );
  }

  /** True when nothing is under way. */
  step(): boolean {
    this.nowMs += STEP_MS;
    const due = this.#underWay.filter(({ dueMs }) => dueMs <= this.nowMs).sort((a, b) => a.dueMs - b.dueMs);
    this.#underWay = this.#underWay.filter(({ dueMs }) => dueMs > this.nowMs);
    for (const { to, payload } of due) this.#arrive(to, payload);
    this.nodes.forEach((end, node) => void this.#act(node, end, (out) => end.channel.tick(this.nowMs, out)));
    for (const end of this.clients) this.#act("client", end, (out) => end.channel.tick(this.nowMs, out));
    return this.#underWay.length === 0 && [...this.nodes, ...this.clients].every(({ channel }) => channel.isIdle);
  }

  run(maxMs: number, each = () => {}): void {
    for (const end = this.nowMs + maxMs; this.nowMs < end; each()) if (this.step()) return;
    throw new Error(`something is still under way after ${maxMs} ms`);
  }

  #arrive(to: "client" | number, payload: Uint8Array): void {
    const { node } = channelOf(payload)!;
    if (typeof to === "number" && to !== node) {
      this.#carry(node, payload);
      return;
    }
    const end = to === "client" ? this.clients[node] : this.nodes[node];
    this.#act(to, end, (out) => end.channel.receive(this.nowMs, payload, out));
  }

  #act<T>(at: "client" | number, end: End, act: (out: ChannelOutput[]) => T): T {
    const out: ChannelOutput[] = [];
    const result = act(out);
    for (const output of out) {
      if (output.out === "message") end.got.push(text(output.kind, output.content));
      else this.#carry(at === "client" ? this.catchment : "client", output.payload);
    }
    return result;
  }

  #carry(to: "client" | number, payload: Uint8Array): void {
    this.sealed++;
    const { loss, twice, delayMs } = this.weather;
    const copies = random(this.prng) < twice ? 2 : 1;
    for (let k = 0; k < copies; k++)
      if (random(this.prng) >= loss)
        this.#underWay.push({ dueMs: this.nowMs + 1 + random(this.prng) * delayMs, to, payload: payload.slice() });
  }
}

const weather = fc.record({
  loss: fc.constantFrom(0, 0.05, 0.4),
  twice: fc.constantFrom(0, 0.2),
  delayMs: fc.constantFrom(5, 100, 1500),
});
const sizes = fc.array(fc.oneof(fc.constantFrom(0, 1, PAGE_SIZE, PAGE_SIZE + 1), fc.nat(40_000)), { maxLength: 6 });
const filled = (length: number, n: number) => Uint8Array.from({ length }, (_, k) => (k * 7 + n) & 255);

describe("over a bad network", () => {
  test("every message arrives once and in order, in both directions", () => {
    fc.assert(
      fc.property(fc.nat(), weather, sizes, sizes, (seed, air, up, down) => {
        const world = new World(seed, air);
        const [sent, back] = [up.map(filled), down.map(filled)];
        for (const content of sent) expect(world.send("client", 0, content)).toBe(true);
        for (const content of back) expect(world.send("node", 0, content)).toBe(true);
        world.run(3_600_000);
        expect(world.nodes[0].got).toEqual(sent.map((content) => text(KIND, content)));
        expect(world.clients[0].got).toEqual(back.map((content) => text(KIND, content)));
        for (const { memory, channel } of [...world.nodes, ...world.clients]) {
          expect(memory.used).toBe(0);
          expect(channel.nextTimeout(world.nowMs)).toBe(Number.POSITIVE_INFINITY);
        }
        expect(world.nodes[0].channel.numbers).toEqual({ sending: back.length, receiving: sent.length });
      }),
      { numRuns: 60 },
    );
  });

  test("while the session moves between nodes, some of which go in the middle of a message", () => {
    fc.assert(
      fc.property(fc.nat(), weather, sizes, (seed, air, contents) => {
        const world = new World(seed, air, 3);
        const sent = contents.map(filled);
        for (const node of [0, 1, 2])
          for (const content of sent) {
            world.send("client", node, content);
            world.send("node", node, content);
          }
        world.run(3_600_000, () => {
          if (random(world.prng) < 0.3) world.catchment = world.prng.nextBelow(3);
        });
        const whole = sent.map((content) => text(KIND, content));
        for (const { got } of [...world.nodes, ...world.clients]) expect(got).toEqual(whole);
      }),
      { numRuns: 20 },
    );
  });

  test("the longest message arrives with few pages too many, and never more at once than one end takes", () => {
    const world = new World(1, { loss: 0, twice: 0, delayMs: 5 });
    const content = filled(MESSAGE_MAX, 3);
    world.send("node", 0, content);
    let [most, before] = [0, world.sealed];
    world.run(10_000, () => {
      most = Math.max(most, world.sealed - before);
      before = world.sealed;
    });
    expect(world.clients[0].got).toEqual([text(KIND, content)]);
    const pages = Math.ceil(MESSAGE_MAX / PAGE_SIZE);
    expect(world.clients[0].counters.get("page")).toBe(pages);
    expect(world.sealed).toBeLessThan(2.2 * pages);
    expect(most).toBeLessThanOrEqual(64);
    expect(world.send("node", 0, new Uint8Array(MESSAGE_MAX + 1))).toBe(false);
  });

  test("an end that is away for long gets it when it is back, though it has forgotten its half", () => {
    const world = new World(2, { loss: 0, twice: 0, delayMs: 5 });
    world.send("node", 0, filled(60_000, 1));
    world.step();
    world.step();
    const air = world.weather as { loss: number };
    air.loss = 1;
    for (let ms = 0; ms < PROGRESS_MS + 5000; ms += STEP_MS) world.step();
    expect(world.clients[0].counters.get("timed_out")).toBe(1);
    expect(world.clients[0].memory.used).toBe(0);
    air.loss = 0;
    world.run(60_000);
    expect(world.clients[0].got).toEqual([text(KIND, filled(60_000, 1))]);
  });
});

test("of messages that wait, only the newest of a kind is sent, when it replaces those before it", () => {
  const world = new World(3, { loss: 0, twice: 0, delayMs: 5 });
  const out: ChannelOutput[] = [];
  const { channel } = world.nodes[0];
  for (const n of [1, 2, 3]) channel.send(0, 64, [Uint8Array.of(n)], true, out);
  channel.send(0, 65, [Uint8Array.of(9)], true, out);
  world.run(10_000);
  // The first was under way when the second came, and was lost here: it is sent again.
  expect(world.clients[0].got.map((got) => got.split(" ")[0])).toEqual(["64", "64", "65"]);
  expect(world.clients[0].got[1]).toBe(text(64, Uint8Array.of(3)));
});

test("a queue that is full refuses, and says so", () => {
  const end = new End();
  const out: ChannelOutput[] = [];
  const taken = [...Array(40).keys()].filter(() => end.channel.send(0, KIND, [Uint8Array.of(1)], false, out));
  expect(taken).toHaveLength(33);
  expect(end.counters.get("queue_full")).toBe(7);
});

describe("against an end that lies", () => {
  const page = (change: Partial<Page> = {}): Page => ({
    ...NAME,
    ...{ number: 0, kind: KIND, page: 0, pages: 1, size: 4, content: Uint8Array.of(1, 2, 3, 4) },
    ...change,
  });
  const give = (end: End, payload: Uint8Array, nowMs = 0) => {
    const out: ChannelOutput[] = [];
    end.channel.receive(nowMs, payload, out);
    return out;
  };
  /** Counters that are not zero. */
  const counts = (end: End) =>
    Object.fromEntries(
      (
        [
          "page",
          "delivered",
          "repeated",
          "ahead",
          "contradicts",
          "malformed",
          "memory_full",
          "ack_unsent",
          "acknowledged",
        ] as const
      )
        .map((name) => [name, end.counters.get(name)] as const)
        .filter(([, count]) => count > 0),
    );

  test("pages that no sender makes", () => {
    const end = new End();
    const wrong = [
      page({ page: 1 }),
      page({ pages: 0 }),
      page({ kind: 63 }),
      page({ size: 5 }),
      page({ size: PAGE_SIZE + 1, content: new Uint8Array(PAGE_SIZE + 1) }),
      page({ pages: 2, size: 4 }),
      page({ pages: 65_535, size: 256, content: new Uint8Array(256) }),
      page({ pages: 1025, size: 256, content: new Uint8Array(256) }),
      page({ pages: 225, size: PAGE_SIZE, content: new Uint8Array(PAGE_SIZE) }),
      page({ page: 1, pages: 2, size: 256, content: new Uint8Array(0) }),
      page({ page: 1, pages: 2, size: 256, content: new Uint8Array(257) }),
      page({ page: 0, pages: 2, size: 256, content: new Uint8Array(255) }),
    ];
    for (const one of wrong) expect(give(end, encodePage(one))).toEqual([]);
    const whole = encodePage(page());
    for (let length = 7; length < whole.length; length++) expect(give(end, whole.subarray(0, length))).toEqual([]);
    expect(counts(end)).toEqual({ malformed: wrong.length + whole.length - 7 });
    expect(end.channel.isIdle).toBe(true);
    expect(give(end, whole)).toHaveLength(2);
  });

  test("numbers out of the window, and pages that contradict each other", () => {
    const end = new End();
    for (const number of [1, 2, 0xffffffff]) expect(give(end, encodePage(page({ number })))).toEqual([]);
    const [message] = give(end, encodePage(page()));
    expect(message).toMatchObject({ out: "message", kind: KIND });
    // The same once more: not delivered, but acknowledged, because the acknowledgement may be what was lost.
    expect(give(end, encodePage(page())).map(({ out }) => out)).toEqual(["seal"]);
    const long = { number: 1, pages: 3, size: 256, content: new Uint8Array(256) };
    give(end, encodePage(page(long)));
    for (const other of [{ kind: 70 }, { pages: 4 }, { size: 300, content: new Uint8Array(300) }])
      give(end, encodePage(page({ ...long, page: 1, ...other })));
    give(end, encodePage(page({ ...long, pages: 1, size: 4, content: new Uint8Array(4) })));
    expect(counts(end)).toEqual({ page: 2, delivered: 1, ahead: 3, repeated: 1, contradicts: 4 });
  });

  test("pages that never end hold memory for a while, and never more than there is", () => {
    const end = new End();
    const big = { pages: 200, size: PAGE_SIZE, content: new Uint8Array(PAGE_SIZE) };
    give(end, encodePage(page(big)));
    expect(end.memory.used).toBeGreaterThan(PAGE_SIZE);
    // One page now and then keeps it, but not for ever.
    for (let n = 1, ms = 0; ms < WHOLE_MS - 1000; ms += 20_000, n++) {
      give(end, encodePage(page({ ...big, page: n })), ms);
      end.channel.tick(ms, []);
      expect(end.memory.used).toBeGreaterThan(PAGE_SIZE);
    }
    end.channel.tick(WHOLE_MS, []);
    expect([end.memory.used, end.counters.get("timed_out")]).toEqual([0, 1]);

    const memory = new PageMemory(10_000);
    const others = [...Array(50).keys()].map(() => new Channel(NAME, memory, end.counters));
    for (const other of others) for (let n = 0; n < 5; n++) other.receive(0, encodePage(page({ ...big, page: n })), []);
    expect(memory.used).toBeLessThanOrEqual(10_000);
    expect(end.counters.get("memory_full")).toBeGreaterThan(200);
    // A message of one page needs no memory.
    const out: ChannelOutput[] = [];
    new Channel(NAME, memory, end.counters).receive(0, encodePage(page()), out);
    expect(out).toHaveLength(2);
    for (const other of others) other.close();
    expect(memory.used).toBe(0);
  });

  test("acknowledgements of what was not sent change nothing", () => {
    const end = new End();
    const ack = (next: number, ...seen: number[]) =>
      give(end, encodeAck({ ...NAME, next, seen: Uint8Array.from(seen) }));
    for (const next of [1, 5, 0xffffffff]) ack(next);
    ack(0, 1);
    expect(counts(end)).toEqual({ ack_unsent: 4 });
    const out: ChannelOutput[] = [];
    end.channel.send(0, KIND, [new Uint8Array(40 * PAGE_SIZE)], false, out);
    expect(out).toHaveLength(16);
    // 16 of 40 pages went: it can't be whole, nor can page 16 have come, nor are there 48 pages.
    ack(1);
    ack(0, 0, 0, 1);
    ack(0, 0, 0, 0, 0, 0, 1);
    ack(2);
    expect(counts(end)).toEqual({ ack_unsent: 8 });
    expect(end.channel.isIdle).toBe(false);
    give(end, Uint8Array.of(8, ...new Uint8Array(200)));
    expect(end.counters.get("malformed")).toBe(1);
    // And what is true is taken.
    expect(ack(0, 0xff, 0xff)).toHaveLength(16);
  });

  test("parse after emit is the identity", () => {
    const content = fc.uint8Array({ minLength: 1, maxLength: PAGE_SIZE });
    fc.assert(
      fc.property(content, fc.nat(0xffffffff), fc.integer({ min: 64, max: 255 }), (bytes, number, kind) => {
        const one = page({ number, kind, size: bytes.length, content: bytes });
        expect(decodePage(encodePage(one))).toEqual(one);
        const ack = { ...NAME, next: number, seen: bytes.subarray(0, 128) };
        expect(decodeAck(encodeAck(ack))).toEqual(ack);
      }),
    );
  });

  test("bytes of anybody never throw", () => {
    const end = new End();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.constantFrom(7, 8), (bytes, kind) => {
        give(end, Uint8Array.of(kind, ...bytes));
      }),
    );
  });
});

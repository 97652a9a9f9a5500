/** The contract on the bus in memory, and what only a simulation can do: partitions, delays, loss, doubles. */
import { describe, expect, test } from "vitest";
import type { Bus } from "../../src/cluster/bus.ts";
import { MemoryHub } from "../../src/drivers/memory_bus.ts";
import { Prng } from "../support/prng.ts";
import { type BusRig, busContract, bytes, Ear } from "./bus.contract.ts";

/** Virtual time: events in the order of their times, then of their making. */
class World {
  nowMs = 0;
  readonly #events: { atMs: number; work: () => void }[] = [];
  readonly hub: MemoryHub;

  constructor(seed = 1) {
    const prng = new Prng(seed);
    this.hub = new MemoryHub({
      nowMs: () => this.nowMs,
      later: (delayMs, work) => this.#insert({ atMs: this.nowMs + delayMs, work }),
      random: () => prng.nextU32() / 2 ** 32,
    });
  }

  #insert(event: { atMs: number; work: () => void }): void {
    const at = this.#events.findLastIndex(({ atMs }) => atMs <= event.atMs);
    this.#events.splice(at + 1, 0, event);
  }

  /** Runs everything that happens within this time. */
  pass(ms: number): void {
    const end = this.nowMs + ms;
    while (this.#events.length > 0 && this.#events[0].atMs <= end) {
      const event = this.#events.shift()!;
      this.nowMs = event.atMs;
      event.work();
    }
    this.nowMs = end;
  }
}

function rig(): BusRig {
  const world = new World();
  return {
    nodes: 3,
    open: (node, listener) => world.hub.open(node, listener),
    async until(condition, what) {
      for (let ms = 0; ms < 10_000 && !condition(); ms++) world.pass(1);
      if (!condition()) throw new Error(`waited in vain for ${what}`);
    },
  };
}
busContract("memory", rig);

describe("what the simulation does to it", () => {
  function three(seed?: number) {
    const world = new World(seed);
    const nodes = [1, 2, 3].map((node): [Bus, Ear] => {
      const ear = new Ear();
      return [world.hub.open(node, ear), ear];
    });
    world.pass(10);
    return { world, nodes, buses: nodes.map(([bus]) => bus), ears: nodes.map(([, ear]) => ear) };
  }

  test("a cut works one way, and healing brings what was missed", () => {
    const { world, buses, ears } = three();
    world.hub.cut(1, 2);
    buses[0].put([{ key: "k", value: bytes("a") }]);
    buses[1].put([{ key: "k", value: bytes("b") }]);
    buses[0].shout(bytes("lost"));
    world.pass(1000);
    expect([ears[1].latest.get("1 k"), ears[0].latest.get("2 k"), ears[2].latest.get("1 k")]).toEqual([
      undefined,
      '"b"',
      '"a"',
    ]);
    expect([ears[1].shouts.length, ears[2].shouts.length]).toEqual([0, 1]);
    expect(buses[1].status().peers.find(({ node }) => node === 1)?.lag).toBe(1);
    world.hub.heal(1, 2);
    world.pass(1);
    expect(ears[1].latest.get("1 k")).toBe('"a"');
  });

  test("delays are kept to the millisecond", () => {
    const { world, buses, ears } = three();
    world.hub.links.delayMs = (from, to) => from * 10 + to;
    buses[0].put([{ key: "k", value: bytes("a") }]);
    buses[0].shout(bytes("s"));
    world.pass(11);
    expect([ears[1].latest.size, ears[1].shouts.length]).toEqual([0, 0]);
    world.pass(1);
    expect([ears[1].latest.get("1 k"), ears[1].shouts.length, ears[2].shouts.length]).toEqual(['"a"', 1, 0]);
    world.pass(1);
    expect([ears[2].latest.get("1 k"), ears[2].shouts.length]).toEqual(['"a"', 1]);
  });

  test("shouts are lost and doubled as often as wished, records only doubled", () => {
    const { world, buses, ears } = three(7);
    Object.assign(world.hub.links, { lostShouts: 0.5, doubled: 0.5 });
    for (let i = 0; i < 1000; i++) {
      buses[0].shout(bytes(String(i)));
      buses[0].put([{ key: `k${i}`, value: bytes("v") }]);
      world.pass(2);
    }
    const different = new Set(ears[1].shouts.map(([, message]) => new TextDecoder().decode(message))).size;
    expect(different).toBeGreaterThan(400);
    expect(different).toBeLessThan(600);
    expect(ears[1].shouts.length).toBeGreaterThan(different * 1.3);
    expect(ears[1].latest.size).toBe(1000);
    expect(ears[1].records.length).toBeGreaterThan(1300);
  });

  test("an engine that is away: puts become the last of each key, the listener is told, then everybody has all", () => {
    const { world, buses, ears } = three();
    world.hub.setEngine(1, false);
    world.pass(1);
    expect(ears[0].states).toEqual([true, false]);
    for (let i = 0; i < 10; i++) buses[0].put([{ key: "k", value: bytes(String(i)) }]);
    buses[1].put([{ key: "other", value: bytes("b") }]);
    world.pass(100);
    expect(buses[0].status()).toMatchObject({ connected: false, outbox: 1, why: expect.stringContaining("down") });
    expect(ears[0].latest.size + [...ears[1].latest.keys()].filter((k) => k.startsWith("1 ")).length).toBe(0);
    world.hub.setEngine(1, true);
    world.pass(10);
    expect(ears[1].records.filter((record) => record.startsWith("1 "))).toEqual(['1 k="9"']);
    expect(ears[0].latest.get("2 other")).toBe('"b"');
    expect([ears[0].states, ears[0].caughtUpAt.length]).toEqual([[true, false, true], 2]);
  });

  test("live records of long ago are not given to who comes now; lasting ones are", () => {
    const { world, buses } = three();
    buses[0].put([
      { key: "s.1", value: bytes("old") },
      { key: "c.1", value: bytes("client") },
    ]);
    world.pass(900_001);
    const ear = new Ear();
    world.hub.open(4, ear);
    world.pass(10);
    expect([...ear.latest]).toEqual([["1 c.1", '"client"']]);
  });
});

/**
 * Random schedules of flips, replays, stragglers and bad weather. Watched all the time: no number is accepted twice while
 * owners live, none is lost while links are good, one node owns a session in the end, and nothing is left waiting.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Client, type Weather, World } from "./world.ts";

type Step =
  | { readonly kind: "send"; readonly count: number }
  | { readonly kind: "flip"; readonly to: number }
  /** A packet that was sent is played again, at any node. */
  | { readonly kind: "replay"; readonly back: number; readonly to: number }
  /** A number is skipped, and arrives later at any node. */
  | { readonly kind: "straggle"; readonly to: number; readonly afterMs: number }
  | { readonly kind: "wait"; readonly ms: number };

const node = fc.integer({ min: 1, max: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("send" as const), count: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ kind: fc.constant("flip" as const), to: node }),
  fc.record({ kind: fc.constant("replay" as const), back: fc.integer({ min: 0, max: 30 }), to: node }),
  fc.record({ kind: fc.constant("straggle" as const), to: node, afterMs: fc.integer({ min: 0, max: 40 }) }),
  fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 40 }) }),
);
const weather = (linkLoss: number): fc.Arbitrary<Weather> =>
  fc.record({
    linkLoss: fc.constant(linkLoss),
    shoutLoss: fc.constantFrom(0, 0.3, 1),
    doubled: fc.constantFrom(0, 0.3),
    minMs: fc.constant(0.05),
    // An owner that takes 2 ms to answer is doubted.
    maxMs: fc.constantFrom(0.05, 0.5, 0.9),
  });

function perform(world: World, client: Client, steps: readonly Step[]): void {
  for (const one of steps) {
    if (one.kind === "send") {
      for (let n = 0; n < one.count; n++) {
        client.send();
        world.run(0.2);
      }
    } else if (one.kind === "flip") client.at = one.to;
    else if (one.kind === "wait") world.run(one.ms);
    else if (one.kind === "replay") world.receive(one.to, client.packet(Math.max(0, client.seq - 1 - one.back)));
    else {
      const packet = client.packet();
      world.after(one.afterMs, () => world.receive(one.to, packet));
    }
  }
  world.run(300);
  client.send();
  world.run(1000);
}

function total(world: World, name: "forecast" | "challenged" | "hold_full"): number {
  return [...world.nodes.values()].reduce((sum, { outcomes }) => sum + outcomes[name], 0);
}

function checkQuiet(world: World, client: Client): void {
  expect(world.owners(client)).toHaveLength(1);
  for (const { group } of world.nodes.values()) {
    expect(group.status()).toMatchObject({ moving: 0, asking: 0, waitingPackets: 0, waitingBytes: 0 });
  }
}

/** Two nodes ask for one session at once, while its window is on its way to one of them. */
const found: [number, Weather, Step[]][] = [
  [
    396951854,
    { linkLoss: 0, shoutLoss: 0, doubled: 0.3, minMs: 0.05, maxMs: 1 },
    [
      { kind: "straggle", to: 1, afterMs: 0 },
      { kind: "flip", to: 2 },
      { kind: "replay", back: 0, to: 2 },
      { kind: "replay", back: 0, to: 2 },
      { kind: "replay", back: 0, to: 3 },
      { kind: "send", count: 1 },
      { kind: "flip", to: 1 },
    ],
  ],
  [
    836792794,
    { linkLoss: 0, shoutLoss: 0, doubled: 0, minMs: 0.05, maxMs: 0.5 },
    [
      { kind: "send", count: 1 },
      { kind: "replay", back: 0, to: 3 },
      { kind: "replay", back: 0, to: 2 },
      { kind: "flip", to: 3 },
      { kind: "send", count: 1 },
      { kind: "straggle", to: 1, afterMs: 1 },
    ],
  ],
];

/** The second node asks with the number of its first question, and gets the answer to that once more. */
const foundLater: typeof found = [
  [
    337255994,
    { linkLoss: 0, shoutLoss: 0.3, doubled: 0, minMs: 0.05, maxMs: 1 },
    [
      { kind: "straggle", to: 2, afterMs: 0 },
      { kind: "wait", ms: 20 },
      { kind: "replay", back: 0, to: 1 },
      { kind: "straggle", to: 1, afterMs: 0 },
    ],
  ],
  [
    28,
    { linkLoss: 0, shoutLoss: 1, doubled: 0, minMs: 0.05, maxMs: 0.5 },
    [
      { kind: "straggle", to: 1, afterMs: 1 },
      { kind: "straggle", to: 3, afterMs: 20 },
      { kind: "replay", back: 1, to: 2 },
      { kind: "wait", ms: 41 },
      { kind: "send", count: 3 },
      { kind: "replay", back: 4, to: 2 },
      { kind: "replay", back: 0, to: 1 },
    ],
  ],
];

test("good links: every number is accepted exactly once, whatever is replayed and wherever it arrives", () => {
  fc.assert(
    fc.property(fc.nat(), weather(0), fc.array(step, { minLength: 1, maxLength: 40 }), (seed, conditions, steps) => {
      const world = new World(seed, [1, 2, 3]);
      const client = world.session(1);
      world.run(5);
      world.weather = conditions;
      perform(world, client, steps);
      expect(total(world, "forecast") + total(world, "challenged")).toBe(0);
      for (let seq = 0; seq < client.seq; seq++) expect(world.acceptedAt(client, seq)).toHaveLength(1);
      checkQuiet(world, client);
    }),
    { numRuns: 60, examples: [...found, ...foundLater] },
  );
});

test("bad links: nothing twice unless an owner could not be asked in time, and all ends well", () => {
  fc.assert(
    fc.property(fc.nat(), weather(0.25), fc.array(step, { minLength: 1, maxLength: 40 }), (seed, conditions, steps) => {
      const world = new World(seed, [1, 2, 3]);
      const client = world.session(1);
      world.run(5);
      world.weather = conditions;
      perform(world, client, steps);
      if (total(world, "forecast") + total(world, "challenged") === 0) {
        for (let seq = 0; seq < client.seq; seq++) {
          expect(world.acceptedAt(client, seq).length).toBeLessThanOrEqual(1);
        }
      }
      world.weather = { ...conditions, linkLoss: 0, shoutLoss: 0 };
      world.run(1500);
      client.send();
      world.run(1500);
      client.send();
      world.run(1500);
      checkQuiet(world, client);
    }),
    { numRuns: 60 },
  );
});

test("an owner dies: no node accepts a number twice, and the exposure is what was not reported yet", () => {
  fc.assert(
    fc.property(
      fc.nat(),
      fc.integer({ min: 1, max: 600 }),
      fc.integer({ min: 0, max: 2000 }),
      fc.array(fc.nat(), { maxLength: 30 }),
      (seed, sent, deadMs, played) => {
        const world = new World(seed, [1, 2]);
        const client = world.session(1);
        world.run(5);
        let reported = -1;
        for (let n = 0; n < sent; n++) {
          client.send();
          world.run(1);
          reported = Math.max(reported, world.node(1).rows.get(client.record.index)!.reported);
        }
        // What left the owner has arrived.
        world.run(0.5);
        world.kill(1);
        world.run(deadMs);
        client.at = 2;
        for (const seq of played) world.receive(2, client.packet(seq % sent));
        for (let n = 0; n < 5; n++) {
          client.send();
          world.run(2);
        }
        for (const seq of played) world.receive(2, client.packet(seq % sent));
        world.run(2000);
        client.send();
        world.run(20);
        expect(world.acceptedAt(client, client.seq - 1)).toEqual([2]);
        for (let seq = 0; seq < client.seq; seq++) {
          const nodes = world.acceptedAt(client, seq);
          expect(new Set(nodes).size).toBe(nodes.length);
          if (seq <= reported) expect(nodes).toEqual([1]);
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("10,000 sessions flip at once: few datagrams, all served, none forecast", () => {
  const world = new World(5, [1, 2], { sessionsMax: 20_000 });
  const clients = Array.from({ length: 10_000 }, () => world.session(1));
  for (const client of clients) client.send();
  world.run(50);
  world.node(2).outputs.length = 0;
  for (const client of clients) {
    client.at = 2;
    world.node(2).receive(client.packet());
  }
  world.node(2).settle();
  expect(world.node(2).count("link")).toBeLessThan(10_000 / 70);
  world.run(1000);
  for (const client of clients) expect(world.acceptedAt(client, client.seq - 1)).toEqual([2]);
  expect(world.node(2).outcomes).toMatchObject({ taken: 10_000, forecast: 0, hold_full: 0 });
});

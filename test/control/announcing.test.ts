/** Self-test, announcer and routing daemon together, on virtual time: order of what happens, and what a drain ends with. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Announcing } from "../../src/control/routing/announcing.ts";
import { ROUND_MS, SelfTest } from "../../src/control/routing/health.ts";
import { announcingOf, MemoryRouting, NO_ANNOUNCE } from "../announce/parts.ts";

let now: number;
let heardMs: number;
let answers: boolean;
let routing: MemoryRouting;
let lose: () => void;
let told: string[];
let ends: { exit: boolean; quiet: boolean }[];
let announcing: Announcing;
const spec = { ...NO_ANNOUNCE, kind: "bird", addresses: ["192.0.2.1/32"], prefixes: ["192.0.2.1/32"] } as const;

beforeEach(() => {
  vi.useFakeTimers();
  [now, heardMs, answers, told, ends] = [1000, 0, true, [], []];
  routing = new MemoryRouting();
  const selfTest: SelfTest = new SelfTest([{ address: "192.0.2.1", port: 4444 }], new Uint8Array(32), {
    send(datagram) {
      if (answers) setTimeout(() => selfTest.received(now, selfTest.answer(datagram) as Uint8Array), 1);
    },
    work: () => ({ handled: 0, refused: 0 }),
    faults: () => [],
  });
  announcing = announcingOf(
    { monotonicMs: () => now, wallMs: () => 0 },
    {
      selfTest,
      driver(onLost) {
        lose = onLost;
        return routing;
      },
      heardMs: () => heardMs,
      tell: (event) => told.push(event),
      onSilence: (end) => void ends.push(end),
    },
    spec,
  );
});
afterEach(async () => {
  const stopped = announcing.stop();
  await pass(3000);
  await stopped;
  expect(routing.closed).toBe(true);
  vi.useRealTimers();
});
async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 10) {
    now += 10;
    await vi.advanceTimersByTimeAsync(10);
  }
}
async function serve(): Promise<void> {
  const prepared = announcing.prepare();
  await pass(10);
  await prepared;
  announcing.start();
  await pass(4 * ROUND_MS);
}

test("withdrawn first, announced after three good rounds, withdrawn after two bad ones, announced again", async () => {
  await serve();
  expect(routing.history).toEqual(["withdrawn", "announced"]);
  expect(announcing.view()).toMatchObject({ phase: "announced", inForce: "announced", healthy: true, problem: null });
  answers = false;
  await pass(3 * ROUND_MS);
  expect(routing.history.at(-1)).toBe("withdrawn");
  expect(announcing.view()).toMatchObject({ healthy: false, selfTest: { targets: [{ rttMs: null }] } });
  answers = true;
  await pass(4 * ROUND_MS);
  expect(routing.history.at(-1)).toBe("announced");
});

test("a routing daemon that is away at the start does not hold the node up, and is told later", async () => {
  routing.away = true;
  await serve();
  expect(announcing.view()).toMatchObject({
    phase: "announced",
    inForce: null,
    problem: "The routing daemon is away.",
  });
  routing.away = false;
  await pass(2500);
  expect(announcing.view()).toMatchObject({ inForce: "announced", problem: null });
  routing.phase = undefined;
  lose();
  await pass(200);
  expect(routing.phase).toBe("announced");
});

test("drain: the hook is called after the withdrawal, with how it ended", async () => {
  await serve();
  heardMs = now;
  expect(announcing.drain(60_000, true)).toMatchObject({ phase: "draining", wish: "drain", drain: { leftMs: 60_000 } });
  await pass(2900);
  expect([routing.phase, ends]).toEqual(["draining", []]);
  expect(announcing.view().drain).toEqual({ forMs: 2900, quietMs: 2900, leftMs: 57_100 });
  await pass(300);
  expect([routing.phase, ends]).toEqual(["withdrawn", [{ exit: true, quiet: true }]]);
  expect(announcing.view()).toMatchObject({ wish: "drained", drain: null });
  expect(told).toContain("drained");
  announcing.undrain();
  await pass(100);
  expect(routing.phase).toBe("announced");
});

test("drain of clients that stay: its time ends it, without exit the node lives on", async () => {
  await serve();
  announcing.drain(5000, false);
  for (let i = 0; i < 51; i++) {
    heardMs = now;
    await pass(100);
  }
  expect([routing.phase, ends]).toEqual(["withdrawn", [{ exit: false, quiet: false }]]);
});

test("undrain while the routing daemon is slow to withdraw: nothing is handed over", async () => {
  await serve();
  announcing.drain(0, true);
  routing.slowMs = 500;
  await pass(200);
  announcing.undrain();
  await pass(3000);
  expect([routing.phase, ends]).toEqual(["announced", []]);
});

test("stop withdraws", async () => {
  await serve();
  const stopped = announcing.stop();
  await pass(50);
  await stopped;
  expect(routing.phase).toBe("withdrawn");
});

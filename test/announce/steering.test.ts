/** A routing daemon that is away, slow, restarted or changed by others ends up in the newest wanted phase. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { REFRESH_MS, Steering } from "../../src/announce/steering.ts";
import { MemoryRouting } from "./parts.ts";

let routing: MemoryRouting;
let steering: Steering;
let said: string[];
beforeEach(() => {
  vi.useFakeTimers();
  routing = new MemoryRouting();
  said = [];
  steering = new Steering(routing, {
    onApplied: (phase) => said.push(phase),
    onFailed: (error) => said.push(error.code),
    onRestored: (phase) => said.push(`again ${phase}`),
  });
});
afterEach(() => {
  steering.close();
  expect(routing.closed).toBe(true);
  vi.useRealTimers();
});
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("wishes", () => {
  test("set at once; told once", async () => {
    steering.set("announced");
    await pass(0);
    expect([routing.phase, steering.applied, said]).toEqual(["announced", "announced", ["announced"]]);
    await pass(10 * REFRESH_MS);
    expect([routing.history, said]).toEqual([["announced"], ["announced"]]);
  });

  test("the newest wins, while an older one is under way", async () => {
    routing.slowMs = 50;
    steering.set("announced");
    await pass(10);
    steering.set("draining");
    steering.set("withdrawn");
    await pass(200);
    expect(routing.history).toEqual(["announced", "withdrawn"]);
  });

  test("reach: true when it is in force, false after one failure or the time", async () => {
    const reached = steering.reach("announced", 1000);
    await pass(0);
    expect(await reached).toBe(true);
    routing.away = true;
    const failed = steering.reach("withdrawn", 1000);
    await pass(0);
    expect(await failed).toBe(false);
    routing.away = false;
    routing.slowMs = 5000;
    const late = steering.reach("draining", 1000);
    await pass(1000);
    expect(await late).toBe(false);
  });
});

describe("trouble", () => {
  test("away: one complaint, tried again until it is back", async () => {
    routing.away = true;
    steering.set("announced");
    await pass(20_000);
    expect([steering.applied, steering.error?.code, said]).toEqual([undefined, "routing_away", ["routing_away"]]);
    routing.away = false;
    await pass(2000);
    expect([steering.applied, steering.error, said]).toEqual(["announced", undefined, ["routing_away", "announced"]]);
  });

  test("lost: told again at once, without waiting for the refresh", async () => {
    steering.set("announced");
    await pass(0);
    routing.phase = undefined;
    steering.lost();
    expect(steering.applied).toBeUndefined();
    await pass(100);
    expect([routing.phase, steering.applied]).toEqual(["announced", "announced"]);
  });

  test("changed by somebody else: restored at the refresh, and said", async () => {
    steering.set("announced");
    await pass(0);
    routing.phase = "withdrawn";
    await pass(REFRESH_MS);
    expect([routing.phase, said]).toEqual(["announced", ["announced", "again announced"]]);
  });

  test("closed: nothing is set any more", async () => {
    steering.set("announced");
    steering.close();
    await pass(10_000);
    steering.set("draining");
    await pass(10_000);
    expect(routing.history).toEqual([]);
  });
});

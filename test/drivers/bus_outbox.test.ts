/** The outbox against a model: what an engine that loses and refuses at random ends up with is the last put of each key. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Flight, Outbox } from "../../src/drivers/bus_outbox.ts";

const LIMITS = { keys: 1000, bytes: 1_000_000, window: 3 };
const value = (n: number): Uint8Array => new Uint8Array([n]);
const takeAll = (outbox: Outbox, nowMs = 0): Flight[] => {
  const flights: Flight[] = [];
  for (let flight = outbox.take(nowMs); flight !== undefined; flight = outbox.take(nowMs)) flights.push(flight);
  return flights;
};

test("whatever is lost and refused, the engine ends with the last put of each key, and nothing is left over", () => {
  const step = fc.oneof(
    fc.record({ put: fc.integer({ min: 0, max: 4 }), value: fc.option(fc.nat(255), { nil: undefined }) }),
    fc.constantFrom("take", "acknowledge", "fail", "disconnect"),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const outbox = new Outbox(LIMITS);
      const last = new Map<string, number | undefined>();
      const engine = new Map<string, number | undefined>();
      let flying: Flight[] = [];
      const store = ({ key, value: stored }: Flight) => engine.set(key, stored?.[0]);
      for (const each of steps) {
        if (typeof each === "object") {
          const key = `k${each.put}`;
          last.set(key, each.value);
          expect(outbox.put(key, each.value === undefined ? undefined : value(each.value))).toBe(true);
        } else if (each === "take") {
          const flight = outbox.take(0);
          if (flight === undefined) continue;
          // One flight of a key at a time: a later value cannot be overtaken.
          expect(flying.map(({ key }) => key)).not.toContain(flight.key);
          flying.push(flight);
        } else if (each === "disconnect") {
          outbox.failAll();
          flying = [];
        } else {
          const flight = flying.shift();
          if (flight === undefined) continue;
          store(flight);
          if (each === "acknowledge") expect(outbox.acknowledged(flight.id)).toBe(true);
          else outbox.failed(flight.id);
        }
        expect(flying.length).toBeLessThanOrEqual(LIMITS.window);
      }
      outbox.failAll();
      for (let round = 0; round < 20 && outbox.size > 0; round++)
        for (const flight of takeAll(outbox)) {
          store(flight);
          outbox.acknowledged(flight.id);
        }
      expect([outbox.size, outbox.bytes, outbox.refused]).toEqual([0, 0, 0]);
      expect([...engine].sort()).toEqual([...last].sort());
    }),
    { numRuns: 500 },
  );
});

test("many puts of one key are one, also while an earlier one is in flight", () => {
  const outbox = new Outbox(LIMITS);
  outbox.put("k", value(1));
  const [first] = takeAll(outbox);
  for (let n = 2; n < 100; n++) outbox.put("k", value(n));
  expect([outbox.size, takeAll(outbox)]).toEqual([1, []]);
  outbox.acknowledged(first.id);
  expect(takeAll(outbox).map((flight) => flight.value)).toEqual([value(99)]);
});

test("bounds: a new key is refused and counted, a known one still takes its newest value", () => {
  const outbox = new Outbox({ keys: 2, bytes: 500, window: 9 });
  expect([outbox.put("a", value(1)), outbox.put("b", value(1)), outbox.put("c", value(1))]).toEqual([
    true,
    true,
    false,
  ]);
  expect([outbox.put("a", value(2)), outbox.refused, outbox.size]).toEqual([true, 1, 2]);
  expect(outbox.put("b", new Uint8Array(400))).toBe(false);
  expect(outbox.refused).toBe(2);
  expect(takeAll(outbox).map((flight) => flight.value)).toEqual([value(2), value(1)]);
});

test("overdue flights, oldest first; an acknowledgement after that is none", () => {
  const outbox = new Outbox(LIMITS);
  for (const [i, key] of ["a", "b", "c"].entries()) {
    outbox.put(key, value(i));
    outbox.take(i * 10);
  }
  const late = outbox.overdue(20);
  expect(late).toHaveLength(2);
  outbox.failed(late[0]);
  expect([outbox.acknowledged(late[0]), outbox.acknowledged(late[1]), outbox.size]).toEqual([false, true, 2]);
});

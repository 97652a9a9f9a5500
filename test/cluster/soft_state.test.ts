/** Digests, forecasts and the hold queue. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Comparison, Digest, PATIENCE_MS } from "../../src/cluster/digest.ts";
import { ageMs, FORECAST_MAX, forecast, nextRate, PROGRESS_MS } from "../../src/cluster/forecast.ts";
import { HoldQueue } from "../../src/cluster/hold.ts";
import { creatorOf } from "../../src/crypto/session_index.ts";
import * as any from "./arbitrary.ts";

test("a digest depends on what is in, not on how it came", () => {
  const names = fc.uniqueArray(fc.record({ index: any.index, created: any.time }), { selector: ({ index }) => index });
  fc.assert(
    fc.property(names, names, (stay, go) => {
      const [a, b] = [new Digest(), new Digest()];
      for (const { index, created } of stay) a.add(0, index, created);
      const gone = go.filter(({ index }) => !stay.some((other) => other.index === index));
      for (const { index, created } of [...gone, ...[...stay].reverse()]) b.add(0, index, created);
      for (const { index, created } of gone) b.remove(0, index, created);
      const creators = [...b.creators(), 63];
      expect(b.entries(creators)).toEqual(a.entries(creators));
      if (stay.length === 0) return;
      const [{ index, created }] = stay;
      const before = a.entries([creatorOf(index)]);
      a.remove(0, index, created);
      a.add(0, index, (created + 1) % 2 ** 48);
      expect(a.entries([creatorOf(index)])).not.toEqual(before);
    }),
  );
});

test("nodes that see a storm of changes at different moments agree; one that missed a session does not", () => {
  const [ours, theirs] = [new Digest(), new Digest()];
  const comparison = new Comparison(ours);
  const index = (n: number) => 2 ** 25 + n;
  // 1,000 sessions a second come and go; the peer sees everything 40 ms later, then we see it 40 ms after the peer.
  const run = (fromMs: number, toMs: number, ourLagMs: number, theirLagMs: number) => {
    for (let ms = fromMs; ms < toMs; ms++) {
      for (const [digest, lag] of [
        [ours, ourLagMs],
        [theirs, theirLagMs],
      ] as const) {
        digest.add(ms, index((ms - lag) % 5000), 1);
        digest.remove(ms, index((ms - lag - 100) % 5000), 1);
      }
      if (ms % 200 === 0) comparison.observe(ms, 2, theirs.entries([1]));
      if (ms % 50 === 0) expect(comparison.disagreements(ms)).toEqual([]);
    }
  };
  for (let n = -100; n < 0; n++) {
    ours.add(0, index((1000 + n) % 5000), 1);
    theirs.add(0, index((1000 - 40 + n) % 5000), 1);
  }
  run(1000, 8000, 0, 40);
  const late = new Digest();
  for (let n = 0; n < 100; n++) late.add(8000, index((7900 + n) % 5000), 1);
  comparison.observe(8000, 2, late.entries([1]));
  expect(comparison.disagreements(8000)).toEqual([]);

  const [mine, peer] = [new Digest(), new Digest()];
  const other = new Comparison(mine);
  mine.add(0, index(1), 1);
  peer.add(0, index(1), 1);
  other.observe(100, 2, peer.entries([1, 2]));
  peer.add(200, index(2), 1);
  for (let ms = 200; ms <= 200 + PATIENCE_MS; ms += 200) {
    other.observe(ms, 2, peer.entries([1, 2]));
    if (ms < PATIENCE_MS) expect(other.disagreements(ms)).toEqual([]);
  }
  const [found] = other.disagreements(4500);
  expect(found).toMatchObject({ node: 2, creator: 1, ours: { count: 1 }, theirs: { count: 2 } });
  expect(found.forMs).toBeGreaterThan(PATIENCE_MS);
  mine.add(4600, index(2), 1);
  expect(other.disagreements(4600)).toEqual([]);
  // A peer that stands still while we go on is found, too.
  mine.add(5000, index(3), 1);
  for (let ms = 5000; ms <= 9200; ms += 200) other.observe(ms, 2, peer.entries([1]));
  expect(other.disagreements(9200).length).toBe(1);
  other.forget(2);
  expect(other.disagreements(9300)).toEqual([]);
});

test("a forecast is never below what is known, never too far ahead, and grows with age and rate", () => {
  const high = fc.integer({ min: -1, max: 0xffffffff });
  const rate = fc.double({ min: 0, max: 1e4, noNaN: true });
  const age = fc.double({ min: 0, max: 1e7, noNaN: true });
  fc.assert(
    fc.property(high, rate, age, fc.double({ min: 0, max: 1000, noNaN: true }), (h, r, a, more) => {
      const floor = forecast(h, r, a);
      expect(Number.isInteger(floor)).toBe(true);
      expect(floor).toBeGreaterThanOrEqual(h);
      expect(floor).toBeLessThanOrEqual(Math.min(0xffffffff, h + FORECAST_MAX));
      expect(forecast(h, r, a + more)).toBeGreaterThanOrEqual(floor);
      expect(forecast(h, r + more, a)).toBeGreaterThanOrEqual(floor);
    }),
  );
  expect(forecast(-1, 0, 1000)).toBe(-1);
});

test("a steady client is forecast to within a report, whatever pauses it made and however reports were delayed", () => {
  const jitter = fc.array(fc.nat(PROGRESS_MS - 1), { minLength: 20, maxLength: 20 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), jitter, fc.nat(100_000), (perMs, delays, pauseMs) => {
      let [rate, reportedMs, high] = [0, 0, 0];
      delays.forEach((delay, i) => {
        const atMs = (i + 1) * PROGRESS_MS + (i >= 10 ? pauseMs : 0) + delay;
        const advance = perMs * PROGRESS_MS;
        rate = nextRate(rate, advance, atMs - reportedMs);
        [reportedMs, high] = [atMs, high + advance];
      });
      // Never above the true rate, since a report stands for one interval at least; never below half of it.
      expect(rate).toBeLessThanOrEqual(perMs);
      expect(rate).toBeGreaterThanOrEqual(perMs / 2);
      expect(forecast(high, rate, 100)).toBeGreaterThanOrEqual(high + perMs * 50);
    }),
  );
  expect(nextRate(5, 0, 100)).toBe(5);
  expect(nextRate(4, 250, PROGRESS_MS)).toBe(3.25);
});

test("an owner that shouts and does not report says that the session stands still", () => {
  expect(ageMs(10_000, 9_900, 0)).toBe(100);
  expect(ageMs(10_000, 1_000, 9_950)).toBe(550);
  expect(ageMs(10_000, 10_500, 0)).toBe(0);
});

const packet = (length: number, n = 0) => ({ datagram: new Uint8Array(length), n });

test("held packets come out in order, once; limits hold, and the sums are those of what is inside", () => {
  const limits = { perSession: 4, packets: 10, bytes: 500, sessions: 3 };
  const command = fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("hold" as const), index: fc.nat(5), length: fc.nat(120) }) },
    fc.record({ kind: fc.constant("take" as const), index: fc.nat(5) }),
    fc.record({ kind: fc.constant("first" as const), index: fc.nat(5) }),
    fc.record({ kind: fc.constant("due" as const), index: fc.nat(5), ms: fc.nat(30) }),
    fc.record({ kind: fc.constant("expire" as const), ms: fc.nat(30) }),
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 80 }), (commands) => {
      const queue = new HoldQueue<{ datagram: Uint8Array; n: number }>(limits);
      const model = new Map<number, { due: number; packets: { datagram: Uint8Array; n: number }[] }>();
      let refused = 0;
      commands.forEach((c, n) => {
        if (c.kind === "hold") {
          const one = packet(c.length, n);
          if (queue.hold(c.index, n + 10, one) !== undefined) refused++;
          else if (model.has(c.index)) model.get(c.index)!.packets.push(one);
          else model.set(c.index, { due: n + 10, packets: [one] });
        } else if (c.kind === "take") {
          expect(queue.take(c.index)).toEqual(model.get(c.index)?.packets ?? []);
          model.delete(c.index);
        } else if (c.kind === "first") {
          expect(queue.first(c.index)).toBe(model.get(c.index)?.packets[0]);
          expect(queue.takeFirst(c.index)).toBe(model.get(c.index)?.packets.shift());
          if (model.get(c.index)?.packets.length === 0) model.delete(c.index);
        } else if (c.kind === "due") {
          queue.setDue(c.index, c.ms);
          const held = model.get(c.index);
          if (held) held.due = c.ms;
        } else {
          const due = [...model].filter(([, held]) => held.due <= c.ms);
          if (due.length > 0) expect(queue.nextTimeout()).toBeLessThanOrEqual(c.ms);
          expect(queue.expire(c.ms)).toEqual(due.map(([index, { packets }]) => ({ index, packets })));
          for (const [index] of due) model.delete(index);
        }
        const inside = [...model.values()].flatMap(({ packets }) => packets);
        expect(queue.packets).toBe(inside.length);
        expect(queue.bytes).toBe(inside.reduce((sum, { datagram }) => sum + datagram.length, 0));
        expect(queue.sessions).toBe(model.size);
        expect(queue.packets <= 10 && queue.bytes <= 500 && queue.sessions <= 3).toBe(true);
      });
      expect(Object.values(queue.refused).reduce((a, b) => a + b)).toBe(refused);
    }),
  );
});

test("each limit of the hold queue refuses under its own name", () => {
  const queue = new HoldQueue({ perSession: 2, packets: 4, bytes: 100, sessions: 3 });
  expect([1, 1, 1].map((index) => queue.hold(index, 1, packet(10)))).toEqual([undefined, undefined, "session_full"]);
  expect(queue.hold(2, 1, packet(90))).toBe("bytes_full");
  expect([2, 3, 4].map((index) => queue.hold(index, 1, packet(1)))).toEqual([undefined, undefined, "sessions_full"]);
  expect(queue.hold(3, 1, packet(1))).toBe("packets_full");
  expect(queue.refused).toEqual({ session_full: 1, packets_full: 1, bytes_full: 1, sessions_full: 1 });
  expect(queue.has(3) && !queue.has(4)).toBe(true);
});

/** The counting of probes: loss, late answers, duplicates, and bounded memory. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { LOST_AFTER_MS, Meter } from "../../src/lab/meter.ts";

test("an answered packet counts once, with its round-trip time", () => {
  const meter = new Meter();
  const seq = meter.send(100);
  meter.answer(seq, 102.5);
  expect(meter.read(103)).toEqual({ sent: 1, received: 1, lost: 0, duplicates: 0, gapMs: 2.5, rttMs: [2.5] });
  expect(meter.unanswered).toBe(0);
});

test("a reading hands over round-trip times once", () => {
  const meter = new Meter();
  meter.answer(meter.send(0), 1);
  expect(meter.read(2).rttMs).toEqual([1]);
  expect(meter.read(3).rttMs).toEqual([]);
});

test("a packet is lost when its time is over, not before", () => {
  const meter = new Meter();
  meter.send(0);
  expect(meter.read(LOST_AFTER_MS - 1).lost).toBe(0);
  expect(meter.read(LOST_AFTER_MS).lost).toBe(1);
});

test("a late answer takes the loss back", () => {
  const meter = new Meter();
  const seq = meter.send(0);
  expect(meter.read(LOST_AFTER_MS + 1).lost).toBe(1);
  meter.answer(seq, LOST_AFTER_MS + 2);
  expect(meter.read(LOST_AFTER_MS + 3)).toMatchObject({ sent: 1, received: 1, lost: 0, duplicates: 0 });
});

test("a second answer is a duplicate, also after the packet was settled", () => {
  const meter = new Meter();
  const seq = meter.send(0);
  meter.answer(seq, 1);
  meter.answer(seq, 2);
  meter.read(LOST_AFTER_MS + 1);
  meter.answer(seq, LOST_AFTER_MS + 2);
  expect(meter.read(LOST_AFTER_MS + 3)).toMatchObject({ received: 1, lost: 0, duplicates: 2 });
});

test("numbers that were never sent are not counted", () => {
  const meter = new Meter();
  meter.answer(0, 1);
  meter.send(2);
  meter.answer(1, 3);
  meter.answer(0xfffffffe, 3);
  expect(meter.read(4)).toMatchObject({ sent: 1, received: 0, duplicates: 0 });
});

test("more packets than it remembers: the oldest are given up, the counts stay consistent", () => {
  const meter = new Meter();
  for (let n = 0; n < 40_000; n++) meter.send(0);
  meter.answer(0, 1);
  for (let seq = 39_000; seq < 40_000; seq++) meter.answer(seq, 1);
  const reading = meter.read(LOST_AFTER_MS);
  expect(reading).toMatchObject({ sent: 40_000, received: 1000, lost: 39_000, duplicates: 0 });
});

test("property: equal to a set of sent and a set of answered numbers", () => {
  const event = fc.oneof(
    fc.record({ kind: fc.constant("send" as const), after: fc.integer({ min: 0, max: 400 }) }),
    fc.record({ kind: fc.constant("answer" as const), seq: fc.nat(40), after: fc.integer({ min: 0, max: 400 }) }),
  );
  fc.assert(
    fc.property(fc.array(event, { maxLength: 80 }), (events) => {
      const meter = new Meter();
      const answered = new Set<number>();
      const sentAt: number[] = [];
      /** Ends of silences. */
      const heardAt: number[] = [];
      let duplicates = 0;
      let now = 0;
      for (const step of events) {
        now += step.after;
        if (step.kind === "send") {
          expect(meter.send(now)).toBe(sentAt.length);
          sentAt.push(now);
        } else {
          meter.answer(step.seq, now);
          if (step.seq >= sentAt.length) continue;
          if (answered.has(step.seq)) duplicates++;
          else heardAt.push(now);
          answered.add(step.seq);
        }
      }
      const lost = sentAt.filter((at, seq) => !answered.has(seq) && now - at >= LOST_AFTER_MS).length;
      const { rttMs, ...counts } = meter.read(now);
      const turns = [...sentAt.slice(0, 1), ...heardAt];
      const silences = [...turns.slice(1), sentAt.at(-1) ?? 0].map((end, i) => end - (turns[i] ?? end));
      const gapMs = Math.max(0, ...silences);
      expect(counts).toEqual({ sent: sentAt.length, received: answered.size, lost, duplicates, gapMs });
      expect(rttMs.length).toBe(answered.size);
    }),
  );
});

test("the gap is the longest silence while packets leave, and nothing after the last one", () => {
  const meter = new Meter();
  meter.answer(meter.send(1000), 1001);
  meter.answer(meter.send(1020), 1021);
  expect(meter.read(1022).gapMs).toBe(20);
  for (let now = 1040; now <= 1500; now += 20) meter.send(now);
  // Still silent: up to the last packet.
  expect(meter.read(9000).gapMs).toBe(1500 - 1021);
  meter.answer(meter.send(1520), 1523);
  meter.answer(meter.send(1540), 1541);
  expect(meter.read(99_000).gapMs).toBe(1523 - 1021);
});

test("a path that never answers is silent since its first packet", () => {
  const meter = new Meter();
  for (let now = 500; now <= 800; now += 100) meter.send(now);
  expect(meter.read(5000)).toMatchObject({ received: 0, gapMs: 300 });
});

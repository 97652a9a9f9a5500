/** The announcer's decisions: hysteresis, drain, undrain; and rules that hold after any sequence of inputs. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Announcer, type AnnouncerOutput, SILENCE_MS } from "../../src/announce/announcer.ts";

const settings = { goodToAnnounce: 3, badToWithdraw: 2 };
function machine(change = {}) {
  const announcer = new Announcer({ ...settings, ...change });
  const out: AnnouncerOutput[] = [];
  return {
    announcer,
    test: (...results: boolean[]) => {
      for (const good of results) announcer.tested(good, good ? "" : "the path is cut", out);
    },
    drain: (now: number, maxMs: number) => announcer.drain(now, maxMs, out),
    undrain: () => announcer.undrain(out),
    tick: (now: number, heardMs: number) => announcer.tick(now, heardMs, out),
    /** What came out since the last call. */
    took: () => out.splice(0).map((output) => (output.kind === "phase" ? output.phase : `drained ${output.quiet}`)),
  };
}

describe("hysteresis", () => {
  test("three good ones in a row announce, two bad ones in a row withdraw", () => {
    const m = machine();
    m.test(true, true, false, true, true);
    expect(m.took()).toEqual([]);
    m.test(true);
    expect(m.took()).toEqual(["announced"]);
    m.test(false, true, false, true, true, false);
    expect(m.took()).toEqual([]);
    m.test(false);
    expect(m.took()).toEqual(["withdrawn"]);
    m.test(true, true);
    expect(m.took()).toEqual([]);
    m.test(true);
    expect(m.took()).toEqual(["announced"]);
  });

  test("the numbers are settings, and the reason is told", () => {
    const announcer = new Announcer({ goodToAnnounce: 1, badToWithdraw: 1 });
    const out: AnnouncerOutput[] = [];
    announcer.tested(true, "", out);
    announcer.tested(false, "the path is cut", out);
    expect(out).toEqual([
      { kind: "phase", phase: "announced", why: "1 good self-tests in a row" },
      { kind: "phase", phase: "withdrawn", why: "the path is cut" },
    ]);
  });
});

describe("drain", () => {
  const serving = () => {
    const m = machine();
    m.test(true, true, true);
    m.took();
    return m;
  };

  test("over after three seconds without a client's packet, counted from its beginning at the earliest", () => {
    const m = serving();
    m.drain(10_000, 60_000);
    expect(m.took()).toEqual(["draining"]);
    m.tick(10_000 + SILENCE_MS - 1, 1);
    m.tick(14_000, 12_000);
    m.tick(12_000 + SILENCE_MS - 1, 12_000);
    expect(m.took()).toEqual([]);
    m.tick(12_000 + SILENCE_MS, 12_000);
    expect(m.took()).toEqual(["withdrawn", "drained true"]);
    m.tick(99_000, 98_999);
    m.test(true, true, true);
    expect(m.took()).toEqual([]);
  });

  test("over after its time, clients or not; asked again it gets another end", () => {
    const m = serving();
    m.drain(0, 60_000);
    m.drain(1000, 4000);
    m.took();
    m.tick(4999, 4999);
    expect(m.took()).toEqual([]);
    m.tick(5000, 4999);
    expect(m.took()).toEqual(["withdrawn", "drained false"]);
    m.drain(6000, 1000);
    expect(m.took()).toEqual(["drained true"]);
  });

  test("undrain, before and after the end", () => {
    const m = serving();
    m.drain(0, 60_000);
    m.undrain();
    expect(m.took()).toEqual(["draining", "announced"]);
    m.undrain();
    m.drain(0, 0);
    m.tick(0, 0);
    m.undrain();
    expect(m.took()).toEqual(["draining", "withdrawn", "drained false", "announced"]);
  });

  test("a node that fails while it drains is withdrawn, and its drain goes on", () => {
    const m = serving();
    m.drain(0, 60_000);
    m.test(false, false, true, true, true);
    expect(m.took()).toEqual(["draining", "withdrawn"]);
    m.tick(SILENCE_MS, 0);
    expect(m.took()).toEqual(["drained true"]);
    m.undrain();
    expect(m.took()).toEqual(["announced"]);
  });

  test("a node that was not announced is not announced by a drain, nor by undrain while it fails", () => {
    const m = machine();
    m.drain(0, 60_000);
    m.test(true, true, true);
    expect(m.took()).toEqual([]);
    m.test(false, false);
    m.undrain();
    expect(m.took()).toEqual([]);
    m.test(true, true, true);
    expect(m.took()).toEqual(["announced"]);
  });
});

test("whatever happens: announced means healthy and wanted, draining comes from announced only, no phase twice", () => {
  const input = fc.oneof(
    fc.boolean().map((good) => ({ kind: "test" as const, good })),
    fc.nat(5000).map((ms) => ({ kind: "wait" as const, ms })),
    fc.nat(8000).map((maxMs) => ({ kind: "drain" as const, maxMs })),
    fc.constant({ kind: "undrain" as const }),
    fc.constant({ kind: "heard" as const }),
  );
  fc.assert(
    fc.property(fc.array(input, { maxLength: 200 }), (inputs) => {
      const announcer = new Announcer(settings);
      let now = 0;
      let heard = 0;
      const results: boolean[] = [];
      for (const step of inputs) {
        const before = announcer.phase;
        const out: AnnouncerOutput[] = [];
        if (step.kind === "test") {
          results.push(step.good);
          announcer.tested(step.good, "", out);
        } else if (step.kind === "wait") {
          now += step.ms;
          announcer.tick(now, heard, out);
        } else if (step.kind === "drain") announcer.drain(now, step.maxMs, out);
        else if (step.kind === "undrain") announcer.undrain(out);
        else heard = now;
        const phases = out.flatMap((output) => (output.kind === "phase" ? [output.phase] : []));
        expect(phases.length).toBeLessThanOrEqual(1);
        if (phases.length > 0) expect(phases[0]).not.toBe(before);
        if (phases[0] === "draining") expect(before).toBe("announced");
        if (announcer.phase === "announced") expect(announcer.wish).toBe("serve");
        if (announcer.phase === "draining") expect(announcer.wish).toBe("drain");
        if (announcer.phase !== "withdrawn") expect(results.slice(-2)).not.toEqual([false, false]);
        if (announcer.wish === "serve" && announcer.healthy) expect(announcer.phase).toBe("announced");
      }
    }),
  );
});

/** Whole groups on virtual time: strangers, and the plans that once found something. */
import { describe, expect, test } from "vitest";
import { FAIR, type Incident, type Plan } from "../../src/sim/plan.ts";
import { runPlan } from "../../src/sim/run.ts";

const calmPlan = (incidents: readonly Incident[], change: Partial<Plan> = {}): Plan => ({
  ...{ seed: 7, nodes: [0, 50, 100].map((startMs) => ({ startMs, skewMs: 0 })), forMs: 4000, incidents },
  clients: [0, 1].map(() => ({ flipChance: 0, everyMs: 30, skewMs: 0 })),
  weather: { access: FAIR, link: FAIR, bus: FAIR },
  ...{ threadMs: 0.05, rekeyMs: 120_000, overlapMs: 30_000, withdrawMs: 300, replayEveryMs: 10, strangerEveryMs: 0 },
  ...change,
});

describe("a stranger who makes up 2,000 datagrams a second in the names of clients", () => {
  test.each([
    ["that stay where they are", 0],
    ["whose packets go to another node now and then", 0.1],
  ])("%s: all keep their sessions, rekey, and no node is taken for dead", async (_, flipChance) => {
    const clients = [0, 1].map(() => ({ flipChance, everyMs: 30, skewMs: 0 }));
    const change = { clients, strangerEveryMs: 0.5, rekeyMs: 1500, forMs: 6000 };
    const result = await runPlan(calmPlan([], change));
    expect(result.failures).toEqual([]);
    expect(result.forged).toBeGreaterThan(10_000);
  });
});

describe("what seeds have found", () => {
  test("a client behind another port is found by all nodes, though the news of it was lost", async () => {
    const rebind = { atMs: 2000, forMs: 0, fault: { kind: "rebind", client: 0 } } as const;
    const bus = { ...FAIR, loss: 0.95 };
    const result = await runPlan(calmPlan([rebind], { weather: { access: FAIR, link: FAIR, bus } }));
    expect(result.failures).toEqual([]);
  });

  test("a node with a slow clock that starts after a session introduces itself", async () => {
    const nodes = [
      { startMs: 0, skewMs: 0 },
      { startMs: 2500, skewMs: -170_000 },
    ];
    expect((await runPlan(calmPlan([], { nodes }))).failures).toEqual([]);
  });

  test("a node that forgot all introduces itself where the client is, not where it was", async () => {
    const incidents: Incident[] = [
      { atMs: 1500, forMs: 0, fault: { kind: "rebind", client: 0 } },
      { atMs: 2500, forMs: 200, fault: { kind: "crash", node: 3, disk: "lost" } },
    ];
    expect((await runPlan(calmPlan(incidents))).failures).toEqual([]);
  });

  test("a node that drains hands over sessions of few packets", async () => {
    const incidents: Incident[] = [1, 2, 3].map((node) => ({
      atMs: 2500 * node,
      forMs: 300,
      fault: { kind: "drain", node },
    }));
    const clients = [0, 1].map(() => ({ flipChance: 0, everyMs: 100_000, skewMs: 0 }));
    const result = await runPlan(calmPlan(incidents, { clients, replayEveryMs: 0, forMs: 10_000 }));
    expect(result.failures).toEqual([]);
    expect(result.handovers).toBeGreaterThan(0);
  });

  test("the engine is away: what an owner that dies then had told over the link is not taken again", () =>
    runPlan(
      calmPlan(
        [
          ...[1, 2, 3].map((node) => ({ atMs: 1500, forMs: 4000, fault: { kind: "engine_down", node } }) as const),
          { atMs: 3500, forMs: 0, fault: { kind: "attract", node: 2 } },
          { atMs: 4000, forMs: 1500, fault: { kind: "crash", node: 2, disk: "lost" } },
        ],
        { forMs: 6000, replayEveryMs: 1 },
      ),
    ).then(({ failures, exposed, handovers }) => {
      expect(failures).toEqual([]);
      expect(handovers).toBeGreaterThan(0);
      // What two clients send in the 250 ms between two reports.
      expect(exposed.forecast).toBeLessThanOrEqual(2 * (250 / 30) + 8);
      expect(exposed.twoOwners).toBe(0);
    }));

  test("a node that starts beside others that live takes nothing from them for a replayed packet", async () => {
    const nodes = [0, 50, 2500].map((startMs) => ({ startMs, skewMs: 0 }));
    const { failures, exposed } = await runPlan(calmPlan([], { nodes, replayEveryMs: 1 }));
    expect(failures).toEqual([]);
    expect(exposed).toEqual({ forecast: 0, twoOwners: 0 });
  });
});

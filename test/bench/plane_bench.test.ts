/** The pipelines of the micro and growth parts carry every packet; they throw when one is dropped. Needs the addon. */
import { describe, expect, it } from "vitest";
import type { Transforms } from "../../src/bench/keys.ts";
import { BATCH, startPipeline } from "../../src/bench/plane_bench.ts";
import { stages } from "../../src/bench/stages.ts";

const ALL: readonly Transforms[] = ["null", "aes-ctr-128 + sha1", "aes-128-gcm"];
const PACKETS = 4 * BATCH;

describe.each(ALL)("a pipeline with %s", (transforms) => {
  it.each(["send", "receive"] as const)("carries packets of 100 tunnels, run after run: %s", (way) => {
    const running = startPipeline({ way, bytes: 64, transforms, tunnels: 100, routes: 1000 });
    for (let round = 0; round < 3; round++) {
      running.prepare?.(PACKETS);
      expect(running.run(PACKETS)).toBe(PACKETS);
    }
  });
});

it("pipelines of the same transforms live side by side", () => {
  const sizes = [1, 7].map((tunnels) => ({ tunnels, routes: 10 }));
  const several = sizes.map((size) =>
    startPipeline({ way: "receive", bytes: 200, transforms: "aes-ctr-128 + sha1", ...size }),
  );
  for (const running of [...several, ...several]) {
    running.prepare?.(PACKETS);
    expect(running.run(PACKETS)).toBe(PACKETS);
  }
});

it("a dropped packet voids the measurement", () => {
  const running = startPipeline({ way: "receive", bytes: 64, transforms: "aes-ctr-128 + sha1", tunnels: 1, routes: 1 });
  running.prepare?.(PACKETS);
  running.run(PACKETS);
  // Without new datagrams the same ones come again, and the replay window refuses them.
  expect(() => {
    for (let i = 0; i < 1 << 14; i += PACKETS) running.run(PACKETS);
  }).toThrow(/dropped/);
});

it("every stage of the micro part runs", () => {
  for (const stage of stages()) {
    const running = stage.start();
    running.prepare?.(BATCH);
    expect(running.run(BATCH), stage.name).toBeGreaterThanOrEqual(BATCH);
  }
});

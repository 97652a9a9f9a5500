/** Small, made-up benchmark results whose medians and ratios are easy to see. */
import type { EndToEnd, Growth, GrowthCase, Measurement, Micro, Origin } from "../../src/bench/results.ts";
import { REFERENCE } from "../../src/bench/stages.ts";

export const origin: Origin = {
  date: "2026-01-02",
  command: "npm run bench",
  anyhop: "0.1.0",
  cpu: "Sample <CPU> | 1",
  cores: 2,
  memoryGb: 4,
  system: "Sample Linux 1",
  kernel: "6.1.0",
  node: "20.19.0",
  openssl: "3.0.0",
  load: 0.1,
};

/** A round in which everything is proportional to `speed`: TCP in Mbit/s, and one core. */
export const measurement = (peer: string, round: number, speed: number): Measurement => ({
  ...{ peer, round, tcpMbps: speed, daemonCores: 1, udp64Kpps: speed / 10, udp1300Mbps: speed / 2 },
  ...{ rttMs: 100 / speed, peakMb: 10 },
});

const peer = (name: string, ours: boolean) => ({
  name,
  help: `help of ${name}`,
  version: ours ? "0.1.0" : "1.2",
  ours,
});

/** Speeds by peer, one a round. */
export function endToEnd(speeds: Readonly<Record<string, readonly number[]>>): EndToEnd {
  const names = Object.keys(speeds);
  return {
    ...{ origin, seconds: 4, rounds: Math.max(...names.map((name) => speeds[name]!.length)), iperf: "3.12" },
    peers: names.map((name) => peer(name, name.startsWith("ours"))),
    results: names.flatMap((name) => speeds[name]!.map((speed, i) => measurement(name, i + 1, speed))),
  };
}

export const SPEEDS = {
  raw: [10_000, 12_000, 11_000],
  slow: [500, 600, 550],
  fast: [1000, 1200, 1100],
  ours: [2000, 2400, 2200],
};

export function micro(pipelineNs: number, referenceNs = 1000): Micro {
  const stages = [
    { name: REFERENCE, unit: "digest", ns: [referenceNs, 9 * referenceNs] },
    { name: "pipeline send", unit: "packet", ns: [2 * pipelineNs, pipelineNs, pipelineNs] },
  ];
  return { origin, stages };
}

export function growth(largeNs: number, smallNs = 100): Growth {
  const of = (tunnels: number, routes: number, ns: number): GrowthCase => ({
    ...{ way: "send", transforms: "null", tunnels, routes, ns: [3 * ns, ns, ns] },
  });
  return { origin, missNs: [50, 50, 200], cases: [of(1, 1, smallNs), of(10_000, 100_000, largeNs)] };
}

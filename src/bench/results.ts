/**
 * What a benchmark run leaves behind: docs/bench/results.json, every figure of every round. One schema is type and check
 * of the file. The three parts carry their own origin, because each can be measured alone and then replaces only itself.
 */
import { z } from "zod";
import type { Rounds } from "./statistics.ts";

const figure = z.number().nonnegative();

const originSchema = z.object({
  /** ISO date, UTC. */
  date: z.string(),
  command: z.string(),
  anyhop: z.string(),
  cpu: z.string(),
  cores: z.number(),
  memoryGb: z.number(),
  system: z.string(),
  kernel: z.string(),
  node: z.string(),
  /** The library inside Node, which the addon uses as well. */
  openssl: z.string(),
  /** Load average of the last minute when the part began: others were at work, if it is far from 0. */
  load: z.number(),
});
/** Where, when and how a part was measured. */
export type Origin = z.infer<typeof originSchema>;

const measurementSchema = z.object({
  peer: z.string(),
  /** From 1. Rounds of the same number ran next to each other. */
  round: z.number(),
  /** One stream, left to right, as received. */
  tcpMbps: figure,
  /** Processor cores that both daemons together used during the TCP measurement. */
  daemonCores: figure,
  /** Received packets of 64 bytes payload, thousands a second. */
  udp64Kpps: figure,
  /** Received payload of packets with 1300 bytes. */
  udp1300Mbps: figure,
  /** Mean of 200 pings, 2 ms apart, without other load. */
  rttMs: figure,
  /** Largest resident set of one daemon over the whole run. */
  peakMb: figure,
});
/** One round of one peer. */
export type Measurement = z.infer<typeof measurementSchema>;

const failureSchema = z.object({ peer: z.string(), round: z.number(), error: z.string() });
export type Failure = z.infer<typeof failureSchema>;

const peerSchema = z.object({ name: z.string(), help: z.string(), version: z.string(), ours: z.boolean() });
export type PeerFacts = z.infer<typeof peerSchema>;

const endToEndSchema = z.object({
  origin: originSchema,
  seconds: z.number(),
  rounds: z.number(),
  iperf: z.string(),
  peers: z.array(peerSchema),
  results: z.array(z.union([measurementSchema, failureSchema])),
});
export type EndToEnd = z.infer<typeof endToEndSchema>;

const microSchema = z.object({
  origin: originSchema,
  /** Nanoseconds per unit, one figure a round. */
  stages: z.array(z.object({ name: z.string(), unit: z.string(), ns: z.array(figure).min(1) })),
});
export type Micro = z.infer<typeof microSchema>;

const growthSchema = z.object({
  origin: originSchema,
  /** One read of memory that no cache holds, nanoseconds. */
  missNs: z.array(figure).min(1),
  cases: z.array(
    z.object({
      way: z.enum(["send", "receive"]),
      transforms: z.string(),
      tunnels: z.number(),
      routes: z.number(),
      ns: z.array(figure).min(1),
    }),
  ),
});
export type Growth = z.infer<typeof growthSchema>;
export type GrowthCase = Growth["cases"][number];

const resultsSchema = z.object({
  format: z.literal(1),
  endToEnd: endToEndSchema.optional(),
  micro: microSchema.optional(),
  growth: growthSchema.optional(),
});
export type Results = z.infer<typeof resultsSchema>;

export const PARTS = ["endToEnd", "micro", "growth"] as const;

/** Parses the text of `file`. Throws Error with the place and what to do. */
export function parseResults(text: string, file: string): Results {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Error(`${file} is not JSON (${(cause as Error).message}): measure again with \`npm run bench\`.`, {
      cause,
    });
  }
  const parsed = resultsSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new Error(
    `${file} does not hold results of this benchmark (${issue.path.join(".") || "top"}: ${issue.message}): ` +
      "measure again with `npm run bench`.",
  );
}

/** `fresh` with the parts that it lacks taken from `older`. */
export function mergeResults(fresh: Results, older: Results | undefined): Results {
  const merged: Results = { format: 1 };
  for (const part of PARTS) Object.assign(merged, pick(older, part), pick(fresh, part));
  return merged;
}

function pick(results: Results | undefined, part: (typeof PARTS)[number]): Partial<Results> {
  return results?.[part] === undefined ? {} : { [part]: results[part] };
}

export function isFailure(result: Measurement | Failure): result is Failure {
  return "error" in result;
}

/** Figures of the end-to-end part: what is in a measurement, and cores per Gbit/s of the TCP stream. */
export const METRICS = [
  { key: "tcpMbps", title: "TCP Mbit/s", digits: 0, better: "more", of: (m: Measurement) => m.tcpMbps },
  { key: "udp64Kpps", title: "64 B kpps", digits: 1, better: "more", of: (m: Measurement) => m.udp64Kpps },
  { key: "udp1300Mbps", title: "1300 B Mbit/s", digits: 0, better: "more", of: (m: Measurement) => m.udp1300Mbps },
  { key: "rttMs", title: "idle RTT ms", digits: 3, better: "less", of: (m: Measurement) => m.rttMs },
  { key: "daemonCores", title: "cores", digits: 2, better: "less", of: (m: Measurement) => m.daemonCores },
  {
    ...{ key: "coresPerGbps", title: "cores per Gbit/s", digits: 2, better: "less" },
    of: (m: Measurement) => (m.tcpMbps === 0 ? 0 : (m.daemonCores * 1000) / m.tcpMbps),
  },
  { key: "peakMb", title: "peak MB", digits: 1, better: "less", of: (m: Measurement) => m.peakMb },
] as const satisfies readonly MetricFacts[];

interface MetricFacts {
  readonly key: string;
  readonly title: string;
  readonly digits: number;
  readonly better: "more" | "less";
  readonly of: (m: Measurement) => number;
}
export type Metric = (typeof METRICS)[number]["key"];

/** The bare cable: the peer that everything is a share of. */
export const RAW = "raw";

/** Values of one metric of one peer. None for what the bare cable has no daemon for. */
export function roundsOf(part: EndToEnd, peer: string, key: Metric): Rounds {
  const metric = METRICS.find((candidate) => candidate.key === key)!;
  const rounds = new Map<number, number>();
  if (peer === RAW && (key === "daemonCores" || key === "coresPerGbps" || key === "peakMb")) return rounds;
  for (const result of part.results) {
    if (result.peer === peer && !isFailure(result)) rounds.set(result.round, metric.of(result));
  }
  return rounds;
}

/**
 * The regression check: ratios of a fresh run against those of docs/bench/results.json. Pure. Absolute figures are not
 * compared, because they are the machine's; and no single ratio decides where several can, because one peer of one round
 * may have had a bad moment.
 */
import {
  type EndToEnd,
  type Growth,
  METRICS,
  type Metric,
  type Micro,
  RAW,
  type Results,
  roundsOf,
} from "./results.ts";
import { REFERENCE } from "./stages.ts";
import { best, median, ratioOf } from "./statistics.ts";
import { formatColumns, significant } from "./table.ts";

/** One comparison. `change` is fresh / baseline, turned so that more than 1 is better. */
export interface Row {
  readonly what: string;
  readonly baseline: number;
  /** NaN: it was not measurable any more. */
  readonly fresh: number;
  readonly change: number;
  /** Least change that passes. */
  readonly least: number;
}

/**
 * Generous: a short run on a busy machine has to pass. Between single rounds on a 2-core VM with load 5, cores per Gbit/s
 * moved by 0.9-1.1, TCP by up to 1.8, 64-byte floods by up to 2.4, loops by 0.8-1.2. Floods of large packets moved by
 * up to 5 (the load generator starves) and are not compared.
 */
const LEAST_OF_LOOPS = 0.6;
const COMPARED: readonly { readonly key: Metric; readonly least: number }[] = [
  { key: "tcpMbps", least: 0.5 },
  { key: "udp64Kpps", least: 0.4 },
  { key: "coresPerGbps", least: 0.6 },
];

export const isRegression = (row: Row): boolean => !(row.change >= row.least);

/** All that both results have. A peer that is missing in one of them is not compared. */
export function compare(baseline: Results, fresh: Results): Row[] {
  const rows: Row[] = [];
  if (baseline.endToEnd && fresh.endToEnd) rows.push(...compareEndToEnd(baseline.endToEnd, fresh.endToEnd));
  if (baseline.micro && fresh.micro) rows.push(...compareMicro(baseline.micro, fresh.micro));
  if (baseline.growth && fresh.growth) rows.push(...compareGrowth(baseline.growth, fresh.growth));
  return rows;
}

function compareEndToEnd(baseline: EndToEnd, fresh: EndToEnd): Row[] {
  const had = (part: EndToEnd, peer: string) => roundsOf(part, peer, "rttMs").size > 0;
  const names = (ours: boolean) =>
    baseline.peers
      .filter((peer) => peer.ours === ours && peer.name !== RAW && had(baseline, peer.name))
      .map((peer) => peer.name)
      .filter((name) => fresh.peers.some((peer) => peer.name === name));
  return names(true).flatMap((subject) =>
    COMPARED.flatMap(({ key, least }) => {
      const { title, better } = METRICS.find((metric) => metric.key === key)!;
      const rows: Row[] = [];
      for (const [what, peers] of [
        ["the cable", [RAW]],
        ["the peers", names(false)],
      ] as const) {
        const row = compareRatios(baseline, fresh, subject, peers, key, better);
        if (row !== undefined) rows.push({ ...row, least, what: `${title}: ${subject} / ${what}` });
      }
      return rows;
    }),
  );
}

/** The median peer: how far our ratio to it has moved. Undefined when no peer has it in both runs. */
function compareRatios(
  baseline: EndToEnd,
  fresh: EndToEnd,
  subject: string,
  peers: readonly string[],
  key: Metric,
  better: "more" | "less",
): Omit<Row, "what" | "least"> | undefined {
  const of = (part: EndToEnd, peer: string) =>
    ratioOf(roundsOf(part, subject, key), roundsOf(part, peer, key))?.median ?? Number.NaN;
  const common = peers.filter((peer) => roundsOf(fresh, peer, key).size > 0 && Number.isFinite(of(baseline, peer)));
  if (common.length === 0) return undefined;
  const before = common.map((peer) => of(baseline, peer));
  const after = common.map((peer) => of(fresh, peer));
  const changes = common.map((_, i) => (better === "more" ? after[i]! / before[i]! : before[i]! / after[i]!));
  return { baseline: median(before), fresh: median(after), change: median(changes) };
}

/** Each stage in units of the reference, which is none of ours. */
function compareMicro(baseline: Micro, fresh: Micro): Row[] {
  const unit = (part: Micro) => nsOf(part, REFERENCE);
  return baseline.stages
    .filter(({ name }) => name !== REFERENCE && fresh.stages.some((stage) => stage.name === name))
    .map(({ name }) =>
      lessIsBetter(
        `${name} / reference`,
        nsOf(baseline, name) / unit(baseline),
        nsOf(fresh, name) / unit(fresh),
        LEAST_OF_LOOPS,
      ),
    );
}

const nsOf = (part: Micro, name: string): number => best(part.stages.find((stage) => stage.name === name)?.ns ?? []);

/** Each size in units of the smallest one, which comes first. */
function compareGrowth(baseline: Growth, fresh: Growth): Row[] {
  const factorOf = (part: Growth, c: Growth["cases"][number]) => {
    const same = part.cases.filter((one) => one.way === c.way && one.transforms === c.transforms);
    const found = same.find((one) => one.tunnels === c.tunnels && one.routes === c.routes);
    return found === undefined ? Number.NaN : best(found.ns) / best(same[0]!.ns);
  };
  return baseline.cases
    .filter((c) => c.tunnels * c.routes > 1 && Number.isFinite(factorOf(fresh, c)))
    .map((c) =>
      lessIsBetter(
        `growth ${c.way}, ${c.transforms}: ${c.tunnels} tunnels, ${c.routes} routes / 1, 1`,
        factorOf(baseline, c),
        factorOf(fresh, c),
        LEAST_OF_LOOPS,
      ),
    );
}

const lessIsBetter = (what: string, baseline: number, fresh: number, least: number): Row => ({
  ...{ what, baseline, fresh, change: baseline / fresh, least },
});

/** The table for the terminal. */
export function formatRows(rows: readonly Row[]): string {
  const cell = (value: number) => (Number.isNaN(value) ? "failed" : significant(value));
  const head = ["ratio", "baseline", "now", "change", "least", ""];
  return formatColumns([
    head,
    ...rows.map((row) => [
      ...[row.what, cell(row.baseline), cell(row.fresh), cell(row.change), significant(row.least)],
      isRegression(row) ? "REGRESSION" : "ok",
    ]),
  ]);
}

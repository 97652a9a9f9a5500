/**
 * The page docs/bench/README.md and the section "Speed" of README.md, from results. Pure: results in, Markdown out. Every
 * figure is a median with its range; what had a wide range is marked with ~.
 */
import { chartsOf } from "./charts.ts";
import {
  type EndToEnd,
  type Growth,
  isFailure,
  METRICS,
  type Metric,
  type Micro,
  type Origin,
  type PeerFacts,
  RAW,
  type Results,
  roundsOf,
} from "./results.ts";
import { best, isWide, ratioOf, type Spread, spreadOf } from "./statistics.ts";
import { count, markdownTable, significant } from "./table.ts";

const mark = (spread: Spread): string => (isWide(spread) ? " ~" : "");

/** "1.23 (1.20-1.30) ~". */
function figure(spread: Spread | undefined, digits: number): string {
  if (spread === undefined) return "-";
  const range = `(${spread.min.toFixed(digits)}-${spread.max.toFixed(digits)})`;
  return `${spread.median.toFixed(digits)}${spread.rounds > 1 ? ` ${range}` : ""}${mark(spread)}`;
}

const factor = (spread: Spread | undefined): string =>
  spread === undefined ? "-" : `${significant(spread.median)}x${mark(spread)}`;

const ratio = (part: EndToEnd, subject: string, peer: string, key: Metric): Spread | undefined =>
  ratioOf(roundsOf(part, subject, key), roundsOf(part, peer, key));

function originLines(origin: Origin, more: readonly string[] = []): string {
  const { cores, cpu, memoryGb, system, kernel, node, openssl, anyhop, load, date, command } = origin;
  return [
    `* machine: ${cores} cores of ${cpu}, ${memoryGb} GB, load ${load} before the start`,
    `* software: anyhop ${anyhop}, ${system}, Linux ${kernel}, Node ${node}, OpenSSL ${openssl}`,
    ...more.map((line) => `* ${line}`),
    `* measured ${date} with \`${command}\``,
  ].join("\n");
}

function image(results: Results, id: string): string {
  const chart = chartsOf(results).find((candidate) => candidate.id === id);
  return chart === undefined ? "" : `![${chart.title}](${id}.svg)`;
}

/** What was to be reached, and how far it is. */
function goals(part: EndToEnd): string {
  const rows = [
    { text: "one TCP stream through a session: 30 % of the bare cable", peer: RAW, least: 0.3 },
    { text: "one TCP stream through a session: 4 times OpenVPN", peer: "openvpn", least: 4 },
  ].flatMap(({ text, peer, least }) => {
    const reached = ratio(part, "ours-session", peer, "tcpMbps");
    return reached === undefined ? [] : [[text, factor(reached), reached.median >= least ? "yes" : "no"]];
  });
  return rows.length === 0 ? "" : markdownTable(["goal", "measured", "reached"], rows);
}

function ratios(part: EndToEnd, subject: PeerFacts): string {
  const rows = part.peers
    .filter((peer) => peer.name !== subject.name)
    .map((peer) => [peer.name, ...METRICS.map(({ key }) => factor(ratio(part, subject.name, peer.name, key)))]);
  const head = [`${subject.name} divided by`, ...METRICS.map(({ title, better }) => `${title} (${better})`)];
  return markdownTable(head, rows);
}

function failures(part: EndToEnd): string {
  const failed = part.results.filter(isFailure);
  if (failed.length === 0) return "";
  return failed.map(({ peer, round, error }) => `* round ${round}, ${peer}: no figures, ${error}`).join("\n");
}

function endToEndSection(part: EndToEnd, results: Results): string[] {
  const rows = part.peers.map(({ name, help, version }) => [
    ...[name, help, version || "-"],
    ...METRICS.map(({ key, digits }) => figure(spreadOf([...roundsOf(part, name, key).values()]), digits)),
  ]);
  const measured = part.peers.filter((peer) => peer.ours && roundsOf(part, peer.name, "tcpMbps").size > 0);
  return [
    "## End to end",
    "Two network namespaces, joined by a veth pair; one end of the tunnel in each, iperf3 and ping through it. Load and " +
      "tunnel share the cores. Rounds are interleaved: each program once, then each again. Cores and memory are those " +
      "of the daemons, the kernel's work on their behalf included; memory is the larger of both ends.",
    originLines(part.origin, [`${part.rounds} rounds, ${part.seconds} s a measurement, iperf3 ${part.iperf}`]),
    ...["tcp", "udp64", "udp1300", "rtt", "cost"].map((id) => image(results, id)),
    markdownTable(["program", "what", "version", ...METRICS.map(({ title }) => title)], rows, 3),
    failures(part),
    "### Ratios",
    "Taken round by round, then their median: more than 1 is more than the other.",
    ...measured.map((subject) => ratios(part, subject)),
    goals(part),
  ];
}

function microSection(part: Micro, results: Results): string[] {
  const rows = part.stages.map(({ name, unit, ns }) => [name, unit, figure(spreadOf(ns), ns[0]! < 100 ? 1 : 0)]);
  return [
    "## One packet, stage by stage",
    "Plain loops without a kernel: real tables, real addon, batches of 64; socket and device are imitated.",
    originLines(part.origin, [`${part.stages[0]?.ns.length ?? 0} rounds`]),
    image(results, "micro"),
    markdownTable(["stage", "per", "ns"], rows, 2),
  ];
}

function growthSection(part: Growth, results: Results): string[] {
  const miss = spreadOf(part.missNs)!;
  const rows = part.cases.map((c) => {
    const least = part.cases.find((one) => one.way === c.way && one.transforms === c.transforms)!;
    const more = best(c.ns) - best(least.ns);
    return [
      ...[c.way, c.transforms, count(c.tunnels), count(c.routes), figure(spreadOf(c.ns), 0)],
      ...[`${significant(best(c.ns) / best(least.ns))}x`, more.toFixed(0), (more / best(part.missNs)).toFixed(1)],
    ];
  });
  return [
    "## Cost of growth",
    "The whole pipeline with packets of 64 bytes for all tunnels in random order. The last column is the extra cost in " +
      `reads of memory that the core's own caches do not hold (${figure(miss, 1)} ns each, measured beside it): tables ` +
      "that no longer fit in the cache are all that may cost more. Factor, extra and misses compare the best rounds.",
    originLines(part.origin, [`${part.missNs.length} rounds`]),
    image(results, "growth"),
    markdownTable(["way", "transforms", "tunnels", "routes", "ns per packet", "factor", "extra ns", "misses"], rows, 2),
  ];
}

/** The whole page. Parts without results are left out. */
export function page(results: Results): string {
  const { endToEnd, micro, growth } = results;
  const paragraphs = [
    "# Benchmarks",
    "Written by `npm run bench`; do not edit. Every round of every figure is in [results.json](results.json). Figures are " +
      "medians with the range of all rounds; **~ marks a wide range** (more than a quarter of the median): such a figure " +
      "says little more than the order. Compare ratios: figures of another machine are other figures. " +
      "`npm run bench -- check` compares the ratios of this page with those of a new, short run.",
    ...(endToEnd === undefined ? [] : endToEndSection(endToEnd, results)),
    ...(micro === undefined ? [] : microSection(micro, results)),
    ...(growth === undefined ? [] : growthSection(growth, results)),
  ];
  return `${paragraphs.filter((paragraph) => paragraph !== "").join("\n\n")}\n`;
}

/** Lines between which README.md holds what `npm run bench` writes. */
export const SPEED_BEGIN = "<!-- speed: written by npm run bench -->";
export const SPEED_END = "<!-- end of speed -->";

/** What stands between these lines; undefined without end-to-end results. */
export function speedSection({ endToEnd: part }: Results): string | undefined {
  if (part === undefined) return undefined;
  const metrics = METRICS.filter(({ key }) => key === "tcpMbps" || key === "udp64Kpps" || key === "rttMs");
  const rows = part.peers
    .filter(({ name }) => roundsOf(part, name, "tcpMbps").size > 0)
    .map(({ name, help }) => [
      ...[name, help],
      ...metrics.map(({ key, digits }) => {
        const spread = spreadOf([...roundsOf(part, name, key).values()])!;
        return spread.median.toFixed(digits) + mark(spread);
      }),
      name === RAW ? "" : factor(ratio(part, name, RAW, "tcpMbps")),
    ]);
  const { date, cores, cpu, kernel, node } = part.origin;
  return [
    "![One TCP stream through the tunnel](docs/bench/tcp.svg)",
    markdownTable(["program", "what", ...metrics.map(({ title }) => title), "TCP / raw"], rows, 2),
    `Medians of ${part.rounds} interleaved rounds, ${date}, ${cores} cores of ${cpu}, Linux ${kernel}, Node ${node}; ` +
      "~ marks a wide range.",
  ].join("\n\n");
}

/** `text` with what is between the lines `begin` and `end` replaced. Undefined when they are not there. */
export function replaceBetween(text: string, begin: string, end: string, content: string): string | undefined {
  const from = text.indexOf(begin);
  const to = text.indexOf(end, from);
  if (from < 0 || to < 0) return undefined;
  return `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`;
}

/** Which charts the page has, and which bars are in them. Pure: results in, charts out. */
import { type EndToEnd, type Growth, METRICS, type Metric, type Micro, type Results, roundsOf } from "./results.ts";
import { REFERENCE } from "./stages.ts";
import { isWide, type Spread, spreadOf } from "./statistics.ts";
import type { Bar, Chart } from "./svg.ts";
import { count, significant } from "./table.ts";

const bar = (label: string, spread: Spread, digits: number | undefined, strong: boolean): Bar => ({
  label,
  value: spread.median,
  min: spread.min,
  max: spread.max,
  text:
    (digits === undefined ? significant(spread.median) : spread.median.toFixed(digits)) + (isWide(spread) ? " ~" : ""),
  strong,
});

function endToEndChart(part: EndToEnd, id: string, key: Metric, title: string, unit: string): Chart {
  const { digits, better } = METRICS.find((metric) => metric.key === key)!;
  const bars = part.peers.flatMap(({ name, ours }) => {
    const spread = spreadOf([...roundsOf(part, name, key).values()]);
    return spread === undefined ? [] : [bar(name, spread, digits, ours)];
  });
  return { id, title, subtitle: `${unit}, ${better} is better; median and range of ${part.rounds} rounds`, bars };
}

function microChart(part: Micro): Chart {
  const bars = part.stages
    .filter((stage) => stage.name !== REFERENCE)
    .map(({ name, ns }) => bar(name, spreadOf(ns)!, 0, name.startsWith("pipeline")));
  return { id: "micro", title: "One packet, stage by stage", subtitle: "ns, less is better; median and range", bars };
}

function growthChart(part: Growth): Chart {
  const bars = part.cases
    .filter((c) => c.transforms === "null")
    .map(({ way, tunnels, routes, ns }) =>
      bar(`${way}, ${count(tunnels)} tunnels, ${count(routes)} routes`, spreadOf(ns)!, 0, way === "send"),
    );
  const subtitle = "ns per packet without cipher, less is better; median and range";
  return { id: "growth", title: "One packet, as tunnels and routes become many", subtitle, bars };
}

/** All charts for which there are results; the `id` is the file's name. Charts without bars are left out. */
export function chartsOf({ endToEnd, micro, growth }: Results): Chart[] {
  const charts: Chart[] = [];
  if (endToEnd !== undefined) {
    charts.push(
      endToEndChart(endToEnd, "tcp", "tcpMbps", "One TCP stream through the tunnel", "Mbit/s"),
      endToEndChart(endToEnd, "udp64", "udp64Kpps", "Small packets: UDP, 64 bytes", "thousand packets a second"),
      endToEndChart(endToEnd, "udp1300", "udp1300Mbps", "Large packets: UDP, 1300 bytes", "Mbit/s"),
      endToEndChart(endToEnd, "rtt", "rttMs", "Round trip of the idle tunnel", "ms"),
      endToEndChart(
        endToEnd,
        "cost",
        "coresPerGbps",
        "What one Gbit/s of TCP costs",
        "processor cores of both daemons",
      ),
    );
  }
  if (micro !== undefined) charts.push(microChart(micro));
  if (growth !== undefined) charts.push(growthChart(growth));
  return charts.filter((chart) => chart.bars.length > 0);
}

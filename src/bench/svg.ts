/**
 * Horizontal bar charts as SVG text. Pure. The pages that show them may be light or dark: the ground is transparent, and
 * every colour has enough contrast against both (test/bench/svg.test.ts computes it). Each chart carries a title and a
 * description of all its numbers for those who do not see it.
 */

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** Ends of the line that shows the spread. */
  readonly min: number;
  readonly max: number;
  /** Text behind the bar. */
  readonly text: string;
  /** Drawn in the colour of the program under test. */
  readonly strong: boolean;
}

export interface Chart {
  /** Letters and hyphens; unique among charts of one page. */
  readonly id: string;
  readonly title: string;
  /** Unit, and which way is better. */
  readonly subtitle: string;
  readonly bars: readonly Bar[];
}

export const COLOURS = { text: "#737b85", bar: "#8c959f", strong: "#2f81f7", spread: "#d1602a" } as const;

const WIDTH = 760;
const TOP = 52;
const ROW = 26;
const BAR = 16;
const GAP = 10;
const TEXT_RIGHT = 130;
/** Width of one character of the label, roughly. */
const CHARACTER = 6.6;

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** Text for XML 1.0: escaped, and without the control characters that XML has no way to write. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ESCAPES[c]!).replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd]/g, "");
}

const px = (value: number): string => value.toFixed(1).replace(/\.0$/, "");

export function renderChart(chart: Chart): string {
  const { id, bars } = chart;
  const left = GAP + CHARACTER * Math.max(0, ...bars.map((bar) => bar.label.length)) + GAP;
  const room = WIDTH - left - TEXT_RIGHT;
  const top = Math.max(...bars.map((bar) => bar.max), Number.MIN_VALUE);
  const x = (value: number) => left + (Math.max(0, value) / top) * room;
  const height = TOP + ROW * bars.length + GAP;
  const rows = bars.flatMap((bar, i) => {
    const y = TOP + i * ROW;
    const middle = y + BAR / 2;
    const spread = bar.max > bar.min ? [spreadLine(x(bar.min), x(bar.max), middle)] : [];
    const end = Math.max(x(bar.value), x(bar.max));
    return [
      `<text class="l" x="${px(left - GAP)}" y="${px(middle + 4)}">${escapeXml(bar.label)}</text>`,
      `<rect class="${bar.strong ? "s" : "b"}" x="${px(left)}" y="${y}" width="${px(Math.max(1, x(bar.value) - left))}" height="${BAR}" rx="2"/>`,
      ...spread,
      `<text x="${px(end + 6)}" y="${px(middle + 4)}">${escapeXml(bar.text)}</text>`,
    ];
  });
  const description = `${chart.subtitle}. ${bars.map((bar) => `${bar.label}: ${bar.text}`).join("; ")}.`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="${id}-title ${id}-desc">`,
    `<title id="${id}-title">${escapeXml(chart.title)}</title>`,
    `<desc id="${id}-desc">${escapeXml(description)}</desc>`,
    "<style>",
    `text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:${COLOURS.text}}`,
    `.t{font-size:15px;font-weight:600}.l{text-anchor:end}.b{fill:${COLOURS.bar}}.s{fill:${COLOURS.strong}}`,
    `.w{stroke:${COLOURS.spread};stroke-width:2;fill:none}`,
    "</style>",
    `<text class="t" x="${GAP}" y="20">${escapeXml(chart.title)}</text>`,
    `<text x="${GAP}" y="38">${escapeXml(chart.subtitle)}</text>`,
    ...rows,
    "</svg>",
    "",
  ].join("\n");
}

function spreadLine(from: number, to: number, y: number): string {
  const [a, b] = [px(from), px(to)];
  return `<path class="w" d="M${a} ${px(y - 4)}V${px(y + 4)}M${a} ${px(y)}H${b}M${b} ${px(y - 4)}V${px(y + 4)}"/>`;
}

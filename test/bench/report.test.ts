/** The page says what was measured, how, and how sure it is; README.md gets its table between its marks. */
import { describe, expect, it } from "vitest";
import { chartsOf } from "../../src/bench/charts.ts";
import { page, replaceBetween, speedSection } from "../../src/bench/report.ts";
import type { Results } from "../../src/bench/results.ts";
import { endToEnd, growth, micro, SPEEDS } from "./sample.ts";

const results = (): Results => ({ format: 1, endToEnd: endToEnd(SPEEDS), micro: micro(300), growth: growth(200) });
/** Cells of the first table row that begins with `name`, behind the heading that holds `heading`. */
function cells(text: string, heading: string, name: string): string[] {
  const row = text
    .slice(text.indexOf(heading))
    .split("\n")
    .find((line) => line.startsWith(`| ${name} |`));
  return row!.slice(2, -2).split(" | ");
}

describe("the page", () => {
  const text = page(results());

  it("names machine, software, date and command", () => {
    for (const part of ["Sample <CPU> | 1", "Linux 6.1.0", "Node 20.19.0", "OpenSSL 3.0.0", "anyhop 0.1.0"]) {
      expect(text).toContain(part);
    }
    expect(text).toContain("measured 2026-01-02 with `npm run bench`");
  });

  it("has median and range of every peer, and what it is", () => {
    expect(cells(text, "## End to end", "fast").slice(0, 4)).toEqual([
      ...["fast", "help of fast", "1.2", "1100 (1000-1200)"],
    ]);
  });

  it("marks a wide range", () => {
    const wide = page({ format: 1, endToEnd: endToEnd({ ...SPEEDS, ours: [1000, 2000, 3000] }) });
    expect(cells(wide, "## End to end", "ours")[3]).toBe("2000 (1000-3000) ~");
  });

  it("has the ratios of the rounds", () => {
    expect(cells(text, "| ours divided by", "slow")[1]).toBe("4.00x");
    expect(cells(text, "| ours divided by", "raw").slice(1)).toEqual([
      "0.200x",
      "0.200x",
      "0.200x",
      "5.00x",
      "-",
      "-",
      "-",
    ]);
  });

  it("says which goals are reached", () => {
    const speeds = { raw: [10_000], openvpn: [1000], "ours-session": [3500] };
    const rows = page({ format: 1, endToEnd: endToEnd(speeds) }).split("\n");
    const of = (start: string) => rows.find((row) => row.includes(start));
    expect(of("30 % of the bare cable")).toContain("0.350x | yes |");
    expect(of("4 times OpenVPN")).toContain("3.50x | no |");
  });

  it("counts the growth in cache misses of the best rounds", () => {
    expect(cells(text, "## Cost of growth", "send | null | 10,000")).toEqual([
      ...["send", "null", "10,000", "100,000", "200 (200-600) ~", "2.00x", "100", "2.0"],
    ]);
  });

  it("names rounds that failed", () => {
    const part = endToEnd(SPEEDS);
    part.results.push({ peer: "slow", round: 4, error: "no ping" });
    expect(page({ format: 1, endToEnd: part })).toContain("round 4, slow: no figures, no ping");
  });

  it("shows every chart there is, and only those", () => {
    for (const parts of [results(), { format: 1, micro: micro(300) } as const, { format: 1 } as const]) {
      const shown = [...page(parts).matchAll(/!\[[^\]]*\]\((\w+)\.svg\)/g)].map((match) => match[1]);
      expect(shown).toEqual(chartsOf(parts).map((chart) => chart.id));
    }
    expect(chartsOf(results()).map((chart) => chart.id)).toEqual([
      ...["tcp", "udp64", "udp1300", "rtt", "cost", "micro", "growth"],
    ]);
  });
});

describe("the section of README.md", () => {
  it("has each peer, its share of the cable, and where the chart is", () => {
    const text = speedSection(results())!;
    expect(text).toContain("(docs/bench/tcp.svg)");
    expect(cells(text, "", "ours")).toEqual(["ours", "help of ours", "2200", "220.0", "0.045", "0.200x"]);
    expect(cells(text, "", "raw").at(-1)).toBe("");
  });

  it("leaves out what has no figures", () => {
    expect(speedSection({ format: 1, micro: micro(300) })).toBeUndefined();
    const part = endToEnd({ ...SPEEDS, gone: [] });
    expect(speedSection({ format: 1, endToEnd: part })).not.toContain("| gone |");
  });

  it("replaces only what is between the marks", () => {
    expect(replaceBetween("a\n<x>\nold\n<y>\nb\n", "<x>", "<y>", "new")).toBe("a\n<x>\nnew\n<y>\nb\n");
    expect(replaceBetween("a <y> b <x> c", "<x>", "<y>", "new")).toBeUndefined();
    expect(replaceBetween("nothing", "<x>", "<y>", "new")).toBeUndefined();
  });
});

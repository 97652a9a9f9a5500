/** Reads and writes what a benchmark run leaves behind: the page, its charts, its figures, and the section of README.md. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chartsOf } from "./charts.ts";
import { page, replaceBetween, SPEED_BEGIN, SPEED_END, speedSection } from "./report.ts";
import { parseResults, type Results } from "./results.ts";
import { renderChart } from "./svg.ts";

/** The package, as seen from src/bench and from dist/bench. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const RESULTS_FILE = `${ROOT}docs/bench/results.json`;

/** Undefined when there is no such file; throws for one that holds something else. */
export function readResults(file: string): Results | undefined {
  return existsSync(file) ? parseResults(readFileSync(file, "utf8"), file) : undefined;
}

export function writeJson(file: string, results: Results): void {
  writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`);
}

/** Writes docs/bench and, where the lines for it are, README.md. Returns the names of the files, from the package on. */
export function writePage(results: Results): string[] {
  const written: string[] = [];
  const write = (name: string, text: string) => {
    writeFileSync(ROOT + name, text);
    written.push(name);
  };
  mkdirSync(`${ROOT}docs/bench`, { recursive: true });
  write("docs/bench/README.md", page(results));
  for (const chart of chartsOf(results)) write(`docs/bench/${chart.id}.svg`, renderChart(chart));
  writeJson(RESULTS_FILE, results);
  written.push("docs/bench/results.json");
  const speed = speedSection(results);
  const readme = existsSync(`${ROOT}README.md`) ? readFileSync(`${ROOT}README.md`, "utf8") : "";
  const changed = speed === undefined ? undefined : replaceBetween(readme, SPEED_BEGIN, SPEED_END, speed);
  if (changed !== undefined) write("README.md", changed);
  return written;
}

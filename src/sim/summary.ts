/** What `npm run sim` prints. */
import { checks } from "./checks.ts";
import type { RunResult } from "./run.ts";

/** One seed, one line; what was found on lines of its own. */
export function lineOf(result: RunResult): string {
  const { seed, failures, settledMs, packets, takeovers, handovers, exposed } = result;
  const facts = `${packets} packets, ${handovers} handed over, ${takeovers} without owner, ${exposed.forecast}+${exposed.twoOwners} exposed, well after ${settledMs / 1000} s`;
  const found = failures.map(({ check, text }) => `  ${check}: ${text}`);
  return [`seed ${seed} ${failures.length === 0 ? "ok" : "FAILED"}: ${facts}`, ...found].join("\n");
}

export class Summary {
  failed = 0;
  readonly #results: RunResult[] = [];
  readonly #startMs = performance.now();

  add(result: RunResult): void {
    this.#results.push(result);
    if (result.failures.length > 0) this.failed++;
  }

  text(): string {
    const results = this.#results;
    const sum = (of: (result: RunResult) => number) => results.reduce((all, result) => all + of(result), 0);
    const seconds = (performance.now() - this.#startMs) / 1000;
    const byCheck = Object.entries(checks).flatMap(([name, help]) => {
      const seeds = results.filter(({ failures }) => failures.some(({ check }) => check === name));
      const some = seeds.slice(0, 10).map(({ seed }) => seed);
      return seeds.length === 0 ? [] : [`  ${name}: ${seeds.length} seeds (${some.join(", ")}). ${help}`];
    });
    const exposures = results.map(({ exposed }) => exposed.forecast).sort((a, b) => a - b);
    const at = (part: number) => exposures[Math.min(exposures.length - 1, Math.floor(part * exposures.length))];
    return [
      `${results.length} seeds, ${this.failed} failed, in ${seconds.toFixed(1)} s (${(sum(({ virtualMs }) => virtualMs) / 1000).toFixed(0)} s virtual)`,
      ...byCheck,
      `${sum(({ packets }) => packets)} packets, ${sum(({ replayed }) => replayed)} replayed, ${sum(({ flips }) => flips)} flips`,
      `${sum(({ handovers }) => handovers)} windows handed over, ${sum(({ takeovers }) => takeovers)} made without owner`,
      `accepted twice: ${sum(({ exposed }) => exposed.forecast)} without owner (per seed: median ${at(0.5)}, 99 % ${at(0.99)}, most ${at(1)}), ${sum(({ exposed }) => exposed.twoOwners)} at one of two owners`,
      `engine: ${sum(({ bus }) => bus.puts)} puts (${sum(({ bus }) => bus.putBytes)} B), ${sum(({ bus }) => bus.shouts)} shouts (${sum(({ bus }) => bus.shoutBytes)} B)`,
    ].join("\n");
  }
}

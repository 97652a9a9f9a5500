/**
 * Says on standard error what is being measured and how long the rest will take. Pure but for the clock and the writer,
 * which it is handed.
 */

/** Steps are announced with the seconds that they are expected to take; what they really took corrects the rest. */
export class Progress {
  private readonly total: number;
  private done = 0;
  private readonly startedMs: number;
  private readonly nowMs: () => number;
  private readonly say: (line: string) => void;

  /** `total`: expected seconds of all steps. */
  constructor(total: number, nowMs: () => number, say: (line: string) => void) {
    this.total = total;
    this.nowMs = nowMs;
    this.say = say;
    this.startedMs = nowMs();
  }

  /** A step that was expected to take `seconds` has ended. */
  step(seconds: number, line: string): void {
    this.done += seconds;
    this.say(`${line}  (${formatSeconds(this.remaining())} left)`);
  }

  /** Expected seconds of the steps that are still to come, at the pace so far. */
  remaining(): number {
    const left = Math.max(0, this.total - this.done);
    const pace = this.done === 0 ? 1 : (this.nowMs() - this.startedMs) / 1000 / this.done;
    return left * pace;
  }
}

/** "45 s", "3 min 05 s". */
export function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

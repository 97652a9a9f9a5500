/** What the drivers of the bus have in common: which entries they take, and what went wrong, by name. */
import { type BusError, type Entry, KEY_LEN_MAX, VALUE_LEN_MAX } from "../cluster/bus.ts";

const KEY = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/;

/** Why an entry is refused, or undefined. */
export function entryFault({ key, value }: Entry): string | undefined {
  if (key.length > KEY_LEN_MAX || !KEY.test(key)) return `"${key.slice(0, KEY_LEN_MAX)}" is no key`;
  if (value !== undefined && value.length > VALUE_LEN_MAX) return `the value of ${key} has ${value.length} bytes`;
  return undefined;
}

/** What never happened again for so long is over, whatever it was. */
const QUIET_MS = 600_000;

/** Counters of what went wrong, with its times. Names are few and fixed, so memory is bounded. */
export class BusErrors {
  readonly #errors = new Map<string, BusError>();
  readonly #wallMs: () => number;

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs;
  }

  add(name: string, message: string): void {
    const now = this.#wallMs();
    const before = this.#errors.get(name);
    const count = (before?.count ?? 0) + 1;
    const goesOn = before !== undefined && this.#endOf(before, now) === undefined;
    const sinceMs = goesOn ? before.sinceMs : now;
    this.#errors.set(name, { name, count, last: message, sinceMs, lastMs: now, endedMs: undefined });
  }

  /** The cause of these is over. */
  end(...names: readonly string[]): void {
    for (const name of names) {
      const error = this.#errors.get(name);
      if (error !== undefined && error.endedMs === undefined)
        this.#errors.set(name, { ...error, endedMs: this.#wallMs() });
    }
  }

  list(): readonly BusError[] {
    const now = this.#wallMs();
    return [...this.#errors.values()].map((error) => ({ ...error, endedMs: this.#endOf(error, now) }));
  }

  #endOf({ endedMs, lastMs }: BusError, now: number): number | undefined {
    return endedMs ?? (now - lastMs > QUIET_MS ? lastMs + QUIET_MS : undefined);
  }
}

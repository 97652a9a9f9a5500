/** What the drivers of the bus have in common: which entries they take, and what went wrong, by name. */
import { type BusStatus, type Entry, KEY_LEN_MAX, VALUE_LEN_MAX } from "../cluster/bus.ts";

const KEY = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/;

/** Why an entry is refused, or undefined. */
export function entryFault({ key, value }: Entry): string | undefined {
  if (key.length > KEY_LEN_MAX || !KEY.test(key)) return `"${key.slice(0, KEY_LEN_MAX)}" is no key`;
  if (value !== undefined && value.length > VALUE_LEN_MAX) return `the value of ${key} has ${value.length} bytes`;
  return undefined;
}

/** Counters of what went wrong. Names are few and fixed, so memory is bounded. */
export class BusErrors {
  readonly #errors = new Map<string, { count: number; last: string }>();

  add(name: string, message: string): void {
    const count = this.#errors.get(name)?.count ?? 0;
    this.#errors.set(name, { count: count + 1, last: message });
  }
  list(): BusStatus["errors"] {
    return [...this.#errors].map(([name, { count, last }]) => ({ name, count, last }));
  }
}

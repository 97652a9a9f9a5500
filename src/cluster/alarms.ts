/**
 * What somebody should look at because of something that happened, each with since when and how often. It ends by itself
 * when it has not happened again for ten minutes. States that last (a silent node, a full disk) are not in here: they end
 * when they are over.
 */
import type { Now } from "./now.ts";

export const QUIET_MS = 600_000;
/** Different ones at a time; beyond these the one that is quiet for longest is forgotten. */
const ALARMS_MAX = 64;

export interface Alarm {
  readonly code: string;
  readonly text: string;
  readonly count: number;
  /** Milliseconds since 1970: the first and the last time. */
  readonly sinceMs: number;
  readonly lastMs: number;
}

interface Held extends Alarm {
  readonly endsMs: number;
}

export class Alarms {
  /** By code and what it is about, the quietest first. */
  readonly #held = new Map<string, Held>();

  /**
   * `subject`: what tells this alarm from others of its code. `text`: as of the newest occurrence. `counts`: each is one
   * more; else it is the same thing, of which more is known.
   */
  add({ ms, wallMs }: Now, code: string, subject: string, text: string, counts = true): void {
    const name = `${code} ${subject}`;
    const before = this.#of(ms, name);
    this.#held.delete(name);
    if (this.#held.size >= ALARMS_MAX) this.#held.delete(this.#held.keys().next().value!);
    const count = counts ? (before?.count ?? 0) + 1 : 1;
    const times = { sinceMs: before?.sinceMs ?? wallMs, lastMs: wallMs, endsMs: ms + QUIET_MS };
    this.#held.set(name, { code, text, count, ...times });
  }

  /** Those that have not ended. */
  list({ ms }: Now): Alarm[] {
    return [...this.#held.values()]
      .filter(({ endsMs }) => endsMs > ms)
      .map(({ code, text, count, sinceMs, lastMs }) => ({ code, text, count, sinceMs, lastMs }));
  }

  #of(ms: number, name: string): Held | undefined {
    const held = this.#held.get(name);
    return held !== undefined && held.endsMs > ms ? held : undefined;
  }
}

/**
 * What happens in an instance, told to whoever listens: clients that come and go, reloads, log levels. Bounded: each
 * listener keeps its own queue (`api/event_stream.ts`), and there are at most LISTENERS_MAX of them.
 */
import type { Clock } from "../../base/clock.ts";
import { AnyhopError } from "../../base/errors.ts";

export interface InstanceEvent {
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** Stable name for programs, as "client_added". */
  readonly event: string;
  /** A sentence for people. No secret. */
  readonly message: string;
  /** The client, tunnel or service that it is about. */
  readonly subject?: string;
}

const LISTENERS_MAX = 32;

export class EventHub {
  readonly #clock: Clock;
  readonly #listeners = new Set<(event: InstanceEvent) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  tell(event: string, message: string, subject?: string): void {
    const timeMs = this.#clock.wallMs();
    const whole = subject === undefined ? { timeMs, event, message } : { timeMs, event, message, subject };
    for (const listener of this.#listeners) listener(whole);
  }

  /** Returns what ends it. Throws AnyhopError "too_many" when too many listen already. */
  listen(listener: (event: InstanceEvent) => void): () => void {
    if (this.#listeners.size >= LISTENERS_MAX)
      throw new AnyhopError("too_many", `${LISTENERS_MAX} programs already follow the events; end one of them.`);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

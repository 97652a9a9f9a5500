/**
 * Keeps a routing daemon in the wanted phase: one change at a time, the newest wish wins, failures are tried again with
 * growing pauses, and what the routing daemon forgot (it was restarted) is told to it again.
 */
import { AnyhopError } from "../base/errors.ts";
import type { Phase } from "./spec.ts";

/** One way to tell routers. */
export interface Driver {
  /** Resolves once the phase is in force; safe to repeat. Rejects with AnyhopError. */
  apply(phase: Phase): Promise<void>;
  /** Makes sure that the phase is still in force; true when it had to be set again. Rejects with AnyhopError. */
  refresh(phase: Phase): Promise<boolean>;
  close(): void;
}

export interface SteeringEvents {
  onApplied(phase: Phase): void;
  onFailed(error: AnyhopError): void;
  /** The other side had lost the phase and has it again. */
  onRestored(phase: Phase): void;
}

const RETRY_MS = [100, 250, 500, 1000, 2000] as const;
export const REFRESH_MS = 2000;

export class Steering {
  wanted: Phase = "withdrawn";
  /** What is in force; undefined: not known. */
  applied: Phase | undefined;
  /** Why `wanted` is not in force. */
  error: AnyhopError | undefined;
  readonly #driver: Driver;
  readonly #events: SteeringEvents;
  readonly #waiting = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;
  #busy = false;
  #closed = false;
  #failures = 0;

  constructor(driver: Driver, events: SteeringEvents) {
    this.#driver = driver;
    this.#events = events;
  }

  set(phase: Phase): void {
    this.wanted = phase;
    this.#failures = 0;
    this.#next(0);
  }

  /** The driver has noticed that the other side is gone: what it knew is not known any more. */
  lost(): void {
    if (this.applied === undefined || this.#closed) return;
    this.applied = undefined;
    this.#next(RETRY_MS[0]);
  }

  /** Sets the phase and waits for one attempt, at most `timeoutMs`. False: it is not in force. */
  async reach(phase: Phase, timeoutMs: number): Promise<boolean> {
    this.set(phase);
    const deadline = setTimeout(() => this.#wake(), timeoutMs);
    await new Promise<void>((resolve) => this.#waiting.add(resolve));
    clearTimeout(deadline);
    return this.applied === phase;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#driver.close();
    this.#wake();
  }

  #next(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#closed || this.#busy) return;
    this.#timer = setTimeout(() => void this.#work(), ms);
  }

  async #work(): Promise<void> {
    const phase = this.wanted;
    this.#busy = true;
    try {
      if (this.applied === phase) {
        if (await this.#driver.refresh(phase)) this.#events.onRestored(phase);
      } else {
        await this.#driver.apply(phase);
        this.applied = phase;
        this.#events.onApplied(phase);
      }
      this.error = undefined;
      this.#failures = 0;
    } catch (error) {
      const known = error instanceof AnyhopError ? error : new AnyhopError("announce", String(error));
      // Half of it may be done.
      this.applied = undefined;
      if (this.error?.message !== known.message && !this.#closed) this.#events.onFailed(known);
      this.error = known;
      this.#failures += 1;
    } finally {
      this.#busy = false;
    }
    if (this.wanted !== phase) return this.#next(0);
    this.#wake();
    if (this.error === undefined) this.#next(REFRESH_MS);
    else this.#next(RETRY_MS[Math.min(this.#failures, RETRY_MS.length) - 1]);
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/**
 * Decides what routers are to be told: a state machine over self-tests, the operator's wish and the silence of clients.
 * Sans-IO: `now` is monotonic milliseconds and an argument. `steering.ts` makes it so. The state engine is no input:
 * a node that cannot reach it serves its clients all the same.
 *
 * withdrawn -> announced   goodToAnnounce good self-tests in a row, and nobody wants a drain
 * announced -> withdrawn   badToWithdraw bad ones in a row
 * announced -> draining    drain
 * draining  -> withdrawn   silence, time over, or bad self-tests; it stays so until undrain
 * draining  -> announced   undrain
 */
import type { Phase } from "./spec.ts";

/** No authentic packet of a client for this long is silence. */
export const SILENCE_MS = 3000;

/** What the operator wants: serve, drain (under way), drained (over). */
export type Wish = "serve" | "drain" | "drained";

export type AnnouncerOutput =
  | { readonly kind: "phase"; readonly phase: Phase; readonly why: string }
  /** A drain is over. `quiet`: clients fell silent; else its time was over. */
  | { readonly kind: "drained"; readonly quiet: boolean };

export interface AnnouncerSettings {
  readonly goodToAnnounce: number;
  readonly badToWithdraw: number;
}

export class Announcer {
  phase: Phase = "withdrawn";
  wish: Wish = "serve";
  healthy = false;
  /** Self-tests in a row with the result of the last one. */
  streak = 0;
  /** Of the drain that is under way. */
  drainSinceMs = 0;
  drainEndMs = 0;
  readonly #settings: AnnouncerSettings;
  #lastGood = false;

  constructor(settings: AnnouncerSettings) {
    this.#settings = settings;
  }

  /** One self-test. `why`: a sentence when it was bad. */
  tested(good: boolean, why: string, out: AnnouncerOutput[]): void {
    this.streak = good === this.#lastGood ? this.streak + 1 : 1;
    this.#lastGood = good;
    if (good && !this.healthy && this.streak >= this.#settings.goodToAnnounce) {
      this.healthy = true;
      if (this.wish === "serve") this.#go("announced", `${this.streak} good self-tests in a row`, out);
    } else if (!good && this.healthy && this.streak >= this.#settings.badToWithdraw) {
      this.healthy = false;
      this.#go("withdrawn", why, out);
    }
  }

  /** Begins a drain, or gives the one under way another end. One that is over says so again. */
  drain(now: number, maxMs: number, out: AnnouncerOutput[]): void {
    if (this.wish === "drained") {
      out.push({ kind: "drained", quiet: true });
      return;
    }
    if (this.wish === "serve") this.drainSinceMs = now;
    this.drainEndMs = now + maxMs;
    this.wish = "drain";
    if (this.phase === "announced") this.#go("draining", "drain was asked for", out);
  }

  undrain(out: AnnouncerOutput[]): void {
    if (this.wish === "serve") return;
    this.wish = "serve";
    if (this.healthy) this.#go("announced", "undrain was asked for", out);
  }

  /** `heardMs`: when the last authentic packet of any client came. Call several times a second. */
  tick(now: number, heardMs: number, out: AnnouncerOutput[]): void {
    if (this.wish !== "drain") return;
    const quiet = this.quietMs(now, heardMs) >= SILENCE_MS;
    if (!quiet && now < this.drainEndMs) return;
    this.wish = "drained";
    this.#go("withdrawn", quiet ? "the clients have gone elsewhere" : "the time for the drain is over", out);
    out.push({ kind: "drained", quiet });
  }

  /** How long clients have been silent, counted from the beginning of the drain at the earliest. */
  quietMs(now: number, heardMs: number): number {
    return Math.max(0, now - Math.max(heardMs, this.drainSinceMs));
  }

  #go(phase: Phase, why: string, out: AnnouncerOutput[]): void {
    if (this.phase === phase) return;
    this.phase = phase;
    out.push({ kind: "phase", phase, why });
  }
}

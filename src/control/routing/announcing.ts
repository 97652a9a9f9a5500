/**
 * A node's place in the routing: self-tests and drains go into the announcer, what it decides goes to the routing daemon.
 * Owns the timer of both. Order matters: withdrawn before the service addresses are there, announced after packets flow.
 */
import { Announcer, type AnnouncerOutput, type Wish } from "../../announce/announcer.ts";
import type { AnnounceKind, AnnounceSpec, Phase } from "../../announce/spec.ts";
import { type Driver, Steering } from "../../announce/steering.ts";
import type { Clock } from "../../base/clock.ts";
import type { AnyhopError } from "../../base/errors.ts";
import type { SelfTest } from "./health.ts";

const TICK_MS = 100;
/** For the first word to the routing daemon, and for the last. */
const REACH_MS = 2000;

export interface AnnouncingPorts {
  readonly clock: Clock;
  readonly driver: (onLost: () => void) => Driver;
  /** Undefined: there is no service address to test; the node counts as healthy. */
  readonly selfTest: SelfTest | undefined;
  /** Monotonic milliseconds of the last authentic packet of any client, 0 = none yet. */
  readonly heardMs: () => number;
  /** A notice for log and events. */
  readonly tell: (event: string, message: string) => void;
  /** A drain begins, or ends before its time. */
  readonly onWish: (wish: "drain" | "serve") => void;
  /**
   * A drain is over and the node is withdrawn: the place for handing over what clients left here. `exit`: the daemon
   * shall end then. `quiet`: no client sends here any more; else the time was over.
   */
  readonly onSilence: (end: { readonly exit: boolean; readonly quiet: boolean }) => void | Promise<void>;
}

export interface AnnounceView {
  readonly kind: AnnounceKind;
  readonly prefixes: readonly string[];
  readonly device: string | null;
  /** Wanted; `inForce` is what the routing daemon confirmed, null: nothing. */
  readonly phase: Phase;
  readonly inForce: Phase | null;
  /** Why the wanted phase is not in force. */
  readonly problem: string | null;
  readonly wish: Wish;
  readonly healthy: boolean;
  readonly selfTest: {
    readonly good: number;
    readonly bad: number;
    readonly crowded: number;
    /** Round trip of the last round; null: no answer. */
    readonly targets: readonly { readonly address: string; readonly rttMs: number | null }[];
    readonly faults: readonly string[];
  } | null;
  /** Of a drain that is under way. */
  readonly drain: { readonly forMs: number; readonly quietMs: number; readonly leftMs: number } | null;
}

const words: Readonly<Record<Phase, string>> = {
  announced: "announced",
  draining: "draining: announced with the community 65535:0",
  withdrawn: "withdrawn",
};

export class Announcing {
  readonly #spec: AnnounceSpec;
  readonly #use: AnnouncingPorts;
  readonly #announcer: Announcer;
  readonly #steering: Steering;
  #timer: NodeJS.Timeout | undefined;
  #exit = false;

  constructor(spec: AnnounceSpec, ports: AnnouncingPorts) {
    this.#spec = spec;
    this.#use = ports;
    this.#announcer = new Announcer(spec);
    this.#steering = new Steering(
      ports.driver(() => this.#steering.lost()),
      {
        onApplied: (phase) => this.#say("announce", `The service addresses are ${words[phase]}`),
        onFailed: (error: AnyhopError) => this.#say("announce_failed", error.message),
        onRestored: (phase) =>
          this.#say("announce", `Somebody else has changed the routing daemon; it is ${words[phase]} again`),
      },
    );
  }

  /** Before the service addresses are on this host: takes back what an earlier start may have left announced. */
  async prepare(): Promise<void> {
    await this.#steering.reach("withdrawn", REACH_MS);
  }

  /** Packets flow. */
  start(): void {
    if (this.#use.selfTest === undefined) for (let i = 0; i < this.#spec.goodToAnnounce; i++) this.#tested(true, "");
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** Withdraws and lets the routing daemon go. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#steering.reach("withdrawn", REACH_MS);
    this.#steering.close();
  }

  /** Begins a drain, or changes the end of the one under way. `exit`: the daemon ends after it. */
  drain(maxMs: number, exit: boolean): AnnounceView {
    this.#exit = exit;
    const over = this.#announcer.wish === "drained";
    this.#do((out) => this.#announcer.drain(this.#now(), maxMs, out));
    if (!over) this.#use.onWish("drain");
    return this.view();
  }

  undrain(): AnnounceView {
    this.#exit = false;
    this.#do((out) => this.#announcer.undrain(out));
    this.#use.onWish("serve");
    return this.view();
  }

  view(): AnnounceView {
    const { phase, wish, healthy, drainSinceMs, drainEndMs } = this.#announcer;
    const { applied, error } = this.#steering;
    const { selfTest, heardMs } = this.#use;
    const now = this.#now();
    return {
      ...{ kind: this.#spec.kind, prefixes: this.#spec.prefixes, device: this.#spec.device ?? null },
      ...{ phase, inForce: applied ?? null, problem: error?.message ?? null, wish, healthy },
      selfTest:
        selfTest === undefined
          ? null
          : {
              ...{ good: selfTest.good, bad: selfTest.bad, crowded: selfTest.crowded, faults: selfTest.faults },
              targets: selfTest.results().map(({ address, rttMs }) => ({
                address,
                rttMs: Number.isNaN(rttMs) ? null : Math.round(rttMs * 1000) / 1000,
              })),
            },
      drain:
        wish === "drain"
          ? {
              forMs: Math.round(now - drainSinceMs),
              quietMs: Math.round(this.#announcer.quietMs(now, heardMs())),
              leftMs: Math.max(0, Math.round(drainEndMs - now)),
            }
          : null,
    };
  }

  #tick(): void {
    const now = this.#now();
    const verdict = this.#use.selfTest?.tick(now);
    if (verdict !== undefined) this.#tested(verdict.good, verdict.why);
    // Only then somebody needs to know who was heard last.
    if (this.#announcer.wish === "drain") this.#do((out) => this.#announcer.tick(now, this.#use.heardMs(), out));
  }

  #tested(good: boolean, why: string): void {
    this.#do((out) => this.#announcer.tested(good, why, out));
  }

  #do(step: (out: AnnouncerOutput[]) => void): void {
    const out: AnnouncerOutput[] = [];
    step(out);
    for (const output of out) {
      if (output.kind === "phase") {
        this.#use.tell("announce_wanted", `The service addresses are to be ${words[output.phase]}: ${output.why}`);
        this.#steering.set(output.phase);
      } else void this.#drained(output.quiet);
    }
  }

  /** Nothing is handed over while routers may still send here. */
  async #drained(quiet: boolean): Promise<void> {
    await this.#steering.reach("withdrawn", REACH_MS);
    if (this.#announcer.wish !== "drained") return;
    const why = quiet ? "no client sends here any more" : "its time is over, though clients still send here";
    this.#say("drained", `The drain is over: ${why}`);
    await this.#use.onSilence({ exit: this.#exit, quiet });
  }

  #say(event: string, message: string): void {
    if (this.#spec.kind !== "none" || event === "drained") this.#use.tell(event, message);
  }

  #now(): number {
    return this.#use.clock.monotonicMs();
  }
}

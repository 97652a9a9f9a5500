/**
 * One virtual clock for a whole group: events in the order of their time, and of their making where times are equal. The
 * timers of the code under test (setTimeout, setInterval, setImmediate, queueMicrotask) are events too. Their globals are replaced only
 * while an event runs, which is never across an await, so nothing else in the process meets them.
 */

/** Whose events these are: those of a machine that was killed never come. */
export interface Life {
  alive: boolean;
  /** It stands still until then: what is to happen in it happens at that moment, in the same order. */
  asleepUntilMs?: number;
}

interface Event {
  atMs: number;
  order: number;
  readonly life: Life;
  readonly work: () => void;
  cancelled: boolean;
}

type Globals = Pick<
  typeof globalThis,
  "setTimeout" | "clearTimeout" | "setInterval" | "clearInterval" | "queueMicrotask" | "setImmediate"
>;

/** More events than this at one time: they make each other for ever. */
const AT_ONCE_MAX = 20_000;
/** Promises of the code under test go on so often, in virtual milliseconds. */
const BREATH_MS = 20;

export class VirtualTime {
  readonly #clock: { nowMs: number };
  /** What belongs to no machine. */
  readonly world: Life = { alive: true };
  readonly #heap: Event[] = [];
  #order = 0;
  #atOnce = 0;
  #life: Life = this.world;
  #microtasks: (() => void)[] = [];

  /** Moves `clock`, which others read too. */
  constructor(clock: { nowMs: number }) {
    this.#clock = clock;
    clock.nowMs = 1000;
  }

  get nowMs(): number {
    return this.#clock.nowMs;
  }

  /** Runs `work` once, after `delayMs`, if `life` still lasts then. */
  later(delayMs: number, work: () => void, life: Life = this.world): Event {
    const event = {
      atMs: this.nowMs + Math.max(0, delayMs),
      order: this.#order++,
      life,
      work,
      cancelled: false,
    };
    this.#push(event);
    return event;
  }

  /** Runs `work` now as an event of `life`: its timers are virtual. Throws what it throws. */
  as(life: Life, work: () => void): void {
    const wakesMs = life.asleepUntilMs ?? 0;
    if (wakesMs > this.nowMs) {
      this.later(wakesMs - this.nowMs, work, life);
      return;
    }
    const before = this.#life;
    this.#life = life;
    const real = this.#replaceGlobals();
    try {
      work();
      let n = 0;
      for (let next = this.#microtasks.shift(); next !== undefined; next = this.#microtasks.shift()) {
        if (n++ > AT_ONCE_MAX) throw new Error("an event does not end");
        next();
      }
    } finally {
      Object.assign(globalThis, real);
      this.#life = before;
    }
  }

  /** Lets `ms` pass, with all that happens in it. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    for (let breathMs = this.nowMs; breathMs < endMs; ) {
      breathMs = Math.min(endMs, breathMs + BREATH_MS);
      for (let next = this.#heap[0]; next !== undefined && next.atMs <= breathMs; next = this.#heap[0]) {
        this.#pop();
        if (next.cancelled || !next.life.alive) continue;
        if ((next.life.asleepUntilMs ?? 0) > next.atMs) {
          next.atMs = next.life.asleepUntilMs!;
          next.order = this.#order++;
          this.#push(next);
          continue;
        }
        this.#atOnce = next.atMs > this.nowMs ? 0 : this.#atOnce + 1;
        if (this.#atOnce > AT_ONCE_MAX) throw new Error(`time stands still: ${next.work.toString().slice(0, 300)}`);
        this.#clock.nowMs = next.atMs;
        this.as(next.life, next.work);
      }
      this.#clock.nowMs = breathMs;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #replaceGlobals(): Globals {
    const { setTimeout, clearTimeout, setInterval, clearInterval, queueMicrotask, setImmediate } = globalThis;
    const clear = (event: Event | undefined) => {
      if (event !== undefined) event.cancelled = true;
    };
    const repeat = (work: () => void, everyMs: number) => {
      const life = this.#life;
      const interval = { cancelled: false };
      const again = () => {
        if (interval.cancelled) return;
        this.later(whole(everyMs), again, life);
        work();
      };
      this.later(whole(everyMs), again, life);
      return interval;
    };
    Object.assign(globalThis, {
      setTimeout: (work: () => void, delayMs = 0) => this.later(whole(delayMs), work, this.#life),
      clearTimeout: clear,
      setInterval: repeat,
      clearInterval: clear,
      setImmediate: (work: () => void) => this.later(0, work, this.#life),
      queueMicrotask: (work: () => void) => void this.#microtasks.push(work),
    });
    return { setTimeout, clearTimeout, setInterval, clearInterval, queueMicrotask, setImmediate };
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent])) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    const n = heap.length;
    if (n === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= n) break;
      if (child + 1 < n && isBefore(heap[child + 1], heap[child])) child++;
      if (!isBefore(heap[child], last)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
  }
}

/** What Node makes of a delay. */
const whole = (ms: number): number => (ms >= 1 ? Math.trunc(ms) : 1);

const isBefore = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

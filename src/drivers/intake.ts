/**
 * What came from the engine, or lies on its disk, and waits to be taken in. A snapshot of 100,000 sessions comes as fast as a
 * server can send it; taken in at once it would keep packets and beats of other nodes waiting for seconds. So it is taken in a slice at a
 * time, and between two slices the event loop looks at everything else.
 */

/** Work for one or two milliseconds, with what follows from it. */
const SLICE = 64;

export class Intake {
  #waiting: (() => void)[] = [];
  #next = 0;
  #running: NodeJS.Immediate | undefined;
  #closed = false;

  /** In the order of calls; not from inside this call. */
  push(take: () => void): void {
    if (this.#closed) return;
    this.#waiting.push(take);
    this.#running ??= setImmediate(() => this.#slice());
  }

  /** Nothing is taken in any more. */
  close(): void {
    this.#closed = true;
    clearImmediate(this.#running);
  }

  #slice(): void {
    const end = Math.min(this.#waiting.length, this.#next + SLICE);
    while (this.#next < end && !this.#closed) this.#waiting[this.#next++]();
    if (this.#closed) return;
    if (this.#next < this.#waiting.length) {
      this.#running = setImmediate(() => this.#slice());
      return;
    }
    this.#running = undefined;
    this.#waiting = [];
    this.#next = 0;
  }
}

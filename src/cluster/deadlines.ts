/**
 * What is due when, without walking: one queue per length of wait. All members of a queue wait equally long, so its
 * first is due first, whatever the number of members.
 */
export interface Due {
  dueMs: number;
  /** How long it waits; names its queue. Undefined while it waits for nothing. */
  waitMs: number | undefined;
}

export class Deadlines<T extends Due> {
  readonly #queues = new Map<number, Set<T>>();

  /** Waits anew; what it waited for before is forgotten. `waitMs`: one of a few constants. */
  set(nowMs: number, waitMs: number, member: T): void {
    this.clear(member);
    member.waitMs = waitMs;
    member.dueMs = nowMs + waitMs;
    const queue = this.#queues.get(waitMs) ?? new Set<T>();
    if (queue.size === 0) this.#queues.set(waitMs, queue);
    queue.add(member);
  }

  clear(member: T): void {
    if (member.waitMs === undefined) return;
    this.#queues.get(member.waitMs)?.delete(member);
    member.waitMs = undefined;
  }

  /** Takes one member whose time has come; undefined when there is none. */
  take(nowMs: number): T | undefined {
    for (const queue of this.#queues.values()) {
      const first = queue.values().next().value;
      if (first === undefined || first.dueMs > nowMs) continue;
      this.clear(first);
      return first;
    }
    return undefined;
  }

  /** Monotonic time of the first, or infinity. */
  next(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const queue of this.#queues.values()) {
      const first = queue.values().next().value;
      if (first !== undefined && first.dueMs < next) next = first.dueMs;
    }
    return next;
  }
}

/**
 * What a node has put on the bus and the engine has not acknowledged: the latest value of each key, bounded. Sans-IO.
 * A key is in flight at most once, so an earlier value never overtakes a later one.
 */

/** A put in flight. */
export interface Flight {
  readonly id: number;
  readonly key: string;
  /** undefined: deleted. */
  readonly value: Uint8Array | undefined;
  readonly sentMs: number;
}

export interface OutboxLimits {
  readonly keys: number;
  readonly bytes: number;
  /** Puts in flight. */
  readonly window: number;
}

/** A key with its place in the maps of a JavaScript engine, roughly; it keeps empty values from being free. */
const KEY_BYTES = 100;

export class Outbox {
  readonly #limits: OutboxLimits;
  readonly #waiting = new Map<string, Uint8Array | undefined>();
  /** Newer values of keys that are in flight. */
  readonly #behind = new Map<string, Uint8Array | undefined>();
  readonly #flights = new Map<number, Flight>();
  readonly #flying = new Set<string>();
  #bytes = 0;
  #nextId = 1;
  #refused = 0;

  constructor(limits: OutboxLimits) {
    this.#limits = limits;
  }

  /** Keys that wait or are in flight. */
  get size(): number {
    return this.#waiting.size + this.#flights.size;
  }
  get bytes(): number {
    return this.#bytes;
  }
  /** Puts that found no room. */
  get refused(): number {
    return this.#refused;
  }
  has(key: string): boolean {
    return this.#waiting.has(key) || this.#flying.has(key);
  }

  /** False when there is no room for one more key; counted. */
  put(key: string, value: Uint8Array | undefined): boolean {
    const home = this.#flying.has(key) ? this.#behind : this.#waiting;
    const known = home.has(key);
    const more = cost(value) - (known ? cost(home.get(key)) : 0);
    if (
      (!known && home === this.#waiting && this.size >= this.#limits.keys) ||
      this.#bytes + more > this.#limits.bytes
    ) {
      this.#refused += 1;
      return false;
    }
    this.#bytes += more;
    home.set(key, value);
    return true;
  }

  /** The next put to send, or undefined: nothing waits, or the window is full. */
  take(nowMs: number): Flight | undefined {
    if (this.#flights.size >= this.#limits.window) return undefined;
    for (const [key, value] of this.#waiting) {
      this.#waiting.delete(key);
      const flight = { id: this.#nextId++, key, value, sentMs: nowMs };
      this.#flights.set(flight.id, flight);
      this.#flying.add(key);
      return flight;
    }
    return undefined;
  }

  /** The engine has it. False when the flight is not known any more. */
  acknowledged(id: number): boolean {
    const flight = this.#land(id);
    if (flight === undefined) return false;
    this.#bytes -= cost(flight.value);
    this.#moveUp(flight.key);
    return true;
  }

  /** The engine does not have it: it waits again, unless there is a newer value. */
  failed(id: number): void {
    const flight = this.#land(id);
    if (flight === undefined) return;
    if (this.#behind.has(flight.key)) {
      this.#bytes -= cost(flight.value);
      this.#moveUp(flight.key);
    } else this.#waiting.set(flight.key, flight.value);
  }

  /** Ids of the flights that began before `beforeMs`, oldest first. */
  overdue(beforeMs: number): number[] {
    const ids: number[] = [];
    for (const flight of this.#flights.values()) {
      if (flight.sentMs >= beforeMs) break;
      ids.push(flight.id);
    }
    return ids;
  }

  /** The connection is gone: nobody knows what arrived. */
  failAll(): void {
    for (const id of [...this.#flights.keys()]) this.failed(id);
  }

  #land(id: number): Flight | undefined {
    const flight = this.#flights.get(id);
    if (flight === undefined) return undefined;
    this.#flights.delete(id);
    this.#flying.delete(flight.key);
    return flight;
  }

  #moveUp(key: string): void {
    if (!this.#behind.has(key)) return;
    this.#waiting.set(key, this.#behind.get(key));
    this.#behind.delete(key);
  }
}

const cost = (value: Uint8Array | undefined): number => KEY_BYTES + (value?.length ?? 0);

/** A map of bounded size: what was not asked for longest makes room. */
export class Recent<T> {
  readonly #max: number;
  /** In the order of use, the latest last. */
  readonly #entries = new Map<string, T>();

  /** `max`: at least one. */
  constructor(max: number) {
    this.#max = max;
  }

  get(key: string): T | undefined {
    return this.#entries.get(key);
  }

  /** Puts it in, or makes it the latest. */
  put(key: string, value: T): void {
    if (!this.#entries.delete(key) && this.#entries.size >= this.#max) {
      const [oldest] = this.#entries.keys();
      this.#entries.delete(oldest);
    }
    this.#entries.set(key, value);
  }
}

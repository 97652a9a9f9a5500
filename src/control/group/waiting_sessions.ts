/**
 * Sessions that this node knows and can't serve yet, because it has not heard of their clients. Only their indices: what
 * was agreed stands in the group's table, which bounds how many there are. Every step costs O(1).
 */
export class WaitingSessions {
  /** Public key of the client (base64) by session index, those that wait for longest first. */
  readonly #clients = new Map<number, string>();
  /** By client: mostly one, but a node that lies may tell of any number. */
  readonly #indices = new Map<string, Set<number>>();

  /** Index of the session that waits for longest. */
  get first(): number | undefined {
    return this.#clients.keys().next().value;
  }

  has(index: number): boolean {
    return this.#clients.has(index);
  }

  add(publicKey: string, index: number): void {
    this.delete(index);
    this.#clients.set(index, publicKey);
    const own = this.#indices.get(publicKey);
    if (own === undefined) this.#indices.set(publicKey, new Set([index]));
    else own.add(index);
  }

  delete(index: number): void {
    const publicKey = this.#clients.get(index);
    if (publicKey === undefined) return;
    this.#clients.delete(index);
    const left = this.#indices.get(publicKey)!;
    left.delete(index);
    if (left.size === 0) this.#indices.delete(publicKey);
  }

  /** All of one client, oldest first; none of them waits any more. */
  take(publicKey: string): readonly number[] {
    const own = [...(this.#indices.get(publicKey) ?? [])];
    this.#indices.delete(publicKey);
    for (const index of own) this.#clients.delete(index);
    return own;
  }
}

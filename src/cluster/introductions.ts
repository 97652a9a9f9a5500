/**
 * Tells clients about this node's sender key when the grant of their session could not list it. At most PER_SECOND sessions a
 * second, because after a restart of this node it concerns every session of the group.
 */
import { sameBytes } from "./bytes.ts";
import type { Core } from "./core.ts";
import { NONE, STRANGE } from "./session_table.ts";

const PER_SECOND = 500;
const STEP_MS = 100;

export class Introductions {
  readonly #core: Core;
  /** Session indices, the next one first. A session that is added again keeps its place. */
  readonly #queue = new Set<number>();
  #nextMs = 0;

  constructor(core: Core) {
    this.#core = core;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  /** A session of another node is new here, or was told of again: until its client has acknowledged this node. */
  installed(row: number): void {
    const { table } = this.#core;
    if ((table.flags[row] & STRANGE) !== 0) this.#queue.add(table.index[row]);
  }

  /** Its client knows the start `bootId` of this node. News of the one before may come late. */
  acknowledged(index: number, bootId: Uint8Array): void {
    const { table, config } = this.#core;
    if (!sameBytes(bootId, config.bootId)) return;
    this.#queue.delete(index);
    const row = table.find(index);
    if (row !== NONE) table.flags[row] &= ~STRANGE;
  }

  ended(index: number): void {
    this.#queue.delete(index);
  }

  tick(): void {
    const { now } = this.#core;
    if (this.#queue.size === 0 || now.ms < this.#nextMs) return;
    this.#nextMs = now.ms + STEP_MS;
    let left = (PER_SECOND * STEP_MS) / 1000;
    for (const index of this.#queue) {
      if (left-- === 0) return;
      this.#queue.delete(index);
      this.#core.emit({ kind: "announceSender", index, to: undefined, once: false });
    }
  }

  nextTimeout(): number {
    return this.#queue.size === 0 ? Number.POSITIVE_INFINITY : this.#nextMs;
  }
}

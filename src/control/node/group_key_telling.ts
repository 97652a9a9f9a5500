/**
 * Tells clients that the group has another static key: all that this node owns when it changes, and each one that still asks
 * under an earlier key. A client that was not reached is told after its next handshake, for which it uses the key that it knows.
 */
import { GROUP_KEYS } from "../../channel/kinds.ts";
import type { SessionChannels } from "../instance/session_channels.ts";

/** Some 400 bytes each; the tick comes 20 times a second. */
const CLIENTS_PER_TICK = 200;
/** Rows that are looked at in a tick. */
const ROWS_PER_TICK = 4000;

export interface GroupKeyTellingPorts {
  readonly channels: Pick<SessionChannels, "send">;
  /** The client sends to this node. */
  owns(row: number): boolean;
  /** Above every row that a session ever had. */
  rowsEnd(): number;
}

export class GroupKeyTelling {
  readonly #use: GroupKeyTellingPorts;
  readonly #first: number;
  /** Text of the operator's notice; undefined: the group has had one key only. */
  #notice: Uint8Array | undefined;
  readonly #due = new Set<number>();
  /** Next row to look at because of a change; Infinity: none. */
  #walk = Number.POSITIVE_INFINITY;

  /** Sessions are in rows from `first` on. */
  constructor(first: number, ports: GroupKeyTellingPorts) {
    this.#first = first;
    this.#use = ports;
  }

  changed(notice: string): void {
    this.#notice = new TextEncoder().encode(notice);
    this.#walk = this.#first;
  }

  /** The client of this row asked under an earlier key. */
  outdated(row: number): void {
    this.#due.add(row);
  }

  ended(row: number): void {
    this.#due.delete(row);
  }

  tick(): void {
    const end = Math.min(this.#walk + ROWS_PER_TICK, this.#use.rowsEnd());
    for (; this.#walk < end && this.#due.size < ROWS_PER_TICK; this.#walk++) this.#due.add(this.#walk);
    if (this.#walk >= this.#use.rowsEnd()) this.#walk = Number.POSITIVE_INFINITY;
    let told = 0;
    for (const row of this.#due) {
      if (told >= CLIENTS_PER_TICK) return;
      this.#due.delete(row);
      if (this.#notice === undefined || !this.#use.owns(row)) continue;
      this.#use.channels.send(row, GROUP_KEYS, [this.#notice], true);
      told++;
    }
  }
}

/**
 * Replay windows that several shards keep together, one per (tunnel, sender id): the kernel spreads datagrams over the
 * shards by address and port, so a copy that is sent from elsewhere meets another shard, which must know of the first.
 * Takes the place of `ReplayTable` where there is more than one shard; the rules towards the peer are the same.
 *
 * Every shard has a window of its own and all share one number, the highest (`floor.ts`). A packet with a higher number
 * is accepted by the shard that moves the shared number from the highest that its own window knows, with one
 * compare-and-swap. So:
 *  - a higher number is accepted once, by whoever moves the shared number to it;
 *  - the numbers that it jumped over belong to that shard alone: the others mark them as received when they notice;
 *  - so each number of a life belongs to one shard, and that shard's window accepts it once.
 * Price: when packets of one sender arrive in wrong order and at different shards, the late one is dropped. Numbers of a
 * shard that dies are lost, and nothing else is. When a window begins anew (`restart.ts`), shards that still think of
 * the old life refuse the packet at hand. The races are played through in test/crypto/shared_replay.test.ts.
 */
import type { FloorTable } from "./floor.ts";
import { DUPLICATE, FRESH, hasWindow, NONE, type ReplayOptions, ReplayTable } from "./replay.ts";
import { RESTART_ZONE } from "./restart.ts";

export class SharedReplayTable {
  readonly bits: number;
  readonly #own: ReplayTable;
  readonly #floor: FloorTable;
  readonly #cell: Int32Array;
  /** Life that the own window is about, as in the cell; 0 = none yet. */
  readonly #life: Int32Array;

  constructor(options: ReplayOptions, floor: FloorTable) {
    this.bits = options.bits;
    this.#own = new ReplayTable(options);
    this.#floor = floor;
    this.#cell = new Int32Array(options.slots);
    this.#life = new Int32Array(options.slots);
  }

  /** The window of a sender, or NONE. */
  find(tunnel: number, sender: number): number {
    return this.#own.find(tunnel, sender);
  }

  /** The window of a sender, made if it is new to this shard. NONE when a table is full. */
  create(tunnel: number, sender: number): number {
    if (!hasWindow(tunnel, sender)) return NONE;
    const known = this.#own.find(tunnel, sender);
    if (known !== NONE) return known;
    // In this order, because a cell is for ever: a peer with many sender ids must not take more than its windows.
    if (!this.#own.hasRoom(tunnel)) return NONE;
    const cell = this.#floor.find(tunnel, sender);
    if (cell === NONE) return NONE;
    const slot = this.#own.create(tunnel, sender);
    this.#cell[slot] = cell;
    this.#life[slot] = 0;
    return slot;
  }

  /** Place of a window in what the shards share, for `RestartTable`. The same in every shard. */
  cell(slot: number): number {
    return this.#cell[slot];
  }

  /** Number of the life that the window follows, 0 before the first packet. */
  life(slot: number): number {
    return this.#life[slot];
  }

  /** FRESH, OLD or DUPLICATE, by what all shards accepted so far. DUPLICATE also while a restart is under way. */
  check(slot: number, seq: number, window: number): number {
    if (window === 0) return FRESH;
    return this.#follow(slot, seq) ? this.#own.check(slot, seq, window) : DUPLICATE;
  }

  /**
   * After `check` of the same packet (and after its fingerprint was remembered, if it needs one): takes a FRESH number
   * for this shard. Only then may the packet be delivered. A packet during which the window began anew is a DUPLICATE:
   * its fingerprint was looked up in another life. With window 0 nothing is shared, only this shard's highest is kept.
   */
  commit(slot: number, seq: number, window: number): number {
    if (window === 0) return this.#own.commit(slot, seq, 0);
    const cell = this.#cell[slot];
    const life = this.#life[slot];
    if (life === 0) {
      if (!this.#floor.lock(cell, 0)) return DUPLICATE;
      this.reset(slot, seq);
      return FRESH;
    }
    for (;;) {
      if (!this.#follow(slot, seq) || this.#life[slot] !== life) return DUPLICATE;
      const result = this.#own.check(slot, seq, window);
      if (result !== FRESH) return result;
      if (this.#own.isNewest(slot, seq, window)) {
        // Another shard was faster: follow it and look again. Each round of this loop is progress of another shard.
        if (!this.#floor.raise(cell, this.#own.highest(slot), seq)) continue;
        // The number may have been the same in a life that began since: a packet of the zone could come in twice.
        if (seq >>> 0 < RESTART_ZONE && this.#floor.life(cell) !== life) return DUPLICATE;
      }
      return this.#own.commit(slot, seq, window);
    }
  }

  /** Highest number that this shard knows of, or NONE before the first. */
  highest(slot: number): number {
    return this.#own.highest(slot);
  }

  /**
   * First half of a restart: no shard accepts anything from this sender until `reset` or `unlock`, which must follow at
   * once. False: another shard restarts the window, or did since the last `check`; drop the packet.
   */
  lock(slot: number): boolean {
    return this.#life[slot] !== 0 && this.#floor.lock(this.#cell[slot], this.#life[slot]);
  }

  /** Gives up a restart: the window goes on. */
  unlock(slot: number): void {
    this.#floor.setLife(this.#cell[slot], this.#life[slot]);
  }

  /** Second half: the window begins anew at `seq`, which counts as received, in all shards. */
  reset(slot: number, seq: number): void {
    // 2^31 lives later 0 would mean "never heard".
    const life = (this.#life[slot] + 2) | 0 || 2;
    this.#floor.setTop(this.#cell[slot], seq);
    this.#floor.setLife(this.#cell[slot], life);
    this.#own.reset(slot, seq);
    this.#life[slot] = life;
  }

  /** Frees all windows of a tunnel in this shard. When all shards have, `FloorTable.forget` frees what they share. */
  removeTunnel(tunnel: number): void {
    this.#own.removeTunnel(tunnel);
  }

  /**
   * Takes over what other shards accepted. False: a restart is under way. When one begins between the two looks, the
   * number is of another life than the window: nothing is accepted by it twice, and the next call puts it right.
   */
  #follow(slot: number, seq: number): boolean {
    const cell = this.#cell[slot];
    // Exact where a fingerprint is looked up before and after; elsewhere the number alone decides, by `raise`.
    const life = seq >>> 0 < RESTART_ZONE ? this.#floor.life(cell) : this.#floor.lifeNearly(cell);
    if ((life & 1) !== 0) return false;
    if (life === 0) return true;
    const top = this.#floor.top(cell);
    if (life === this.#life[slot] && top === (this.#own.highest(slot) | 0)) return true;
    if (life === this.#life[slot]) this.#own.skip(slot, top);
    else this.#own.close(slot, top);
    this.#life[slot] = life;
    return true;
  }
}

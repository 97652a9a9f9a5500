/**
 * Where the peers are, as the shards of one daemon know it together: the shard that meets the newest packet publishes
 * the endpoint, the others take it over at the beginning of their next turn. One row a tunnel, in shared memory, with a
 * version that is odd while a row is written. Nobody ever waits: a publisher that finds another one at work gives up,
 * and the peer's next packet publishes again; a reader skips such a row, because its writer announces it afterwards.
 * One shard alone needs none of it.
 */
import type { TunnelTable } from "./tunnels.ts";

// Columns of a row. Eight integers, so that a row lies in one cache line.
const VERSION = 0;
const ADDR0 = 1;
const ADDR1 = 2;
const ADDR2 = 3;
const ADDR3 = 4;
const PORT = 5;
const SOCK = 6;
const ROW_INTS = 8;

/** Memory of one table, for all shards; transferable to a worker as it is. */
export interface EndpointMemory {
  readonly rows: SharedArrayBuffer;
  /** How many publications there were, one integer. */
  readonly news: SharedArrayBuffer;
}

export function createEndpointMemory(capacity: number): EndpointMemory {
  return { rows: new SharedArrayBuffer(4 * ROW_INTS * capacity), news: new SharedArrayBuffer(4) };
}

/** One shard's view of the table. */
export class EndpointTable {
  private readonly rows: Int32Array;
  private readonly news: Int32Array;
  private newsSeen = 0;
  /** Version of each row that the shard's own columns hold. */
  private readonly seen: Int32Array;

  constructor(memory: EndpointMemory) {
    this.rows = new Int32Array(memory.rows);
    this.news = new Int32Array(memory.news);
    this.seen = new Int32Array(this.rows.length / ROW_INTS);
  }

  /** Whether a shard, perhaps this one, published since the last call. One atomic load, so once a turn. */
  hasNews(): boolean {
    const news = Atomics.load(this.news, 0);
    if (news === this.newsSeen) return false;
    this.newsSeen = news;
    return true;
  }

  /** Publishes the endpoint of tunnel `t`. False: another shard is doing so at this moment, nothing was changed. */
  publish(t: number, a0: number, a1: number, a2: number, a3: number, port: number, sock: number): boolean {
    const { rows } = this;
    const at = t * ROW_INTS;
    const version = Atomics.load(rows, at + VERSION);
    if ((version & 1) !== 0 || Atomics.compareExchange(rows, at + VERSION, version, version + 1) !== version)
      return false;
    rows[at + ADDR0] = a0;
    rows[at + ADDR1] = a1;
    rows[at + ADDR2] = a2;
    rows[at + ADDR3] = a3;
    rows[at + PORT] = port;
    rows[at + SOCK] = sock;
    Atomics.store(rows, at + VERSION, version + 2);
    this.seen[t] = (version + 2) | 0;
    Atomics.add(this.news, 0, 1);
    return true;
  }

  /** Puts what another shard published about tunnel `t` into the columns of this one. False: nothing new. */
  takeOver(t: number, into: TunnelTable): boolean {
    const { rows } = this;
    const at = t * ROW_INTS;
    const version = Atomics.load(rows, at + VERSION);
    if (version === this.seen[t] || (version & 1) !== 0) return false;
    const a0 = rows[at + ADDR0];
    const a1 = rows[at + ADDR1];
    const a2 = rows[at + ADDR2];
    const a3 = rows[at + ADDR3];
    const port = rows[at + PORT];
    const sock = rows[at + SOCK];
    if (Atomics.load(rows, at + VERSION) !== version) return false;
    this.seen[t] = version;
    into.moveTo(t, a0, a1, a2, a3, port, sock);
    return true;
  }

  /** Forgets what was taken over, so that a tunnel that is added sees what is known of it. */
  begin(t: number): void {
    this.seen[t] = 0;
    this.newsSeen = (Atomics.load(this.news, 0) - 1) | 0;
  }
}

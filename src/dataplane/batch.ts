/**
 * A batch: rows of columns over one slab. Packets live in the slab, facts about packets live in the columns; stages
 * read some columns and write others. Both batches (input and output) are views of memory that the addon knows too.
 */
import * as L from "./layout.ts";

/** Columns of one batch. Each array has `capacity` entries; rows [0, n) are in use. */
export class Batch {
  n = 0;
  readonly capacity: number;
  /** All columns in one array, as bound to the addon. */
  readonly columns: Int32Array;
  readonly at: Int32Array;
  readonly len: Int32Array;
  readonly verdict: Int32Array;
  readonly tunnel: Int32Array;
  readonly key: Int32Array;
  readonly seq: Int32Array;
  readonly sender: Int32Array;
  readonly mux: Int32Array;
  readonly type: Int32Array;
  readonly src: Int32Array;
  readonly sock: Int32Array;
  readonly addr0: Int32Array;
  readonly addr1: Int32Array;
  readonly addr2: Int32Array;
  readonly addr3: Int32Array;
  readonly port: Int32Array;
  readonly tos: Int32Array;
  readonly flags: Int32Array;
  readonly seg: Int32Array;
  readonly hdr: Int32Array;
  readonly done: Int32Array;

  constructor(rows: number) {
    this.capacity = rows;
    this.columns = new Int32Array(rows * L.COLUMNS);
    const column = (c: number) => this.columns.subarray(c * rows, (c + 1) * rows);
    this.at = column(L.COL_AT);
    this.len = column(L.COL_LEN);
    this.verdict = column(L.COL_VERDICT);
    this.tunnel = column(L.COL_TUNNEL);
    this.key = column(L.COL_KEY);
    this.seq = column(L.COL_SEQ);
    this.sender = column(L.COL_SENDER);
    this.mux = column(L.COL_MUX);
    this.type = column(L.COL_TYPE);
    this.src = column(L.COL_SRC);
    this.sock = column(L.COL_SOCK);
    this.addr0 = column(L.COL_ADDR0);
    this.addr1 = column(L.COL_ADDR1);
    this.addr2 = column(L.COL_ADDR2);
    this.addr3 = column(L.COL_ADDR3);
    this.port = column(L.COL_PORT);
    this.tos = column(L.COL_TOS);
    this.flags = column(L.COL_FLAGS);
    this.seg = column(L.COL_SEG);
    this.hdr = column(L.COL_HDR);
    this.done = column(L.COL_DONE);
  }
}

/** The memory of one shard. */
export interface Memory {
  readonly slab: Uint8Array;
  readonly view: DataView;
  readonly input: Batch;
  readonly output: Batch;
}

export function createMemory(): Memory {
  const buffer = new ArrayBuffer(L.SLAB_BYTES);
  return {
    slab: new Uint8Array(buffer),
    view: new DataView(buffer),
    input: new Batch(L.IN_ROWS),
    output: new Batch(L.OUT_ROWS),
  };
}

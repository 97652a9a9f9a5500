/**
 * What was agreed about each session, by row, as bytes in one slab: 160 bytes where objects take 800, and nothing that a
 * garbage collection looks at. Records that are longer, of clients with several networks, are kept apart.
 */
import { decodeRecord, type LiveRecord, setUp } from "./record.ts";

/** Room for a record with two IPv4 and two IPv6 addresses. */
const SLOT = 160;

export class RecordSlab {
  #bytes: Uint8Array;
  /** Length of each row's record; 0: it is in `#long`, or there is none. */
  #lengths: Uint8Array;
  readonly #long = new Map<number, Uint8Array>();

  constructor(rows: number) {
    this.#bytes = new Uint8Array(SLOT * rows);
    this.#lengths = new Uint8Array(rows);
  }

  /** `encoded`: what `encodeRecord` makes of a live record; copied. */
  put(row: number, encoded: Uint8Array): void {
    const fits = encoded.length <= SLOT;
    this.#lengths[row] = fits ? encoded.length : 0;
    if (fits) this.#bytes.set(encoded, SLOT * row);
    else this.#long.set(row, encoded.slice());
  }

  /** The row must have a record, here and below. */
  get(row: number): LiveRecord {
    return decodeRecord(this.#view(row)) as LiveRecord;
  }

  copy(row: number): Uint8Array {
    return this.#view(row).slice();
  }

  /** The session was confirmed. */
  up(row: number): void {
    setUp(this.#view(row));
  }

  /** Secrets are wiped. */
  remove(row: number): void {
    this.#view(row).fill(0);
    this.#lengths[row] = 0;
    this.#long.delete(row);
  }

  grow(rows: number): void {
    const [bytes, lengths] = [this.#bytes, this.#lengths];
    this.#bytes = new Uint8Array(SLOT * rows);
    this.#lengths = new Uint8Array(rows);
    this.#bytes.set(bytes);
    this.#lengths.set(lengths);
    bytes.fill(0);
  }

  #view(row: number): Uint8Array {
    const at = SLOT * row;
    const length = this.#lengths[row];
    return length === 0 ? this.#long.get(row)! : this.#bytes.subarray(at, at + length);
  }
}

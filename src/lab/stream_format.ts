/** The datagrams of the lab's streams, between the processes that send and count them and the watch on the wire. */

export const STREAM_PORT = 7017;
/** TCP connections of the lab go to this port. */
export const TCP_PORT = 7018;
const MAGIC = 0x616e7963;
/** Magic, stream and sequence number as 32-bit words. */
export const STREAM_HEADER_LEN = 12;

export function writeStream(bytes: Buffer, id: number, seq: number): void {
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt32BE(id, 4);
  bytes.writeUInt32BE(seq, 8);
}

/** The stream of a datagram in [at, end), or -1. */
export function streamOf(bytes: Buffer, at: number, end: number): number {
  return end - at >= STREAM_HEADER_LEN && bytes.readUInt32BE(at) === MAGIC ? bytes.readUInt32BE(at + 4) : -1;
}

export const seqOf = (bytes: Buffer, at: number): number => bytes.readUInt32BE(at + 8);

/** Which numbers of a stream have come; grows with them. */
export class Seen {
  #bits = new Uint8Array(1 << 13);
  #count = 0;
  #duplicates = 0;

  /** True: for the first time. */
  add(seq: number): boolean {
    const cell = seq >>> 3;
    if (cell >= this.#bits.length) {
      const grown = new Uint8Array(Math.max(this.#bits.length * 2, cell + 1));
      grown.set(this.#bits);
      this.#bits = grown;
    }
    const bit = 1 << (seq & 7);
    if ((this.#bits[cell]! & bit) !== 0) {
      this.#duplicates++;
      return false;
    }
    this.#bits[cell]! |= bit;
    this.#count++;
    return true;
  }

  get count(): number {
    return this.#count;
  }

  get duplicates(): number {
    return this.#duplicates;
  }
}

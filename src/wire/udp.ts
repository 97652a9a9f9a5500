/**
 * UDP header, RFC 768. Offsets in bytes from the first byte of the header; every getter needs a `check` first. The
 * checksum is not verified.
 *
 *     0                   1                   2                   3
 *     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *    +-------------------------------+-------------------------------+
 *    |          Source Port          |       Destination Port        |
 *    +-------------------------------+-------------------------------+
 *    |            Length             |           Checksum            |
 *    +-------------------------------+-------------------------------+
 */
/** IP protocol number. */
export const PROTOCOL = 17;

export const SRC_PORT = 0;
export const DST_PORT = 2;
export const LENGTH = 4;
/** 0 = the sender computed none (IPv4 only). */
export const CHECKSUM = 6;
export const HEADER_LEN = 8;

/** HEADER_LEN, or -1 when [at, end) does not hold one whole, consistent datagram. Bytes may follow it. */
export function check(view: DataView, at: number, end: number): number {
  if (end - at < HEADER_LEN) return -1;
  const length = view.getUint16(at + LENGTH);
  return length < HEADER_LEN || length > end - at ? -1 : HEADER_LEN;
}

export function srcPort(view: DataView, at: number): number {
  return view.getUint16(at + SRC_PORT);
}

export function dstPort(view: DataView, at: number): number {
  return view.getUint16(at + DST_PORT);
}

/** Bytes of header and payload. */
export function length(view: DataView, at: number): number {
  return view.getUint16(at + LENGTH);
}

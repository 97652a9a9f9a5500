/**
 * Ethernet frame as a TAP device gives it: no preamble, no frame check sequence (IEEE 802.3 section 3.1), with up to
 * two VLAN tags (IEEE 802.1Q, 802.1ad). Offsets in bytes from the first byte of the frame; every getter needs a `check`
 * first. A MAC address is two numbers: its first 16 bits and its last 32.
 *
 *     0                   1                   2                   3
 *     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *    +---------------------------------------------------------------+
 *    |                        Destination, 6 bytes                   |
 *    +                               +-------------------------------+
 *    |                               |                               |
 *    +-------------------------------+                               +
 *    |                          Source, 6 bytes                      |
 *    +-------------------------------+-------------------------------+
 *    |   EtherType, or 8100 / 88A8   |  tag control, then EtherType  |
 *    +-------------------------------+-------------------------------+
 */
export const DST = 0;
export const SRC = 6;
export const TYPE = 12;
export const HEADER_LEN_MIN = 14;

const CUSTOMER_TAG = 0x8100;
const SERVICE_TAG = 0x88a8;
const TAG_LEN = 4;

/** Header length in bytes, 14, 18 or 22 with its VLAN tags, or -1 when [at, end) does not hold a whole header. */
export function check(view: DataView, at: number, end: number): number {
  let headerLen = HEADER_LEN_MIN;
  for (let tags = 0; ; tags++) {
    if (end - at < headerLen) return -1;
    const type = etherType(view, at, headerLen);
    if (tags === 2 || (type !== CUSTOMER_TAG && type !== SERVICE_TAG)) return headerLen;
    headerLen += TAG_LEN;
  }
}

/** EtherType of the payload, behind the VLAN tags; a length when below 0x600. `headerLen`: what `check` returned. */
export function etherType(view: DataView, at: number, headerLen: number): number {
  return view.getUint16(at + headerLen - 2);
}

/** First 16 bits of the destination. */
export function dstHi(view: DataView, at: number): number {
  return view.getUint16(at + DST);
}

/** Last 32 bits of the destination, as int32. */
export function dstLo(view: DataView, at: number): number {
  return view.getInt32(at + DST + 2);
}

/** First 16 bits of the source. */
export function srcHi(view: DataView, at: number): number {
  return view.getUint16(at + SRC);
}

/** Last 32 bits of the source, as int32. */
export function srcLo(view: DataView, at: number): number {
  return view.getInt32(at + SRC + 2);
}

/** True for multicast and broadcast; `hi16`: first 16 bits of an address. A source must never be one. */
export function isGroup(hi16: number): boolean {
  return (hi16 & 0x0100) !== 0;
}

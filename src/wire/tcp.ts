/**
 * TCP header, RFC 9293 section 3.1, and the one thing that a tunnel changes in it: the maximum segment size that a SYN
 * offers. Offsets in bytes from the first byte of the header; every getter needs a `check` first. The checksum is never
 * verified, only updated.
 *
 *     0                   1                   2                   3
 *     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *    +-------------------------------+-------------------------------+
 *    |          Source Port          |       Destination Port        |
 *    +-------------------------------+-------------------------------+
 *    |                        Sequence Number                        |
 *    +---------------------------------------------------------------+
 *    |                    Acknowledgment Number                      |
 *    +-------+-------+---------------+-------------------------------+
 *    |Offset |Reserv.|     Flags     |            Window             |
 *    +-------+-------+---------------+-------------------------------+
 *    |           Checksum            |         Urgent Pointer        |
 *    +-------------------------------+-------------------------------+
 *    |               Options, 0-40 bytes, then data                  |
 *    +---------------------------------------------------------------+
 */
import { update16 } from "../base/checksum.ts";

/** IP protocol number. */
export const PROTOCOL = 6;

export const SRC_PORT = 0;
export const DST_PORT = 2;
export const DATA_OFFSET = 12;
export const FLAGS = 13;
export const CHECKSUM = 16;
export const HEADER_LEN_MIN = 20;

export const FLAG_SYN = 0x02;

// Options (section 3.2).
const END_OF_LIST = 0;
const NO_OPERATION = 1;
const MSS = 2;
const MSS_LEN = 4;

/** Header length in bytes, options included, or -1 when [at, end) does not hold a whole header. */
export function check(view: DataView, at: number, end: number): number {
  if (end - at < HEADER_LEN_MIN) return -1;
  const headerLen = (view.getUint8(at + DATA_OFFSET) >> 4) << 2;
  return headerLen < HEADER_LEN_MIN || headerLen > end - at ? -1 : headerLen;
}

export function srcPort(view: DataView, at: number): number {
  return view.getUint16(at + SRC_PORT);
}

export function dstPort(view: DataView, at: number): number {
  return view.getUint16(at + DST_PORT);
}

/**
 * Offset of the first maximum segment size option at or after the option at `from`, or -1 when none follows or the
 * options are malformed before it. `headerEnd`: first byte after the options.
 */
export function findMss(view: DataView, from: number, headerEnd: number): number {
  let option = from;
  while (option < headerEnd) {
    const kind = view.getUint8(option);
    if (kind === END_OF_LIST) return -1;
    if (kind === NO_OPERATION) {
      option++;
      continue;
    }
    if (option + 2 > headerEnd) return -1;
    const length = view.getUint8(option + 1);
    if (length < 2 || option + length > headerEnd) return -1;
    if (kind === MSS && length === MSS_LEN) return option;
    option += length;
  }
  return -1;
}

/**
 * Lowers the MSS of a SYN or SYN-ACK at `tcpAt` to at most `mss` bytes and corrects the checksum. `end`: end of the IP
 * packet. Returns 1 when something changed, else 0: not a SYN, small enough, no such option, cut, or an `mss` below 1.
 * Never raises it, and never adds the option: without one the peer already assumes 536 or 1220 (section 3.7.1). The
 * caller makes sure that this is TCP and not a later fragment.
 */
export function clampMss(view: DataView, tcpAt: number, end: number, mss: number): number {
  const headerLen = check(view, tcpAt, end);
  if (headerLen < 0 || mss < 1 || (view.getUint8(tcpAt + FLAGS) & FLAG_SYN) === 0) return 0;
  const headerEnd = tcpAt + headerLen;
  let changed = 0;
  // A second one would be odd, but some stacks take the last: all are lowered.
  let option = findMss(view, tcpAt + HEADER_LEN_MIN, headerEnd);
  while (option >= 0) {
    const value = option + 2;
    const before = view.getUint16(value);
    if (before > mss) {
      view.setUint16(value, mss);
      // At an odd offset the value's halves lie in two checksum words, as if its bytes were swapped (RFC 1071 section 2).
      const odd = ((value - tcpAt) & 1) === 1;
      const checksum = view.getUint16(tcpAt + CHECKSUM);
      view.setUint16(
        tcpAt + CHECKSUM,
        odd ? update16(checksum, swap(before), swap(mss)) : update16(checksum, before, mss),
      );
      changed = 1;
    }
    option = findMss(view, option + MSS_LEN, headerEnd);
  }
  return changed;
}

function swap(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8);
}

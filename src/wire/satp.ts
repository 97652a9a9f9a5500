/**
 * SATP datagram, the classic anytun tunnel (draft-gsenger-secure-anycast-tunneling-protocol, docs/PROTOCOL.md "Classic
 * tunnel"). Offsets in bytes from the first byte of the UDP payload. Knows no keys: the payload type stands in the
 * encrypted part and has meaning only after open.
 *
 *     0                   1                   2                   3
 *     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+  -
 *    |                        sequence number                        |  a
 *    +-------------------------------+-------------------------------+  u
 *    |           sender id           |              mux              |  t
 *    +===============================+===============================+  h   -
 *    |         payload type          |                               |  e   e
 *    +-------------------------------+  inner packet, any length     |  n   n
 *    |                              ...                              |  t   c
 *    +===============================================================+  -   -
 *    |                  auth tag, 0-20 bytes                         |
 *    +---------------------------------------------------------------+
 */
export const SEQ = 0;
export const SENDER_ID = 4;
export const MUX = 6;
export const PAYLOAD_TYPE = 8;
export const HEADER_LEN = 8;
/** Bytes of the payload type; an empty packet has neither a type nor an inner packet. */
export const TYPE_LEN = 2;

// Payload types are EtherTypes.
export const TYPE_IPV4 = 0x0800;
export const TYPE_IPV6 = 0x86dd;
export const TYPE_ETHERNET = 0x6558;
/** Control messages inside a session (docs/PROTOCOL.md): IEEE 802 local experimental EtherType 1. */
export const TYPE_CONTROL = 0x88b5;
/** Types up to this one are reserved: they would be lengths in an Ethernet header (IEEE 802.3). */
export const RESERVED_MAX = 0x05dc;

/** HEADER_LEN, or -1 when [at, end) is too short for a header. */
export function check(_view: DataView, at: number, end: number): number {
  return end - at < HEADER_LEN ? -1 : HEADER_LEN;
}

/** 0 to 2^32 - 1. */
export function seq(view: DataView, at: number): number {
  return view.getUint32(at + SEQ);
}

export function senderId(view: DataView, at: number): number {
  return view.getUint16(at + SENDER_ID);
}

export function mux(view: DataView, at: number): number {
  return view.getUint16(at + MUX);
}

/** Of an opened datagram with at least HEADER_LEN + TYPE_LEN bytes before its tag. */
export function payloadType(view: DataView, at: number): number {
  return view.getUint16(at + PAYLOAD_TYPE);
}

/** Writes the 8 bytes of the header; numbers wrap at their width. */
export function writeHeader(view: DataView, at: number, seq: number, senderId: number, mux: number): void {
  view.setUint32(at + SEQ, seq);
  view.setUint16(at + SENDER_ID, senderId);
  view.setUint16(at + MUX, mux);
}

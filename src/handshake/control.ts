/**
 * Control datagrams: what travels beside sessions, under mux 0xFFFF. Offsets, sizes, and a `check` that licenses the
 * offsets of a type. Contents of sealed parts are in `offer.ts` and `grant.ts`. docs/PROTOCOL.md, "Control messages".
 */
export const TRANSACTION = 0;
export const ZERO = 4;
export const MUX = 6;
export const TYPE = 8;
export const VERSION = 9;
export const PART = 10;
export const BODY = 12;

export const CONTROL_MUX = 0xffff;
export const PROTOCOL_VERSION = 2;

export const INIT = 1;
export const RESPONSE = 2;
export const COOKIE = 3;
export const RESUME = 4;
export const RESUMED = 5;
export const UNKNOWN_SESSION = 6;
export const SENDER = 7;

/** INIT, RESPONSE, RESUME and RESUMED: the client's 15-bit receiver index, then two zero bytes. */
export const RECEIVER = 12;
/** INIT and RESPONSE: the Noise message. */
export const NOISE = 16;
/** A client's first datagram always has this length, so no answer can be larger. Fits IPv6's least MTU, 1280. */
export const REQUEST_LEN = 1200;
export const MAC_LEN = 16;
/** Requests end with two macs: mac1 in INIT and the MAC under the ticket in RESUME, then mac2 in both. */
export const MAC1 = REQUEST_LEN - 2 * MAC_LEN;
export const MAC2 = REQUEST_LEN - MAC_LEN;

export const COOKIE_CAUSE = 12;
export const COOKIE_VALUE = 28;
export const COOKIE_LEN = 16;
const COOKIE_MESSAGE_LEN = 44;

/** RESUME and RESUMED: a fresh X25519 public key of 32 bytes. */
export const EPHEMERAL = 16;
export const RESUME_TIMESTAMP = 48;
export const RESUME_TICKET_LEN = 56;
export const RESUME_TICKET = 58;
export const TICKET_MAX = 400;
export const RESUMED_SEALED = 48;

/** UNKNOWN_SESSION echoes its cause: seq as transaction, senderId and mux, then bytes 8-15. No larger than any cause. */
export const ECHO_INDEX = 12;
export const ECHO_HEAD = 16;
const UNKNOWN_SESSION_LEN = 24;

export const SENDER_INDEX = 12;
export const SENDER_ID = 16;
export const SENDER_RECEIVER = 18;
export const SENDER_BOOT = 20;
export const SENDER_MAC = 28;
export const SENDER_LEN = 44;

export const RECEIVER_MAX = 0x7ffe;
export const INDEX_MAX = 0x7fffffff;
/** Session indices whose low 15 bits are all set would make mux 0xFFFF. */
export const INDEX_LOW = 0x7fff;

/** Session index in the header of a packet to the group; -1 when the mux is not that of a session. */
export function indexOf(senderId: number, mux: number): number {
  return mux < 0x8000 || mux === CONTROL_MUX ? -1 : senderId * 2 ** 15 + (mux & 0x7fff);
}

/** Greatest timestamp: year 10889. Keeps numbers exact and one client's nonsense bounded. */
export const TIMESTAMP_MAX = 2 ** 48 - 1;

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Shortest and longest datagram of each type. */
const LENGTHS: readonly (readonly [number, number])[] = [
  [1, 0],
  [REQUEST_LEN, REQUEST_LEN],
  [NOISE + 48 + 1, REQUEST_LEN],
  [COOKIE_MESSAGE_LEN, COOKIE_MESSAGE_LEN],
  [REQUEST_LEN, REQUEST_LEN],
  [RESUMED_SEALED + MAC_LEN + 1, REQUEST_LEN],
  [UNKNOWN_SESSION_LEN, UNKNOWN_SESSION_LEN],
  [SENDER_LEN, SENDER_LEN],
];

/** The type of a control datagram whose header and length are right, or 0. */
export function check(datagram: Uint8Array): number {
  if (datagram.length < BODY) return 0;
  const view = viewOf(datagram);
  const type = datagram[TYPE];
  if (view.getUint32(ZERO) !== CONTROL_MUX || datagram[VERSION] !== PROTOCOL_VERSION) return 0;
  if (view.getUint16(PART) !== 0 || type >= LENGTHS.length) return 0;
  const [shortest, longest] = LENGTHS[type];
  if (datagram.length < shortest || datagram.length > longest) return 0;
  if (type !== INIT && type !== RESPONSE && type !== RESUME && type !== RESUMED) return type;
  return view.getUint16(RECEIVER) <= RECEIVER_MAX && view.getUint16(RECEIVER + 2) === 0 ? type : 0;
}

/** A zeroed datagram with its header. */
export function begin(type: number, length: number, transaction: number): Uint8Array {
  const datagram = new Uint8Array(length);
  const view = viewOf(datagram);
  view.setUint32(TRANSACTION, transaction);
  view.setUint16(MUX, CONTROL_MUX);
  datagram[TYPE] = type;
  datagram[VERSION] = PROTOCOL_VERSION;
  return datagram;
}

/** 64-bit numbers of the protocol that stay below 2^48; -1 for one that does not. */
export function readTime(view: DataView, at: number): number {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
  return value <= TIMESTAMP_MAX ? value : -1;
}

export function writeTime(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value >>> 0);
}

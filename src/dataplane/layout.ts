/**
 * Where everything lies: the slab that holds packets and the columns that hold facts about them.
 *
 * This file is the only place where numbers are shared with the C addon. `scripts/layout.mjs` turns the exported
 * constants into `native/layout.h`; the addon carries their hash and the loader refuses an addon with another one.
 * Only integer constants may be exported as CAPITALS here: each becomes a #define of the same name.
 */

/** Bytes of one packet slot: outer datagram of an inner MTU up to 1900 with any overhead. */
export const SLOT_BYTES = 2048;
/** Rows of the input batch: packets taken from a socket or the device in one turn. Slot i is at i * SLOT_BYTES. */
export const IN_ROWS = 256;
/** Rows of the output batch: sealed datagrams of one turn. More than IN_ROWS because one packet may go to several clients. */
export const OUT_ROWS = 1024;
/** First byte of the output slots in the slab. */
export const OUT_BASE = IN_ROWS * SLOT_BYTES;
/** Slots of the punt ring: packets kept for the slow path until the end of the turn. */
export const PUNT_ROWS = 64;
export const PUNT_BASE = (IN_ROWS + OUT_ROWS) * SLOT_BYTES;
export const SLAB_BYTES = (IN_ROWS + OUT_ROWS + PUNT_ROWS) * SLOT_BYTES;

/** Crypto contexts that the addon holds. One per tunnel, both directions. */
export const KEY_SLOTS = 16384;
/** UDP sockets of one shard. */
export const SOCKETS_MAX = 16;

// Columns. Each is `rows` 32-bit integers; column c begins at c * rows. Both batches have all of them.
/** Byte offset in the slab: of the datagram on receipt, of the inner packet after open; of the sealed datagram on output. */
export const COL_AT = 0;
/** Length in bytes of what AT points at (output before seal: of the inner packet at SRC). */
export const COL_LEN = 1;
/** What became of the packet: a number of `verdict.ts`. 0 = still live. */
export const COL_VERDICT = 2;
/** Index of the tunnel, -1 = the device. */
export const COL_TUNNEL = 3;
/** Slot of the crypto context in the addon. */
export const COL_KEY = 4;
export const COL_SEQ = 5;
export const COL_SENDER = 6;
export const COL_MUX = 7;
/** Payload type (EtherType), or -1: an empty, authenticated packet. */
export const COL_TYPE = 8;
/** Output: byte offset of the inner packet that is sealed into AT. Never overlaps AT. */
export const COL_SRC = 9;
/** Socket that received the datagram, or is to send it: index in the low byte; above it, for a socket on a wildcard
 *  address, a number for the local address that the peer used. Stages copy it whole. */
export const COL_SOCK = 10;
/** Remote address as four 32-bit words, most significant first; IPv4 as ::ffff:a.b.c.d. */
export const COL_ADDR0 = 11;
export const COL_ADDR1 = 12;
export const COL_ADDR2 = 13;
export const COL_ADDR3 = 14;
export const COL_PORT = 15;
/** Outer TOS or traffic class byte. */
export const COL_TOS = 16;
/** Bits of COL_SOCK that are the socket's index. */
export const SOCK_INDEX_MASK = 0xff;
/** FLAG_* bits. */
export const COL_FLAGS = 17;
export const COLUMNS = 18;

/** Output: send with the outer IPv4 DF bit (IPv6: never fragment locally). */
export const FLAG_DF = 1;

/** `poll` result bits: the wake eventfd, the device, then one bit per socket index. */
export const READY_WAKE = 1;
export const READY_DEVICE = 2;
export const READY_SOCKET0 = 4;

// Transform numbers of a SATP context. Key lengths are in bytes; 0 = null.
export const ROLE_LEFT = 0;
export const ROLE_RIGHT = 1;
/** Tag length that says "no authentication at all" (auth null); 0 is sha1 with an empty tag. */
export const AUTH_NULL = -1;
/** Shortest other tag length that `diagnose` believes: a shorter one fits a stranger's datagram now and then. */
export const DIAGNOSE_TAG_MIN = 4;

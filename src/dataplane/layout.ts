/**
 * Where everything lies: the slab that holds packets and the columns that hold facts about them.
 *
 * This file is the only place where numbers are shared with the C addon. `scripts/layout.mjs` turns the exported
 * constants into `native/layout.h`; the addon carries their hash and the loader refuses an addon with another one.
 * Only integer constants may be exported as CAPITALS here: each becomes a #define of the same name.
 */

/** Bytes of one slot of the punt ring, and of a packet in the tests: any inner MTU up to 1900 with any overhead. */
export const SLOT_BYTES = 2048;
/** Longest datagram: payload of UDP over IPv4 (RFC 768, RFC 791 section 3.1), and the most that one send carries. */
export const DATAGRAM_MAX = 65507;
/** Datagrams of one send or receive that share one segment size: UDP_MAX_SEGMENTS of the oldest kernels that have it. */
export const SEGMENTS_MAX = 64;
/** Segments of one super-packet from the device: 64 KiB of the least TCP payload, 8 bytes (MSS 48, 40 of options). */
export const SUPER_SEGMENTS_MAX = 8192;
/** Longest header of a super-packet: IPv4 or IPv6 without extension, TCP, all options of both. */
export const SUPER_HEADER_MAX = 120;

/** Rows of the input batch: packets taken from a socket or the device in one turn. */
export const IN_ROWS = 1024;
/** Rows of the output batch. A super-packet is one row. When they are used up, the turn sends and goes on. */
export const OUT_ROWS = 1024;

/** Buffers that one socket receive fills. Each takes any datagram, or a train of them (UDP_GRO). */
export const RECV_BUFFERS = 16;
export const RECV_BYTES = 65536;
/** Rows that one turn takes from a socket. More are faster by themselves, but overflow the receivers behind the device. */
export const RECEIVE_ROWS = 256;
/** The input area: first what sockets receive, then what the device gives, packed one after the other. */
export const READ_BASE = RECV_BUFFERS * RECV_BYTES;
/** Room that a device read needs: an IP packet of 65535 bytes, its virtio header, alignment. */
export const READ_ROOM = 65536 + 64;
/** End of the input area, and answers of the slow path (ICMP), written in slots of SLOT_BYTES. */
export const ANSWER_BASE = READ_BASE + 16 * READ_ROOM;
/** First byte of the output area: sealed datagrams, packed one after the other. */
export const OUT_BASE = ANSWER_BASE + 64 * SLOT_BYTES;
export const OUT_BYTES = 1024 * SLOT_BYTES;
/** Slots of the punt ring: packets kept for the slow path until the end of the turn. */
export const PUNT_ROWS = 64;
export const PUNT_BASE = OUT_BASE + OUT_BYTES;
/** What the control plane is to see (control_ring.ts), until the shard takes it out after the turn. */
export const HANDED_BASE = PUNT_BASE + PUNT_ROWS * SLOT_BYTES;
export const HANDED_BYTES = 1280 * 1024;
export const SLAB_BYTES = HANDED_BASE + HANDED_BYTES;

/** Crypto contexts that the addon holds. One per tunnel, both directions. */
export const KEY_SLOTS = 147456;
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
/** Super-packet: payload bytes of each segment, the last may have less. 0 (or less): a plain packet. After seal: bytes of
 *  each datagram of the row, which lie one after the other at AT and have LEN bytes together. */
export const COL_SEG = 18;
/** Super-packet: bytes of its IP and TCP or UDP headers, which every segment repeats. */
export const COL_HDR = 19;
/** Output: datagrams that left although the row ended in another verdict than SENT. */
export const COL_DONE = 20;
export const COLUMNS = 21;

// Offloads of the kernel, as `features` reports them and `without` switches them off.
/** The device hands over and takes TCP super-packets (IFF_VNET_HDR, TSO4, TSO6). */
export const FEATURE_TSO = 1;
/** The same for UDP (USO4, USO6: Linux 6.2). */
export const FEATURE_USO = 2;
/** One send for many datagrams (UDP_SEGMENT: Linux 4.18). */
export const FEATURE_GSO = 4;
/** One receive for many datagrams (UDP_GRO: Linux 5.0). */
export const FEATURE_GRO = 8;

/** Output: send with the outer IPv4 DF bit (IPv6: never fragment locally). */
export const FLAG_DF = 1;

// How a shard opens its sockets and its device: as the only shard, as the first of several, or as a later one.
export const SHARE_ALONE = 0;
export const SHARE_FIRST = 1;
export const SHARE_JOIN = 2;

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

// Algorithm numbers of an AEAD context.
export const ALG_AES_128_GCM = 0;
export const ALG_AES_256_GCM = 1;
export const ALG_CHACHA20_POLY1305 = 2;

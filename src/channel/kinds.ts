/**
 * Every kind of control message inside a session, with its number. A control message is the payload of a session packet
 * with payload type TYPE_CONTROL (wire/satp.ts); its first byte is the kind. docs/PROTOCOL.md, "Control inside a session",
 * has the same table, and the ranges that are kept for later kinds.
 *
 * Kinds below NUMBERED_MIN are unnumbered: they may be lost and nobody repeats them. Kinds from NUMBERED_MIN on are messages of the
 * channel (channel.ts): they arrive once and in order, and never stand in a packet by themselves but in pages.
 */
export const PING = 1;
export const PONG = 2;
export const CLOSE = 3;
export const SENDER_ACK = 4;
export const PATH_PROBE = 5;
export const PATH_ACK = 6;
/** A piece of a numbered message, and what has come of them (page.ts). */
export const PAGE = 7;
export const PAGE_ACK = 8;
/** From a client: it lacks the settings that its grant named. */
export const SETTINGS_WANTED = 9;

export const NUMBERED_MIN = 64;
/** To a client: all that it is given for the inside of the tunnel (handshake/settings.ts). */
export const SETTINGS = 64;
/** From a client: what it made of SETTINGS. */
export const SETTINGS_APPLIED = 65;
/** To a client: the keys of the group, signed by the operator (crypto/group_key_notice.ts). */
export const GROUP_KEYS = 72;

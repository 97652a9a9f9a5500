/**
 * Every end that a packet can have, with its name and help text. Metrics, `anyhop status` and the docs come from this
 * table; a stage that drops a packet without one does not exist.
 */

export interface Verdict {
  /** Counter name, stable: part of the API. */
  readonly name: string;
  /** `drop`: the packet is gone. `done`: it reached its end. */
  readonly kind: "done" | "drop";
  readonly help: string;
}

// Numbers are shared with the addon through native/layout.h. They are not stable between versions; names are.
export const LIVE = 0;
export const TO_DEVICE = 1;
export const FORWARDED = 2;
export const SENT = 3;
export const CONTROL = 4;
export const EMPTY = 5;
export const DATAGRAM_SHORT = 6;
export const DATAGRAM_OVERSIZE = 7;
export const MUX_UNKNOWN = 8;
export const SESSION_UNKNOWN = 9;
export const SENDER_UNKNOWN = 10;
export const AUTH_FAILED = 11;
export const AUTH_EQUAL_ROLES = 12;
export const AUTH_TAG_LENGTH = 13;
export const REPLAY_OLD = 14;
export const REPLAY_DUPLICATE = 15;
export const SENDERS_FULL = 16;
export const TYPE_RESERVED = 17;
export const TYPE_UNSUPPORTED = 18;
export const INNER_MALFORMED = 19;
export const INNER_SOURCE = 20;
export const INNER_ECN = 21;
export const NO_ROUTE = 22;
export const ROUTE_BACK = 23;
export const NO_ENDPOINT = 24;
export const TOO_BIG = 25;
export const FANOUT_LIMIT = 26;
export const FLOOD_LIMIT = 27;
export const SEQ_EXHAUSTED = 28;
export const SEQ_UNRESERVED = 29;
export const SEND_FAILED = 30;
export const SEND_UNREACHABLE = 31;
export const SEND_TOO_BIG = 32;
export const DEVICE_REFUSED = 33;
export const DEVICE_BUSY = 34;
export const MAC_TABLE_FULL = 35;
export const PUNT_FULL = 36;
export const TUNNEL_GONE = 37;
export const HELD = 38;
export const HOLD_FULL = 39;
export const NO_RECEIVER = 40;
export const SESSION_SEQ_LIMIT = 41;
export const CONTROL_LIMIT = 42;
export const STRANGER = 43;
export const CONTROL_UNEXPECTED = 44;
export const FOREIGN = 45;
export const VERDICTS = 46;

const done = (name: string, help: string): Verdict => ({ name, kind: "done", help });
const drop = (name: string, help: string): Verdict => ({ name, kind: "drop", help });

/** Indexed by verdict number. */
export const verdicts: readonly Verdict[] = [
  done("live", "Still in the pipeline; never counted."),
  done("to_device", "Written to the TUN or TAP device."),
  done("forwarded", "Routed into one or more tunnels; the datagrams count as sent."),
  done("sent", "Sealed and handed to the socket."),
  done("control", "Control message of a session or a handshake; handed to the control plane."),
  done("empty", "Authentic packet without payload: keepalive or roaming probe."),
  drop("datagram_short", "Shorter than a SATP header and the tag of its tunnel."),
  drop("datagram_oversize", "Longer than a receive slot; cut by the kernel, so it cannot be authentic."),
  drop("mux_unknown", "No tunnel has this mux. Does the peer use another mux (-m), or is it a stranger?"),
  drop(
    "session_unknown",
    "No session has this index: it ended, or this node has forgotten it. The client is told to resume.",
  ),
  drop("sender_unknown", "A sender of the group that has not introduced itself to this client."),
  drop(
    "auth_failed",
    "Wrong authentication tag: the peer has another key, salt, key derivation or auth algorithm, or it is forged.",
  ),
  drop(
    "auth_equal_roles",
    "Sealed with our own role: one end must be left (alice, server), the other right (bob, client).",
  ),
  drop("auth_tag_length", "Authentic with another tag length: set the same tag length (-b) at both ends."),
  drop("replay_old", "Older than the replay window, and not a sign of a restarted peer."),
  drop("replay_duplicate", "This sequence number of this sender was accepted before."),
  drop("senders_full", "More sender ids than the replay table holds for one tunnel."),
  drop(
    "type_reserved",
    "Authentic, but the payload type is reserved (0000-05DC), which nobody sends: probably another cipher at the peer.",
  ),
  drop(
    "type_unsupported",
    "Authentic, but the payload type does not fit this device: another cipher, or tun against tap.",
  ),
  drop("inner_malformed", "The inner packet is cut short, or its header contradicts itself."),
  drop("inner_source", "The inner source address does not belong to the tunnel that it came from."),
  drop("inner_ecn", "Outer congestion mark on an inner packet that does not support ECN (RFC 6040 section 4.2)."),
  drop("no_route", "No tunnel has the inner destination."),
  drop("route_back", "The route leads back into the tunnel that the packet came from."),
  drop(
    "no_endpoint",
    "The peer's address is not known yet: nothing authentic was received and no remote is configured.",
  ),
  drop("too_big", "Does not fit the path; the sender was told (ICMP fragmentation needed, ICMPv6 packet too big)."),
  drop("fanout_limit", "Multicast or broadcast copy beyond the limit of receivers for one packet."),
  drop(
    "flood_limit",
    "Copies of multicast, broadcast or unknown-MAC packets beyond the rate that one tunnel may cause.",
  ),
  drop(
    "seq_exhausted",
    "All 2^32 sequence numbers of this key and sender id are used: change the key or the sender id.",
  ),
  drop("seq_unreserved", "Sequence numbers are not on disk yet: is the state directory writable and fast?"),
  drop("send_failed", "The kernel refused the datagram (no buffer, firewall, or no such address)."),
  drop("send_unreachable", "The kernel has no route to the peer, or the network is down."),
  drop("send_too_big", "Larger than the path MTU that the kernel knows."),
  drop("device_refused", "The TUN or TAP device refused the packet."),
  drop("device_busy", "The queue of the TUN or TAP device is full, or the device is down."),
  drop(
    "mac_table_full",
    "The MAC table or the tunnel's share of it is full; the frame went on, its source was not learnt.",
  ),
  drop("punt_full", "Needed slow-path work while its queue was full."),
  drop("tunnel_gone", "The tunnel was removed while the packet was under way."),
  done("held", "Of a session that another node of the group owns or knows; handed to the control plane, unopened."),
  drop("hold_full", "To be held until this node has the session's state, but more came than may wait."),
  done("no_receiver", "Multicast, broadcast or unknown MAC while nobody is connected: there was nobody to get it."),
  drop(
    "session_seq_limit",
    "The session has used all 2^31 sequence numbers of its key, and no new key was agreed: does the group still answer?",
  ),
  drop("control_limit", "Control messages of one session beyond what one may send; other sessions lose nothing by it."),
  drop(
    "stranger",
    "No session has this index, and no node of the group can have made it: not from a client. Many: somebody floods this node.",
  ),
  drop(
    "control_unexpected",
    "A control datagram that a node does not take, or that answers no request of this client: not from the other end.",
  ),
  done(
    "foreign",
    "Of a session that another node of the group owns, to be authenticated before it is held; never counted.",
  ),
];

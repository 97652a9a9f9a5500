/**
 * The datagrams of the link before there is a key: HELLO and HELLO_ACK, which carry a challenge, its answer and an ephemeral
 * X25519 key, and ROSTER, which tells a node what the operator signed. Each ends with a MAC under the fleet key, the
 * cheap filter against strangers; greetings are signed by the node, too. docs/PROTOCOL.md, "Node link".
 */
import { hmac } from "../crypto/blake2s.ts";
import { isSignedBy, SIGNATURE_LEN, type SigningKey } from "../crypto/ed25519.ts";
import { expand } from "../crypto/kdf.ts";
import { Reader, Writer } from "./bytes.ts";
import { BOOT_ID_LEN } from "./envelope.ts";
import { ROSTER_LEN_MAX } from "./roster.ts";

export const VERSION = 2;
export const HELLO = 1;
export const HELLO_ACK = 2;
export const SEALED = 3;
export const ROSTER = 4;
/** Type, version, from, to. */
export const HEADER_LEN = 6;
export const GROUP_ID_LEN = 8;
export const NONCE_BYTES = 16;
export const NO_NONCE = new Uint8Array(NONCE_BYTES);
const EPHEMERAL_LEN = 32;
const MAC_LEN = 16;
const TAIL_LEN = SIGNATURE_LEN + MAC_LEN;
const COMMON_LEN = GROUP_ID_LEN + 4 + 4 + BOOT_ID_LEN + NONCE_BYTES + EPHEMERAL_LEN;
export const HELLO_LEN = HEADER_LEN + COMMON_LEN + TAIL_LEN;
export const HELLO_ACK_LEN = HEADER_LEN + COMMON_LEN + 1 + BOOT_ID_LEN + NONCE_BYTES + TAIL_LEN;
/** Of a roster in one datagram. */
const PIECE_LEN = 1300;
const PIECE_HEAD = HEADER_LEN + GROUP_ID_LEN + 4 + 4 + 1 + 1;
const PIECES_MAX = Math.ceil(ROSTER_LEN_MAX / PIECE_LEN);

const SIGNED = new TextEncoder().encode("anyhop 2 link greeting");
const NO_SIGNATURE = new Uint8Array(SIGNATURE_LEN);

/** Of HELLO_ACK; the first is that all is well. */
export const statuses = ["", "other_group", "duplicate_node", "not_member"] as const;
export type GreetingStatus = (typeof statuses)[number];

export interface Greeting {
  readonly groupId: Uint8Array;
  /** Of the key that its MAC is made with. */
  readonly fleetId: number;
  /** Version of the sender's roster; 0 = it has none. */
  readonly roster: number;
  readonly bootId: Uint8Array;
  /** The sender's own challenge; zero = none. */
  readonly nonce: Uint8Array;
  /** X25519 public key. */
  readonly ephemeral: Uint8Array;
}

export interface Acknowledgement extends Greeting {
  /** Undefined: a number that is none. */
  readonly status: GreetingStatus | undefined;
  /** What it answers. */
  readonly echoedBoot: Uint8Array;
  readonly echo: Uint8Array;
}

/** Key of the MAC of everything that `from` says to `to` before there is a key of the two. */
export const greetingKey = (fleetKey: Uint8Array, from: number, to: number): Uint8Array =>
  expand(fleetKey, "link hello", new Writer(4).u16(from).u16(to).done());

function writeCommon(writer: Writer, { groupId, fleetId, roster, bootId, nonce, ephemeral }: Greeting): Writer {
  return writer.raw(groupId).u32(fleetId).u32(roster).raw(bootId).raw(nonce).raw(ephemeral);
}

/** `signing` undefined: the group has no roster, and nothing is signed. */
export function encodeHello(
  header: Writer,
  greeting: Greeting,
  signing: SigningKey | undefined,
  key: Uint8Array,
): Uint8Array {
  return finish(writeCommon(header, greeting), signing, key);
}

export function encodeAck(
  header: Writer,
  ack: Acknowledgement,
  signing: SigningKey | undefined,
  key: Uint8Array,
): Uint8Array {
  const writer = writeCommon(header, ack).u8(statuses.indexOf(ack.status ?? ""));
  return finish(writer.raw(ack.echoedBoot).raw(ack.echo), signing, key);
}

function finish(writer: Writer, signing: SigningKey | undefined, key: Uint8Array): Uint8Array {
  const unsigned = writer.done().slice();
  writer.raw(signing === undefined ? NO_SIGNATURE : signing.sign(joined(SIGNED, unsigned)));
  return withMac(writer, key);
}

function withMac(writer: Writer, key: Uint8Array): Uint8Array {
  const bytes = writer.done().slice();
  return joined(bytes, hmac(key, bytes).subarray(0, MAC_LEN));
}

/** Of a datagram of the right length and type. */
export function readHello(datagram: Uint8Array): Greeting {
  return readCommon(new Reader(datagram.subarray(HEADER_LEN)));
}

export function readAck(datagram: Uint8Array): Acknowledgement {
  const reader = new Reader(datagram.subarray(HEADER_LEN));
  const common = readCommon(reader);
  const status = statuses[reader.u8()];
  return { ...common, status, echoedBoot: reader.raw(BOOT_ID_LEN), echo: reader.raw(NONCE_BYTES) };
}

function readCommon(reader: Reader): Greeting {
  return {
    groupId: reader.raw(GROUP_ID_LEN),
    fleetId: reader.u32(),
    roster: reader.u32(),
    bootId: reader.raw(BOOT_ID_LEN),
    nonce: reader.raw(NONCE_BYTES),
    ephemeral: reader.raw(EPHEMERAL_LEN),
  };
}

export function hasMac(datagram: Uint8Array, key: Uint8Array): boolean {
  const at = datagram.length - MAC_LEN;
  const mac = hmac(key, datagram.subarray(0, at));
  let difference = 0;
  for (let i = 0; i < MAC_LEN; i++) difference |= mac[i] ^ datagram[at + i];
  return difference === 0;
}

export function hasSignature(datagram: Uint8Array, publicKey: Uint8Array): boolean {
  const at = datagram.length - TAIL_LEN;
  return isSignedBy(publicKey, joined(SIGNED, datagram.subarray(0, at)), datagram.subarray(at, at + SIGNATURE_LEN));
}

/** A roster as datagrams. `header`: makes the first 6 bytes of one, with room for `more`. */
export function encodeRoster(
  header: (more: number) => Writer,
  { groupId, fleetId, roster }: Pick<Greeting, "groupId" | "fleetId" | "roster">,
  text: string,
  key: Uint8Array,
): Uint8Array[] {
  const bytes = new TextEncoder().encode(text);
  const pieces = Math.max(1, Math.ceil(bytes.length / PIECE_LEN));
  return Array.from({ length: pieces }, (_, number) => {
    const piece = bytes.subarray(number * PIECE_LEN, (number + 1) * PIECE_LEN);
    const writer = header(PIECE_HEAD - HEADER_LEN + piece.length)
      .raw(groupId)
      .u32(fleetId)
      .u32(roster);
    return withMac(writer.u8(number).u8(pieces).raw(piece), key);
  });
}

export interface RosterPiece {
  readonly fleetId: number;
  readonly roster: number;
  readonly number: number;
  readonly pieces: number;
  readonly bytes: Uint8Array;
}

export function readRosterPiece(datagram: Uint8Array): RosterPiece | undefined {
  const reader = new Reader(datagram.subarray(HEADER_LEN + GROUP_ID_LEN, -MAC_LEN));
  const [fleetId, roster, number, pieces] = [reader.u32(), reader.u32(), reader.u8(), reader.u8()];
  reader.must(number < pieces && pieces <= PIECES_MAX && roster > 0);
  const bytes = reader.rest();
  reader.must(bytes.length <= PIECE_LEN);
  return reader.finish({ fleetId, roster, number, pieces, bytes: bytes.slice() });
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}

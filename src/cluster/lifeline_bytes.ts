/**
 * What goes over the lifeline, a TCP connection between two nodes: one greeting each, then frames of one length. Everything
 * is authenticated, nothing is secret. docs/PROTOCOL.md, "Lifeline".
 */
import { hmac } from "../crypto/blake2s.ts";
import { equalBytes, expand } from "../crypto/kdf.ts";
import { Reader, Writer } from "./bytes.ts";
import { BOOT_ID_LEN } from "./envelope.ts";

const VERSION = 2;
const MAC_LEN = 16;
export const NONCE_LEN = 16;
const HEAD_LEN = 5;
export const HELLO_LEN = HEAD_LEN + BOOT_ID_LEN + NONCE_LEN + BOOT_ID_LEN + 4 + MAC_LEN;
export const WELCOME_LEN = HEAD_LEN + BOOT_ID_LEN + NONCE_LEN + MAC_LEN;
export const FRAME_LEN = 1 + 6 + MAC_LEN;

/** beat, leaving: from the node that is watched. ack: from the one that watches. */
const frameKinds = ["beat", "ack", "leaving"] as const;

/** From the node that watches to the one that it watches. */
export interface Hello {
  readonly from: number;
  readonly to: number;
  readonly bootId: Uint8Array;
  readonly nonce: Uint8Array;
  /** The start of the watched node that was last taken for dead, and how often it was. */
  readonly condemned: Uint8Array;
  readonly times: number;
}

/** The answer to a hello. */
export interface Welcome {
  readonly from: number;
  readonly to: number;
  readonly bootId: Uint8Array;
  readonly nonce: Uint8Array;
}

export interface Frame {
  readonly kind: (typeof frameKinds)[number];
  /** Of a beat: ms of the sender's clock, modulo 2^48; an ack repeats it. Of leaving: 0. */
  readonly value: number;
}

export function encodeHello(secret: Uint8Array, { from, to, bootId, nonce, condemned, times }: Hello): Uint8Array {
  const hello = new Writer(HELLO_LEN).u8(VERSION).u16(from).u16(to).raw(bootId).raw(nonce).raw(condemned).u32(times);
  return hello.raw(greetingMac(secret, "lifeline hello", hello.done().slice(), NOTHING)).done();
}

/** `from` and `to` of what may be a hello: whose key it is to be judged with. */
export function pairOfHello(bytes: Uint8Array): { readonly from: number; readonly to: number } | undefined {
  const reader = new Reader(bytes.subarray(0, HEAD_LEN));
  const [version, from, to] = [reader.u8(), reader.u16(), reader.u16()];
  return version === VERSION && !reader.failed ? { from, to } : undefined;
}

/** Undefined: not authentic. */
export function decodeHello(secret: Uint8Array, bytes: Uint8Array): Hello | undefined {
  if (bytes.length !== HELLO_LEN || bytes[0] !== VERSION) return undefined;
  const mac = greetingMac(secret, "lifeline hello", bytes.subarray(0, HELLO_LEN - MAC_LEN), NOTHING);
  if (!equalBytes(mac, bytes.subarray(HELLO_LEN - MAC_LEN))) return undefined;
  const reader = new Reader(bytes.subarray(1));
  const [from, to, bootId, nonce] = [reader.u16(), reader.u16(), reader.raw(BOOT_ID_LEN), reader.raw(NONCE_LEN)];
  return { from, to, bootId, nonce, condemned: reader.raw(BOOT_ID_LEN), times: reader.u32() };
}

export function encodeWelcome(secret: Uint8Array, hello: Uint8Array, welcome: Welcome): Uint8Array {
  const { from, to, bootId, nonce } = welcome;
  const writer = new Writer(WELCOME_LEN).u8(VERSION).u16(from).u16(to).raw(bootId).raw(nonce);
  return writer.raw(greetingMac(secret, "lifeline welcome", writer.done().slice(), hello)).done();
}

/** Undefined: not an authentic answer to `hello`. */
export function decodeWelcome(secret: Uint8Array, hello: Uint8Array, bytes: Uint8Array): Welcome | undefined {
  if (bytes.length !== WELCOME_LEN || bytes[0] !== VERSION) return undefined;
  const mac = greetingMac(secret, "lifeline welcome", bytes.subarray(0, WELCOME_LEN - MAC_LEN), hello);
  if (!equalBytes(mac, bytes.subarray(WELCOME_LEN - MAC_LEN))) return undefined;
  const reader = new Reader(bytes.subarray(1));
  return { from: reader.u16(), to: reader.u16(), bootId: reader.raw(BOOT_ID_LEN), nonce: reader.raw(NONCE_LEN) };
}

/** One direction of one connection: frames count up, so none can be left out, repeated or moved. */
export class FrameKey {
  readonly #key: Uint8Array;
  #counter = 0;

  constructor(secret: Uint8Array, direction: "watched" | "watcher", hello: Uint8Array, welcome: Uint8Array) {
    const context = new Writer(HELLO_LEN + WELCOME_LEN).raw(hello).raw(welcome).done();
    this.#key = expand(secret, `lifeline ${direction}`, context);
  }

  seal({ kind, value }: Frame): Uint8Array {
    const frame = new Writer(FRAME_LEN).u8(frameKinds.indexOf(kind)).u48(value % 2 ** 48);
    return frame.raw(this.#mac(frame.done().slice())).done();
  }

  /** The next frame; undefined: it is not that. */
  open(bytes: Uint8Array): Frame | undefined {
    const head = bytes.subarray(0, FRAME_LEN - MAC_LEN);
    if (bytes.length !== FRAME_LEN || !equalBytes(this.#mac(head), bytes.subarray(FRAME_LEN - MAC_LEN)))
      return undefined;
    const reader = new Reader(head);
    const kind = frameKinds[reader.u8()];
    return kind && { kind, value: reader.u48() };
  }

  #mac(head: Uint8Array): Uint8Array {
    return hmac(this.#key, new Writer(6).u48(this.#counter++).done(), head).subarray(0, MAC_LEN);
  }
}

/** Cuts what comes in into parts of the lengths that are wanted. */
export class Inbox {
  #waiting = new Uint8Array(0);

  add(bytes: Uint8Array): void {
    const all = new Uint8Array(this.#waiting.length + bytes.length);
    all.set(this.#waiting);
    all.set(bytes, this.#waiting.length);
    this.#waiting = all;
  }

  take(length: number): Uint8Array | undefined {
    if (this.#waiting.length < length) return undefined;
    const part = this.#waiting.slice(0, length);
    this.#waiting = this.#waiting.subarray(length);
    return part;
  }
}

const NOTHING = new Uint8Array(0);

const greetingMac = (secret: Uint8Array, label: string, greeting: Uint8Array, before: Uint8Array): Uint8Array =>
  hmac(expand(secret, label), greeting, before).subarray(0, MAC_LEN);

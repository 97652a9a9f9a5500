/** Writing and strict reading of big-endian messages. A reader never throws: what does not fit fails the whole message. */
import { isMapped } from "../base/ip.ts";
import type { Endpoint, InnerPrefix } from "./endpoint.ts";

const TWO_32 = 2 ** 32;

export class Writer {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  /** `capacity`: greatest length in bytes; writing beyond it throws RangeError, a bug of the caller. */
  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  u8(value: number): this {
    this.#view.setUint8(this.#at, value);
    this.#at += 1;
    return this;
  }

  u16(value: number): this {
    this.#view.setUint16(this.#at, value);
    this.#at += 2;
    return this;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#at, value);
    this.#at += 4;
    return this;
  }

  /** 0 to 2^48 - 1. */
  u48(value: number): this {
    return this.u16(Math.floor(value / TWO_32)).u32(value % TWO_32);
  }

  /** 0 to 2^53 - 1, in 7 bytes. */
  u56(value: number): this {
    const high = Math.floor(value / TWO_32);
    return this.u8(high >>> 16)
      .u16(high & 0xffff)
      .u32(value % TWO_32);
  }

  raw(bytes: Uint8Array): this {
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }

  /** 22 bytes. */
  endpoint({ w0, w1, w2, w3, port, asked }: Endpoint): this {
    return this.u32(w0)
      .u32(w1)
      .u32(w2)
      .u32(w3)
      .u16(port)
      .u32(asked ?? 0);
  }

  /** 5 bytes for IPv4 (length), 17 for IPv6 (64 + length). */
  prefix({ family, w0, w1, w2, w3, length }: InnerPrefix): this {
    if (family === 4) return this.u8(length).u32(w3);
    return this.u8(V6 + length)
      .u32(w0)
      .u32(w1)
      .u32(w2)
      .u32(w3);
  }

  /** What was written; a view, the writer must not be used after. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }
}

const V6 = 64;
const MAPPED = 0xffff;

export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #failed = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** There is more, and nothing was wrong so far. */
  get more(): boolean {
    return !this.#failed && this.#at < this.#bytes.length;
  }

  get failed(): boolean {
    return this.#failed;
  }

  fail(): void {
    this.#failed = true;
  }

  /** Fails unless `condition`. */
  must(condition: boolean): void {
    if (!condition) this.#failed = true;
  }

  /** `value`, or undefined when something failed or bytes are left. */
  finish<T>(value: T): T | undefined {
    return this.#failed || this.#at !== this.#bytes.length ? undefined : value;
  }

  #take(length: number): number {
    const at = this.#at;
    if (this.#failed || at + length > this.#bytes.length) {
      this.#failed = true;
      return -1;
    }
    this.#at += length;
    return at;
  }

  u8(): number {
    const at = this.#take(1);
    return at < 0 ? 0 : this.#view.getUint8(at);
  }

  u16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : this.#view.getUint16(at);
  }

  u32(): number {
    const at = this.#take(4);
    return at < 0 ? 0 : this.#view.getUint32(at);
  }

  u48(): number {
    const high = this.u16();
    return high * TWO_32 + this.u32();
  }

  /** Fails above 2^53 - 1. */
  u56(): number {
    const top = this.u8();
    this.must(top < 32);
    return top * 2 ** 48 + this.u48();
  }

  /** A copy; empty when there are not as many. */
  raw(length: number): Uint8Array {
    const at = this.#take(length);
    // Not sliced: short arrays of their own are kept in the heap itself, and what is sliced from a Buffer never is.
    const copy = new Uint8Array(at < 0 ? 0 : length);
    for (let i = 0; i < copy.length; i++) copy[i] = this.#bytes[at + i];
    return copy;
  }

  /** Those very bytes, for what is decoded at once; empty when there are not as many. */
  view(length: number): Uint8Array {
    const at = this.#take(length);
    return at < 0 ? this.#bytes.subarray(0, 0) : this.#bytes.subarray(at, at + length);
  }

  /** All that is left, those very bytes. */
  rest(): Uint8Array {
    return this.view(this.#bytes.length - this.#at);
  }

  #word(): number {
    return this.u32() | 0;
  }

  endpoint(): Endpoint {
    const [w0, w1, w2, w3] = [this.#word(), this.#word(), this.#word(), this.#word()];
    const [port, asked] = [this.u16(), this.u32()];
    return { family: isMapped(w0, w1, w2) ? 4 : 6, w0, w1, w2, w3, port, asked: asked || undefined };
  }

  prefix(): InnerPrefix {
    const code = this.u8();
    if (code <= 32) return { family: 4, w0: 0, w1: 0, w2: MAPPED, w3: this.#word(), length: code };
    this.must(code >= V6 && code <= V6 + 128);
    const [w0, w1, w2, w3] = [this.#word(), this.#word(), this.#word(), this.#word()];
    this.must(!isMapped(w0, w1, w2));
    return { family: 6, w0, w1, w2, w3, length: code - V6 };
  }
}

/** -1, 0 or 1, byte by byte; a shorter one that is a beginning of the other is less. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  return Math.sign(a.length - b.length);
}

export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

export const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
export const bytesOfHex = (digits: string): Uint8Array => Buffer.from(digits, "hex");

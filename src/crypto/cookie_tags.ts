/**
 * The part of a cookie that the data plane can check: who shows the tag of an address and port was sent a cookie there, at some
 * time. One hash, nothing allocated; so a flood of forged addresses never takes the place of a client that has its cookie.
 * Whether the cookie is of now, and belongs to this request, is for the control plane. docs/PROTOCOL.md, "Cookies".
 */
import { halfSipHash } from "./halfsiphash.ts";
import { expand } from "./kdf.ts";

export const TAG_KEY_LEN = 8;
/** Address (16), port (2), slot (1). */
const INPUT_LEN = 19;
const PORT = 16;
const SLOT = 18;

/** `secret`: 32 bytes, that of the group's cookies. */
export function cookieTagKeyOf(secret: Uint8Array): Uint8Array {
  return expand(secret, "cookie tag").subarray(0, TAG_KEY_LEN);
}

export class CookieTags {
  readonly #key = new Int32Array(2);
  readonly #input = new Uint8Array(INPUT_LEN);
  readonly #view = new DataView(this.#input.buffer);

  /** `key`: TAG_KEY_LEN bytes. */
  constructor(key: Uint8Array) {
    const view = new DataView(key.buffer, key.byteOffset, TAG_KEY_LEN);
    this.#key[0] = view.getInt32(0, true);
    this.#key[1] = view.getInt32(4, true);
  }

  /** 32 bits, signed. `slot`: the first byte of the cookie. */
  of(slot: number, w0: number, w1: number, w2: number, w3: number, port: number): number {
    this.#view.setInt32(0, w0);
    this.#view.setInt32(4, w1);
    this.#view.setInt32(8, w2);
    this.#view.setInt32(12, w3);
    this.#view.setUint16(PORT, port);
    this.#input[SLOT] = slot;
    return halfSipHash(this.#key[0], this.#key[1], this.#input, 0, INPUT_LEN);
  }
}

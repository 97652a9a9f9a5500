/**
 * The 31 bits that name a session in every datagram of its client. High to low: number of the node that made it (6, 0 = a
 * node on its own), which of its sessions (17), and a keyed check over both (8), so that a node drops 255 of 256 strangers
 * after one hash. docs/PROTOCOL.md, "Session index"; docs/decisions/0005-session-index.md.
 */
import { halfSipHash } from "./halfsiphash.ts";
import { expand } from "./kdf.ts";

/** Numbers of the nodes of a group are 1 to this. */
export const NODE_MAX = 63;
/** Sessions that one node can have made at a time. */
export const SESSION_NUMBERS = 2 ** 17;
export const INDEX_KEY_LEN = 8;
/** The check of the key before counts too, so a group can change its keys under way. */
const KEYS_MAX = 2;

const CREATOR_SHIFT = 25;
const CHECK_BITS = 8;
const CHECK_MASK = 0xff;
/** Low 15 bits that are all ones would make mux 0xFFFF, that of control messages. */
const INDEX_LOW = 0x7fff;

/** The index key that belongs to a secret of the node or group. */
export function indexKeyOf(secret: Uint8Array): Uint8Array {
  return expand(secret, "index").subarray(0, INDEX_KEY_LEN);
}

/** Number of the node that made an index; 0: it was not made in a group. */
export function creatorOf(index: number): number {
  return (index >>> CREATOR_SHIFT) & NODE_MAX;
}

/** What is hashed: the upper 23 bits, as a little-endian word. */
const named = new Uint8Array(4);

/** The keys of one node: the present one first, then the one before, if there was one. Makes nothing in a call. */
export class IndexKeys {
  readonly #words = new Int32Array(2 * KEYS_MAX);
  #count = 0;

  constructor(keys: readonly Uint8Array[] = []) {
    this.set(keys);
  }

  /** Up to two keys of 8 bytes, the present one first. Without any no index is right. */
  set(keys: readonly Uint8Array[]): void {
    this.#count = Math.min(keys.length, KEYS_MAX);
    for (let k = 0; k < this.#count; k++) {
      const view = new DataView(keys[k].buffer, keys[k].byteOffset, INDEX_KEY_LEN);
      this.#words[2 * k] = view.getInt32(0, true);
      this.#words[2 * k + 1] = view.getInt32(4, true);
    }
  }

  /** Whether a node with one of the keys has made this index: right for 1 of 256 that are drawn by lot, per key. */
  accepts(index: number): boolean {
    for (let k = 0; k < this.#count; k++)
      if (this.#checkOf(k, index >>> CHECK_BITS) === (index & CHECK_MASK)) return true;
    return false;
  }

  /** The index of session number `session` of a node, under the present key; -1 for the few numbers that have none. */
  make(creator: number, session: number): number {
    const name = (creator << (CREATOR_SHIFT - CHECK_BITS)) | session;
    const index = (name << CHECK_BITS) | this.#checkOf(0, name);
    return (index & INDEX_LOW) === INDEX_LOW ? -1 : index;
  }

  #checkOf(k: number, name: number): number {
    named[0] = name;
    named[1] = name >>> 8;
    named[2] = name >>> 16;
    return halfSipHash(this.#words[2 * k], this.#words[2 * k + 1], named, 0, named.length) & CHECK_MASK;
  }
}

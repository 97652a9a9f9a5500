/**
 * Limits how many datagrams a second the shard hands to the control plane. Each kind of datagram has a limit of its own, so a
 * flood of one kind leaves the others their room, and the sum of the limits bounds what they can cost the node. A request with a
 * cookie counts as PROVEN_ASK only when the cookie's tag was made for the address that the request came from; a sender that
 * forges its address never received such a tag.
 */
import type { CookieTags } from "../crypto/cookie_tags.ts";
import type { Batch } from "./batch.ts";

const TYPE = 8;
const TYPE_INIT = 1;
const TYPE_RESUME = 4;
const TYPE_SELF_TEST = 127;
const REQUEST_LEN = 1200;
/** A request ends with 16 bytes that begin with slot (1) and tag (4) of the cookie. */
const COOKIE_SLOT = REQUEST_LEN - 16;
const COOKIE_TAG = COOKIE_SLOT + 1;

const FIRST_INIT = 0;
const FIRST_RESUME = 1;
/** INIT and RESUME with a cookie. */
export const PROVEN_ASK = 2;
/** Datagrams of unknown sessions. */
export const UNKNOWN = 3;
const SELF_TEST = 4;
/** In a client: control datagrams of the group that answer what it has sent. */
export const FROM_GROUP = 5;
/** An authentic control message within the own share of its session (session_budget.ts). Other sessions can't use these up. */
export const OF_SESSION = 6;
/** An authentic control message beyond the own share of its session. All sessions together have these. */
export const AUTHENTIC = 7;
/** No kind: the node takes no such datagram, and drops it. */
export const NOTHING = -1;
/**
 * Datagrams a second of each kind, in the order of the constants above. Answering an INIT costs 0.5 ms, answering a request with
 * a cookie 0.04 ms. 6,000 is above a flood of 5,000 requests a second, so first requests of clients still get through then.
 */
const PER_SECOND = Int32Array.of(6000, 6000, 4000, 2000, 1000, 2000, 20_000, 10_000);
/** The limits are granted in slices of this length, so that a flood can't use a whole second's limit up in its first tenth. */
const SLICE_MS = 50;

export class ControlBudget {
  readonly #left = new Int32Array(PER_SECOND.length);
  #nextSlice = 0;

  /** Takes one of a kind; false when there is none left in this slice of a second. */
  take(kind: number, now: number): boolean {
    if (now >= this.#nextSlice) {
      this.#nextSlice = now + SLICE_MS;
      for (let k = 0; k < PER_SECOND.length; k++) this.#left[k] = (PER_SECOND[k] * SLICE_MS) / 1000;
    }
    if (this.#left[kind] === 0) return false;
    this.#left[kind]--;
    return true;
  }
}

/** In a node: the kind of the datagram with mux 0xFFFF in [at, at + len) of the slab, or NOTHING. `i`: its row. */
export function kindOfRequest(
  view: DataView,
  at: number,
  len: number,
  from: Pick<Batch, "addr0" | "addr1" | "addr2" | "addr3" | "port">,
  i: number,
  tags: CookieTags | undefined,
): number {
  if (len <= TYPE) return NOTHING;
  const type = view.getUint8(at + TYPE);
  if (type === TYPE_SELF_TEST) return SELF_TEST;
  if (len !== REQUEST_LEN || (type !== TYPE_INIT && type !== TYPE_RESUME)) return NOTHING;
  const tag = view.getInt32(at + COOKIE_TAG);
  const { addr0, addr1, addr2, addr3, port } = from;
  const slot = view.getUint8(at + COOKIE_SLOT);
  // Slot and tag are 0 in a request without a cookie. Most are that, so the hash is computed for the others only.
  const mayProve = tags !== undefined && (tag !== 0 || slot !== 0);
  if (mayProve && tags.of(slot, addr0[i], addr1[i], addr2[i], addr3[i], port[i]) === tag) return PROVEN_ASK;
  return type === TYPE_INIT ? FIRST_INIT : FIRST_RESUME;
}

/**
 * How many datagrams a second the control plane is handed, of each kind for itself: a flood of one kind takes nothing from
 * the others, and what all of them together can cost the node is bounded. A stranger decides at will whether his request
 * seems to have a cookie; who has one is only kept apart from those who did not even try.
 */
const TYPE = 8;
const TYPE_INIT = 1;
const TYPE_RESUME = 4;
const INIT_LEN = 1200;
/** INIT ends with 16 bytes that are zero without a cookie. */
const COOKIE_PROOF = INIT_LEN - 16;

const FIRST_ASK = 0;
const PROVEN_ASK = 1;
const RESUME = 2;
/** Datagrams of unknown sessions. */
export const UNKNOWN = 3;
/** Other datagrams of strangers; in a client, all that it hears from the group. */
const OTHER = 4;
/** Opened and authentic, of the own share of its session (session_budget.ts): a loud session takes nothing from these. */
export const OF_SESSION = 5;
/** Opened and authentic, beyond that. */
export const AUTHENTIC = 6;
/** Of each kind, in the order above. An answered INIT costs 0.5 ms, one answered by a cookie 0.04 ms. */
const PER_SECOND = Int32Array.of(4000, 5000, 5000, 2000, 2000, 20_000, 10_000);
/** The second is given out in slices: a flood can't use it up in its first tenth. */
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

/** The kind of a datagram with mux 0xFFFF in [at, at + len) of the slab. */
export function kindOfDatagram(slab: Uint8Array, at: number, len: number): number {
  if (len <= TYPE) return OTHER;
  if (slab[at + TYPE] === TYPE_RESUME) return RESUME;
  if (slab[at + TYPE] !== TYPE_INIT || len !== INIT_LEN) return OTHER;
  for (let i = at + COOKIE_PROOF; i < at + INIT_LEN; i++) if (slab[i] !== 0) return PROVEN_ASK;
  return FIRST_ASK;
}

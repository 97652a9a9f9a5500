/** The ticket keys that a group knows: they only come, and go by their own age. docs/PROTOCOL.md, "The book". */
import { SIGNATURE_LEN } from "../crypto/ed25519.ts";
import { compareBytes, Reader, Writer } from "./bytes.ts";
import type { SignatureFault, Signatures } from "./signatures.ts";

/** A key a day, from each node at worst, for as long as tickets live: far fewer. */
export const TICKET_KEYS_MAX = 256;
const NEW_KEY_MS = 86_400_000;
/** From the first ticket that a key seals until it opens no more. */
export const KEY_LIFE_MS = 2 * 86_400_000;
/** Of clocks that are not the same. */
const AHEAD_MS = 300_000;
const FORMAT = 3;
const SIGNED_LEN = 1 + 4 + 32 + 6 + 6 + 4 + 6 + 2;
const LENGTH = SIGNED_LEN + SIGNATURE_LEN;
const NO_SIGNATURE = new Uint8Array(SIGNATURE_LEN);

export const keyRefusals = {
  keys_full: "More ticket keys than a group ever has at a time.",
  expired: "A ticket key whose time is over.",
  key_life: "A ticket key that opens tickets for longer than 48 hours.",
  key_unsigned: "A ticket key that no member of the roster has signed.",
  key_forged: "A ticket key in the name of a node that has not signed it.",
  key_future: "A ticket key that is to be used more than 5 minutes from now.",
} as const;
export type KeyRefusal = keyof typeof keyRefusals;

export interface BookTicketKey {
  /** 32 random bits, in clear in every ticket. */
  readonly id: number;
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** Tickets are sealed with it from then on, ms since 1970. */
  readonly notBeforeMs: number;
  /** Tickets are opened with it until then, ms since 1970. */
  readonly notAfterMs: number;
  /** Version of the roster under which it was made; a node that was put out later knows it. Left out: 0. */
  readonly roster?: number | undefined;
  /** From then on older keys open nothing any more, ms since 1970; left out or 0: this key ends no other. */
  readonly endsOthersMs?: number | undefined;
  /** Node that made it and signed it; left out or 0: the group has no roster. */
  readonly maker?: number | undefined;
  /** 64 bytes, of the maker; left out: it has not signed. */
  readonly signature?: Uint8Array | undefined;
}

/** Key on the bus: "t.0012abcd". */
export const ticketKeyName = (id: number): string => `t.${id.toString(16).padStart(8, "0")}`;

export class TicketKeyRing {
  readonly #keys = new Map<number, BookTicketKey>();
  /** Ids that the bus has in this node's own subtree. */
  readonly #own = new Set<number>();
  /** Keys that were made under an older roster than this are refused. */
  #roster = 0;
  /** Ids of keys that are over: another node may still tell of one. */
  readonly #burnt = new Set<number>();
  readonly #signatures: Signatures | undefined;

  /** `signatures` left out: the group has no roster. */
  constructor(signatures?: Signatures) {
    this.#signatures = signatures;
  }

  encode(ticketKey: BookTicketKey): Uint8Array {
    const { id, key, notBeforeMs, notAfterMs, roster = 0, endsOthersMs = 0, maker = 0, signature } = ticketKey;
    const writer = new Writer(LENGTH).u8(FORMAT).u32(id).raw(key).u48(notBeforeMs).u48(notAfterMs);
    return writer
      .u32(roster)
      .u48(endsOthersMs)
      .u16(maker)
      .raw(signature ?? NO_SIGNATURE)
      .done();
  }

  /** As this node, `maker`, vouches for it. */
  signed(maker: number, key: BookTicketKey): BookTicketKey {
    if (this.#signatures === undefined) return { ...key, maker: 0, signature: undefined };
    return { ...key, maker, signature: this.#signatures.sign("ticket_key", this.#toSign({ ...key, maker })) };
  }

  #toSign(key: BookTicketKey): Uint8Array {
    return this.encode(key).subarray(0, SIGNED_LEN);
  }

  #faultOf(key: BookTicketKey): SignatureFault | undefined {
    return this.#signatures?.faultOf(key.maker ?? 0, key.signature, "ticket_key", this.#toSign(key));
  }

  /** Undefined for bytes that no node of this version writes. */
  decode(bytes: Uint8Array): BookTicketKey | undefined {
    const reader = new Reader(bytes);
    reader.must(reader.u8() === FORMAT);
    const key = {
      ...{ id: reader.u32(), key: reader.raw(32), notBeforeMs: reader.u48(), notAfterMs: reader.u48() },
      ...{ roster: reader.u32(), endsOthersMs: reader.u48(), maker: reader.u16() },
      signature: signatureOf(reader.raw(SIGNATURE_LEN)),
    };
    reader.must(key.notBeforeMs < key.notAfterMs);
    return reader.finish(key);
  }

  /**
   * `own`: it is in this node's own subtree; `made`: this node made it or kept it, so it has room whatever others say. Two
   * keys of one id (one in 2^32 each): the greater bytes count everywhere.
   */
  add(wallMs: number, key: BookTicketKey, own: boolean, made: boolean): "added" | "known" | KeyRefusal {
    if (key.notAfterMs <= wallMs || (key.roster ?? 0) < this.#roster || this.#burnt.has(key.id)) return "expired";
    if (key.notAfterMs - key.notBeforeMs > KEY_LIFE_MS) return "key_life";
    if (key.notBeforeMs > wallMs + AHEAD_MS) return "key_future";
    const known = this.#keys.get(key.id);
    if (known === undefined && !made && this.#keys.size >= TICKET_KEYS_MAX) return "keys_full";
    const isNews = known === undefined || compareBytes(this.encode(key), this.encode(known)) > 0;
    const fault = isNews && !made ? this.#faultOf(key) : undefined;
    if (fault !== undefined) return `key_${fault}`;
    if (own) this.#own.add(key.id);
    if (!isNews) return "known";
    this.#keys.set(key.id, key);
    return "added";
  }

  usable(wallMs: number): BookTicketKey[] {
    return [...this.#keys.values()].filter((key) => !this.#isOver(wallMs, key));
  }

  /** Those that are in this node's own subtree. */
  ownKeys(): BookTicketKey[] {
    return [...this.#keys.values()].filter(({ id }) => this.#own.has(id));
  }

  /** Greatest (notBefore, id) of those whose time has come. */
  sealing(wallMs: number): BookTicketKey | undefined {
    let best: BookTicketKey | undefined;
    for (const key of this.usable(wallMs))
      if (key.notBeforeMs <= wallMs && (best === undefined || isLater(key, best))) best = key;
    return best;
  }

  /** A node was put out by the roster of this version: it knows every key of before. They are over with the next `sweep`. */
  evicted(roster: number): void {
    this.#roster = roster;
  }

  #isOver(wallMs: number, key: BookTicketKey): boolean {
    if (key.notAfterMs <= wallMs || (key.roster ?? 0) < this.#roster) return true;
    // Whatever roster it names: a node that is put out later may have named one of the far future.
    if (this.#signatures?.isOut(key.maker ?? 0)) return true;
    for (const other of this.#keys.values()) {
      const { endsOthersMs = 0 } = other;
      if (endsOthersMs !== 0 && endsOthersMs <= wallMs && isLater(other, key)) return true;
    }
    return false;
  }

  #burn(id: number): void {
    this.#burnt.add(id);
    if (this.#burnt.size > TICKET_KEYS_MAX) this.#burnt.delete(this.#burnt.values().next().value!);
  }

  wantsKey(wallMs: number): boolean {
    if (this.sealing(wallMs) === undefined) return true;
    return this.usable(wallMs).every(({ notBeforeMs }) => wallMs - notBeforeMs >= NEW_KEY_MS);
  }

  /** Forgets what is expired; `own`: ids that are to be deleted in this node's own subtree. */
  sweep(wallMs: number): { gone: number; own: number[] } {
    const expired = [...this.#keys.values()].filter((key) => this.#isOver(wallMs, key)).map(({ id }) => id);
    for (const id of expired) {
      this.#keys.delete(id);
      this.#burn(id);
    }
    return { gone: expired.length, own: expired.filter((id) => this.#own.delete(id)) };
  }
}

const isLater = (a: BookTicketKey, b: BookTicketKey): boolean =>
  a.notBeforeMs !== b.notBeforeMs ? a.notBeforeMs > b.notBeforeMs : a.id > b.id;

/** All zero: there is none. */
const signatureOf = (bytes: Uint8Array): Uint8Array | undefined =>
  compareBytes(bytes, NO_SIGNATURE) === 0 ? undefined : bytes;

/**
 * The static keys of the group beyond the one in the node file: what the operator has signed, with the private keys, as a
 * person gave them to one node and nodes tell each other over the link. Every member keeps them on disk and answers clients
 * under each of them. docs/PROTOCOL.md, "Group keys".
 */
import {
  GROUP_KEYS_MAX,
  keyInForce,
  NOTICE_LEN_MAX,
  readNotice,
  type SignedNotice,
} from "../crypto/group_key_notice.ts";
import { type KeyPair, keyPairFromPrivate } from "../crypto/x25519.ts";
import { Reader, sameBytes, Writer } from "./bytes.ts";
import type { Core } from "./core.ts";

const FORMAT = 1;
const KEY_LEN = 32;
/** A peer that comes, and every peer after a change, is told so often in a row: datagrams get lost. */
const TELLS = 5;
const TELL_MS = 1000;
/** After that, as often as this. */
const REMIND_MS = 60_000;

export interface GroupSecretsOptions {
  /** 32 bytes, Ed25519; undefined: the group has no operator, so nobody can give it another key. */
  readonly operator: Uint8Array | undefined;
  /** Public key of the node file. */
  readonly first: Uint8Array;
  /** What `agree` was given before this start. */
  readonly kept: Uint8Array | undefined;
}

/** What became of group keys. A sentence: they are not taken, and why. */
export type GroupKeysResult = { readonly result: "in_force" | "known" | "older" } | { readonly fault: string };

interface Held {
  readonly notice: SignedNotice;
  /** Those of the notice that are known, but for the one of the node file. The one in force first. */
  readonly pairs: readonly KeyPair[];
}

export class GroupSecrets {
  readonly #options: GroupSecretsOptions;
  #held: Held | undefined;
  #encoded: Uint8Array | undefined;
  #core!: Core;
  #agree!: (bytes: Uint8Array) => void;
  /** By node: tells that are left to do in a row. */
  readonly #tells = new Map<number, number>();
  #tellMs = 0;
  #remindMs = 0;

  constructor(options: GroupSecretsOptions) {
    this.#options = options;
    const kept = options.kept === undefined ? undefined : this.#read(options.kept);
    if (typeof kept !== "object") return;
    this.#held = kept;
    this.#encoded = options.kept;
  }

  /** `agree`: puts bytes on disk before they count; throws when there is no room. */
  begin(core: Core, agree: (bytes: Uint8Array) => void): void {
    this.#core = core;
    this.#agree = agree;
  }

  /** Undefined: the key of the node file is the only one. */
  get notice(): SignedNotice | undefined {
    return this.#held?.notice;
  }

  /** The key in force first; without the one of the node file. */
  get pairs(): readonly KeyPair[] {
    return this.#held?.pairs ?? [];
  }

  learn(encoded: Uint8Array): GroupKeysResult {
    const next = this.#read(encoded);
    if (typeof next === "string") return { fault: next };
    const before = this.#held;
    if (before !== undefined) {
      if (next.notice.version < before.notice.version) return { result: "older" };
      if (next.notice.version === before.notice.version) {
        return next.notice.text === before.notice.text
          ? { result: "known" }
          : { fault: `the operator has signed two notices of version ${next.notice.version}: sign another one` };
      }
    }
    // Who was told only the newest private key still answers under those that it knows.
    const earlier = (before?.pairs ?? []).filter(
      ({ publicKey }) =>
        isListed(next.notice, publicKey) && !next.pairs.some((pair) => sameBytes(pair.publicKey, publicKey)),
    );
    const held = { notice: next.notice, pairs: [...next.pairs, ...earlier] };
    const bytes = encodeGroupKeys(held.notice.text, [...privateKeysIn(encoded), ...this.#privateKeys(earlier)]);
    this.#agree(bytes);
    this.#held = held;
    this.#encoded = bytes;
    this.#core.emit({ kind: "group_keys" });
    for (const node of this.#core.living()) this.met(node);
    return { result: "in_force" };
  }

  /** A peer is there: it may lack the newest keys. */
  met(node: number): void {
    if (this.#encoded === undefined) return;
    this.#tells.set(node, TELLS);
    this.#tellMs = Math.min(this.#tellMs, this.#core.now.ms);
  }

  tick(): void {
    const { ms } = this.#core.now;
    if (this.#encoded === undefined) return;
    if (ms >= this.#remindMs) {
      this.#remindMs = ms + REMIND_MS;
      for (const node of this.#core.living()) if (!this.#tells.has(node)) this.#tells.set(node, 1);
    }
    if (ms < this.#tellMs || this.#tells.size === 0) return;
    this.#tellMs = ms + TELL_MS;
    for (const [node, left] of this.#tells) {
      this.#core.say(node, { kind: "group_keys", value: this.#encoded });
      if (left > 1) this.#tells.set(node, left - 1);
      else this.#tells.delete(node);
    }
  }

  nextTimeout(): number {
    if (this.#encoded === undefined) return Number.POSITIVE_INFINITY;
    return this.#tells.size > 0 ? this.#tellMs : this.#remindMs;
  }

  #privateKeys(pairs: readonly KeyPair[]): Uint8Array[] {
    const known = this.#encoded === undefined ? [] : privateKeysIn(this.#encoded);
    return known.filter((key) => pairs.some((pair) => sameBytes(pair.publicKey, keyPairFromPrivate(key).publicKey)));
  }

  /** What the bytes hold, or a sentence that says why they can't be used. */
  #read(encoded: Uint8Array): Held | string {
    const { operator, first } = this.#options;
    if (operator === undefined) return "this node has no operator in its file, so it takes no other key of the group";
    const decoded = decodeGroupKeys(encoded);
    if (decoded === undefined) return "they are no keys of a group, or were cut";
    const notice = readNotice(decoded.text, operator);
    if (typeof notice === "string") return notice;
    if (!isListed(notice, first)) return "the key of this node's file is not among them: they are of another group";
    const pairs = decoded.privateKeys.map((key) => keyPairFromPrivate(key));
    if (pairs.some(({ publicKey }) => !isListed(notice, publicKey)))
      return "a private key is none of those that are signed";
    const inForce = pairs.findIndex(({ publicKey }) => sameBytes(publicKey, keyInForce(notice)));
    if (inForce < 0) return "the private key of the one in force is missing";
    return { notice, pairs: [pairs[inForce]!, ...pairs.filter((_, k) => k !== inForce)] };
  }
}

const isListed = ({ keys }: SignedNotice, key: Uint8Array): boolean => keys.some((one) => sameBytes(one, key));

/** `privateKeys`: 1 to 8, 32 bytes each. */
export function encodeGroupKeys(notice: string, privateKeys: readonly Uint8Array[]): Uint8Array {
  const text = new TextEncoder().encode(notice);
  const writer = new Writer(2 + privateKeys.length * KEY_LEN + 2 + text.length).u8(FORMAT).u8(privateKeys.length);
  for (const key of privateKeys) writer.raw(key);
  return writer.u16(text.length).raw(text).done();
}

/** Undefined for bytes that no node of this version writes. */
export function decodeGroupKeys(
  encoded: Uint8Array,
): { readonly text: string; readonly privateKeys: readonly Uint8Array[] } | undefined {
  const reader = new Reader(encoded);
  reader.must(reader.u8() === FORMAT);
  const count = reader.u8();
  reader.must(count >= 1 && count <= GROUP_KEYS_MAX);
  const privateKeys: Uint8Array[] = [];
  while (privateKeys.length < count && !reader.failed) privateKeys.push(reader.raw(KEY_LEN));
  const length = reader.u16();
  reader.must(length <= NOTICE_LEN_MAX);
  const text = new TextDecoder().decode(reader.failed ? new Uint8Array(0) : reader.raw(length));
  return reader.finish({ text, privateKeys });
}

const privateKeysIn = (encoded: Uint8Array): readonly Uint8Array[] => decodeGroupKeys(encoded)?.privateKeys ?? [];

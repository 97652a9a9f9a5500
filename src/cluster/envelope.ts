/**
 * Seals what goes through the state engine with the fleet key, so that the engine and its operators can neither read nor
 * invent nor move it. One key per start of a node and a counter as nonce: no nonce is ever used twice. That the engine
 * may show old values again is for those to handle who read them. docs/PROTOCOL.md, "The group".
 */
import { NONCE_LEN, openChaChaPoly, sealChaChaPoly, TAG_LEN } from "../crypto/chachapoly.ts";
import { expand } from "../crypto/kdf.ts";
import { KEY_LEN_MAX } from "./bus.ts";
import { Reader, Writer } from "./bytes.ts";

export const BOOT_ID_LEN = 8;
const HEADER_LEN = 1 + 2 + BOOT_ID_LEN + 6;
export const ENVELOPE_OVERHEAD = HEADER_LEN + TAG_LEN;

const FORMAT = 1;
/** Keys of other starts that are kept; each start of each node of a group has one. */
const KEYS_MAX = 256;

export const envelopeRefusals = {
  malformed: "Too short to be sealed by a node.",
  version: "Sealed by another version of anyhop.",
  wrong_node: "Sealed by another node than the one under whose name the engine has it.",
  wrong_seal: "Another fleet key, moved to another key, or changed.",
} as const;
export type EnvelopeRefusal = keyof typeof envelopeRefusals;

export interface Opened {
  readonly node: number;
  /** Which start of the node: 8 bytes. */
  readonly bootId: Uint8Array;
  /** Counts up with every value and shout that this start sealed. An engine may show old ones again. */
  readonly counter: number;
  readonly plain: Uint8Array;
}

const encoder = new TextEncoder();

export class Envelope {
  readonly #fleetKey: Uint8Array;
  readonly #node: number;
  readonly #bootId: Uint8Array;
  readonly #ownKey: Uint8Array;
  readonly #keys = new Map<string, Uint8Array>();
  #counter = 0;

  /** `fleetKey` 32 bytes; `node` 1-4095; `bootId` 8 bytes, drawn when the node starts and never used again. */
  constructor(fleetKey: Uint8Array, node: number, bootId: Uint8Array) {
    this.#fleetKey = fleetKey;
    this.#node = node;
    this.#bootId = bootId;
    this.#ownKey = expand(fleetKey, "bus", context(node, bootId));
  }

  /** `key` is that of the record, or "" for a shout. */
  seal(key: string, plain: Uint8Array): Uint8Array {
    const counter = ++this.#counter;
    const header = new Writer(HEADER_LEN).u8(FORMAT).u16(this.#node).raw(this.#bootId).u48(counter).done();
    const sealed = new Uint8Array(ENVELOPE_OVERHEAD + plain.length);
    sealed.set(header);
    sealed.set(sealChaChaPoly(this.#ownKey, nonceOf(counter), aadOf(header, key), plain), HEADER_LEN);
    return sealed;
  }

  /** `node` is whose subtree the engine says it is from. Never throws. */
  open(node: number, key: string, sealed: Uint8Array): Opened | EnvelopeRefusal {
    if (sealed.length < ENVELOPE_OVERHEAD || key.length > KEY_LEN_MAX) return "malformed";
    if (sealed[0] !== FORMAT) return "version";
    const header = sealed.subarray(0, HEADER_LEN);
    const reader = new Reader(header.subarray(1));
    const [from, bootId, counter] = [reader.u16(), reader.raw(BOOT_ID_LEN), reader.u48()];
    if (from !== node) return "wrong_node";
    const name = context(from, bootId);
    const cached = String.fromCharCode(...name);
    const busKey = this.#keys.get(cached) ?? expand(this.#fleetKey, "bus", name);
    const plain = openChaChaPoly(busKey, nonceOf(counter), aadOf(header, key), sealed.subarray(HEADER_LEN));
    if (plain === undefined) return "wrong_seal";
    this.#keep(cached, busKey);
    return { node, bootId, counter, plain };
  }

  /** Only keys that opened something are kept, so a flood of invented starts pushes none out. */
  #keep(name: string, key: Uint8Array): void {
    if (this.#keys.has(name)) return;
    if (this.#keys.size >= KEYS_MAX) this.#keys.delete(this.#keys.keys().next().value!);
    this.#keys.set(name, key);
  }
}

const context = (node: number, bootId: Uint8Array): Uint8Array =>
  new Writer(2 + BOOT_ID_LEN).u16(node).raw(bootId).done();

const nonceOf = (counter: number): Uint8Array => new Writer(NONCE_LEN).raw(NONCE_HEAD).u48(counter).done();
const NONCE_HEAD = new Uint8Array(NONCE_LEN - 6);

function aadOf(header: Uint8Array, key: string): Uint8Array {
  const aad = new Uint8Array(HEADER_LEN + key.length);
  aad.set(header);
  encoder.encodeInto(key, aad.subarray(HEADER_LEN));
  return aad;
}

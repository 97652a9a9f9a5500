/**
 * Seals what goes through the state engine with the fleet key, so that the engine and its operators can neither read nor
 * invent nor move it. One key per start of a node and a counter as nonce: no nonce is ever used twice. That the engine
 * may show old values again is for those to handle who read them. Every node has the key of every seal, so in a group with
 * a roster shouts are signed, too. docs/PROTOCOL.md, "The group".
 */
import { NONCE_LEN, openChaChaPoly, sealChaChaPoly, TAG_LEN } from "../crypto/chachapoly.ts";
import { SIGNATURE_LEN } from "../crypto/ed25519.ts";
import { expand } from "../crypto/kdf.ts";
import { KEY_LEN_MAX } from "./bus.ts";
import { Writer } from "./bytes.ts";
import type { FleetKeys } from "./fleet_keys.ts";
import type { Signatures } from "./signatures.ts";

export const BOOT_ID_LEN = 8;
const FLEET_ID_LEN = 4;
/** Fleet key, node, start: one key belongs to each. */
const NAME_LEN = FLEET_ID_LEN + 2 + BOOT_ID_LEN;
const NODE_AT = 1 + FLEET_ID_LEN;
const COUNTER_LEN = 6;
const HEADER_LEN = 1 + NAME_LEN + COUNTER_LEN;
export const ENVELOPE_OVERHEAD = HEADER_LEN + TAG_LEN;
/** Of a shout with its signature. */
export const SHOUT_OVERHEAD = ENVELOPE_OVERHEAD + SIGNATURE_LEN;

const FORMAT = 2;
/** A shout whose last 64 bytes are a signature of its node. */
const SIGNED_FORMAT = 3;
/** Keys of other starts that are kept; each start of each node of a group has one. */
const KEYS_MAX = 256;

export const envelopeRefusals = {
  malformed: "Too short to be sealed by a node.",
  version: "Sealed by another version of anyhop.",
  wrong_node: "Sealed by another node than the one under whose name the engine has it.",
  old_key: "Sealed under a fleet key of before.",
  wrong_seal: "Another fleet key, moved to another key, or changed.",
  wrong_signature: "A shout that the node in whose name it came has not signed.",
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
  readonly #fleetKeys: FleetKeys;
  readonly #node: number;
  readonly #bootId: Uint8Array;
  readonly #signatures: Signatures | undefined;
  #own: Start | undefined;
  readonly #starts = new Map<string, Start>();
  /** The last one that opened something: mostly the next message is of it, too. */
  #last: Start | undefined;
  #counter = 0;

  /** `node` 1-63; `bootId` 8 bytes, drawn when the node starts and never used again; `signatures` left out: no roster. */
  constructor(fleetKeys: FleetKeys, node: number, bootId: Uint8Array, signatures?: Signatures) {
    this.#fleetKeys = fleetKeys;
    this.#node = node;
    this.#bootId = bootId;
    this.#signatures = signatures?.areOn ? signatures : undefined;
  }

  /** `key` is that of the record, or "" for a shout. */
  seal(ms: number, key: string, plain: Uint8Array): Uint8Array {
    const [fleet] = this.#fleetKeys.inUse(ms);
    if (this.#own?.fleetId !== fleet.id) {
      const name = new Writer(NAME_LEN).u32(fleet.id).u16(this.#node).raw(this.#bootId).done();
      this.#own = startOf(name, fleet);
    }
    const counter = ++this.#counter;
    const signatures = key === "" ? this.#signatures : undefined;
    const format = signatures === undefined ? FORMAT : SIGNED_FORMAT;
    const header = new Writer(HEADER_LEN).u8(format).raw(this.#own.name).u48(counter).done();
    const whole = signatures === undefined ? plain : joined(plain, signatures.sign("shout", header, plain));
    const sealed = new Uint8Array(ENVELOPE_OVERHEAD + whole.length);
    sealed.set(header);
    sealed.set(sealChaChaPoly(this.#own.key, nonceOf(counter), aadOf(header, key), whole), HEADER_LEN);
    return sealed;
  }

  /** `node` is whose subtree the engine says it is from. Never throws. */
  open(ms: number, node: number, key: string, sealed: Uint8Array): Opened | EnvelopeRefusal {
    if (sealed.length < ENVELOPE_OVERHEAD || key.length > KEY_LEN_MAX) return "malformed";
    const isSigned = sealed[0] === SIGNED_FORMAT && key === "" && this.#signatures !== undefined;
    if (sealed[0] !== FORMAT && !isSigned) return "version";
    if (((sealed[NODE_AT] << 8) | sealed[NODE_AT + 1]) !== node) return "wrong_node";
    const start = this.#startOf(ms, sealed);
    if (typeof start === "string") return start;
    NONCE.set(sealed.subarray(HEADER_LEN - COUNTER_LEN, HEADER_LEN), NONCE_LEN - COUNTER_LEN);
    const aad = AAD.subarray(0, HEADER_LEN + key.length);
    aad.set(sealed.subarray(0, HEADER_LEN));
    for (let i = 0; i < key.length; i++) aad[HEADER_LEN + i] = key.charCodeAt(i);
    const opened = openChaChaPoly(start.key, NONCE, aad, sealed.subarray(HEADER_LEN));
    if (opened === undefined) return "wrong_seal";
    const plain = key === "" ? this.#signed(node, sealed, opened, isSigned) : opened;
    if (plain === undefined) return "wrong_signature";
    this.#last = start;
    this.#keep(start);
    return { node, bootId: start.bootId, counter: counterOf(sealed), plain };
  }

  /** A shout without its signature; undefined when it has not the one that it needs. */
  #signed(node: number, sealed: Uint8Array, opened: Uint8Array, isSigned: boolean): Uint8Array | undefined {
    if (this.#signatures === undefined) return opened;
    const end = opened.length - SIGNATURE_LEN;
    if (!isSigned || end < 0) return undefined;
    const [header, plain] = [sealed.subarray(0, HEADER_LEN), opened.subarray(0, end)];
    return this.#signatures.isBy(node, opened.subarray(end), "shout", header, plain) ? plain : undefined;
  }

  #startOf(ms: number, sealed: Uint8Array): Start | EnvelopeRefusal {
    const last = this.#last !== undefined && hasName(sealed, this.#last.name) ? this.#last : undefined;
    const name = last?.name ?? sealed.slice(1, 1 + NAME_LEN);
    const id = last?.fleetId ?? new DataView(name.buffer, name.byteOffset).getUint32(0);
    const fleet = this.#fleetKeys.inUse(ms).find((key) => key.id === id);
    if (fleet === undefined) return this.#fleetKeys.find(id) === undefined ? "wrong_seal" : "old_key";
    return last ?? this.#starts.get(String.fromCharCode(...name)) ?? startOf(name, fleet);
  }

  /** Only keys that opened something are kept, so a flood of invented starts pushes none out. */
  #keep(start: Start): void {
    if (this.#starts.has(start.text)) return;
    if (this.#starts.size >= KEYS_MAX) this.#starts.delete(this.#starts.keys().next().value!);
    this.#starts.set(start.text, start);
  }
}

/** One start of one node: its key, found by number and boot id as they stand in the header. */
interface Start {
  readonly name: Uint8Array;
  readonly text: string;
  readonly fleetId: number;
  readonly bootId: Uint8Array;
  readonly key: Uint8Array;
}

/** Of the message that is being opened: a joining node opens 100,000 at a time. */
const NONCE = new Uint8Array(NONCE_LEN);
const AAD = new Uint8Array(HEADER_LEN + KEY_LEN_MAX);

function hasName(sealed: Uint8Array, name: Uint8Array): boolean {
  for (let i = 0; i < NAME_LEN; i++) if (sealed[1 + i] !== name[i]) return false;
  return true;
}

function counterOf(sealed: Uint8Array): number {
  let counter = 0;
  for (let i = HEADER_LEN - COUNTER_LEN; i < HEADER_LEN; i++) counter = counter * 256 + sealed[i];
  return counter;
}

function startOf(name: Uint8Array, { id, key }: { readonly id: number; readonly key: Uint8Array }): Start {
  const context = name.slice(FLEET_ID_LEN);
  const text = String.fromCharCode(...name);
  return { name, text, fleetId: id, bootId: context.subarray(2), key: expand(key, "bus", context) };
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

const nonceOf = (counter: number): Uint8Array => new Writer(NONCE_LEN).raw(NONCE_HEAD).u48(counter).done();
const NONCE_HEAD = new Uint8Array(NONCE_LEN - COUNTER_LEN);

function aadOf(header: Uint8Array, key: string): Uint8Array {
  const aad = new Uint8Array(HEADER_LEN + key.length);
  aad.set(header);
  encoder.encodeInto(key, aad.subarray(HEADER_LEN));
  return aad;
}

/**
 * The fleet keys that a node knows. The newest one seals; those before it still open for a while what was under way, and let
 * a node in that was away, which is told the newest then. docs/PROTOCOL.md, "Fleet keys".
 */
import { expand } from "../crypto/kdf.ts";
import { compareBytes, Reader, Writer } from "./bytes.ts";

export interface FleetKey {
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** Names it in clear: 32 bits that tell nothing of the key. */
  readonly id: number;
  /** 0 = from the files of the nodes; each rotation counts up. */
  readonly rotation: number;
  /** Version of the roster that was in force when it was made: a node that was put out later knows it. 0 = from the files. */
  readonly roster: number;
}

/** Kept, the newest included: a node that was away for fewer rotations is let in, and is told the newest. */
const FLEET_KEYS_MAX = 8;
/** What was sealed under a key through the engine is opened for so long after the next one came. */
const OVERLAP_MS = 60_000;
/** A new key seals only then: by that time the other nodes have it, too. */
export const SEALING_MS = 3000;
const FORMAT = 1;
const ENTRY_LEN = 32 + 4 + 4;

export class FleetKeys {
  #keys: readonly FleetKey[];
  /** Since when the newest one is known here, monotonic ms. */
  #sinceMs = Number.NEGATIVE_INFINITY;

  /** `first`: the key of the node file; `kept`: what `encode` made, from disk. */
  constructor(first: Uint8Array, kept?: Uint8Array) {
    this.#keys = merged([fleetKey(first, 0, 0)], (kept && decodeFleetKeys(kept)) ?? []);
  }

  get newest(): FleetKey {
    return this.#keys[0];
  }

  /** Newest first. */
  get all(): readonly FleetKey[] {
    return this.#keys;
  }

  /** What opens now what comes through the engine; the first one seals. */
  inUse(ms: number): readonly FleetKey[] {
    const [newest, before] = this.#keys;
    if (before === undefined || ms - this.#sinceMs >= OVERLAP_MS) return [newest];
    return ms - this.#sinceMs < SEALING_MS ? [before, newest] : [newest, before];
  }

  /** Any that is kept: for greetings, which are signed beside it. */
  find(id: number): FleetKey | undefined {
    return this.#keys.find((key) => key.id === id);
  }

  /** True: there is another newest one now. */
  learn(ms: number, keys: readonly FleetKey[]): boolean {
    const before = this.newest.id;
    this.#keys = merged(this.#keys, keys);
    if (this.newest.id === before) return false;
    this.#sinceMs = ms;
    return true;
  }

  /** A key that comes after all that are known. `random`: 32 fresh bytes; `roster`: version of the one in force. */
  next(random: Uint8Array, roster: number): FleetKey {
    return fleetKey(random, this.newest.rotation + 1, roster);
  }

  encode(): Uint8Array {
    return encodeFleetKeys(this.#keys);
  }
}

function encodeFleetKeys(keys: readonly FleetKey[]): Uint8Array {
  const writer = new Writer(2 + keys.length * ENTRY_LEN).u8(FORMAT).u8(keys.length);
  for (const { key, rotation, roster } of keys) writer.raw(key).u32(rotation).u32(roster);
  return writer.done();
}

/** Undefined for bytes that no node of this version writes. */
export function decodeFleetKeys(encoded: Uint8Array): FleetKey[] | undefined {
  const reader = new Reader(encoded);
  reader.must(reader.u8() === FORMAT);
  const count = reader.u8();
  reader.must(count >= 1 && count <= FLEET_KEYS_MAX);
  const keys: FleetKey[] = [];
  while (keys.length < count && !reader.failed) keys.push(fleetKey(reader.raw(32), reader.u32(), reader.u32()));
  return reader.finish(keys);
}

function fleetKey(key: Uint8Array, rotation: number, roster: number): FleetKey {
  const digest = expand(key, "fleet key id");
  return { key, rotation, roster, id: new DataView(digest.buffer, digest.byteOffset).getUint32(0) };
}

/** The newest ones of both. Two of one rotation, made at two nodes at once: the greater bytes are newer everywhere. */
function merged(one: readonly FleetKey[], other: readonly FleetKey[]): readonly FleetKey[] {
  const all = [...one];
  for (const key of other) if (!all.some(({ id }) => id === key.id)) all.push(key);
  all.sort((a, b) => b.rotation - a.rotation || compareBytes(b.key, a.key));
  return all.slice(0, FLEET_KEYS_MAX);
}

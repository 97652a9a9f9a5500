/**
 * Tickets: a session, sealed by the group for itself and kept by the client. A node that has lost all memory but the
 * ticket key goes on from one. docs/PROTOCOL.md, "Tickets".
 */
import { openChaChaPoly, sealChaChaPoly, TAG_LEN } from "../crypto/chachapoly.ts";
import { expand } from "../crypto/kdf.ts";
import { KEY_LEN } from "../crypto/x25519.ts";
import { INDEX_MAX, readTime, TICKET_MAX, viewOf, writeTime } from "./control.ts";
import { AES_256_GCM, type Aead, CHACHA20_POLY1305 } from "./keys.ts";
import { INSTANCE_LEN } from "./offer.ts";
import { decodeSettings, encodeSettings, type InnerPrefix, NO_SETTINGS } from "./settings.ts";

export interface TicketContents {
  readonly aead: Aead;
  readonly modes: number;
  readonly index: number;
  /** 32 bytes, the client's static key. */
  readonly clientKey: Uint8Array;
  /** 32 bytes, see `resumptionSecret`. */
  readonly resumption: Uint8Array;
  readonly instance: Uint8Array;
  /** Milliseconds since 1970, counted from the full handshake, whatever was resumed since. */
  readonly expiryMs: number;
  readonly addresses: readonly InnerPrefix[];
}

export interface TicketKey {
  /** 32 bits, in clear in every ticket. */
  readonly id: number;
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** Milliseconds since 1970: seals from then on, and no more from then on. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** The keys that a node has, in any order: its own, and those of other nodes of the group. Opens with each. */
export type TicketRing = readonly TicketKey[];

export const SALT_LEN = 16;
const FORMAT = 2;
/** Of a ticket, counted from the full handshake; and how long a key seals. */
export const TICKET_LIFETIME_MS = 24 * 3_600_000;
/** A ticket that is said to live longer was not made by this program, whoever had the key. */
export const TICKET_LIFETIME_MAX_MS = 48 * 3_600_000;
const HEAD = 4 + SALT_LEN;
const FIXED = 2 + 2 + 4 + KEY_LEN + KEY_LEN + INSTANCE_LEN + 8;
const ZERO_NONCE = new Uint8Array(12);

/** Each ticket has a key of its own, so the nonce may be zero and nodes need not agree on one. */
const ownKey = (key: TicketKey, salt: Uint8Array): Uint8Array => expand(key.key, "ticket", salt);

/** The newest key that may seal now; of equally new ones the one with the higher id, so that all nodes take the same. */
export function sealingKey(ring: TicketRing, wallMs: number): TicketKey | undefined {
  let best: TicketKey | undefined;
  for (const key of ring) {
    if (key.notBeforeMs > wallMs || key.notAfterMs <= wallMs) continue;
    const newer = best === undefined ? 1 : key.notBeforeMs - best.notBeforeMs || key.id - best.id;
    if (newer > 0) best = key;
  }
  return best;
}

/** Undefined when there are more addresses than a ticket may hold. `salt`: 16 fresh random bytes. */
export function sealTicket(key: TicketKey, salt: Uint8Array, ticket: TicketContents): Uint8Array | undefined {
  const addresses = encodeSettings({ ...NO_SETTINGS, addresses: ticket.addresses });
  const length = HEAD + FIXED + addresses.length + TAG_LEN;
  if (length > TICKET_MAX) return undefined;
  const plain = new Uint8Array(FIXED + addresses.length);
  const view = viewOf(plain);
  plain[0] = FORMAT;
  plain[1] = ticket.aead;
  view.setUint16(2, ticket.modes);
  view.setUint32(4, ticket.index);
  plain.set(ticket.clientKey, 8);
  plain.set(ticket.resumption, 40);
  plain.set(ticket.instance, 72);
  writeTime(view, 80, ticket.expiryMs);
  plain.set(addresses, FIXED);
  const sealed = new Uint8Array(length);
  viewOf(sealed).setUint32(0, key.id);
  sealed.set(salt, 4);
  sealed.set(sealChaChaPoly(ownKey(key, salt), ZERO_NONCE, sealed.subarray(0, HEAD), plain), HEAD);
  return sealed;
}

/** Undefined for a ticket of another group, of a key that is not kept any more, or changed bytes. Expiry is the caller's. */
export function openTicket(ring: TicketRing, sealed: Uint8Array): TicketContents | undefined {
  if (sealed.length < HEAD + FIXED + TAG_LEN || sealed.length > TICKET_MAX) return undefined;
  const plain = openWith(ring, sealed);
  if (plain === undefined || plain[0] !== FORMAT) return undefined;
  const view = viewOf(plain);
  const [aead, index, expiryMs] = [plain[1], view.getUint32(4), readTime(view, 80)];
  const settings = decodeSettings(plain.subarray(FIXED));
  if (aead < AES_256_GCM || aead > CHACHA20_POLY1305 || index > INDEX_MAX) return undefined;
  if (expiryMs < 0 || settings === undefined) return undefined;
  return {
    aead: aead as Aead,
    modes: view.getUint16(2),
    index,
    clientKey: plain.slice(8, 40),
    resumption: plain.slice(40, 72),
    instance: plain.slice(72, 80),
    expiryMs,
    addresses: settings.addresses,
  };
}

/** Ids are random: keys of two nodes may share one. */
function openWith(ring: TicketRing, sealed: Uint8Array): Uint8Array | undefined {
  const id = viewOf(sealed).getUint32(0);
  const head = sealed.subarray(0, HEAD);
  for (const key of ring) {
    if (key.id !== id) continue;
    const plain = openChaChaPoly(ownKey(key, sealed.subarray(4, HEAD)), ZERO_NONCE, head, sealed.subarray(HEAD));
    if (plain !== undefined) return plain;
  }
  return undefined;
}

/**
 * The ticket keys that a node makes: a new one each day, so that one that is stolen opens no older tickets. Kept for as
 * long as a ticket lives that it sealed. On disk before the first ticket is sealed.
 */
import type { Entropy } from "../../crypto/entropy.ts";
import { sealingKey, TICKET_LIFETIME_MS } from "../../handshake/ticket.ts";
import type { Store, TicketKey } from "../spec/ports.ts";

/** All keys of the store that still open something, with a fresh one when the newest is a day old. */
export function freshTicketKeys(store: Store, entropy: Entropy, wallMs: number): TicketKey[] {
  const kept = store.ticketKeys().filter((key) => key.notAfterMs > wallMs);
  const newest = sealingKey(kept, wallMs);
  if (newest !== undefined && wallMs - newest.notBeforeMs < TICKET_LIFETIME_MS) return kept;
  const id = new DataView(entropy.bytes(4).slice().buffer).getUint32(0);
  kept.push({ id, key: entropy.bytes(32), notBeforeMs: wallMs, notAfterMs: wallMs + 2 * TICKET_LIFETIME_MS });
  store.setTicketKeys(kept);
  return kept;
}

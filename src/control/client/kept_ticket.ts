/**
 * A client's ticket on disk: another start of the client goes on with the session in one round trip. It counts on the
 * machine and in the boot that it was written in: a copy of the disk in another machine begins a session of its own, and
 * so is told apart. What is old, cut or foreign is as good as none; then there is a full handshake.
 */
import { expand } from "../../crypto/kdf.ts";
import type { KeptTicket } from "../../handshake/initiator.ts";
import { INSTANCE_LEN } from "../../handshake/offer.ts";
import { TICKET_LIFETIME_MS } from "../../handshake/ticket.ts";
import type { Store } from "../spec/ports.ts";
import { formatKey } from "../text/keys/key_text.ts";

const SECRET_LEN = 32;

/** Under what a ticket is kept: for which group, as whom, and with which psk. Another one of them is another handshake. */
export function ticketName(groupKey: Uint8Array, ownKey: Uint8Array, psk: Uint8Array | undefined): string {
  const context = new Uint8Array([...groupKey, ...ownKey]);
  return formatKey(expand(psk ?? new Uint8Array(SECRET_LEN), "kept ticket", context));
}

/** `boot`: what tells boots of machines apart. */
export function loadTicket(store: Store, name: string, boot: string, wallMs: number): KeptTicket | undefined {
  const saved = store.savedTicket(name);
  if (saved === undefined || saved.boot !== boot) return undefined;
  const { ticket, resumption, instance, savedMs } = saved;
  const sound = ticket.length > 0 && resumption.length === SECRET_LEN && instance.length === INSTANCE_LEN;
  const ageMs = wallMs - savedMs;
  return sound && ageMs >= 0 && ageMs < TICKET_LIFETIME_MS ? { ticket, resumption, instance } : undefined;
}

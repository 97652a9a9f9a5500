/**
 * Lets a client and a node that exist in memory only resume a session again and again. A session is resumed when something
 * has gone wrong, in the middle of a call: code that V8 has not compiled yet makes that three times as long.
 */

import type { Remote } from "../base/ip.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { INDEX_KEY_LEN } from "../crypto/session_index.ts";
import type { ClientOutput } from "../handshake/client_session.ts";
import { Initiator } from "../handshake/initiator.ts";
import { AES_256_GCM } from "../handshake/keys.ts";
import type { NodeOutput } from "../handshake/node_sessions.ts";
import { MODE_TUNNEL } from "../handshake/offer.ts";
import { Responder } from "../handshake/responder.ts";
import { NO_SETTINGS } from "../handshake/settings.ts";

const ROUNDS = 100;
/** A client lets a second pass between two resumptions that strangers could provoke. */
const ROUND_MS = 2000;
const LIFE_MS = ROUNDS * ROUND_MS * 2;
const NO_PSK = new Uint8Array(32);
const FROM: Remote = { family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 1, port: 1, sock: 0 };
/** A packet that the client sent: header, and as much of what follows as proves it. */
const LOST_LEN = 40;

export function warmUpSessions(entropy: Entropy): void {
  const group = entropy.keyPair();
  const seen: number[] = [];
  const node = new Responder(
    {
      ...{ group, groupName: "", cookieSecret: entropy.bytes(32), ticketLifetimeMs: LIFE_MS, creator: 0 },
      indexKeys: [entropy.bytes(INDEX_KEY_LEN)],
      ticketKeys: [{ id: 1, key: entropy.bytes(32), notBeforeMs: 0, notAfterMs: LIFE_MS }],
      ...{ aeads: [AES_256_GCM], senders: [{ senderId: 1, bootId: entropy.bytes(8) }] },
      ...{ rekeyAfterMs: LIFE_MS, keepaliveMs: LIFE_MS },
      sessions: { sessionsMax: 8, pendingMs: LIFE_MS, overlapMs: 1, expireAfterMs: LIFE_MS },
      load: { enterPerSecond: ROUNDS, leavePerSecond: ROUNDS, calmMs: 1 },
      requestsPerClient: { perSecond: ROUNDS, burst: ROUNDS },
    },
    { find: () => ({ name: "", psk: NO_PSK, modes: MODE_TUNNEL }), settings: () => NO_SETTINGS },
    { greatest: () => seen.at(-1) ?? -1, advance: (_, timestamp) => void seen.push(timestamp) },
    entropy,
  );
  const client = new Initiator(
    {
      ...{ own: entropy.keyPair(), groupKey: group.publicKey, groupName: "", psk: NO_PSK },
      ...{ aeads: 1 << AES_256_GCM, modes: MODE_TUNNEL },
    },
    entropy,
  );
  for (let round = 0, index = -1; round < ROUNDS; round++) {
    const now = { ms: round * ROUND_MS, wallMs: round * ROUND_MS + 1 };
    const out: ClientOutput[] = [];
    node.tick(now, []);
    client.tick(now, out);
    if (index < 0) client.start(now, out);
    else {
      const lost = entropy.bytes(LOST_LEN);
      const view = new DataView(lost.buffer, lost.byteOffset, lost.length);
      view.setUint16(4, index >>> 15);
      view.setUint16(6, 0x8000 | (index & 0x7fff));
      client.sent.note(view.getUint32(0), view.getInt32(8), view.getInt32(12));
      const unknown: NodeOutput[] = [];
      node.unknownSession(now, lost, FROM, unknown);
      for (const output of unknown) if (output.kind === "send") client.receive(now, output.datagram, out);
    }
    index = exchange(now, client, node, out) ?? index;
  }
}

/** Carries what both say until they are silent. Index of the session that came of it. */
function exchange(now: { ms: number; wallMs: number }, client: Initiator, node: Responder, said: ClientOutput[]) {
  let index: number | undefined;
  for (let out = said; out.length > 0; ) {
    const answers: NodeOutput[] = [];
    const more: ClientOutput[] = [];
    for (const output of out) {
      if (output.kind === "send") node.receive(now, output.datagram, FROM, answers);
      if (output.kind !== "up") continue;
      index = output.session.index;
      node.authentic(now, index, []);
      client.heard(now, output.session.receiver, 0);
    }
    for (const output of answers) if (output.kind === "send") client.receive(now, output.datagram, more);
    out = more;
  }
  return index;
}

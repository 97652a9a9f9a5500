/**
 * Sessions without a network: twin of the data plane's for tests and simulations. A session is what `connect` says;
 * only clients that were admitted may have one, and a second connection of a client replaces the first.
 */

import type { Clock } from "../base/clock.ts";
import { AnyhopError } from "../base/errors.ts";
import type { ClientRecord, SessionState, Sessions } from "../control/spec/ports.ts";

export interface MemorySessions extends Sessions {
  /** A client arrives; its session index, or -1 when it may not come. `rttMs`: what a ping takes. */
  connect(publicKey: string, endpoint: string, rttMs: number): number;
  /** Names of those who may come. */
  admitted(): string[];
  /** The pre-shared key that a client needs. */
  pskOf(publicKey: string): Uint8Array | undefined;
}

export function createMemorySessions(clock: Clock): MemorySessions {
  const allowed = new Map<string, { readonly client: ClientRecord; readonly psk: Uint8Array | undefined }>();
  const sessions = new Map<number, SessionState & { readonly rttMs: number }>();
  let lastId = 0;
  const of = (publicKey: string) => [...sessions.values()].filter((session) => session.publicKey === publicKey);
  return {
    list: (after = -1, limit = Number.POSITIVE_INFINITY) =>
      [...sessions.values()]
        .filter(({ id }) => id > after)
        .slice(0, limit)
        .map(({ rttMs: _, ...state }) => state),
    groupKey: undefined,
    // Nobody asks a twin for a session.
    handshakes: () => [],
    controls: () => [],
    refused: () => [],
    count: () => sessions.size,
    get: (id) => sessions.get(id),
    sessionOf: (publicKey) => of(publicKey)[0]?.id,
    end: (id) => sessions.delete(id),
    admit(client, psk) {
      allowed.set(client.publicKey, { client, psk });
    },
    // What sessions are given is no part of this twin.
    reconfigure() {},
    expel(publicKey) {
      allowed.delete(publicKey);
      for (const { id } of of(publicKey)) sessions.delete(id);
    },
    faults: () => [],
    async ping(publicKey, timeoutMs) {
      const [session] = of(publicKey);
      if (session === undefined) throw new AnyhopError("no_session", "The client has no session.");
      if (session.rttMs > timeoutMs)
        throw new AnyhopError("ping_timeout", `The client did not answer within ${timeoutMs} ms.`);
      return { rttMs: session.rttMs, node: null };
    },
    connect(publicKey, endpoint, rttMs) {
      if (!allowed.has(publicKey)) return -1;
      for (const { id } of of(publicKey)) sessions.delete(id);
      const now = clock.wallMs();
      const none = { packets: 0, bytes: 0 };
      lastId += 1;
      sessions.set(lastId, {
        id: lastId,
        publicKey,
        endpoint,
        cipher: "aes-256-gcm",
        sinceMs: now,
        heardMs: now,
        foreign: false,
        owner: null,
        ownerSinceMs: null,
        moves: null,
        settings: null,
        rx: none,
        tx: none,
        rttMs,
      });
      return lastId;
    },
    admitted: () => [...allowed.values()].map(({ client }) => client.name).sort(),
    pskOf: (publicKey) => allowed.get(publicKey)?.psk,
  };
}

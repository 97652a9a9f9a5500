/** A group and clients on real primitives, seeded entropy and virtual time: the ground for every test of handshakes. */

import type { Remote } from "../../src/base/ip.ts";
import type { Entropy } from "../../src/crypto/entropy.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import type { Now } from "../../src/handshake/clock.ts";
import { Initiator, type InitiatorConfig } from "../../src/handshake/initiator.ts";
import { AES_256_GCM, CHACHA20_POLY1305, type Sender } from "../../src/handshake/keys.ts";
import { MODE_TUNNEL } from "../../src/handshake/offer.ts";
import {
  type ClientRecord,
  type Clients,
  Responder,
  type ResponderConfig,
  type Timestamps,
} from "../../src/handshake/responder.ts";
import { NO_SETTINGS, type Settings } from "../../src/handshake/settings.ts";
import type { TicketKey } from "../../src/handshake/ticket.ts";
import { Prng } from "../support/prng.ts";

/** Deterministic: the same seed gives the same handshakes. For tests only. */
export function seededEntropy(seed: number): Entropy {
  const prng = new Prng(seed);
  const bytes = (n: number) => Uint8Array.from({ length: n }, () => prng.nextU32() & 255);
  return { bytes, keyPair: () => keyPairFromPrivate(bytes(32)) };
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
export const at = (ms: number, wallMs = 1_700_000_000_000 + ms): Now => ({ ms, wallMs });
export const endpoint = (last: number, port = 4444): Remote => ({
  ...{ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: (0xc6336400 + last) | 0 },
  ...{ port, sock: 0 },
});

export const INDEX_KEY = new Uint8Array(8).fill(6);
export const PSK = new Uint8Array(32).fill(7);
export const SETTINGS: Settings = {
  ...NO_SETTINGS,
  addresses: [{ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0xc0000205 | 0, length: 24 }],
  routes: [{ family: 6, w0: 0x20010db8, w1: 0, w2: 0, w3: 0, length: 32 }],
  mtuBytes: 1400,
  dns: [{ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0xc0000201 | 0 }],
  searchDomains: ["example.net"],
};

/** Usable at any time; of several the one with the highest id seals. */
export const ticketKey = (id: number, key: Uint8Array): TicketKey => ({
  ...{ id, key, notBeforeMs: 0, notAfterMs: Number.POSITIVE_INFINITY },
});

/** What outlives a node's process: keys, who may come in, greatest timestamps. */
export class Group implements Clients, Timestamps {
  readonly entropy: Entropy;
  readonly key = keyPairFromPrivate(new Uint8Array(32).fill(1));
  readonly known = new Map<string, ClientRecord>();
  readonly seen = new Map<string, number>();
  readonly config: ResponderConfig;
  /** What clients get. */
  given: Settings | undefined = SETTINGS;

  constructor(seed: number, changes: Partial<ResponderConfig> = {}) {
    this.entropy = seededEntropy(seed);
    this.config = {
      group: this.key,
      groupName: "example",
      cookieSecret: this.entropy.bytes(32),
      ticketKeys: [ticketKey(1, this.entropy.bytes(32))],
      ticketLifetimeMs: 3_600_000,
      creator: 0,
      indexKeys: [INDEX_KEY],
      aeads: [AES_256_GCM, CHACHA20_POLY1305],
      senders: [],
      rekeyAfterMs: 120_000,
      keepaliveMs: 25_000,
      sessions: { sessionsMax: 1000, pendingMs: 15_000, overlapMs: 30_000, expireAfterMs: 600_000 },
      load: { enterPerSecond: 1000, leavePerSecond: 500, calmMs: 5000 },
      requestsPerClient: { perSecond: 1000, burst: 1000 },
      ...changes,
    };
  }

  find(publicKey: string) {
    return this.known.get(publicKey);
  }
  settings() {
    return this.given;
  }
  greatest(publicKey: string) {
    return this.seen.get(publicKey) ?? -1;
  }
  advance(publicKey: string, timestamp: number) {
    this.seen.set(publicKey, timestamp);
  }

  /** A node that has just started, with a fresh start of sender 1. */
  node(changes: Partial<ResponderConfig> = {}): Responder {
    const sender: Sender = { senderId: 1, bootId: this.entropy.bytes(8) };
    return new Responder({ ...this.config, senders: [sender], ...changes }, this, this, this.entropy);
  }

  /** A client that the group knows. */
  client(name: string, changes: Partial<InitiatorConfig> = {}, own = this.entropy.keyPair()): Initiator {
    this.known.set(hex(own.publicKey), { name, psk: PSK, modes: MODE_TUNNEL });
    const aeads = (1 << AES_256_GCM) | (1 << CHACHA20_POLY1305);
    return new Initiator(
      {
        ...{ own, groupKey: this.key.publicKey, groupName: "example", psk: PSK, aeads, modes: MODE_TUNNEL },
        ...changes,
      },
      this.entropy,
    );
  }
}

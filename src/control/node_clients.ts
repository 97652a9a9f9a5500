/**
 * Clients as the handshake knows them, and what they are given for the inside of the tunnel. There may be 100,000, so
 * each is one small object that points to its record, and what all are given is there once.
 */
import { parseAddress } from "../base/ip.ts";
import { type Prefix, parsePrefix } from "../base/prefix.ts";
import { MODE_OPEN_TUNNEL, MODE_RELAY, MODE_TUNNEL } from "../handshake/offer.ts";
import type { ClientRecord as HandshakeClient } from "../handshake/responder.ts";
import type { InnerPrefix, Settings } from "../handshake/settings.ts";
import { prefixesOf } from "./client_book.ts";
import type { NodeSpec } from "./instance.ts";
import type { ClientRecord } from "./ports.ts";

const NO_PSK = new Uint8Array(32);
const MODE_BITS = { tunnel: MODE_TUNNEL, open: MODE_OPEN_TUNNEL, relay: MODE_RELAY };

/** A client that may come. */
export class Admitted implements HandshakeClient {
  readonly record: ClientRecord;
  readonly psk: Uint8Array;
  /** Rows with this owner in the tunnel table are the client's. */
  readonly owner: number;

  constructor(record: ClientRecord, psk: Uint8Array | undefined, owner: number) {
    this.record = record;
    this.psk = psk ?? NO_PSK;
    this.owner = owner;
  }

  get name(): string {
    return this.record.name;
  }

  /** What is routed to it. */
  prefixes(): Prefix[] {
    return prefixesOf(this.record).map((text) => parsePrefix(text)!);
  }

  get modes(): number {
    return this.record.modes.reduce((bits, mode) => bits | MODE_BITS[mode], 0);
  }
}

/** What every client of a node is given. */
export type SharedSettings = Omit<Settings, "addresses">;

export function sharedSettings({ pool, networks, dns, instance }: NodeSpec): SharedSettings {
  return {
    routes: [...new Set([...pool, ...networks])].map((text) => parsePrefix(text)!),
    mtuBytes: instance.device.mtuBytes,
    dns: dns.map((text) => parseAddress(text)!),
    searchDomains: [],
  };
}

/** Undefined when the client has no address. */
export function clientSettings(record: ClientRecord, shared: SharedSettings): Settings | undefined {
  return record.addresses.length === 0 ? undefined : new ClientSettings(record, shared);
}

/** Reads addresses when they are asked for: a session keeps its settings for its whole life, and hardly anybody asks. */
class ClientSettings implements Settings {
  readonly #record: ClientRecord;
  readonly #shared: SharedSettings;

  constructor(record: ClientRecord, shared: SharedSettings) {
    this.#record = record;
    this.#shared = shared;
  }

  get addresses(): readonly InnerPrefix[] {
    return this.#record.addresses.map((text) => parsePrefix(text)!);
  }

  get routes(): Settings["routes"] {
    return this.#shared.routes;
  }

  get mtuBytes(): number {
    return this.#shared.mtuBytes;
  }

  get dns(): Settings["dns"] {
    return this.#shared.dns;
  }

  get searchDomains(): Settings["searchDomains"] {
    return this.#shared.searchDomains;
  }
}

/**
 * Clients as the handshake knows them, and what they are given for the inside of the tunnel. There may be 100,000, so
 * each is one small object that points to its record, and what all are given is there once.
 */
import { parseAddress } from "../../base/ip.ts";
import { type Prefix, parsePrefix } from "../../base/prefix.ts";
import { blake2s } from "../../crypto/blake2s.ts";
import { MODE_OPEN_TUNNEL, MODE_RELAY, MODE_TUNNEL } from "../../handshake/offer.ts";
import type { ClientRecord as HandshakeClient } from "../../handshake/responder.ts";
import { encodeSettings, type InnerPrefix, NO_SETTINGS, type Settings } from "../../handshake/settings.ts";
import type { NodeSpec } from "../spec/instance.ts";
import type { ClientRecord } from "../spec/ports.ts";
import { prefixesOf } from "./client_book.ts";

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

/** What every client of a node is given: the same for all of them, and in memory once. */
export interface SharedSettings extends Omit<Settings, "addresses" | "version" | "more"> {
  /** As records, but for what each client has of its own. */
  readonly encoded: Uint8Array;
  /** Of `encoded`. */
  readonly digest: Uint8Array;
}

export function sharedSettings({ pool, networks, dns, instance }: NodeSpec): SharedSettings {
  const shared = {
    routes: [...new Set([...pool, ...networks])].map((text) => parsePrefix(text)!),
    mtuBytes: instance.device.mtuBytes,
    dns: dns.map((text) => parseAddress(text)!),
    searchDomains: [],
  };
  const encoded = encodeSettings({ ...NO_SETTINGS, ...shared });
  return { ...shared, encoded, digest: blake2s(encoded) };
}

/** Undefined when the client has no address. */
export function clientSettings(record: ClientRecord, shared: SharedSettings): ClientSettings | undefined {
  return record.addresses.length === 0 ? undefined : new ClientSettings(record, shared);
}

/** Reads addresses when they are asked for: a session keeps its settings for its whole life, and hardly anybody asks. */
export class ClientSettings implements Settings {
  readonly more = false;
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

  /** Equal at all nodes whose files say the same. */
  get version(): number {
    const digest = blake2s(this.#shared.digest, Buffer.from(this.#record.addresses.join(" "), "latin1"));
    return new DataView(digest.buffer, digest.byteOffset).getUint32(0) || 1;
  }

  /** The message SETTINGS, in parts of which the long one is there once for all clients. */
  get parts(): readonly Uint8Array[] {
    const { addresses, version } = this;
    return [encodeSettings({ ...NO_SETTINGS, addresses, version }), this.#shared.encoded];
  }
}

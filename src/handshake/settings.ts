/**
 * What a node gives a client for the inside of the tunnel: addresses, routes, MTU, name servers. Travels as records
 * (type, length, value) in RESPONSE, RESUMED and tickets, and as the message SETTINGS of the channel when there is more than a grant
 * has room for, or something changes; unknown types are skipped, so that later versions may add some.
 */
import type { Address } from "../base/ip.ts";
import { viewOf } from "./control.ts";

/** An address with the length of its network; host bits may be set. */
export interface InnerPrefix extends Address {
  /** 0-32 for IPv4, 0-128 for IPv6. */
  readonly length: number;
}

export interface Settings {
  readonly addresses: readonly InnerPrefix[];
  readonly routes: readonly InnerPrefix[];
  /** 0 = not given. */
  readonly mtuBytes: number;
  readonly dns: readonly Address[];
  readonly searchDomains: readonly string[];
  /** 32 bits that are equal for equal contents; 0 = not said. */
  readonly version: number;
  /** These are the beginning, for a grant: all of it is the message SETTINGS with the same version. */
  readonly more: boolean;
}

export const NO_SETTINGS: Settings = {
  ...{ addresses: [], routes: [], mtuBytes: 0, dns: [], searchDomains: [], version: 0, more: false },
};

const ADDRESS = 1;
const ROUTE = 2;
const MTU = 3;
const DNS = 4;
const SEARCH = 5;
const VERSION = 6;
const MORE = 7;
const MAPPED = 0xffff;

const WORDS = ["w0", "w1", "w2", "w3"] as const;

function addressBytes(address: Address): number[] {
  const bytes: number[] = [];
  for (let k = address.family === 4 ? 3 : 0; k < 4; k++) {
    const word = address[WORDS[k]];
    bytes.push((word >>> 24) & 255, (word >>> 16) & 255, (word >>> 8) & 255, word & 255);
  }
  return bytes;
}

function addressOf(view: DataView, at: number, length: number): Address | undefined {
  if (length === 4) return { family: 4, w0: 0, w1: 0, w2: MAPPED, w3: view.getInt32(at) };
  if (length !== 16) return undefined;
  const [w0, w1, w2, w3] = [view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12)];
  return { family: 6, w0, w1, w2, w3 };
}

function prefixOf(view: DataView, at: number, length: number): InnerPrefix | undefined {
  const address = length > 1 ? addressOf(view, at + 1, length - 1) : undefined;
  if (address === undefined) return undefined;
  const prefixLen = view.getUint8(at);
  return prefixLen > (address.family === 4 ? 32 : 128) ? undefined : { ...address, length: prefixLen };
}

/** The records, one after another. Search domains longer than 253 bytes are no domains and are left out. */
export function encodeSettings(settings: Settings): Uint8Array {
  const out: number[] = [];
  const record = (type: number, value: readonly number[]) => out.push(type, value.length, ...value);
  for (const address of settings.addresses) record(ADDRESS, [address.length, ...addressBytes(address)]);
  for (const route of settings.routes) record(ROUTE, [route.length, ...addressBytes(route)]);
  if (settings.mtuBytes > 0) record(MTU, [settings.mtuBytes >>> 8, settings.mtuBytes & 255]);
  for (const server of settings.dns) record(DNS, addressBytes(server));
  for (const domain of settings.searchDomains) {
    const text = new TextEncoder().encode(domain);
    if (text.length <= 253) record(SEARCH, [...text]);
  }
  const { version } = settings;
  if (version !== 0) record(VERSION, [version >>> 24, (version >>> 16) & 255, (version >>> 8) & 255, version & 255]);
  if (settings.more) record(MORE, []);
  return Uint8Array.from(out);
}

/** Undefined when a record does not fit its type or the bytes. */
export function decodeSettings(bytes: Uint8Array): Settings | undefined {
  const view = viewOf(bytes);
  const addresses: InnerPrefix[] = [];
  const routes: InnerPrefix[] = [];
  const dns: Address[] = [];
  const searchDomains: string[] = [];
  let mtuBytes = 0;
  let version = 0;
  let more = false;
  for (let at = 0; at < bytes.length; ) {
    if (at + 2 > bytes.length) return undefined;
    const [type, length] = [bytes[at], bytes[at + 1]];
    at += 2;
    if (at + length > bytes.length) return undefined;
    if (type === ADDRESS || type === ROUTE) {
      const prefix = prefixOf(view, at, length);
      if (prefix === undefined) return undefined;
      (type === ADDRESS ? addresses : routes).push(prefix);
    } else if (type === MTU) {
      if (length !== 2) return undefined;
      mtuBytes = view.getUint16(at);
    } else if (type === DNS) {
      const server = addressOf(view, at, length);
      if (server === undefined) return undefined;
      dns.push(server);
    } else if (type === SEARCH) {
      searchDomains.push(new TextDecoder().decode(bytes.subarray(at, at + length)));
    } else if (type === VERSION) {
      if (length !== 4) return undefined;
      version = view.getUint32(at);
    } else if (type === MORE) {
      if (length !== 0) return undefined;
      more = true;
    }
    at += length;
  }
  return { addresses, routes, mtuBytes, dns, searchDomains, version, more };
}

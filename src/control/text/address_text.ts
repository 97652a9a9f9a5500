/**
 * Addresses, prefixes and peers as people write them in configuration files and on command lines: canonical text when
 * they are right, a sentence that says what is wrong when not. Numbers are the business of `base/ip.ts`.
 */
import { formatAddress, parseAddress } from "../../base/ip.ts";
import { formatPrefix, parsePrefix } from "../../base/prefix.ts";

export interface PrefixText {
  readonly family: 4 | 6;
  readonly bits: number;
  /** The address with its host bits, canonical text. */
  readonly address: string;
  /** The prefix with host bits cleared, canonical text, "10.9.0.0/24". */
  readonly network: string;
  readonly hostBits: boolean;
}

/** 4, 6, or undefined when `text` is not an address. */
export function familyOf(text: string): 4 | 6 | undefined {
  return parseAddress(text)?.family;
}

/** Canonical text of an address that `familyOf` accepts (RFC 5952); other text as it is. */
export function canonical(text: string): string {
  const address = parseAddress(text);
  return address === undefined ? text : formatAddress(address.w0, address.w1, address.w2, address.w3);
}

/** Reads "address/length"; a sentence when it cannot. */
export function readPrefix(text: string): PrefixText | string {
  const slash = text.lastIndexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  const family = familyOf(address);
  if (family === undefined) return `"${text}" is not an IPv4 or IPv6 prefix such as 10.9.0.0/24 or 2001:db8::/48`;
  const width = family === 4 ? 32 : 128;
  if (slash < 0) return `"${text}" has no prefix length; write ${text}/${width} for the single address`;
  const prefix = parsePrefix(text);
  if (prefix === undefined)
    return `prefix length "${text.slice(slash + 1)}" of "${text}" is not a number from 0 to ${width}`;
  const { length: bits, hostBits } = prefix;
  return { family, bits, address: canonical(address), network: formatPrefix(prefix), hostBits };
}

/**
 * Reads "host", "host:port", "[v6]:port" or a bare IPv6 address. A sentence when it cannot. Names are checked for their
 * characters only; resolving is the supervisor's work.
 */
export function readEndpoint(text: string, defaultPort: number): { host: string; port: number } | string {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/s.exec(text);
  const plain = familyOf(text) === 6 ? undefined : /^([^:]*)(?::([^:]*))?$/s.exec(text);
  const host = bracketed?.[1] ?? plain?.[1] ?? text;
  const portText = bracketed?.[2] ?? plain?.[2];
  if (bracketed !== null ? familyOf(host) !== 6 : familyOf(host) === undefined && !isHostName(host))
    return `"${text}" is not an address or host name with a port; write host:port, 192.0.2.1:4444 or [2001:db8::1]:4444`;
  const port = portText === undefined ? defaultPort : parsePort(portText);
  if (port === undefined) return `port "${portText}" of "${text}" is not a number from 1 to 65535`;
  return { host: familyOf(host) === undefined ? host : canonical(host), port };
}

/** 1-65535, or undefined. */
export function parsePort(text: string): number | undefined {
  const port = Number(text);
  return /^[0-9]{1,5}$/.test(text) && port >= 1 && port <= 65535 ? port : undefined;
}

/** RFC 1123 section 2.1; underscores are allowed because resolvers do. An all-digit last label would be an address. */
export function isHostName(text: string): boolean {
  if (text.length > 253 || /(^|\.)[0-9]+\.?$/.test(text)) return false;
  return /^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$/.test(
    text,
  );
}

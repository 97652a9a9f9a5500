/**
 * IP prefixes: an address and the number of its leading bits that count. A prefix belongs to one family: ::/0 does not
 * contain IPv4 addresses, although they are written as words of ::ffff:0:0/96. For configuration and status; packets
 * are matched by `table/lpm.ts`.
 */
import { type Address, formatAddress, isMapped, parseAddress } from "./ip.ts";

/** Host bits of the words are zero. */
export interface Prefix extends Address {
  /** 0-32 for IPv4, 0-128 for IPv6. */
  readonly length: number;
  /** The text had host bits ("10.9.0.1/24"); they are masked here. */
  readonly hostBits: boolean;
}

/** Reads "10.9.0.0/24" or "2001:db8::/32"; an address alone is a /32 or /128. Undefined when the text is neither. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  const { family } = address;
  let length = family === 4 ? 32 : 128;
  if (slash >= 0) {
    const digits = text.slice(slash + 1);
    if (!/^(0|[1-9]\d{0,2})$/.test(digits)) return undefined;
    // ::ffff:10.9.0.0/120 counts the 96 bits before the IPv4 address.
    const bits = Number(digits) - (text.includes(":") && family === 4 ? 96 : 0);
    if (bits < 0 || bits > length) return undefined;
    length = bits;
  }
  const counted = length + (family === 4 ? 96 : 0);
  const w0 = address.w0 & mask(counted, 0);
  const w1 = address.w1 & mask(counted, 1);
  const w2 = address.w2 & mask(counted, 2);
  const w3 = address.w3 & mask(counted, 3);
  const hostBits = w0 !== address.w0 || w1 !== address.w1 || w2 !== address.w2 || w3 !== address.w3;
  return { family, w0, w1, w2, w3, length, hostBits };
}

/** Addresses that a host can't have as its own, or that mean another thing on each host (RFC 6890). */
const SPECIAL: readonly (readonly [prefix: string, what: string])[] = [
  ["0.0.0.0/8", "this network"],
  ["127.0.0.0/8", "loopback"],
  ["224.0.0.0/4", "multicast"],
  ["240.0.0.0/4", "reserved use"],
  ["::/128", "no host"],
  ["::1/128", "loopback"],
  ["fe80::/10", "link-local addresses"],
  ["ff00::/8", "multicast"],
];

/** "127.0.0.0/8 is for loopback": why no address of the prefix may be an inner one; undefined: any may. */
export function specialIn(prefix: Prefix): string | undefined {
  const found = SPECIAL.find(([text]) => overlap(parsePrefix(text)!, prefix));
  return found && `${found[0]} is for ${found[1]}`;
}

/** "10.9.0.0/24". */
export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix.w0, prefix.w1, prefix.w2, prefix.w3)}/${prefix.length}`;
}

/** True when the address is of the prefix's family and inside. */
export function contains(prefix: Prefix, w0: number, w1: number, w2: number, w3: number): boolean {
  if (isMapped(w0, w1, w2) !== (prefix.family === 4)) return false;
  const length = prefix.length + (prefix.family === 4 ? 96 : 0);
  return (
    ((w0 ^ prefix.w0) & mask(length, 0)) === 0 &&
    ((w1 ^ prefix.w1) & mask(length, 1)) === 0 &&
    ((w2 ^ prefix.w2) & mask(length, 2)) === 0 &&
    ((w3 ^ prefix.w3) & mask(length, 3)) === 0
  );
}

/** True when some address is in both; never across families. */
export function overlap(a: Prefix, b: Prefix): boolean {
  return a.length <= b.length ? contains(a, b.w0, b.w1, b.w2, b.w3) : contains(b, a.w0, a.w1, a.w2, a.w3);
}

/** The bits of word `index` that belong to the first `length` of 128, as an int32. */
export function mask(length: number, index: number): number {
  const bits = length - 32 * index;
  if (bits <= 0) return 0;
  return bits >= 32 ? -1 : ~(-1 >>> bits);
}

/**
 * Gives inner addresses out of prefixes, the lowest free one first: one address of each family that the pool has. Pure;
 * what is taken is told by the caller. Within a prefix only the last 32 bits count, so an IPv6 prefix serves 2^32
 * clients at most.
 */
import { AnyhopError } from "../base/errors.ts";
import { type Address, formatAddress } from "../base/ip.ts";
import { formatPrefix, overlap, type Prefix, parsePrefix } from "../base/prefix.ts";

const WORD = 2 ** 32;

/** Address number `offset` (below 2^32) of a prefix. */
export function hostOf(prefix: Prefix, offset: number): Address {
  return { ...prefix, w3: prefix.w3 | offset | 0 };
}

/** One prefix of the pool. */
interface Range {
  readonly prefix: Prefix;
  /** The part of it that is given: its last 32 bits. */
  readonly span: Prefix;
  /** Offsets that may be given: first, and one behind the last. */
  readonly first: number;
  readonly end: number;
  /** No offset below this one is free. */
  low: number;
  readonly taken: Set<number>;
  /** Parts that belong to networks, [from, to) each. */
  readonly closed: [number, number][];
}

export class AddressPool {
  readonly #ranges: Range[];

  /** `prefixes`: canonical texts without overlap, each with at least four addresses. */
  constructor(prefixes: readonly string[]) {
    this.#ranges = prefixes.map((text) => rangeOf(parsePrefix(text)!));
  }

  /** Marks a prefix, or a single address, as not to be given. What lies outside the pool is ignored. */
  reserve(text: string): void {
    for (const [range, from, size] of this.#parts(text)) {
      if (size === 1) range.taken.add(from);
      else range.closed.push([from, from + size]);
    }
  }

  /** Undoes one `reserve`, or a `take`. */
  release(text: string): void {
    for (const [range, from, size] of this.#parts(text)) {
      const at = range.closed.findIndex(([first, end]) => first === from && end === from + size);
      if (size === 1) range.taken.delete(from);
      else if (at >= 0) range.closed.splice(at, 1);
      range.low = Math.min(range.low, Math.max(range.first, from));
    }
  }

  /** What a prefix covers of each range: offset of its first address, and how many. */
  #parts(text: string): [Range, number, number][] {
    const prefix = parsePrefix(text)!;
    return this.#ranges.flatMap((range): [Range, number, number][] => {
      if (!overlap(range.span, prefix)) return [];
      const inside = prefix.length >= range.span.length;
      return [[range, inside ? offsetIn(range.span, prefix) : 0, hosts(inside ? prefix : range.span)]];
    });
  }

  /**
   * One free address of each family, canonical text, and marks them. Throws AnyhopError "pool_exhausted" and marks
   * nothing when a family has none left, "no_pool" when there is no prefix at all.
   */
  take(): string[] {
    if (this.#ranges.length === 0)
      throw new AnyhopError(
        "no_pool",
        'The node has no address pool: name the addresses, or add pool = ["10.9.0.0/24"] to [node].',
      );
    const found: [Range, number][] = [];
    for (const family of [4, 6] as const) {
      const ranges = this.#ranges.filter(({ prefix }) => prefix.family === family);
      if (ranges.length === 0) continue;
      const hit = ranges.map((range): [Range, number] => [range, lowestFree(range)]).find(([, at]) => at >= 0);
      if (hit === undefined)
        throw new AnyhopError(
          "pool_exhausted",
          `Every address of ${ranges.map(({ prefix }) => formatPrefix(prefix)).join(", ")} is taken. Remove clients, or add a prefix to pool in [node].`,
        );
      found.push(hit);
    }
    return found.map(([range, offset]) => {
      range.taken.add(offset);
      range.low = offset + 1;
      const { w0, w1, w2, w3 } = hostOf(range.prefix, offset);
      return formatAddress(w0, w1, w2, w3);
    });
  }
}

/** The network's own address (in IPv6 the routers' anycast address) and IPv4's broadcast address are not given. */
function rangeOf(prefix: Prefix): Range {
  const size = hosts(prefix);
  const span = { ...prefix, length: prefix.family === 4 ? prefix.length : Math.max(96, prefix.length) };
  return { prefix, span, first: 1, end: prefix.family === 4 ? size - 1 : size, low: 1, taken: new Set(), closed: [] };
}

/** Addresses of a prefix, at most 2^32. */
function hosts({ family, length }: Prefix): number {
  const bits = (family === 4 ? 32 : 128) - length;
  return bits >= 32 ? WORD : 2 ** bits;
}

function offsetIn(prefix: Prefix, { w3 }: Address): number {
  return ((w3 ^ prefix.w3) >>> 0) % hosts(prefix);
}

function lowestFree(range: Range): number {
  let at = range.low;
  while (at < range.end) {
    const closed = range.closed.find(([from, to]) => at >= from && at < to);
    if (closed !== undefined) at = closed[1];
    else if (range.taken.has(at)) at += 1;
    else return at;
  }
  return -1;
}

/**
 * Gives inner addresses out of prefixes: one address of each family that the pool has. Pure; what is taken is told by the
 * caller. Within a prefix only the last 32 bits count, so an IPv6 prefix serves 2^32 clients at most.
 *
 * Several nodes give out of one pool without asking each other: of n nodes the one with rank r has the addresses whose
 * number in the prefix leaves r when divided by n. It gives the lowest free one of its part; when its part is full, the
 * highest free one of the next node's part, so that it is out of that node's way for longest
 * (docs/decisions/0006-one-book.md).
 */
import { AnyhopError } from "../../base/errors.ts";
import { type Address, formatAddress } from "../../base/ip.ts";
import { formatPrefix, overlap, type Prefix, parsePrefix } from "../../base/prefix.ts";

const WORD = 2 ** 32;

/** Address number `offset` (below 2^32) of a prefix. */
export function hostOf(prefix: Prefix, offset: number): Address {
  return { ...prefix, w3: prefix.w3 | offset | 0 };
}

/** Which part of the pool a node gives addresses from first. */
export interface PoolPart {
  /** 0 to nodes - 1. */
  readonly rank: number;
  readonly nodes: number;
}

type Family = 4 | 6;
const FAMILIES = [4, 6] as const;
const WHOLE: PoolPart = { rank: 0, nodes: 1 };

/** One prefix of the pool. */
interface Range {
  readonly prefix: Prefix;
  /** The part of it that is given: its last 32 bits. */
  readonly span: Prefix;
  /** Offsets that may be given: first, and one behind the last. */
  readonly first: number;
  readonly end: number;
  /** By part: no offset of the part below this one is free, and none above the other. */
  readonly low: number[];
  readonly high: number[];
  readonly taken: Set<number>;
  /** Parts that belong to networks, [from, to) each. */
  readonly closed: [number, number][];
}

export class AddressPool {
  readonly #ranges: Range[];
  readonly #part: PoolPart;

  /** `prefixes`: canonical texts without overlap, each with at least four addresses. */
  constructor(prefixes: readonly string[], part = WHOLE) {
    this.#part = part;
    this.#ranges = prefixes.map((text) => rangeOf(parsePrefix(text)!, part.nodes));
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
      const first = Math.max(range.first, from);
      const last = Math.min(range.end, from + size) - 1;
      for (let part = 0; part < this.#part.nodes; part++) {
        range.low[part] = Math.min(range.low[part], first);
        range.high[part] = Math.max(range.high[part], last);
      }
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
   * One free address of each family, canonical text, and marks them. `anywhere`: the lowest of the whole pool, which is the
   * same at every node that has the same clients. Throws AnyhopError "pool_exhausted" and marks nothing when a family has
   * none left, "no_pool" when there is no prefix at all.
   */
  take(anywhere = false, families: readonly Family[] = FAMILIES): string[] {
    if (this.#ranges.length === 0)
      throw new AnyhopError(
        "no_pool",
        'The node has no address pool: name the addresses, or add pool = ["10.9.0.0/24"] to [node].',
      );
    const found: [Range, number][] = [];
    for (const family of families) {
      const ranges = this.#ranges.filter(({ prefix }) => prefix.family === family);
      if (ranges.length === 0) continue;
      const hit = anywhere ? this.#lowest(ranges) : this.#ofPart(ranges);
      if (hit === undefined)
        throw new AnyhopError(
          "pool_exhausted",
          `Every address of ${ranges.map(({ prefix }) => formatPrefix(prefix)).join(", ")} is taken. Remove clients, or add a prefix to pool in [node].`,
        );
      found.push(hit);
    }
    return found.map(([range, offset]) => {
      range.taken.add(offset);
      const { w0, w1, w2, w3 } = hostOf(range.prefix, offset);
      return formatAddress(w0, w1, w2, w3);
    });
  }

  #lowest(ranges: readonly Range[]): [Range, number] | undefined {
    const { nodes } = this.#part;
    for (const range of ranges) {
      const offsets = Array.from({ length: nodes }, (_, part) => lowestFree(range, part, nodes)).filter(
        (at) => at >= 0,
      );
      if (offsets.length > 0) return [range, Math.min(...offsets)];
    }
    return undefined;
  }

  #ofPart(ranges: readonly Range[]): [Range, number] | undefined {
    const { rank, nodes } = this.#part;
    for (let step = 0; step < nodes; step++) {
      const part = (rank + step) % nodes;
      for (const range of ranges) {
        const at = step === 0 ? lowestFree(range, part, nodes) : highestFree(range, part, nodes);
        if (at >= 0) return [range, at];
      }
    }
    return undefined;
  }
}

/** The network's own address (in IPv6 the routers' anycast address) and IPv4's broadcast address are not given. */
function rangeOf(prefix: Prefix, nodes: number): Range {
  const size = hosts(prefix);
  const span = { ...prefix, length: prefix.family === 4 ? prefix.length : Math.max(96, prefix.length) };
  const [first, end] = [1, prefix.family === 4 ? size - 1 : size];
  const parts = { low: new Array(nodes).fill(first), high: new Array(nodes).fill(end - 1) };
  return { prefix, span, first, end, ...parts, taken: new Set(), closed: [] };
}

/** Addresses of a prefix, at most 2^32. */
function hosts({ family, length }: Prefix): number {
  const bits = (family === 4 ? 32 : 128) - length;
  return bits >= 32 ? WORD : 2 ** bits;
}

function offsetIn(prefix: Prefix, { w3 }: Address): number {
  return ((w3 ^ prefix.w3) >>> 0) % hosts(prefix);
}

/** The first offset at or above `from` that leaves `part` when divided by `nodes`. */
const alignUp = (from: number, part: number, nodes: number): number =>
  from + ((((part - from) % nodes) + nodes) % nodes);
const alignDown = (from: number, part: number, nodes: number): number =>
  from - ((((from - part) % nodes) + nodes) % nodes);

function lowestFree(range: Range, part: number, nodes: number): number {
  let at = alignUp(range.low[part], part, nodes);
  while (at < range.end) {
    const closed = range.closed.find(([from, to]) => at >= from && at < to);
    if (closed !== undefined) at = alignUp(closed[1], part, nodes);
    else if (range.taken.has(at)) at += nodes;
    else break;
  }
  range.low[part] = at;
  return at < range.end ? at : -1;
}

function highestFree(range: Range, part: number, nodes: number): number {
  let at = alignDown(range.high[part], part, nodes);
  while (at >= range.first) {
    const closed = range.closed.find(([from, to]) => at >= from && at < to);
    if (closed !== undefined) at = alignDown(closed[0] - 1, part, nodes);
    else if (range.taken.has(at)) at -= nodes;
    else break;
  }
  range.high[part] = at;
  return at >= range.first ? at : -1;
}

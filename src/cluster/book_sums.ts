/**
 * Sums over the book by which two nodes find out what one of them has missed: its entries lie in 256 buckets by the first
 * byte of the client's key, and each bucket has the sum of the hashes of its entries, kept up to date in O(1). Finds
 * omissions, not malice. docs/PROTOCOL.md, "What a node missed of the book".
 */
export const BUCKETS = 256;

/** FNV-1a, 32 bits. */
export function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let k = 0; k < bytes.length; k++) hash = Math.imul(hash ^ bytes[k], 0x01000193);
  return hash >>> 0;
}

export const bucketOf = (clientKey: string): number => Number.parseInt(clientKey.slice(0, 2), 16);

export class BookSums {
  /** One a bucket, modulo 2^32. */
  readonly sums = new Uint32Array(BUCKETS);
  readonly #keys: Set<string>[] = Array.from({ length: BUCKETS }, () => new Set());

  /** An entry has these bytes now. `before`: its hash until now; undefined: it is new. Returns its hash. */
  replace(clientKey: string, before: number | undefined, value: Uint8Array): number {
    const bucket = bucketOf(clientKey);
    const hash = hashOf(value);
    this.#keys[bucket].add(clientKey);
    this.sums[bucket] += hash - (before ?? 0);
    return hash;
  }

  remove(clientKey: string, hash: number): void {
    const bucket = bucketOf(clientKey);
    this.#keys[bucket].delete(clientKey);
    this.sums[bucket] -= hash;
  }

  /** Client keys of a bucket, in their order. */
  keys(bucket: number): string[] {
    return [...this.#keys[bucket]].sort();
  }
}

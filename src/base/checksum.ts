/**
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624). Full sums are for packets that we write;
 * packets under way are only updated, so that damage from elsewhere stays visible. Never allocates.
 */

/**
 * Adds `len` bytes at `at` as big-endian 16-bit words, an odd last byte as if a zero followed, to `seed`. The result is
 * a partial sum for `fold` or the next `sum`; only the last piece of several may have an odd length. `len` <= 65535.
 */
export function sum(view: DataView, at: number, len: number, seed = 0): number {
  let total = seed;
  const end = at + len;
  let i = at;
  for (; i + 1 < end; i += 2) total += view.getUint16(i);
  if (i < end) total += view.getUint8(i) << 8;
  return total;
}

/** The checksum of a partial sum, 0-0xffff, as it goes into the header. Over data that contain it: 0 when intact. */
export function fold(partial: number): number {
  let s = (partial & 0xffff) + Math.floor(partial / 0x10000);
  s = (s & 0xffff) + (s >>> 16);
  s = (s & 0xffff) + (s >>> 16);
  return ~s & 0xffff;
}

/** The checksum after an aligned 16-bit word went from `before` to `after` (RFC 1624 section 3, equation 3). */
export function update16(checksum: number, before: number, after: number): number {
  return fold((~checksum & 0xffff) + (~before & 0xffff) + (after & 0xffff));
}

/** The checksum after two neighbouring aligned 16-bit words went from `before` to `after`; either sign. */
export function update32(checksum: number, before: number, after: number): number {
  const removed = (~before >>> 16) + (~before & 0xffff);
  return fold((~checksum & 0xffff) + removed + (after >>> 16) + (after & 0xffff));
}

/**
 * Partial sum of the IPv4 pseudo-header (RFC 9293 section 3.1): `addresses` is the offset of the 8 bytes source and
 * destination, `length` that of the upper-layer packet.
 */
export function pseudo4(view: DataView, addresses: number, protocol: number, length: number): number {
  return sum(view, addresses, 8, protocol + length);
}

/** The same for IPv6 (RFC 8200 section 8.1): 32 bytes of addresses. `length` <= 65535. */
export function pseudo6(view: DataView, addresses: number, nextHeader: number, length: number): number {
  return sum(view, addresses, 32, nextHeader + length);
}

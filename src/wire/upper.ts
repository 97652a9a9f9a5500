/**
 * What `upperLayer` of `ipv4.ts` and `ipv6.ts` returns: protocol and place of the upper-layer header in one number,
 * since a hot function has no object to return.
 */

/** No upper-layer header: a fragment other than the first, no next header, or a chain that is cut or too long. */
export const NONE = -1;

/** `offset`: bytes from the first byte of the IP header. */
export function pack(protocol: number, offset: number): number {
  return (offset << 8) | protocol;
}

/** IP protocol number, unless NONE. */
export function protocolOf(packed: number): number {
  return packed & 255;
}

/** Bytes from the first byte of the IP header to the upper-layer header, unless NONE. */
export function offsetOf(packed: number): number {
  return packed >>> 8;
}

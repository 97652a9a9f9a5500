/** Addresses of messages in this folder: the same shapes as in handshake/, which it does not know. */
import type { Address } from "../base/ip.ts";

/** Where a datagram comes from or goes to. */
export interface Endpoint extends Address {
  readonly port: number;
  /**
   * Of a client: which of the group's addresses it sends to, as `addressMark` makes it. Whatever node sends to the client
   * sends from that address, or a firewall on the way drops it and the client leaves the service address. 0 or undefined:
   * not known.
   */
  readonly asked?: number | undefined;
}

/** 32 bits that stand for an address: FNV-1a over its 16 bytes, never 0. Only a host's own addresses are told apart by it. */
export function addressMark({ w0, w1, w2, w3 }: Omit<Address, "family">): number {
  let mark = 0x811c9dc5;
  for (const word of [w0, w1, w2, w3])
    for (let shift = 24; shift >= 0; shift -= 8) mark = Math.imul(mark ^ ((word >>> shift) & 0xff), 0x01000193);
  return mark >>> 0 || 1;
}

/** An inner address with the length of its network; host bits may be set. */
export interface InnerPrefix extends Address {
  /** 0-32 for IPv4, 0-128 for IPv6. */
  readonly length: number;
}

export const sameEndpoint = (a: Endpoint, b: Endpoint): boolean =>
  a.w0 === b.w0 &&
  a.w1 === b.w1 &&
  a.w2 === b.w2 &&
  a.w3 === b.w3 &&
  a.port === b.port &&
  (a.asked ?? 0) === (b.asked ?? 0);

/** Addresses of messages in this folder: the same shapes as in handshake/, which it does not know. */
import type { Address } from "../base/ip.ts";

/** Where a datagram comes from or goes to. */
export interface Endpoint extends Address {
  readonly port: number;
}

/** An inner address with the length of its network; host bits may be set. */
export interface InnerPrefix extends Address {
  /** 0-32 for IPv4, 0-128 for IPv6. */
  readonly length: number;
}

export const sameEndpoint = (a: Endpoint, b: Endpoint): boolean =>
  a.w0 === b.w0 && a.w1 === b.w1 && a.w2 === b.w2 && a.w3 === b.w3 && a.port === b.port;

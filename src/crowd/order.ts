/** What the process of many clients (`main.ts`) is told and says, in lines of JSON; and the keys of its clients. */
import { createHash } from "node:crypto";
import { parseAddress } from "../base/ip.ts";
import type { KeyPair } from "../crypto/x25519.ts";
import { nativePairOf } from "../drivers/native_x25519.ts";

/** In the file that the one argument of the process names. */
export interface CrowdOrder {
  /** The group's public key, base64. */
  readonly groupKey: string;
  readonly service: { readonly address: string; readonly port: number };
  /** Inner IPv4 address that answers echo requests at every node. */
  readonly echo: string;
  readonly clients: number;
  /** Inner IPv4 address of client 0; those of the others follow. */
  readonly firstAddress: string;
  /** Own addresses; the clients share them, since a node limits the requests of each. */
  readonly sources: readonly string[];
  /** Makes the clients' keys, together with their numbers. */
  readonly seed: string;
}

/**
 * A session for each of the clients [first, first + clients), and another one for those that have one. All requests are
 * made before the first is sent.
 */
interface Connect {
  readonly kind: "connect";
  readonly first: number;
  readonly clients: number;
  /** Requests of a client before it gives up, a second each. */
  readonly tries: number;
  /** A session counts when its client has confirmed it, or when an authentic packet of the node came in it. */
  readonly until: "confirmed" | "heard";
}

/**
 * One line of standard input. `steady`: each session sends so many echo requests a second, until the next line. `burst`:
 * one echo request in each session at once, and the answers that come within `waitMs`; it ends when all have come.
 */
export type CrowdCommand =
  | Connect
  | { readonly kind: "steady"; readonly perSecond: number }
  | { readonly kind: "burst"; readonly waitMs: number };

/** One authentic answer in a burst. */
export interface BurstAnswer {
  /** Number of the node that sealed it. */
  readonly node: number;
  /** Since the first packet of the burst was sent. */
  readonly atMs: number;
  /** Since the packet that it answers was sent. */
  readonly rttMs: number;
}

/** One line of standard output when the process is ready, and one for each command. */
export type CrowdLine =
  | { readonly kind: "ready" }
  | {
      readonly kind: "connected";
      readonly sessions: number;
      readonly failed: number;
      readonly cookies: number;
      readonly seconds: number;
    }
  | { readonly kind: "steady" }
  | {
      readonly kind: "burst";
      readonly sent: number;
      /** All packets had been given to the kernel. */
      readonly sentMs: number;
      /** At most one a session, in order of arrival. */
      readonly answers: readonly BurstAnswer[];
    };

/** Key of client `n`. */
export const crowdPair = (seed: string, n: number): KeyPair =>
  nativePairOf(createHash("sha256").update(`anyhop crowd ${seed} ${n}`).digest());

/** Inner IPv4 address of client `n` as a number. */
export const crowdAddress = (first: string, n: number): number => parseAddress(first)!.w3 + n;

/** The same as text. */
export const crowdAddressText = (first: string, n: number): string => {
  const address = crowdAddress(first, n);
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
};

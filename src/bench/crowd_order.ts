/** What the process of many clients (`crowd.ts`) is told and says, in lines of JSON; and the keys of its clients. */
import { createHash } from "node:crypto";

/** The one argument of the process. */
export interface CrowdOrder {
  /** The group's public key, base64. */
  readonly groupKey: string;
  readonly service: { readonly address: string; readonly port: number };
  /** Inner IPv4 address that answers echo requests at every node. */
  readonly echo: string;
  readonly clients: number;
  /** Own addresses; the clients share them, since a node limits the requests of each. */
  readonly sources: readonly string[];
  /** Makes the clients' keys, together with their numbers. */
  readonly seed: string;
}

/**
 * One line of standard input. `connect`: a session for each client. `steady`: each sends so many echo requests a second,
 * until the next line. `burst`: one echo request in each session at once, and the answers that come within `waitMs`.
 */
export type CrowdCommand =
  | { readonly kind: "connect" }
  | { readonly kind: "steady"; readonly perSecond: number }
  | { readonly kind: "burst"; readonly waitMs: number };

/** One line of standard output for each command. Times in ms since the first packet of the burst was sent. */
export type CrowdLine =
  | { readonly kind: "ready" }
  | { readonly kind: "connected"; readonly sessions: number; readonly seconds: number }
  | { readonly kind: "steady" }
  | {
      readonly kind: "burst";
      readonly sent: number;
      /** All packets had been given to the kernel. */
      readonly sentMs: number;
      /** Answers that are authentic. */
      readonly answered: number;
      /** By node number. */
      readonly byNode: Readonly<Record<string, number>>;
      /** From each packet to its answer. */
      readonly rttMs: { readonly p50: number; readonly p99: number; readonly max: number };
      /** Of the last answer. */
      readonly lastMs: number;
    };

/** Raw private key of client `n`. */
export const crowdSeed = (seed: string, n: number): Buffer =>
  createHash("sha256").update(`anyhop crowd ${seed} ${n}`).digest();

/** Inner IPv4 address of client `n` as a number: 10.64.0.0/10, so below 4 million. */
export const crowdAddress = (n: number): number => 0x0a400000 + n + 2;

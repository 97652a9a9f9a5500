/** What the storm's process of many clients is told and says, in lines of JSON. */
import { createHash } from "node:crypto";

/** Their datagrams to the server are of this stream; the number is round * clients + client. */
export const STORM_STREAM = 100;

/** The one argument of the process. */
export interface StormOrder {
  /** The group's public key, base64. */
  readonly groupKey: string;
  readonly node: string;
  readonly port: number;
  readonly server: string;
  readonly clients: number;
  readonly sources: readonly string[];
  /** Makes the clients' keys, together with their numbers. */
  readonly seed: string;
}

/** After "connect": how many have a session. After "burst": how many rounds were sent. */
export type StormLine = { readonly kind: "connected"; readonly sessions: number } | { readonly kind: "sent" };

/** Raw private key of client `n`. */
export const stormSeed = (seed: string, n: number): Buffer =>
  createHash("sha256").update(`anyhop storm ${seed} ${n}`).digest();

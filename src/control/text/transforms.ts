/**
 * Names of ciphers, authentication, key derivation and roles, as anytun, uanytun and the configuration file use them,
 * and the numbers that the data plane uses. The only place that knows both.
 */
import type { TunnelSpec } from "../spec/instance.ts";

export type KeyLen = 0 | 16 | 24 | 32;

/** Key length in bytes by name; the same names serve the cipher and the key derivation. */
export const keyLens: Readonly<Record<string, KeyLen>> = {
  null: 0,
  "aes-ctr": 16,
  "aes-ctr-128": 16,
  "aes-ctr-192": 24,
  "aes-ctr-256": 32,
};

export const roles: Readonly<Record<string, "left" | "right">> = {
  left: "left",
  alice: "left",
  server: "left",
  right: "right",
  bob: "right",
  client: "right",
};

export const authAlgorithms = ["sha1", "null"] as const;
export const TAG_LEN_DEFAULT = 10;
/** HMAC-SHA1 has 20 bytes. */
export const TAG_LEN_MAX = 20;
export const SALT_LEN = 14;
export const WINDOW_DEFAULT = 2048;
/** Bits of state per sender id; more would let one tunnel hold megabytes. */
export const WINDOW_MAX = 65536;

const lenName = (len: KeyLen): string => (len === 0 ? "null" : `aes-ctr-${len * 8}`);

/** "aes-ctr-128 sha1/10 kd aes-ctr-128", for status and logs. */
export function describeTransforms(tunnel: Pick<TunnelSpec, "cipherLen" | "tagLen" | "kdLen">): string {
  const auth = tunnel.tagLen < 0 ? "null" : `sha1/${tunnel.tagLen}`;
  return `${lenName(tunnel.cipherLen)} ${auth} kd ${lenName(tunnel.kdLen)}`;
}

export interface Weakness {
  readonly cause: "cipherLen" | "tagLen" | "kdLen" | "window";
  /** A sentence without the full stop. */
  readonly message: string;
}

/** What is weak about a combination, for warnings. */
export function weaknesses(tunnel: Pick<TunnelSpec, Weakness["cause"]>): Weakness[] {
  const found: Weakness[] = [];
  const add = (cause: Weakness["cause"], message: string) => found.push({ cause, message });
  if (tunnel.cipherLen === 0) add("cipherLen", "cipher null sends everything readable");
  if (tunnel.tagLen <= 0) {
    const what = tunnel.tagLen < 0 ? "auth null" : "a tag length of 0";
    add("tagLen", `${what} accepts every datagram: anybody can inject packets and redirect the tunnel`);
  }
  if (tunnel.kdLen === 0 && (tunnel.cipherLen !== 0 || tunnel.tagLen > 0))
    add("kdLen", "key derivation null means keys of zeros, which everybody has");
  if (tunnel.window === 0)
    add("window", "a replay window of 0 accepts copies of old packets, and such a copy can redirect the tunnel");
  return found;
}

/**
 * Keys of the benchmark's tunnels: known to everybody, good for nothing else. Also the one place that puts a tunnel with
 * static AEAD keys into a plane; the daemon has no such tunnels.
 */
import { type SatpContext, satpKeyFromPassphrase } from "../crypto/satp.ts";
import { ALG_AES_128_GCM, ROLE_LEFT, ROLE_RIGHT } from "../dataplane/layout.ts";
import type { Plane } from "../dataplane/plane.ts";
import type { AeadKey, PacketCrypto } from "../dataplane/ports.ts";
import { apply } from "../shard/apply.ts";
import type { TunnelSetup } from "../shard/messages.ts";

export type Transforms = "null" | "aes-ctr-128 + sha1" | "aes-128-gcm";

const PASSPHRASE = "benchmark";
const AEAD_KEY_LEN = 16;

/** What the SATP key of a role is. For GCM: the one with a tag as long, which sizes the row of the tunnel table. */
export function satpKey(transforms: Transforms, role: number): SatpContext {
  if (transforms === "null") return satpKeyFromPassphrase(PASSPHRASE, { cipherLen: 0, tagLen: -1, kdLen: 0, role });
  const tagLen = transforms === "aes-128-gcm" ? 16 : 10;
  return satpKeyFromPassphrase(PASSPHRASE, { cipherLen: 16, tagLen, kdLen: 16, role });
}

function aeadKey(role: number): AeadKey {
  const of = (sealer: number) => new Uint8Array(AEAD_KEY_LEN).fill(0x10 + sealer);
  const other = role === ROLE_LEFT ? ROLE_RIGHT : ROLE_LEFT;
  return { algorithm: ALG_AES_128_GCM, sealKey: of(role), openKey: of(other) };
}

/** Puts the key of this role into a slot. Throws when the driver refuses. */
export function setKey(crypto: PacketCrypto, slot: number, transforms: Transforms, role: number): void {
  const result =
    transforms === "aes-128-gcm"
      ? crypto.setAead(slot, aeadKey(role))
      : crypto.setSatp(slot, satpKey(transforms, role));
  if (result < 0) throw new Error(`Key slot ${slot} refuses a key for ${transforms}: errno ${-result}.`);
}

/** Adds a tunnel that may seal for ever: nothing here survives the process, so no number is ever used twice. */
export function addTunnel(p: Plane, transforms: Transforms, role: number, setup: Omit<TunnelSetup, "key">): void {
  apply(p, { kind: "add", tunnel: { ...setup, key: satpKey(transforms, role) } });
  if (transforms === "aes-128-gcm") setKey(p.crypto, setup.index, transforms, role);
  p.tunnels.seqLimit[setup.index] = 2 ** 32;
}

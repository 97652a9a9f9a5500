/** The ciphers of sessions: as a handshake names them, as the data plane numbers them, as people read them. */
import { ALG_AES_128_GCM, ALG_AES_256_GCM, ALG_CHACHA20_POLY1305 } from "../../dataplane/layout.ts";
import type { AeadKey } from "../../dataplane/ports.ts";
import { AES_128_GCM, AES_256_GCM, type Aead, CHACHA20_POLY1305 } from "../../handshake/keys.ts";

export const aeadAlgorithms: Readonly<Record<Aead, number>> = {
  [AES_256_GCM]: ALG_AES_256_GCM,
  [AES_128_GCM]: ALG_AES_128_GCM,
  [CHACHA20_POLY1305]: ALG_CHACHA20_POLY1305,
};
export const aeadNames: Readonly<Record<Aead, string>> = {
  [AES_256_GCM]: "aes-256-gcm",
  [AES_128_GCM]: "aes-128-gcm",
  [CHACHA20_POLY1305]: "chacha20-poly1305",
};

/** The key slot of one session with one sender, for the data plane. */
export function aeadKey(aead: Aead, sealKey: Uint8Array, openKey: Uint8Array): AeadKey {
  return { algorithm: aeadAlgorithms[aead], sealKey, openKey } as AeadKey;
}

/**
 * ChaCha20-Poly1305 (RFC 8439) for whole, small messages: handshakes and tickets. Packets never come here: they are
 * sealed in batches by the data plane.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";

export const TAG_LEN = 16;
export const NONCE_LEN = 12;

const OPTIONS = { authTagLength: TAG_LEN } as const;

/** The same functions elsewhere, writing into `out`. `open` is false when `sealed` is not authentic. */
export interface ChaChaPoly {
  seal(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plain: Uint8Array): void;
  open(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): boolean;
}

let faster: ChaChaPoly | undefined;

/** From here on this thread seals and opens with `other`. For the daemon's start; `undefined` undoes it. */
export function sealWith(other: ChaChaPoly | undefined): void {
  faster = other;
}

/** Ciphertext || tag. `key` 32 bytes, `nonce` 12 bytes, never used twice together. */
export function sealChaChaPoly(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plain: Uint8Array): Uint8Array {
  if (faster !== undefined) {
    const out = new Uint8Array(plain.length + TAG_LEN);
    faster.seal(out, key, nonce, aad, plain);
    return out;
  }
  const cipher = createCipheriv("chacha20-poly1305", key, nonce, OPTIONS);
  cipher.setAAD(aad, { plaintextLength: plain.length });
  const sealed = new Uint8Array(plain.length + TAG_LEN);
  sealed.set(cipher.update(plain), 0);
  cipher.final();
  sealed.set(cipher.getAuthTag(), plain.length);
  return sealed;
}

/** The plain text, or undefined when `sealed` is shorter than a tag or not authentic. */
export function openChaChaPoly(
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | undefined {
  const length = sealed.length - TAG_LEN;
  if (length < 0) return undefined;
  if (faster !== undefined) {
    const out = new Uint8Array(length);
    return faster.open(out, key, nonce, aad, sealed) ? out : undefined;
  }
  const decipher = createDecipheriv("chacha20-poly1305", key, nonce, OPTIONS);
  decipher.setAAD(aad, { plaintextLength: length });
  decipher.setAuthTag(sealed.subarray(length));
  const plain = decipher.update(sealed.subarray(0, length));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  // Not a Buffer: its slice would not copy.
  return new Uint8Array(plain.buffer, plain.byteOffset, plain.length);
}

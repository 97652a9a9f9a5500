/**
 * `PacketCrypto` over the addon: open and seal are one call per batch into `native/crypto.c`, over the memory that was
 * bound by `createNativeIo`. Key slots belong to the thread, are wiped when replaced or cleared, and die with it. Its
 * twin is `twin_crypto.ts`; both keep the rules of test/contract/crypto.test.ts.
 */
import type { PacketCrypto } from "../dataplane/ports.ts";
import { loadAddon } from "./native.ts";

/** The addon's functions that only this file calls. Numbers returned are 0 or -errno, or a verdict for `diagnose`. */
interface CryptoAddon {
  setSatp(
    slot: number,
    cipherLen: number,
    tagLen: number,
    kdLen: number,
    role: number,
    masterKey: Uint8Array,
    masterSalt: Uint8Array,
  ): number;
  setAead(slot: number, algorithm: number, sealKey: Uint8Array, openKey: Uint8Array): number;
  clearKey(slot: number): void;
  open(n: number): void;
  seal(n: number): void;
  diagnose(row: number): number;
}

/** One per thread is enough: all share the thread's key slots. Throws what `loadAddon` throws. */
export function createNativeCrypto(): PacketCrypto {
  const addon = loadAddon() as unknown as CryptoAddon;
  return {
    setSatp: (slot, key) =>
      addon.setSatp(slot, key.cipherLen, key.tagLen, key.kdLen, key.role, key.masterKey, key.masterSalt),
    setAead: (slot, key) => addon.setAead(slot, key.algorithm, key.sealKey, key.openKey),
    clear: (slot) => addon.clearKey(slot),
    open: (n) => addon.open(n),
    seal: (n) => addon.seal(n),
    diagnose: (row) => addon.diagnose(row),
  };
}

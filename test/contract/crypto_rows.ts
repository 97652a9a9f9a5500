/** Rows for the contract of `PacketCrypto`, over the memory of the addon and over that of its twin. */
import { createMemory, type Memory } from "../../src/dataplane/batch.ts";
import { KEY_SLOTS, OUT_BASE, SLOT_BYTES } from "../../src/dataplane/layout.ts";
import type { PacketCrypto } from "../../src/dataplane/ports.ts";
import * as V from "../../src/dataplane/verdict.ts";
import { loadAddon } from "../../src/drivers/native.ts";
import { createNativeCrypto } from "../../src/drivers/native_crypto.ts";
import { createTwinCrypto } from "../../src/drivers/twin_crypto.ts";

export interface Subject {
  readonly memory: Memory;
  readonly crypto: PacketCrypto;
}

// One thread binds once, so the addon's memory is shared by all tests of a file.
const nativeMemory = createMemory();
/** What binding returned; 0 is good. */
export const bound = loadAddon().bind(
  nativeMemory.slab,
  nativeMemory.input.columns,
  nativeMemory.output.columns,
  new Float64Array(1),
);
const twinMemory = createMemory();
export const native: Subject = { memory: nativeMemory, crypto: createNativeCrypto() };
export const twin: Subject = { memory: twinMemory, crypto: createTwinCrypto(twinMemory) };

/** Every byte and column gets a value that no test writes; the key slots in use are emptied. */
export function clean({ memory, crypto }: Subject): void {
  memory.slab.fill(0xa5);
  for (const batch of [memory.input, memory.output]) batch.columns.fill(-0x5a5a5a5b);
  for (const slot of [0, 1, 2, 3, KEY_SLOTS - 1]) crypto.clear(slot);
}

/** Puts a datagram into input row `i`, live, with key slot 1. */
export function receive(memory: Memory, i: number, datagram: Uint8Array): void {
  const { input, slab } = memory;
  const at = i * SLOT_BYTES;
  slab.set(datagram, at);
  const view = new DataView(datagram.buffer, datagram.byteOffset);
  input.at[i] = at;
  input.len[i] = datagram.length;
  input.verdict[i] = V.LIVE;
  input.key[i] = 1;
  input.seq[i] = view.getInt32(0);
  input.sender[i] = view.getUint16(4);
  input.mux[i] = view.getUint16(6);
}

/** Makes output row `i` seal what lies at `src`, with key slot 0. */
export function send(memory: Memory, i: number, src: number, len: number, type: number): void {
  const { output } = memory;
  output.at[i] = OUT_BASE + i * SLOT_BYTES;
  output.len[i] = len;
  output.src[i] = src;
  output.verdict[i] = V.LIVE;
  output.key[i] = 0;
  output.seq[i] = -2;
  output.sender[i] = 0xfffe;
  output.mux[i] = 0x1234;
  output.type[i] = type;
}

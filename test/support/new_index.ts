/** Session indices of a node, for tests in which nobody looks at the keyed check. */

/** `random`: at least 3 bytes, which make the index. */
export function newIndex(creator: number, random: Uint8Array): number {
  const low = (random[0] << 16) | (random[1] << 8) | random[2];
  // All ones in the low 15 bits would make mux 0xFFFF, that of control messages.
  return creator * 2 ** 25 + ((low & 0x7fff) === 0x7fff ? low - 1 : low);
}

/**
 * HalfSipHash-2-4 with 32 bits of output (Aumasson and Bernstein, "SipHash: a fast short-input PRF", and the authors' reference
 * code): a keyed hash of a few bytes, on 32-bit words only. Who does not know the key can't say what comes out, so the data
 * plane tells strangers from clients with it at the cost of about 0.1 us. Nothing is allocated.
 */

// The lower halves of SipHash's constants, which are letters.
const LYGE = 0x6c796765;
const TEDB = 0x74656462;
/** Rounds for each word of input, and at the end. */
const COMPRESSION_ROUNDS = 2;
const FINAL_ROUNDS = 4;

/** v0 to v3; a call uses it from its beginning to its end. */
const v = new Int32Array(4);

/** Of bytes [at, at + len) under the key (k0, k1), its bytes 0-3 and 4-7 as little-endian words. A signed word. */
export function halfSipHash(k0: number, k1: number, bytes: Uint8Array, at: number, len: number): number {
  v[0] = k0;
  v[1] = k1;
  v[2] = LYGE ^ k0;
  v[3] = TEDB ^ k1;
  const whole = at + (len & ~3);
  for (let i = at; i < whole; i += 4) {
    absorb(bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24));
  }
  // The last word has the rest of the bytes, and the length in its top byte.
  let last = len << 24;
  for (let i = at + len - 1; i >= whole; i--) last |= bytes[i] << (8 * (i - whole));
  absorb(last);
  v[2] ^= 0xff;
  rounds(FINAL_ROUNDS);
  return v[1] ^ v[3];
}

function absorb(word: number): void {
  v[3] ^= word;
  rounds(COMPRESSION_ROUNDS);
  v[0] ^= word;
}

function rounds(count: number): void {
  let v0 = v[0];
  let v1 = v[1];
  let v2 = v[2];
  let v3 = v[3];
  for (let r = 0; r < count; r++) {
    v0 = (v0 + v1) | 0;
    v1 = rotate(v1, 5) ^ v0;
    v0 = rotate(v0, 16);
    v2 = (v2 + v3) | 0;
    v3 = rotate(v3, 8) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = rotate(v3, 7) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = rotate(v1, 13) ^ v2;
    v2 = rotate(v2, 16);
  }
  v[0] = v0;
  v[1] = v1;
  v[2] = v2;
  v[3] = v3;
}

const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by));

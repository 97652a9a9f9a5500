/**
 * BLAKE2s-256 and HMAC over it (RFC 7693, RFC 2104), without allocating anything but the result. node:crypto has both, but
 * a call costs 4 us there against 1 to 2 here, leaves garbage, and one handshake makes forty.
 * Kept equal to node:crypto by a test. Short inputs only; not re-entrant, and need not be.
 */
export const HASH_LEN = 32;
const BLOCK_LEN = 64;

/** RFC 7693 section 2.6: the initial values of SHA-256. */
const IV = Int32Array.of(
  ...[0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19],
);

/** RFC 7693 section 2.7, ten rounds. */
const SIGMA = Uint8Array.of(
  ...[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  ...[14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  ...[11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  ...[7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  ...[9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  ...[2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  ...[12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  ...[13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  ...[6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  ...[10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
);

/** No key, 32 bytes of output, fan-out and depth 1 (section 2.5). */
const PARAMETERS = 0x01010020;

const h = new Int32Array(8);
const m = new Int32Array(16);
const block = new Uint8Array(BLOCK_LEN);
const blockView = new DataView(block.buffer);
/** Bytes waiting in `block`, and bytes of the message before them. */
let fill = 0;
let length = 0;

function compress(last: boolean): void {
  const s = SIGMA;
  for (let i = 0; i < 16; i++) m[i] = blockView.getInt32(i * 4, true);
  let [v0, v1, v2, v3] = [h[0], h[1], h[2], h[3]];
  let [v4, v5, v6, v7] = [h[4], h[5], h[6], h[7]];
  let [v8, v9, v10, v11] = [IV[0], IV[1], IV[2], IV[3]];
  let [v12, v13, v14, v15] = [IV[4] ^ length, IV[5], last ? ~IV[6] : IV[6], IV[7]];
  for (let r = 0; r < 160; r += 16) {
    v0 = (v0 + v4 + m[s[r]]) | 0;
    v12 ^= v0;
    v12 = (v12 >>> 16) | (v12 << 16);
    v8 = (v8 + v12) | 0;
    v4 ^= v8;
    v4 = (v4 >>> 12) | (v4 << 20);
    v0 = (v0 + v4 + m[s[r + 1]]) | 0;
    v12 ^= v0;
    v12 = (v12 >>> 8) | (v12 << 24);
    v8 = (v8 + v12) | 0;
    v4 ^= v8;
    v4 = (v4 >>> 7) | (v4 << 25);
    v1 = (v1 + v5 + m[s[r + 2]]) | 0;
    v13 ^= v1;
    v13 = (v13 >>> 16) | (v13 << 16);
    v9 = (v9 + v13) | 0;
    v5 ^= v9;
    v5 = (v5 >>> 12) | (v5 << 20);
    v1 = (v1 + v5 + m[s[r + 3]]) | 0;
    v13 ^= v1;
    v13 = (v13 >>> 8) | (v13 << 24);
    v9 = (v9 + v13) | 0;
    v5 ^= v9;
    v5 = (v5 >>> 7) | (v5 << 25);
    v2 = (v2 + v6 + m[s[r + 4]]) | 0;
    v14 ^= v2;
    v14 = (v14 >>> 16) | (v14 << 16);
    v10 = (v10 + v14) | 0;
    v6 ^= v10;
    v6 = (v6 >>> 12) | (v6 << 20);
    v2 = (v2 + v6 + m[s[r + 5]]) | 0;
    v14 ^= v2;
    v14 = (v14 >>> 8) | (v14 << 24);
    v10 = (v10 + v14) | 0;
    v6 ^= v10;
    v6 = (v6 >>> 7) | (v6 << 25);
    v3 = (v3 + v7 + m[s[r + 6]]) | 0;
    v15 ^= v3;
    v15 = (v15 >>> 16) | (v15 << 16);
    v11 = (v11 + v15) | 0;
    v7 ^= v11;
    v7 = (v7 >>> 12) | (v7 << 20);
    v3 = (v3 + v7 + m[s[r + 7]]) | 0;
    v15 ^= v3;
    v15 = (v15 >>> 8) | (v15 << 24);
    v11 = (v11 + v15) | 0;
    v7 ^= v11;
    v7 = (v7 >>> 7) | (v7 << 25);
    v0 = (v0 + v5 + m[s[r + 8]]) | 0;
    v15 ^= v0;
    v15 = (v15 >>> 16) | (v15 << 16);
    v10 = (v10 + v15) | 0;
    v5 ^= v10;
    v5 = (v5 >>> 12) | (v5 << 20);
    v0 = (v0 + v5 + m[s[r + 9]]) | 0;
    v15 ^= v0;
    v15 = (v15 >>> 8) | (v15 << 24);
    v10 = (v10 + v15) | 0;
    v5 ^= v10;
    v5 = (v5 >>> 7) | (v5 << 25);
    v1 = (v1 + v6 + m[s[r + 10]]) | 0;
    v12 ^= v1;
    v12 = (v12 >>> 16) | (v12 << 16);
    v11 = (v11 + v12) | 0;
    v6 ^= v11;
    v6 = (v6 >>> 12) | (v6 << 20);
    v1 = (v1 + v6 + m[s[r + 11]]) | 0;
    v12 ^= v1;
    v12 = (v12 >>> 8) | (v12 << 24);
    v11 = (v11 + v12) | 0;
    v6 ^= v11;
    v6 = (v6 >>> 7) | (v6 << 25);
    v2 = (v2 + v7 + m[s[r + 12]]) | 0;
    v13 ^= v2;
    v13 = (v13 >>> 16) | (v13 << 16);
    v8 = (v8 + v13) | 0;
    v7 ^= v8;
    v7 = (v7 >>> 12) | (v7 << 20);
    v2 = (v2 + v7 + m[s[r + 13]]) | 0;
    v13 ^= v2;
    v13 = (v13 >>> 8) | (v13 << 24);
    v8 = (v8 + v13) | 0;
    v7 ^= v8;
    v7 = (v7 >>> 7) | (v7 << 25);
    v3 = (v3 + v4 + m[s[r + 14]]) | 0;
    v14 ^= v3;
    v14 = (v14 >>> 16) | (v14 << 16);
    v9 = (v9 + v14) | 0;
    v4 ^= v9;
    v4 = (v4 >>> 12) | (v4 << 20);
    v3 = (v3 + v4 + m[s[r + 15]]) | 0;
    v14 ^= v3;
    v14 = (v14 >>> 8) | (v14 << 24);
    v9 = (v9 + v14) | 0;
    v4 ^= v9;
    v4 = (v4 >>> 7) | (v4 << 25);
  }
  h[0] ^= v0 ^ v8;
  h[1] ^= v1 ^ v9;
  h[2] ^= v2 ^ v10;
  h[3] ^= v3 ^ v11;
  h[4] ^= v4 ^ v12;
  h[5] ^= v5 ^ v13;
  h[6] ^= v6 ^ v14;
  h[7] ^= v7 ^ v15;
}

function begin(): void {
  h.set(IV);
  h[0] ^= PARAMETERS;
  fill = 0;
  length = 0;
}

function update(bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; ) {
    // The last block is compressed by `end`, so a full one waits until more comes.
    if (fill === BLOCK_LEN) {
      length += BLOCK_LEN;
      compress(false);
      fill = 0;
    }
    const stop = Math.min(bytes.length, i + BLOCK_LEN - fill);
    let at = fill;
    for (; i < stop; i++) block[at++] = bytes[i];
    fill = at;
  }
}

function end(): Uint8Array {
  length += fill;
  for (let i = fill; i < BLOCK_LEN; i++) block[i] = 0;
  compress(true);
  const digest = new Uint8Array(HASH_LEN);
  for (let i = 0; i < 8; i++) {
    const word = h[i];
    digest[i * 4] = word;
    digest[i * 4 + 1] = word >>> 8;
    digest[i * 4 + 2] = word >>> 16;
    digest[i * 4 + 3] = word >>> 24;
  }
  return digest;
}

/** The same functions elsewhere, writing into `out` (32 bytes). `key`: up to 64 bytes. */
export interface Blake2s {
  blake2s(out: Uint8Array, a: Uint8Array, b?: Uint8Array): void;
  hmac(out: Uint8Array, key: Uint8Array, a: Uint8Array, b?: Uint8Array, c?: Uint8Array): void;
}

let faster: Blake2s | undefined;

/** From here on this thread hashes with `other`. For the daemon's start; `undefined` undoes it. */
export function hashWith(other: Blake2s | undefined): void {
  faster = other;
}

/** 32 bytes: the hash of the parts one after another, less than 2^31 bytes. */
export function blake2s(a: Uint8Array, b?: Uint8Array): Uint8Array {
  if (faster !== undefined) {
    const out = new Uint8Array(HASH_LEN);
    faster.blake2s(out, a, b);
    return out;
  }
  begin();
  update(a);
  if (b !== undefined) update(b);
  return end();
}

const pad = new Uint8Array(BLOCK_LEN);

function beginPadded(key: Uint8Array, byte: number): void {
  for (let i = 0; i < BLOCK_LEN; i++) pad[i] = (i < key.length ? key[i] : 0) ^ byte;
  begin();
  update(pad);
}

/** 32 bytes: HMAC-BLAKE2s of the parts one after another. `key`: up to 64 bytes; a longer one is hashed first. */
export function hmac(key: Uint8Array, a: Uint8Array, b?: Uint8Array, c?: Uint8Array): Uint8Array {
  const short = key.length > BLOCK_LEN ? blake2s(key) : key;
  if (faster !== undefined) {
    const out = new Uint8Array(HASH_LEN);
    faster.hmac(out, short, a, b, c);
    return out;
  }
  beginPadded(short, 0x36);
  update(a);
  if (b !== undefined) update(b);
  if (c !== undefined) update(c);
  const inner = end();
  beginPadded(short, 0x5c);
  update(inner);
  return end();
}

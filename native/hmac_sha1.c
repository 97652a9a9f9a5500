/*
 * HMAC-SHA1 of one and of many messages, see hmac_sha1.h. The low-level SHA1_* calls are deprecated but exported;
 * EVP_MAC would cost more than the hash itself for small packets because every packet has its own key. Messages of any
 * lengths may go side by side: a lane whose message is at its end idles until the longest is done.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "hmac_sha1.h"

#include <string.h>

#include <openssl/sha.h>

#define INNER_PAD 0x36
#define OUTER_PAD 0x5c

/* Blocks that every message costs besides its own: inner pad, outer pad, inner digest. */
#define BLOCKS_FIXED 3

/* Sixteen lanes take as long as four messages one by one (0.117 and 0.0285 us per block), so five are worth it. */
#define LANES_WORTH 5

void hmac_sha1(const uint8_t key[HMAC_SHA1_LEN], const uint8_t *bytes, size_t len, uint8_t out[HMAC_SHA1_LEN]) {
  uint8_t pad[SHA1_BLOCK];
  SHA_CTX sha;
  memset(pad, INNER_PAD, sizeof pad);
  for (int i = 0; i < HMAC_SHA1_LEN; i++) pad[i] ^= key[i];
  SHA1_Init(&sha);
  SHA1_Update(&sha, pad, sizeof pad);
  SHA1_Update(&sha, bytes, len);
  SHA1_Final(out, &sha);
  for (size_t i = 0; i < sizeof pad; i++) pad[i] ^= INNER_PAD ^ OUTER_PAD;
  SHA1_Init(&sha);
  SHA1_Update(&sha, pad, sizeof pad);
  SHA1_Update(&sha, out, HMAC_SHA1_LEN);
  SHA1_Final(out, &sha);
}

/* Blocks of a message with its padding: a one bit and 64 bits of length (FIPS 180-4 section 5.1.1). */
static size_t blocks_of(size_t len) { return (len + 9 + SHA1_BLOCK - 1) / SHA1_BLOCK; }

/* Ends `block` bytes that hold `used` bytes of a message with `len` bytes in all. */
static void put_padding(uint8_t *block, size_t used, size_t block_len, size_t len) {
  memset(block + used, 0, block_len - used);
  block[used] = 0x80;
  const uint64_t bits = (uint64_t)len * 8;
  for (size_t i = 0; i < 8; i++) block[block_len - 1 - i] = (uint8_t)(bits >> (8 * i));
}

/* Fresh states that have taken in key XOR `pad_byte`. `blocks` points at valid memory in every lane. */
static void begin(struct hmac_scratch *scratch, const struct hmac_message *messages, int n, uint8_t pad_byte,
                  const uint8_t *blocks[HMAC_SHA1_LANES], uint32_t active) {
  static const uint32_t initial[SHA1_WORDS] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
  for (int w = 0; w < SHA1_WORDS; w++)
    for (int l = 0; l < HMAC_SHA1_LANES; l++) scratch->state.word[w][l] = initial[w];
  memset(scratch->pad, pad_byte, sizeof scratch->pad);
  for (int l = 0; l < n; l++)
    for (int i = 0; i < HMAC_SHA1_LEN; i++) scratch->pad[l][i] ^= messages[l].key[i];
  for (int l = 0; l < HMAC_SHA1_LANES; l++) blocks[l] = scratch->pad[l];
  sha1_x16(&scratch->state, blocks, 1, active);
}

static void put_digest(const struct sha1_x16 *state, int lane, uint8_t *out) {
  for (int w = 0; w < SHA1_WORDS; w++) {
    const uint32_t word = state->word[w][lane];
    out[4 * w] = (uint8_t)(word >> 24);
    out[4 * w + 1] = (uint8_t)(word >> 16);
    out[4 * w + 2] = (uint8_t)(word >> 8);
    out[4 * w + 3] = (uint8_t)word;
  }
}

/* Takes in the messages with their padding: whole blocks where they are, the end from `tail`. */
static void absorb(struct hmac_scratch *scratch, const struct hmac_message *messages, int n,
                   const uint8_t *blocks[HMAC_SHA1_LANES], uint32_t active) {
  size_t left[HMAC_SHA1_LANES], after[HMAC_SHA1_LANES];
  for (int l = 0; l < n; l++) {
    const size_t whole = messages[l].len / SHA1_BLOCK, used = messages[l].len % SHA1_BLOCK;
    const size_t ends = blocks_of(messages[l].len) - whole;
    memcpy(scratch->tail[l], messages[l].bytes + whole * SHA1_BLOCK, used);
    put_padding(scratch->tail[l], used, ends * SHA1_BLOCK, SHA1_BLOCK + messages[l].len);
    blocks[l] = whole > 0 ? messages[l].bytes : scratch->tail[l];
    left[l] = whole > 0 ? whole : ends;
    after[l] = whole > 0 ? ends : 0;
  }
  while (active != 0) {
    const int first = __builtin_ctz(active);
    size_t count = left[first];
    for (int l = first + 1; l < n; l++)
      if ((active >> l & 1) != 0 && left[l] < count) count = left[l];
    /* Idle lanes read what an active one reads: it is there. */
    for (int l = 0; l < HMAC_SHA1_LANES; l++)
      if ((active >> l & 1) == 0) blocks[l] = blocks[first];
    sha1_x16(&scratch->state, blocks, count, active);
    for (int l = first; l < n; l++) {
      if ((active >> l & 1) == 0) continue;
      blocks[l] += count * SHA1_BLOCK;
      left[l] -= count;
      if (left[l] > 0) continue;
      blocks[l] = scratch->tail[l];
      left[l] = after[l];
      after[l] = 0;
      if (left[l] == 0) active &= ~(1u << l);
    }
  }
}

void hmac_sha1_all(struct hmac_scratch *scratch, const struct hmac_message *messages, int n) {
  size_t sum = 0, longest = 0;
  for (int l = 0; l < n; l++) {
    const size_t blocks = BLOCKS_FIXED + blocks_of(messages[l].len);
    sum += blocks;
    if (blocks > longest) longest = blocks;
  }
  if (n < LANES_WORTH || sum < LANES_WORTH * longest || !sha1_x16_usable()) {
    for (int l = 0; l < n; l++) hmac_sha1(messages[l].key, messages[l].bytes, messages[l].len, messages[l].out);
    return;
  }
  const uint8_t *blocks[HMAC_SHA1_LANES];
  const uint32_t all = 0xffffu >> (HMAC_SHA1_LANES - n);
  begin(scratch, messages, n, INNER_PAD, blocks, all);
  absorb(scratch, messages, n, blocks, all);
  for (int l = 0; l < n; l++) {
    put_digest(&scratch->state, l, scratch->tail[l]);
    put_padding(scratch->tail[l], HMAC_SHA1_LEN, SHA1_BLOCK, SHA1_BLOCK + HMAC_SHA1_LEN);
  }
  begin(scratch, messages, n, OUTER_PAD, blocks, all);
  for (int l = 0; l < HMAC_SHA1_LANES; l++) blocks[l] = scratch->tail[l];
  sha1_x16(&scratch->state, blocks, 1, all);
  for (int l = 0; l < n; l++) put_digest(&scratch->state, l, messages[l].out);
}

/*
 * SHA-1 compression of sixteen messages side by side, one in each 32-bit lane of AVX-512. The only cipher or hash of the
 * house that is not the library's: why, and what was tried instead, is in docs/decisions/0002-sha1-multibuffer.md.
 * Knows blocks and nothing of padding, keys or packets; hmac_sha1.c is the only caller.
 */
#ifndef ANYHOP_SHA1_X16_H
#define ANYHOP_SHA1_X16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA1_LANES 16
#define SHA1_WORDS 5
#define SHA1_BLOCK 64

/* Word w of lane l is word[w][l]. */
struct sha1_x16 {
  _Alignas(64) uint32_t word[SHA1_WORDS][SHA1_LANES];
};

/* Whether this processor and operating system have what `sha1_x16` needs. Never true but on x86-64. */
bool sha1_x16_usable(void);

/*
 * Compresses `count` consecutive blocks of 64 bytes at blocks[l] into lane l, for every lane with its bit in `active`
 * (FIPS 180-4 section 6.1.2). The other lanes keep their state, but their blocks are read too. Only if usable.
 */
void sha1_x16(struct sha1_x16 *state, const uint8_t *const blocks[SHA1_LANES], size_t count, uint32_t active);

#endif

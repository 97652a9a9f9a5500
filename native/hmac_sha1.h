/*
 * HMAC-SHA1 (RFC 2104) with keys of 20 bytes that are used once: one message over OpenSSL, or up to sixteen together.
 * Stands below satp.c and knows nothing of datagrams and tags; the caller truncates.
 */
#ifndef ANYHOP_HMAC_SHA1_H
#define ANYHOP_HMAC_SHA1_H

#include <stddef.h>
#include <stdint.h>

#include "sha1_x16.h"

#define HMAC_SHA1_LEN 20
#define HMAC_SHA1_LANES SHA1_LANES

/* One message: `key` and `out` have 20 bytes each. */
struct hmac_message {
  const uint8_t *key;
  const uint8_t *bytes;
  size_t len;
  uint8_t *out;
};

/* Working memory of `hmac_sha1_all`. Holds key material afterwards: the owner wipes it. */
struct hmac_scratch {
  struct sha1_x16 state;
  uint8_t pad[HMAC_SHA1_LANES][SHA1_BLOCK];
  uint8_t tail[HMAC_SHA1_LANES][2 * SHA1_BLOCK];
};

void hmac_sha1(const uint8_t key[HMAC_SHA1_LEN], const uint8_t *bytes, size_t len, uint8_t out[HMAC_SHA1_LEN]);

/* The HMACs of messages[0, n), n up to HMAC_SHA1_LANES, side by side when that is faster. */
void hmac_sha1_all(struct hmac_scratch *scratch, const struct hmac_message *messages, int n);

#endif

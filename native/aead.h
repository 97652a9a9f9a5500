/*
 * AEAD transforms of session datagrams, one packet at a time: AES-GCM (NIST SP 800-38D) and ChaCha20-Poly1305 (RFC 8439)
 * of the OpenSSL inside the node binary. Pointers and lengths were checked by the caller (crypto.c). Facts:
 * docs/PROTOCOL.md, "Session datagrams"; the readable twin is src/crypto/aead.ts.
 *
 * A key slot holds raw keys only (80 bytes). What OpenSSL needs to use one (about 3 KB) is a live context out of a
 * bounded cache: many idle sessions cost little, and a busy one changes only the nonce from packet to packet.
 */
#ifndef ANYHOP_AEAD_H
#define ANYHOP_AEAD_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "satp.h"

#define AEAD_KEY_MAX 32
#define AEAD_TAG_LEN 16
#define AEAD_ALGORITHMS 3

/* Live contexts of one environment. One that is missing costs 30-120 ns (the key setup), so more would not pay. */
#define AEAD_CONTEXTS 1024

enum aead_direction { AEAD_SEAL, AEAD_OPEN, AEAD_DIRECTIONS };

/* One session. `live` is the number of its context for each direction, -1 = none at the moment. */
struct aead_key {
  uint8_t raw[AEAD_DIRECTIONS][AEAD_KEY_MAX];
  int16_t live[AEAD_DIRECTIONS];
  uint8_t algorithm;
};

/* A context and whose key it holds; `ctx` is NULL until it is first used, `owner` NULL while nobody has it. */
struct aead_context {
  EVP_CIPHER_CTX *ctx;
  struct aead_key *owner;
  uint8_t direction;
  int8_t algorithm; /* that `ctx` is set up for, -1 = none */
  bool recent;      /* used since the hand passed */
};

/* What all sessions of one environment share. `hand` goes round the contexts and takes the first that is not recent. */
struct aead_engine {
  EVP_CIPHER *ciphers[AEAD_ALGORITHMS];
  struct aead_context contexts[AEAD_CONTEXTS];
  int hand;
};

/* 0 or -errno. A failed engine is still to be freed. */
int aead_engine_init(struct aead_engine *engine);
void aead_engine_free(struct aead_engine *engine);

/* Bytes of a key of ALG_*, 0 when there is no such algorithm. */
int aead_key_len(int32_t algorithm);

/* `key` must stay where it is until it is cleared: contexts point at it. Algorithm and lengths were checked. */
void aead_key_init(struct aead_key *key, int32_t algorithm, const uint8_t *seal_key, const uint8_t *open_key);
/* Wipes the key and every context that holds it. */
void aead_key_clear(struct aead_engine *engine, struct aead_key *key);

/*
 * Authenticates datagram[0, len) and decrypts it in place. LIVE with *type (-1: empty packet), or DATAGRAM_SHORT or
 * AUTH_FAILED with the bytes unchanged. The inner packet, when there is one, begins at byte 10.
 * `aside`: room for `len` bytes that take the plain text; then the datagram stays as it is in any case. Else NULL.
 */
int32_t aead_open(struct aead_engine *engine, struct aead_key *key, struct satp_header header, uint8_t *datagram,
                  int32_t len, uint8_t *aside, int32_t *type);

/*
 * Seals in place the datagram that `satp_put_plain` wrote, `len` bytes with the tag. 0 or -errno; after a failure the
 * bytes must not be sent.
 */
int aead_seal(struct aead_engine *engine, struct aead_key *key, struct satp_header header, uint8_t *datagram,
              int32_t len);

#endif

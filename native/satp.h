/*
 * SATP transforms of up to SATP_JOBS packets at a time, with contexts that are reused: no allocation per packet, AES and
 * SHA-1 of the OpenSSL inside the node binary (and hmac_sha1.c). Pointers and lengths were checked by the caller
 * (crypto.c). Facts: docs/PROTOCOL.md, "Classic tunnel"; the readable twin is src/crypto/satp.ts.
 */
#ifndef ANYHOP_SATP_H
#define ANYHOP_SATP_H

#include <stdint.h>

#include <openssl/evp.h>

#include "hmac_sha1.h"

#define SATP_HEADER_LEN 8
#define SATP_TYPE_LEN 2
#define SATP_SALT_LEN 14
#define SATP_KEY_MAX 32

/* Most blocks of one key derivation: auth key (2), cipher salt (1), encryption key (up to 2), in this order. */
#define SATP_KD_BLOCKS 5

/* Packets of one call: what hmac_sha1.c takes side by side. */
#define SATP_JOBS HMAC_SHA1_LANES

/* AES key lengths 16, 24 and 32 as index 0, 1 and 2. */
#define SATP_AES_SIZES 3

/* What all SATP contexts of one environment share. `derived` and `hmac` hold keys of the packets at hand. */
struct satp_engine {
  EVP_CIPHER *ecb[SATP_AES_SIZES];
  EVP_CIPHER *ctr[SATP_AES_SIZES];
  EVP_CIPHER_CTX *cipher[SATP_AES_SIZES];
  uint8_t derived[SATP_JOBS * SATP_KD_BLOCKS * 16];
  struct hmac_scratch hmac;
};

/* One SATP context. `kd` is AES-ECB under the master key, NULL for kd null. */
struct satp_key {
  EVP_CIPHER_CTX *kd;
  uint8_t master_salt[SATP_SALT_LEN];
  uint8_t cipher_len;
  int8_t tag_len;
  uint8_t role;
};

struct satp_header {
  uint32_t seq;
  uint16_t sender;
  uint16_t mux;
};

/*
 * One packet of a call. The caller sets all but `keys`, `type` and `verdict`; datagrams of one call never overlap.
 * `row` is the caller's.
 */
struct satp_job {
  const struct satp_key *key;
  const uint8_t *keys;
  uint8_t *datagram;
  int32_t len; /* of the whole datagram */
  struct satp_header header;
  int32_t row;
  int32_t type;
  int32_t verdict;
};

/* 0 or -errno. A failed engine is still to be freed. */
int satp_engine_init(struct satp_engine *engine);
void satp_engine_free(struct satp_engine *engine);
/* Overwrites the keys of the last packets. For when a context is wiped: they came from it, perhaps. */
void satp_engine_forget(struct satp_engine *engine);

/* Lengths as in SatpKey; they and `role` were checked. 0 or -errno; on failure `key` is empty. */
int satp_key_init(struct satp_engine *engine, struct satp_key *key, int cipher_len, int tag_len, int kd_len, int role,
                  const uint8_t *master_key, const uint8_t *master_salt);
void satp_key_clear(struct satp_key *key);

/* Bytes of tag on the wire. */
static inline int32_t satp_tag_len(const struct satp_key *key) { return key->tag_len > 0 ? key->tag_len : 0; }

/*
 * Authenticates the datagrams of jobs[0, n) and decrypts them in place. Sets `verdict`: LIVE with `type` (-1: empty
 * packet), or DATAGRAM_SHORT or AUTH_FAILED with the bytes unchanged. An inner packet begins at byte 10.
 */
void satp_open(struct satp_engine *engine, struct satp_job *jobs, int n);

/* Writes what is to be sealed: header, type and inner[0, len); of an empty packet (type -1) the header only. */
void satp_put_plain(struct satp_header header, int32_t type, const uint8_t *inner, int32_t len, uint8_t *out);

/*
 * Seals jobs[0, n) in place: each datagram holds what `satp_put_plain` wrote and has room for the tag, which `len`
 * counts in. Sets `verdict`: LIVE, or SEND_FAILED with bytes that must not be sent.
 */
void satp_seal(struct satp_engine *engine, struct satp_job *jobs, int n);

/* Why a datagram failed to open: AUTH_EQUAL_ROLES, AUTH_TAG_LENGTH or AUTH_FAILED. Up to 40 HMACs. */
int32_t satp_diagnose(const struct satp_key *key, uint32_t seq, const uint8_t *datagram, int32_t len);

#endif

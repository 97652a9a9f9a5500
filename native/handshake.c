/*
 * What a handshake does most often, beside X25519: BLAKE2s, HMAC over it, ChaCha20-Poly1305 of one small message. Each is
 * the twin of a TypeScript function (crypto/blake2s.ts, crypto/chachapoly.ts) that takes three to eight times as long, and
 * one full handshake makes about fifty hashes and four seals. Results go into arrays of the caller; nothing is kept.
 */
#include "handshake.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "napi_util.h"

#define BLOCK 64
#define HASH 32
#define KEY 32
#define NONCE 12
#define TAG 16
#define WORDS 8

struct blake2s {
  uint32_t h[WORDS];
  uint64_t length;
  size_t fill;
  uint8_t block[BLOCK];
};

/* RFC 7693 section 2.6 */
static const uint32_t IV[WORDS] = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                                   0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
/* RFC 7693 section 2.7, ten rounds */
static const uint8_t SIGMA[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

static inline uint32_t rotr(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

/* The mixing function G, RFC 7693 section 3.1 */
#define MIX(a, b, c, d, x, y)          \
  do {                                 \
    v[a] = v[a] + v[b] + (x);          \
    v[d] = rotr(v[d] ^ v[a], 16);      \
    v[c] = v[c] + v[d];                \
    v[b] = rotr(v[b] ^ v[c], 12);      \
    v[a] = v[a] + v[b] + (y);          \
    v[d] = rotr(v[d] ^ v[a], 8);       \
    v[c] = v[c] + v[d];                \
    v[b] = rotr(v[b] ^ v[c], 7);       \
  } while (0)

static void compress(struct blake2s *s, int last) {
  uint32_t v[16], m[16];
  for (int i = 0; i < 16; i++) {
    const uint8_t *b = s->block + 4 * i;
    m[i] = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
  }
  for (int i = 0; i < WORDS; i++) {
    v[i] = s->h[i];
    v[i + WORDS] = IV[i];
  }
  v[12] ^= (uint32_t)s->length;
  v[13] ^= (uint32_t)(s->length >> 32);
  if (last) v[14] = ~v[14];
#pragma GCC unroll 10
  for (int r = 0; r < 10; r++) {
    const uint8_t *p = SIGMA[r];
    MIX(0, 4, 8, 12, m[p[0]], m[p[1]]);
    MIX(1, 5, 9, 13, m[p[2]], m[p[3]]);
    MIX(2, 6, 10, 14, m[p[4]], m[p[5]]);
    MIX(3, 7, 11, 15, m[p[6]], m[p[7]]);
    MIX(0, 5, 10, 15, m[p[8]], m[p[9]]);
    MIX(1, 6, 11, 12, m[p[10]], m[p[11]]);
    MIX(2, 7, 8, 13, m[p[12]], m[p[13]]);
    MIX(3, 4, 9, 14, m[p[14]], m[p[15]]);
  }
  for (int i = 0; i < WORDS; i++) s->h[i] ^= v[i] ^ v[i + WORDS];
}

static void begin(struct blake2s *s) {
  memcpy(s->h, IV, sizeof IV);
  /* No key, 32 bytes of output, fan-out and depth 1 (section 2.5). */
  s->h[0] ^= 0x01010020u;
  s->length = 0;
  s->fill = 0;
}

static void update(struct blake2s *s, const uint8_t *bytes, size_t len) {
  while (len > 0) {
    /* The last block is compressed by `end`, so a full one waits until more comes. */
    if (s->fill == BLOCK) {
      s->length += BLOCK;
      compress(s, 0);
      s->fill = 0;
    }
    const size_t n = len < BLOCK - s->fill ? len : BLOCK - s->fill;
    memcpy(s->block + s->fill, bytes, n);
    s->fill += n;
    bytes += n;
    len -= n;
  }
}

static void end(struct blake2s *s, uint8_t out[HASH]) {
  s->length += s->fill;
  memset(s->block + s->fill, 0, BLOCK - s->fill);
  compress(s, 1);
  for (int i = 0; i < HASH; i++) out[i] = (uint8_t)(s->h[i / 4] >> (8 * (i % 4)));
}

static void begin_padded(struct blake2s *s, const uint8_t *key, size_t key_len, uint8_t pad_byte) {
  uint8_t pad[BLOCK];
  memset(pad, pad_byte, sizeof pad);
  for (size_t i = 0; i < key_len; i++) pad[i] ^= key[i];
  begin(s);
  update(s, pad, sizeof pad);
}

#define PARTS 5

/* Arguments as bytes; those that are no Uint8Array have length 0 and are NULL. */
static void bytes_of(napi_env napi, napi_callback_info info, uint8_t *bytes[PARTS], size_t lengths[PARTS]) {
  napi_value v[PARTS];
  size_t count = PARTS;
  napi_get_cb_info(napi, info, &count, v, NULL, NULL);
  for (int i = 0; i < PARTS; i++) bytes[i] = elements_of(napi, v[i], napi_uint8_array, &lengths[i]);
}

/* blake2s(out: 32 bytes, a, b?) -> 0 or -EINVAL */
static napi_value hash_js(napi_env napi, napi_callback_info info) {
  uint8_t *bytes[PARTS];
  size_t lengths[PARTS];
  bytes_of(napi, info, bytes, lengths);
  if (lengths[0] != HASH) return return_int(napi, -EINVAL);
  struct blake2s s;
  begin(&s);
  for (int i = 1; i < 3; i++) update(&s, bytes[i], lengths[i]);
  end(&s, bytes[0]);
  OPENSSL_cleanse(&s, sizeof s);
  return return_int(napi, 0);
}

/* hmacBlake2s(out: 32 bytes, key: up to 64 bytes, a, b?, c?) -> 0 or -EINVAL */
static napi_value hmac_js(napi_env napi, napi_callback_info info) {
  uint8_t *bytes[PARTS], inner[HASH];
  size_t lengths[PARTS];
  bytes_of(napi, info, bytes, lengths);
  if (lengths[0] != HASH || lengths[1] > BLOCK) return return_int(napi, -EINVAL);
  struct blake2s s;
  begin_padded(&s, bytes[1], lengths[1], 0x36);
  for (int i = 2; i < PARTS; i++) update(&s, bytes[i], lengths[i]);
  end(&s, inner);
  begin_padded(&s, bytes[1], lengths[1], 0x5c);
  update(&s, inner, sizeof inner);
  end(&s, bytes[0]);
  OPENSSL_cleanse(&s, sizeof s);
  OPENSSL_cleanse(inner, sizeof inner);
  return return_int(napi, 0);
}

/*
 * Seals or opens text of up to 64 KiB. One context a call: it costs 0.5 us and needs no owner. false: not authentic, or
 * no memory.
 */
static bool chachapoly(uint8_t *const b[PARTS], const size_t len[PARTS], int sealing, const uint8_t *in, size_t text) {
  uint8_t *out = b[0];
  int n = 0;
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  uint8_t *tag = sealing ? out + text : (uint8_t *)in + text;
  bool ok = ctx != NULL && EVP_CipherInit_ex(ctx, EVP_chacha20_poly1305(), NULL, b[1], b[2], sealing) == 1 &&
            (sealing || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1) &&
            (len[3] == 0 || EVP_CipherUpdate(ctx, NULL, &n, b[3], (int)len[3]) == 1) &&
            (text == 0 || EVP_CipherUpdate(ctx, out, &n, in, (int)text) == 1) &&
            EVP_CipherFinal_ex(ctx, out + text, &n) == 1 &&
            (!sealing || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, tag) == 1);
  EVP_CIPHER_CTX_free(ctx);
  return ok;
}

#define TEXT_MAX 65536

/* sealChaChaPoly(out: text + 16, key: 32, nonce: 12, aad, text) -> 0 or -EINVAL */
static napi_value seal_js(napi_env napi, napi_callback_info info) {
  uint8_t *b[PARTS];
  size_t len[PARTS];
  bytes_of(napi, info, b, len);
  if (len[1] != KEY || len[2] != NONCE || len[4] > TEXT_MAX || len[0] != len[4] + TAG || len[3] > TEXT_MAX)
    return return_int(napi, -EINVAL);
  return return_int(napi, chachapoly(b, len, 1, b[4], len[4]) ? 0 : -EINVAL);
}

/* openChaChaPoly(out: sealed - 16, key: 32, nonce: 12, aad, sealed) -> 0, or -EINVAL also when it is not authentic */
static napi_value open_js(napi_env napi, napi_callback_info info) {
  uint8_t *b[PARTS];
  size_t len[PARTS];
  bytes_of(napi, info, b, len);
  if (len[1] != KEY || len[2] != NONCE || len[4] > TEXT_MAX || len[4] != len[0] + TAG || len[3] > TEXT_MAX)
    return return_int(napi, -EINVAL);
  return return_int(napi, chachapoly(b, len, 0, b[4], len[0]) ? 0 : -EINVAL);
}

int handshake_register(napi_env napi, napi_value exports) {
  int failed = 0;
  failed |= export_function(napi, exports, "blake2s", hash_js);
  failed |= export_function(napi, exports, "hmacBlake2s", hmac_js);
  failed |= export_function(napi, exports, "sealChaChaPoly", seal_js);
  failed |= export_function(napi, exports, "openChaChaPoly", open_js);
  return failed;
}

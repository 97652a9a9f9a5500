/*
 * Key slots, and open and seal of whole batches. Stands between the columns and the transforms: it checks every offset,
 * length and slot number that JavaScript wrote, picks the transform of the slot's kind, and writes TYPE, AT, LEN and the
 * verdict. It decides nothing else. AEAD rows are done one by one; SATP rows wait until SATP_JOBS of them, or the end of
 * the batch, make it worth to hash them side by side, so their bytes change later than those of the rows around them.
 */
#include "crypto.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "aead.h"
#include "env.h"
#include "napi_util.h"
#include "satp.h"
#include "split.h"

enum slot_kind { SLOT_EMPTY = 0, SLOT_SATP, SLOT_AEAD };

struct key_slot {
  enum slot_kind kind;
  union {
    struct satp_key satp;
    struct aead_key aead;
  };
};

/* Slots are made in chunks when the first of a chunk is set, and never move: contexts and jobs point at them. */
#define CHUNK_SLOTS 1024
#define CHUNKS ((KEY_SLOTS + CHUNK_SLOTS - 1) / CHUNK_SLOTS)

/* env->keys. Made by the first key, freed with the environment. `jobs` are the SATP rows that wait for company. */
struct crypto {
  struct satp_engine satp;
  struct aead_engine aead;
  struct key_slot *chunks[CHUNKS];
  struct satp_job jobs[SATP_JOBS];
  int job_count;
  uint8_t aside[DATAGRAM_MAX]; /* plain text of a datagram that is only authenticated */
};

static void clear_slot(struct crypto *crypto, struct key_slot *slot) {
  switch (slot->kind) {
    case SLOT_EMPTY:
      break;
    case SLOT_SATP:
      satp_key_clear(&slot->satp);
      satp_engine_forget(&crypto->satp);
      break;
    case SLOT_AEAD:
      aead_key_clear(&crypto->aead, &slot->aead);
      break;
  }
  OPENSSL_cleanse(slot, sizeof *slot);
}

void crypto_free(struct env *env) {
  struct crypto *crypto = env->keys;
  if (crypto == NULL) return;
  env->keys = NULL;
  for (int c = 0; c < CHUNKS; c++) {
    if (crypto->chunks[c] == NULL) continue;
    for (int i = 0; i < CHUNK_SLOTS; i++) clear_slot(crypto, &crypto->chunks[c][i]);
    free(crypto->chunks[c]);
  }
  aead_engine_free(&crypto->aead);
  satp_engine_free(&crypto->satp);
  free(crypto);
}

/* The crypto state, made on first use; NULL and *failed = -errno when that is impossible. */
static struct crypto *crypto_of(struct env *env, int *failed) {
  if (env->keys != NULL) return env->keys;
  struct crypto *crypto = aligned_alloc(_Alignof(struct crypto), sizeof *crypto);
  if (crypto == NULL) {
    *failed = -ENOMEM;
    return NULL;
  }
  memset(crypto, 0, sizeof *crypto);
  *failed = satp_engine_init(&crypto->satp);
  if (!*failed) *failed = aead_engine_init(&crypto->aead);
  env->keys = crypto;
  if (!*failed) return crypto;
  crypto_free(env);
  return NULL;
}

/* The slot of a row, or NULL when there is no such slot or nothing was ever put near it. */
static struct key_slot *slot_at(struct crypto *crypto, int32_t index) {
  if (crypto == NULL || index < 0 || index >= KEY_SLOTS) return NULL;
  struct key_slot *chunk = crypto->chunks[index / CHUNK_SLOTS];
  return chunk == NULL ? NULL : &chunk[index % CHUNK_SLOTS];
}

/* The same slot for writing: makes its chunk. NULL without memory. */
static struct key_slot *make_slot(struct crypto *crypto, int32_t index) {
  struct key_slot **chunk = &crypto->chunks[index / CHUNK_SLOTS];
  if (*chunk == NULL) *chunk = calloc(CHUNK_SLOTS, sizeof **chunk);
  return *chunk == NULL ? NULL : &(*chunk)[index % CHUNK_SLOTS];
}

static int is_aes_len(int32_t len) { return len == 0 || len == 16 || len == 24 || len == 32; }

/* setSatp(slot, cipherLen, tagLen, kdLen, role, masterKey, masterSalt) -> 0 or -errno */
static napi_value set_satp(napi_env napi, napi_callback_info info) {
  napi_value v[7];
  size_t count = 7, key_bytes = 0, salt_bytes = 0;
  int failed = 0;
  if (napi_get_cb_info(napi, info, &count, v, NULL, NULL) != napi_ok || count < 7) return return_int(napi, -EINVAL);
  int32_t index = int_of(napi, v[0], -1);
  int32_t cipher_len = int_of(napi, v[1], -1);
  int32_t tag_len = int_of(napi, v[2], AUTH_NULL - 1);
  int32_t kd_len = int_of(napi, v[3], -1);
  int32_t role = int_of(napi, v[4], -1);
  const uint8_t *master_key = elements_of(napi, v[5], napi_uint8_array, &key_bytes);
  const uint8_t *master_salt = elements_of(napi, v[6], napi_uint8_array, &salt_bytes);
  if (!is_aes_len(cipher_len) || !is_aes_len(kd_len) || tag_len < AUTH_NULL || tag_len > HMAC_SHA1_LEN ||
      (role != ROLE_LEFT && role != ROLE_RIGHT) || index < 0 || index >= KEY_SLOTS)
    return return_int(napi, -EINVAL);
  if (key_bytes != (size_t)kd_len || salt_bytes != (kd_len == 0 ? 0 : SATP_SALT_LEN)) return return_int(napi, -EINVAL);

  struct crypto *crypto = crypto_of(env_of(napi), &failed);
  if (crypto == NULL) return return_int(napi, failed);
  struct satp_key fresh;
  failed = satp_key_init(&crypto->satp, &fresh, cipher_len, tag_len, kd_len, role, master_key, master_salt);
  if (failed) return return_int(napi, failed);
  struct key_slot *slot = make_slot(crypto, index);
  if (slot == NULL) {
    satp_key_clear(&fresh);
    return return_int(napi, -ENOMEM);
  }
  clear_slot(crypto, slot);
  slot->kind = SLOT_SATP;
  slot->satp = fresh;
  OPENSSL_cleanse(&fresh, sizeof fresh);
  return return_int(napi, 0);
}

/* setAead(slot, algorithm, sealKey, openKey) -> 0 or -errno. -EINVAL also for two equal keys: nonces would repeat. */
static napi_value set_aead(napi_env napi, napi_callback_info info) {
  struct args args = args_of(napi, info);
  size_t seal_bytes = 0, open_bytes = 0;
  int failed = 0;
  int32_t index = int_of(napi, args.v[0], -1);
  int32_t algorithm = int_of(napi, args.v[1], -1);
  const uint8_t *seal_key = elements_of(napi, args.v[2], napi_uint8_array, &seal_bytes);
  const uint8_t *open_key = elements_of(napi, args.v[3], napi_uint8_array, &open_bytes);
  const size_t key_len = (size_t)aead_key_len(algorithm);
  if (index < 0 || index >= KEY_SLOTS || key_len == 0 || seal_bytes != key_len || open_bytes != key_len ||
      CRYPTO_memcmp(seal_key, open_key, key_len) == 0)
    return return_int(napi, -EINVAL);

  struct crypto *crypto = crypto_of(env_of(napi), &failed);
  if (crypto == NULL) return return_int(napi, failed);
  struct key_slot *slot = make_slot(crypto, index);
  if (slot == NULL) return return_int(napi, -ENOMEM);
  clear_slot(crypto, slot);
  slot->kind = SLOT_AEAD;
  aead_key_init(&slot->aead, algorithm, seal_key, open_key);
  return return_int(napi, 0);
}

/* clearKey(slot) */
static napi_value clear_key(napi_env napi, napi_callback_info info) {
  struct args args = args_of(napi, info);
  struct crypto *crypto = env_of(napi)->keys;
  struct key_slot *slot = slot_at(crypto, int_of(napi, args.v[0], -1));
  if (slot == NULL) return NULL;
  clear_slot(crypto, slot);
  return NULL;
}

static struct satp_header header_of(int32_t seq, int32_t sender, int32_t mux) {
  return (struct satp_header){.seq = (uint32_t)seq, .sender = (uint16_t)sender, .mux = (uint16_t)mux};
}

/* Takes the header and the tag off an opened input row. `type` -1: an empty packet. */
static void finish_open(struct env *env, int32_t i, int32_t type, int32_t tag_len) {
  IN(env, COL_TYPE)[i] = type;
  IN(env, COL_AT)[i] += SATP_HEADER_LEN + (type < 0 ? 0 : SATP_TYPE_LEN);
  IN(env, COL_LEN)[i] = type < 0 ? 0 : IN(env, COL_LEN)[i] - SATP_HEADER_LEN - SATP_TYPE_LEN - tag_len;
}

/* Opens the SATP rows that wait. */
static void open_jobs(struct env *env, struct crypto *crypto) {
  satp_open(&crypto->satp, crypto->jobs, crypto->job_count);
  for (int j = 0; j < crypto->job_count; j++) {
    const struct satp_job *job = &crypto->jobs[j];
    IN(env, COL_VERDICT)[job->row] = job->verdict;
    if (job->verdict == LIVE) finish_open(env, job->row, job->type, satp_tag_len(job->key));
  }
  crypto->job_count = 0;
}

/* Opens a row, or puts it with those that wait. A verdict, LIVE also while it waits. */
static int32_t open_row(struct env *env, struct crypto *crypto, struct key_slot *slot, int32_t i) {
  const int32_t at = IN(env, COL_AT)[i];
  const int32_t len = IN(env, COL_LEN)[i];
  int32_t type = -1;
  if (!in_slab(env, at, len)) return DATAGRAM_SHORT;
  struct satp_header header = header_of(IN(env, COL_SEQ)[i], IN(env, COL_SENDER)[i], IN(env, COL_MUX)[i]);
  if (slot->kind == SLOT_AEAD) {
    const int32_t verdict = aead_open(&crypto->aead, &slot->aead, header, env->slab + at, len, NULL, &type);
    if (verdict == LIVE) finish_open(env, i, type, AEAD_TAG_LEN);
    return verdict;
  }
  crypto->jobs[crypto->job_count++] =
      (struct satp_job){.key = &slot->satp, .datagram = env->slab + at, .len = len, .header = header, .row = i};
  if (crypto->job_count == SATP_JOBS) open_jobs(env, crypto);
  return LIVE;
}

/* Authenticates a row of a session and changes nothing of it. Its verdict: FOREIGN, or why not. */
static int32_t check_row(struct env *env, struct crypto *crypto, struct key_slot *slot, int32_t i) {
  const int32_t at = IN(env, COL_AT)[i];
  const int32_t len = IN(env, COL_LEN)[i];
  int32_t type;
  if (slot == NULL || slot->kind != SLOT_AEAD) return TUNNEL_GONE;
  if (!in_slab(env, at, len)) return DATAGRAM_SHORT;
  if (len > DATAGRAM_MAX) return AUTH_FAILED;
  struct satp_header header = header_of(IN(env, COL_SEQ)[i], IN(env, COL_SENDER)[i], IN(env, COL_MUX)[i]);
  const int32_t verdict = aead_open(&crypto->aead, &slot->aead, header, env->slab + at, len, crypto->aside, &type);
  return verdict == LIVE ? FOREIGN : verdict;
}

/* open(n): input rows [0, n) with verdict LIVE; rows with verdict FOREIGN are authenticated and stay as they are. */
static napi_value open_rows(napi_env napi, napi_callback_info info) {
  struct args args = args_of(napi, info);
  struct env *env = env_of(napi);
  struct crypto *crypto = env->keys;
  int32_t n = rows_of(&env->in, int_of(napi, args.v[0], 0));
  for (int32_t i = 0; i < n; i++) {
    int32_t *verdict = &IN(env, COL_VERDICT)[i];
    if (*verdict != LIVE && *verdict != FOREIGN) continue;
    struct key_slot *slot = slot_at(crypto, IN(env, COL_KEY)[i]);
    if (*verdict == FOREIGN) {
      *verdict = check_row(env, crypto, slot, i);
      continue;
    }
    const int32_t refused = slot == NULL || slot->kind == SLOT_EMPTY ? TUNNEL_GONE : open_row(env, crypto, slot, i);
    if (refused != LIVE) *verdict = refused;
  }
  if (crypto != NULL) open_jobs(env, crypto);
  return NULL;
}

static int32_t tag_len_of(const struct key_slot *slot) {
  return slot->kind == SLOT_AEAD ? AEAD_TAG_LEN : satp_tag_len(&slot->satp);
}

/* Bytes that sealing adds to an inner packet; to an empty one (type -1) two less. */
static int32_t overhead_of(const struct key_slot *slot, int32_t type) {
  return SATP_HEADER_LEN + (type < 0 ? 0 : SATP_TYPE_LEN) + tag_len_of(slot);
}

/* Seals the SATP datagrams that wait. */
static void seal_jobs(struct env *env, struct crypto *crypto) {
  satp_seal(&crypto->satp, crypto->jobs, crypto->job_count);
  for (int j = 0; j < crypto->job_count; j++)
    if (crypto->jobs[j].verdict != LIVE) OUT(env, COL_VERDICT)[crypto->jobs[j].row] = crypto->jobs[j].verdict;
  crypto->job_count = 0;
}

/*
 * Copies one inner packet of row `i` into the datagram `out` and seals it there, or puts it with those that wait: from
 * here on the source may change, `out` may not. 0 or -errno.
 */
static int seal_one(struct env *env, struct crypto *crypto, struct key_slot *slot, int32_t i, struct satp_header header,
                    int32_t type, const uint8_t *inner, int32_t len, uint8_t *out) {
  const int32_t sealed_len = overhead_of(slot, type) + len;
  satp_put_plain(header, type, inner, len, out);
  if (slot->kind == SLOT_AEAD) return aead_seal(&crypto->aead, &slot->aead, header, out, sealed_len);
  crypto->jobs[crypto->job_count++] =
      (struct satp_job){.key = &slot->satp, .datagram = out, .len = sealed_len, .header = header, .row = i};
  if (crypto->job_count == SATP_JOBS) seal_jobs(env, crypto);
  return 0;
}

/* Every segment of a super-packet with a sequence number of its own, datagram behind datagram. */
static int32_t seal_super_row(struct env *env, struct crypto *crypto, struct key_slot *slot, int32_t i) {
  const int32_t type = OUT(env, COL_TYPE)[i];
  const int32_t at = OUT(env, COL_AT)[i];
  const int32_t src = OUT(env, COL_SRC)[i];
  const int32_t len = OUT(env, COL_LEN)[i];
  const int32_t seg = OUT(env, COL_SEG)[i];
  const int32_t hdr = OUT(env, COL_HDR)[i];
  struct split split;
  if (type < 0 || !in_slab(env, src, len) || !split_begin(&split, env->slab + src, len, hdr, seg))
    return INNER_MALFORMED;
  const int32_t overhead = overhead_of(slot, type);
  const int32_t count = (len - hdr - 1) / seg + 1;
  const int64_t sealed = (int64_t)len + (int64_t)(count - 1) * hdr + (int64_t)count * overhead;
  if (seg > DATAGRAM_MAX - overhead - hdr || sealed > OUT_BYTES || !in_slab(env, at, (int32_t)sealed)) return TOO_BIG;
  if (src < at + sealed && at < src + len) return INNER_MALFORMED;
  struct satp_header header = header_of(OUT(env, COL_SEQ)[i], OUT(env, COL_SENDER)[i], OUT(env, COL_MUX)[i]);
  uint8_t *out = env->slab + at;
  const uint8_t *inner;
  int32_t inner_len;
  while ((inner = split_next(&split, &inner_len)) != NULL) {
    if (seal_one(env, crypto, slot, i, header, type, inner, inner_len, out) != 0) {
      split_end(&split);
      return SEND_FAILED;
    }
    header.seq++;
    out += overhead + inner_len;
  }
  OUT(env, COL_LEN)[i] = (int32_t)sealed;
  OUT(env, COL_SEG)[i] = overhead + hdr + (count > 1 ? seg : len - hdr);
  return LIVE;
}

static int32_t seal_row(struct env *env, struct crypto *crypto, struct key_slot *slot, int32_t i) {
  if (OUT(env, COL_SEG)[i] > 0) return seal_super_row(env, crypto, slot, i);
  int32_t type = OUT(env, COL_TYPE)[i];
  int32_t at = OUT(env, COL_AT)[i];
  int32_t src = OUT(env, COL_SRC)[i];
  int32_t len = type < 0 ? 0 : OUT(env, COL_LEN)[i];
  if (type < 0) src = 0;
  if (!in_slab(env, src, len)) return INNER_MALFORMED;
  int32_t overhead = overhead_of(slot, type);
  if (len > DATAGRAM_MAX - overhead || !in_slab(env, at, overhead + len)) return TOO_BIG;
  if (type >= 0 && src < at + overhead + len && at < src + len) return INNER_MALFORMED;
  struct satp_header header = header_of(OUT(env, COL_SEQ)[i], OUT(env, COL_SENDER)[i], OUT(env, COL_MUX)[i]);
  if (seal_one(env, crypto, slot, i, header, type, env->slab + src, len, env->slab + at) != 0) return SEND_FAILED;
  OUT(env, COL_LEN)[i] = overhead + len;
  return LIVE;
}

/* seal(n): output rows [0, n) with verdict LIVE. */
static napi_value seal_rows(napi_env napi, napi_callback_info info) {
  struct args args = args_of(napi, info);
  struct env *env = env_of(napi);
  struct crypto *crypto = env->keys;
  int32_t n = rows_of(&env->out, int_of(napi, args.v[0], 0));
  for (int32_t i = 0; i < n; i++) {
    int32_t *verdict = &OUT(env, COL_VERDICT)[i];
    if (*verdict != LIVE) continue;
    struct key_slot *slot = slot_at(crypto, OUT(env, COL_KEY)[i]);
    const int32_t refused = slot == NULL || slot->kind == SLOT_EMPTY ? TUNNEL_GONE : seal_row(env, crypto, slot, i);
    if (refused != LIVE) *verdict = refused;
  }
  if (crypto != NULL) seal_jobs(env, crypto);
  return NULL;
}

/* diagnose(row) -> AUTH_EQUAL_ROLES, AUTH_TAG_LENGTH, AUTH_FAILED, or TUNNEL_GONE for an empty slot */
static napi_value diagnose_row(napi_env napi, napi_callback_info info) {
  struct args args = args_of(napi, info);
  struct env *env = env_of(napi);
  struct crypto *crypto = env->keys;
  int32_t i = int_of(napi, args.v[0], -1);
  if (i < 0 || i >= env->in.rows) return return_int(napi, AUTH_FAILED);
  struct key_slot *slot = slot_at(crypto, IN(env, COL_KEY)[i]);
  int32_t at = IN(env, COL_AT)[i];
  int32_t len = IN(env, COL_LEN)[i];
  int32_t verdict = AUTH_FAILED;
  if (slot == NULL || slot->kind == SLOT_EMPTY) {
    verdict = TUNNEL_GONE;
  } else if (slot->kind == SLOT_SATP && in_slab(env, at, len)) {
    verdict = satp_diagnose(&slot->satp, (uint32_t)IN(env, COL_SEQ)[i], env->slab + at, len);
  }
  return return_int(napi, verdict);
}

int crypto_register(napi_env napi, napi_value exports) {
  int failed = 0;
  failed |= export_function(napi, exports, "setSatp", set_satp);
  failed |= export_function(napi, exports, "setAead", set_aead);
  failed |= export_function(napi, exports, "clearKey", clear_key);
  failed |= export_function(napi, exports, "open", open_rows);
  failed |= export_function(napi, exports, "seal", seal_rows);
  failed |= export_function(napi, exports, "diagnose", diagnose_row);
  return failed;
}

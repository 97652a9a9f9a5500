/*
 * Key slots, and open and seal of whole batches. Stands between the columns and the transforms: it checks every offset,
 * length and slot number that JavaScript wrote, picks the transform of the slot's kind, and writes TYPE, AT, LEN and the
 * verdict. It decides nothing else. A new kind of context is one more enum value, union member and `case`.
 */
#include "crypto.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "env.h"
#include "napi_util.h"
#include "satp.h"

enum slot_kind { SLOT_EMPTY = 0, SLOT_SATP };

struct key_slot {
  enum slot_kind kind;
  union {
    struct satp_key satp;
  };
};

/* env->keys. Made by the first setSatp, freed with the environment. */
struct crypto {
  struct satp_engine satp;
  struct key_slot slots[KEY_SLOTS];
};

static void clear_slot(struct key_slot *slot) {
  switch (slot->kind) {
    case SLOT_EMPTY:
      break;
    case SLOT_SATP:
      satp_key_clear(&slot->satp);
      break;
  }
  OPENSSL_cleanse(slot, sizeof *slot);
}

void crypto_free(struct env *env) {
  struct crypto *crypto = env->keys;
  if (crypto == NULL) return;
  env->keys = NULL;
  for (int i = 0; i < KEY_SLOTS; i++) clear_slot(&crypto->slots[i]);
  satp_engine_free(&crypto->satp);
  free(crypto);
}

/* The crypto state, made on first use; NULL and *failed = -errno when that is impossible. */
static struct crypto *crypto_of(struct env *env, int *failed) {
  if (env->keys != NULL) return env->keys;
  struct crypto *crypto = calloc(1, sizeof *crypto);
  if (crypto == NULL) {
    *failed = -ENOMEM;
    return NULL;
  }
  *failed = satp_engine_init(&crypto->satp);
  if (*failed) {
    satp_engine_free(&crypto->satp);
    free(crypto);
    return NULL;
  }
  env->keys = crypto;
  return crypto;
}

/* The slot of a row, or NULL when there is no such slot. An empty slot is a slot of kind SLOT_EMPTY. */
static struct key_slot *slot_at(struct crypto *crypto, int32_t index) {
  return crypto != NULL && index >= 0 && index < KEY_SLOTS ? &crypto->slots[index] : NULL;
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
  if (!is_aes_len(cipher_len) || !is_aes_len(kd_len) || tag_len < AUTH_NULL || tag_len > SATP_HMAC_LEN ||
      (role != ROLE_LEFT && role != ROLE_RIGHT) || index < 0 || index >= KEY_SLOTS)
    return return_int(napi, -EINVAL);
  if (key_bytes != (size_t)kd_len || salt_bytes != (kd_len == 0 ? 0 : SATP_SALT_LEN)) return return_int(napi, -EINVAL);

  struct crypto *crypto = crypto_of(env_of(napi), &failed);
  if (crypto == NULL) return return_int(napi, failed);
  struct satp_key fresh;
  failed = satp_key_init(&crypto->satp, &fresh, cipher_len, tag_len, kd_len, role, master_key, master_salt);
  if (failed) return return_int(napi, failed);
  struct key_slot *slot = &crypto->slots[index];
  clear_slot(slot);
  satp_engine_forget(&crypto->satp);
  slot->kind = SLOT_SATP;
  slot->satp = fresh;
  OPENSSL_cleanse(&fresh, sizeof fresh);
  return return_int(napi, 0);
}

/* clearKey(slot) */
static napi_value clear_key(napi_env napi, napi_callback_info info) {
  struct args args = args_of(napi, info);
  struct crypto *crypto = env_of(napi)->keys;
  struct key_slot *slot = slot_at(crypto, int_of(napi, args.v[0], -1));
  if (slot == NULL) return NULL;
  clear_slot(slot);
  satp_engine_forget(&crypto->satp);
  return NULL;
}

static struct satp_header header_of(int32_t seq, int32_t sender, int32_t mux) {
  return (struct satp_header){.seq = (uint32_t)seq, .sender = (uint16_t)sender, .mux = (uint16_t)mux};
}

static int32_t open_satp_row(struct env *env, struct crypto *crypto, const struct satp_key *key, int32_t i) {
  int32_t at = IN(env, COL_AT)[i];
  int32_t len = IN(env, COL_LEN)[i];
  int32_t type = -1;
  if (!in_slab(env, at, len)) return DATAGRAM_SHORT;
  struct satp_header header = header_of(IN(env, COL_SEQ)[i], IN(env, COL_SENDER)[i], IN(env, COL_MUX)[i]);
  int32_t verdict = satp_open(&crypto->satp, key, header, env->slab + at, len, &type);
  if (verdict != LIVE) return verdict;
  IN(env, COL_TYPE)[i] = type;
  IN(env, COL_AT)[i] = at + SATP_HEADER_LEN + (type < 0 ? 0 : SATP_TYPE_LEN);
  IN(env, COL_LEN)[i] = type < 0 ? 0 : len - SATP_HEADER_LEN - SATP_TYPE_LEN - satp_tag_len(key);
  return LIVE;
}

/* open(n): input rows [0, n) with verdict LIVE. */
static napi_value open_rows(napi_env napi, napi_callback_info info) {
  struct args args = args_of(napi, info);
  struct env *env = env_of(napi);
  struct crypto *crypto = env->keys;
  int32_t n = rows_of(&env->in, int_of(napi, args.v[0], 0));
  for (int32_t i = 0; i < n; i++) {
    int32_t *verdict = &IN(env, COL_VERDICT)[i];
    if (*verdict != LIVE) continue;
    struct key_slot *slot = slot_at(crypto, IN(env, COL_KEY)[i]);
    switch (slot == NULL ? SLOT_EMPTY : slot->kind) {
      case SLOT_EMPTY:
        *verdict = TUNNEL_GONE;
        break;
      case SLOT_SATP:
        *verdict = open_satp_row(env, crypto, &slot->satp, i);
        break;
    }
  }
  return NULL;
}

/* SLOT_BYTES bounds a datagram as well as the slab does: a longer one would run into its neighbour's slot. */
static int32_t seal_satp_row(struct env *env, struct crypto *crypto, const struct satp_key *key, int32_t i) {
  int32_t type = OUT(env, COL_TYPE)[i];
  int32_t at = OUT(env, COL_AT)[i];
  int32_t src = OUT(env, COL_SRC)[i];
  int32_t len = type < 0 ? 0 : OUT(env, COL_LEN)[i];
  if (type < 0) src = 0;
  if (!in_slab(env, src, len)) return INNER_MALFORMED;
  int32_t overhead = SATP_HEADER_LEN + (type < 0 ? 0 : SATP_TYPE_LEN) + satp_tag_len(key);
  if (len > SLOT_BYTES - overhead || !in_slab(env, at, overhead + len)) return TOO_BIG;
  if (type >= 0 && src < at + overhead + len && at < src + len) return INNER_MALFORMED;
  struct satp_header header = header_of(OUT(env, COL_SEQ)[i], OUT(env, COL_SENDER)[i], OUT(env, COL_MUX)[i]);
  if (satp_seal(&crypto->satp, key, header, type, env->slab + src, len, env->slab + at) != 0) return SEND_FAILED;
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
    switch (slot == NULL ? SLOT_EMPTY : slot->kind) {
      case SLOT_EMPTY:
        *verdict = TUNNEL_GONE;
        break;
      case SLOT_SATP:
        *verdict = seal_satp_row(env, crypto, &slot->satp, i);
        break;
    }
  }
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
  switch (slot == NULL ? SLOT_EMPTY : slot->kind) {
    case SLOT_EMPTY:
      verdict = TUNNEL_GONE;
      break;
    case SLOT_SATP:
      if (in_slab(env, at, len))
        verdict = satp_diagnose(&crypto->satp, &slot->satp, (uint32_t)IN(env, COL_SEQ)[i], env->slab + at, len);
      break;
  }
  return return_int(napi, verdict);
}

int crypto_register(napi_env napi, napi_value exports) {
  int failed = 0;
  failed |= export_function(napi, exports, "setSatp", set_satp);
  failed |= export_function(napi, exports, "clearKey", clear_key);
  failed |= export_function(napi, exports, "open", open_rows);
  failed |= export_function(napi, exports, "seal", seal_rows);
  failed |= export_function(napi, exports, "diagnose", diagnose_row);
  return failed;
}

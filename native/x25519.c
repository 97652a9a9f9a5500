/*
 * X25519 (RFC 7748) for handshakes: a private key made ready once, and shared secrets with raw public keys. node:crypto
 * does the same, but wraps each key in objects that cost more than half of what the curve itself does. Which keys meet,
 * and what becomes of the result, is decided in TypeScript (src/drivers/native_x25519.ts).
 */
#include "x25519.h"

#include <stdlib.h>

#include <openssl/evp.h>

#include "napi_util.h"

#define X25519_LEN 32

/* A private key, and the context that derives with it again and again. Freed with the JavaScript value that holds it. */
struct x25519_key {
  EVP_PKEY *key;
  EVP_PKEY_CTX *derive;
};

static const napi_type_tag KEY_TAG = {0x616e79686f702078ull, 0x3235353139206b79ull};

static void key_free(napi_env napi, void *data, void *hint) {
  (void)napi;
  (void)hint;
  struct x25519_key *own = data;
  EVP_PKEY_CTX_free(own->derive);
  EVP_PKEY_free(own->key);
  free(own);
}

/* x25519Key(private: 32 bytes, public: 32 bytes, written) -> a key for x25519Shared, or -errno */
static napi_value x25519_key(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  size_t private_len, public_len, written = X25519_LEN;
  const uint8_t *private_key = elements_of(napi, a.v[0], napi_uint8_array, &private_len);
  uint8_t *public_key = elements_of(napi, a.v[1], napi_uint8_array, &public_len);
  if (private_key == NULL || private_len != X25519_LEN || public_key == NULL || public_len != X25519_LEN)
    return return_int(napi, -EINVAL);
  struct x25519_key *own = calloc(1, sizeof *own);
  if (own == NULL) return return_int(napi, -ENOMEM);
  own->key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, X25519_LEN);
  if (own->key != NULL) own->derive = EVP_PKEY_CTX_new_from_pkey(NULL, own->key, NULL);
  napi_value result;
  if (own->derive == NULL || EVP_PKEY_derive_init(own->derive) != 1 ||
      EVP_PKEY_get_raw_public_key(own->key, public_key, &written) != 1 ||
      napi_create_external(napi, own, key_free, NULL, &result) != napi_ok) {
    key_free(napi, own, NULL);
    return return_int(napi, -ENOMEM);
  }
  /* From here on the value owns the key. */
  if (napi_type_tag_object(napi, result, &KEY_TAG) != napi_ok) return return_int(napi, -ENOMEM);
  return result;
}

/* x25519Shared(key, public: 32 bytes, secret: 32 bytes, written) -> 0 or -errno; EINVAL also for a point of small order */
static napi_value x25519_shared(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  size_t public_len, secret_len, written = X25519_LEN;
  bool is_key = false;
  void *data = NULL;
  const uint8_t *public_key = elements_of(napi, a.v[1], napi_uint8_array, &public_len);
  uint8_t *secret = elements_of(napi, a.v[2], napi_uint8_array, &secret_len);
  if (napi_check_object_type_tag(napi, a.v[0], &KEY_TAG, &is_key) != napi_ok || !is_key) return return_int(napi, -EINVAL);
  if (napi_get_value_external(napi, a.v[0], &data) != napi_ok) return return_int(napi, -EINVAL);
  if (public_key == NULL || public_len != X25519_LEN || secret == NULL || secret_len != X25519_LEN)
    return return_int(napi, -EINVAL);
  const struct x25519_key *own = data;
  EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public_key, X25519_LEN);
  if (peer == NULL) return return_int(napi, -ENOMEM);
  /* Derive fails for the all-zero result itself, so the slower check of the peer's key is left out. */
  const bool ok = EVP_PKEY_derive_set_peer_ex(own->derive, peer, 0) == 1 &&
                  EVP_PKEY_derive(own->derive, secret, &written) == 1 && written == X25519_LEN;
  EVP_PKEY_free(peer);
  return return_int(napi, ok ? 0 : -EINVAL);
}

int x25519_register(napi_env napi, napi_value exports) {
  int failed = 0;
  failed |= export_function(napi, exports, "x25519Key", x25519_key);
  failed |= export_function(napi, exports, "x25519Shared", x25519_shared);
  return failed;
}

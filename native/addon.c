/*
 * Entry of the addon: makes the environment, binds the memory of a shard once, and takes everything down at the end.
 * Loaded once per thread; a thread that never binds (the main thread) can still `wake` others and write to syslog.
 */
#include <stdlib.h>

#include "crypto.h"
#include "device.h"
#include "handshake.h"
#include "napi_util.h"
#include "poll_set.h"
#include "sys.h"
#include "udp.h"
#include "x25519.h"

static void close_all(struct env *env) {
  udp_close_all(env);
  device_close(env);
  poll_close(env);
}

/* The thread ends: closes what is open, wipes the keys. The references die with the environment. */
static void env_free(napi_env napi, void *data, void *hint) {
  (void)napi;
  (void)hint;
  struct env *env = data;
  close_all(env);
  crypto_free(env);
  free(env->udp);
  free(env);
}

/*
 * bind(slab: Uint8Array, input: Int32Array, output: Int32Array, time: Float64Array) -> 0 or -errno. EALREADY: this
 * thread has bound before. EINVAL: a length is not that of the layout. The arrays must never be transferred to another
 * thread afterwards: the addon keeps pointers into them.
 */
static napi_value bind_memory(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  size_t slab_len, in_len, out_len, time_len;
  uint8_t *slab = elements_of(napi, a.v[0], napi_uint8_array, &slab_len);
  int32_t *in = elements_of(napi, a.v[1], napi_int32_array, &in_len);
  int32_t *out = elements_of(napi, a.v[2], napi_int32_array, &out_len);
  double *time = elements_of(napi, a.v[3], napi_float64_array, &time_len);
  if (env->slab != NULL) return return_int(napi, -EALREADY);
  if (slab == NULL || in == NULL || out == NULL || time == NULL) return return_int(napi, -EINVAL);
  if (slab_len != SLAB_BYTES || in_len != IN_ROWS * COLUMNS || out_len != OUT_ROWS * COLUMNS || time_len < 1) {
    return return_int(napi, -EINVAL);
  }
  for (int i = 0; i < 4; i++) {
    if (napi_create_reference(napi, a.v[i], 1, &env->bound[i]) != napi_ok) return return_int(napi, -ENOMEM);
  }
  env->slab = slab;
  env->slab_len = SLAB_BYTES;
  env->in = (struct cols){.c = in, .rows = IN_ROWS};
  env->out = (struct cols){.c = out, .rows = OUT_ROWS};
  env->time = time;
  const int error = udp_bind(env);
  return return_int(napi, error < 0 ? error : poll_bind(env));
}

/* without(bits) -> 0: FEATURE_* that must stay off; for sockets and a device that are opened from now on. */
static napi_value without(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  env->without = int_of(napi, a.v[0], 0);
  return return_int(napi, 0);
}

/* feature(bit) -> 0 on, 1 not asked for yet, or -errno; -ECANCELED: switched off, -ENOTSUP: not for this device. */
static napi_value feature(napi_env napi, napi_callback_info info) {
  const struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int32_t bit = int_of(napi, a.v[0], 0);
  return return_int(napi, bit >= 1 && bit <= FEATURE_GRO ? env->feature[bit] : -EINVAL);
}

/* closeAll() -> 0. Closes sockets, device and poll set; keys and bound memory stay. Idempotent. */
static napi_value close_all_js(napi_env napi, napi_callback_info info) {
  (void)info;
  close_all(env_of(napi));
  return return_int(napi, 0);
}

NAPI_MODULE_INIT() {
  struct env *created = calloc(1, sizeof *created);
  if (created == NULL) return NULL;
  for (int i = 0; i <= FEATURE_GRO; i++) created->feature[i] = 1;
  created->device = created->epoll = created->wake = -1;
  napi_value hash;
  const bool ok = napi_set_instance_data(env, created, env_free, NULL) == napi_ok &&
                  napi_create_uint32(env, LAYOUT_HASH, &hash) == napi_ok &&
                  napi_set_named_property(env, exports, "layoutHash", hash) == napi_ok &&
                  export_function(env, exports, "bind", bind_memory) == 0 &&
                  export_function(env, exports, "without", without) == 0 &&
                  export_function(env, exports, "feature", feature) == 0 &&
                  export_function(env, exports, "closeAll", close_all_js) == 0 && udp_register(env, exports) == 0 &&
                  udp_send_register(env, exports) == 0 && device_register(env, exports) == 0 &&
                  poll_register(env, exports) == 0 && sys_register(env, exports) == 0 &&
                  crypto_register(env, exports) == 0 && x25519_register(env, exports) == 0 &&
                  handshake_register(env, exports) == 0;
  return ok ? exports : NULL;
}

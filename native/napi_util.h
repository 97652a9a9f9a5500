/*
 * The few N-API idioms that all native files share: take integer arguments, return an integer, find the environment.
 * Hot functions use only these, so they create no JavaScript value but a small integer. A wrong argument type reads as
 * 0 or fails with -EINVAL; nothing here throws.
 */
#ifndef ANYHOP_NAPI_UTIL_H
#define ANYHOP_NAPI_UTIL_H

#include <errno.h>

#include "env.h"

/* Most arguments of any native function. */
#define ARGS_MAX 4

struct args {
  size_t count;
  napi_value v[ARGS_MAX];
};

/* Arguments of this call; missing ones are `undefined`. */
static inline struct args args_of(napi_env napi, napi_callback_info info) {
  struct args args = {.count = ARGS_MAX};
  napi_get_cb_info(napi, info, &args.count, args.v, NULL, NULL);
  return args;
}

/* The environment that init made; never NULL. */
static inline struct env *env_of(napi_env napi) {
  void *data = NULL;
  napi_get_instance_data(napi, &data);
  return data;
}

/* An integer argument (modulo 2^32); `otherwise` when it is not a number. */
static inline int32_t int_of(napi_env napi, napi_value value, int32_t otherwise) {
  int32_t result = otherwise;
  return napi_get_value_int32(napi, value, &result) == napi_ok ? result : otherwise;
}

/* The only result of hot functions: a count, bits, or -errno. */
static inline napi_value return_int(napi_env napi, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(napi, value, &result);
  return result;
}

/* Bytes of a typed array of `type`; NULL when it is another thing. `length` is in elements. */
static inline void *elements_of(napi_env napi, napi_value value, napi_typedarray_type type, size_t *length) {
  bool is_typed_array = false;
  napi_typedarray_type actual;
  void *data = NULL;
  *length = 0;
  if (napi_is_typedarray(napi, value, &is_typed_array) != napi_ok || !is_typed_array) return NULL;
  if (napi_get_typedarray_info(napi, value, &actual, length, &data, NULL, NULL) != napi_ok) return NULL;
  return actual == type ? data : NULL;
}

/* A string argument, cut to `size` - 1 bytes; "" when it is not a string. */
static inline void string_of(napi_env napi, napi_value value, char *out, size_t size) {
  size_t used = 0;
  if (napi_get_value_string_utf8(napi, value, out, size, &used) != napi_ok) out[0] = '\0';
}

/* Adds one function to the addon's exports. */
static inline int export_function(napi_env napi, napi_value exports, const char *name, napi_callback callback) {
  napi_value function;
  if (napi_create_function(napi, name, NAPI_AUTO_LENGTH, callback, NULL, &function) != napi_ok) return -1;
  return napi_set_named_property(napi, exports, name, function) == napi_ok ? 0 : -1;
}

#endif

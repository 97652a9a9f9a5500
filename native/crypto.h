/*
 * The crypto half of the addon: key slots and the batched open and seal over the bound slab and columns. Knows which
 * kind of context a slot holds and nothing else; the transforms are in satp.c, the meaning in src/dataplane/ports.ts.
 */
#ifndef ANYHOP_CRYPTO_H
#define ANYHOP_CRYPTO_H

#include <node_api.h>

struct env;

/* Adds setSatp, setAead, clearKey, open, seal and diagnose to the exports. 0, or -1 with a pending N-API failure. */
int crypto_register(napi_env napi, napi_value exports);

/* Wipes and frees every key slot of an environment. Safe to call twice. */
void crypto_free(struct env *env);

#endif

/* X25519 for handshakes, see x25519.c. */
#ifndef ANYHOP_X25519_H
#define ANYHOP_X25519_H

#include <node_api.h>

int x25519_register(napi_env napi, napi_value exports);

#endif

/* Hashes and seals of handshakes, see handshake.c. */
#ifndef ANYHOP_HANDSHAKE_H
#define ANYHOP_HANDSHAKE_H

#include <node_api.h>

int handshake_register(napi_env napi, napi_value exports);

#endif

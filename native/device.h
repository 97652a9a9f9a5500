/*
 * The TUN or TAP device of one environment.
 */
#ifndef ANYHOP_DEVICE_H
#define ANYHOP_DEVICE_H

#include "env.h"

int device_register(napi_env napi, napi_value exports);
void device_close(struct env *env);

#endif

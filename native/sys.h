/*
 * Plain system calls that Node lacks.
 */
#ifndef ANYHOP_SYS_H
#define ANYHOP_SYS_H

#include <node_api.h>

int sys_register(napi_env napi, napi_value exports);

#endif

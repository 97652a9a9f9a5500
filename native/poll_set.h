/*
 * Waiting: one level-triggered epoll set per environment over the wake descriptor, the device and the sockets.
 */
#ifndef ANYHOP_POLL_SET_H
#define ANYHOP_POLL_SET_H

#include "env.h"

int poll_register(napi_env napi, napi_value exports);

/* Makes the poll set and the wake descriptor, and reads the clock for the first time. 0 or -errno. */
int poll_bind(struct env *env);

/* Puts a descriptor into the set; `bit` is what `poll` returns for it. 0 or -errno. */
int poll_add(struct env *env, int fd, uint32_t bit);

void poll_close(struct env *env);

#endif

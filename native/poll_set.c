/*
 * The place where a shard waits, and the way to end its wait from another thread. `poll` also reads the clock: stages
 * get the time of the turn, not of the packet. Never reads a socket or the device.
 */
#include "poll_set.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "napi_util.h"
#include "udp.h"

#define EVENTS_MAX (SOCKETS_MAX + 2)

/*
 * Environments whose wake descriptor is open. `wake` comes from other threads, perhaps after the worker has ended and
 * the number belongs to another file; only descriptors in this list are written to.
 */
static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static struct env *live;

static double monotonic_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

int poll_add(struct env *env, int fd, uint32_t bit) {
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = bit};
  return epoll_ctl(env->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int poll_bind(struct env *env) {
  env->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (env->epoll < 0) return -errno;
  env->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  int error = env->wake < 0 ? -errno : poll_add(env, env->wake, READY_WAKE);
  if (error < 0) {
    close(env->epoll);
    if (env->wake >= 0) close(env->wake);
    env->epoll = env->wake = -1;
    return error;
  }
  pthread_mutex_lock(&live_lock);
  env->next = live;
  live = env;
  pthread_mutex_unlock(&live_lock);
  env->time[0] = monotonic_ms();
  return 0;
}

void poll_close(struct env *env) {
  if (env->epoll < 0) return;
  pthread_mutex_lock(&live_lock);
  struct env **link = &live;
  while (*link != NULL && *link != env) link = &(*link)->next;
  if (*link == env) *link = env->next;
  close(env->wake);
  env->wake = -1;
  pthread_mutex_unlock(&live_lock);
  close(env->epoll);
  env->epoll = -1;
}

static void drain_wake(struct env *env) {
  uint64_t count;
  const ssize_t got = read(env->wake, &count, sizeof count);
  (void)got; /* EAGAIN: nothing to drain */
}

/* poll(timeoutMs) -> READY_* bits, 0 after the timeout, or -errno. -1 waits for ever. */
static napi_value poll_wait(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  if (env->epoll < 0) return return_int(napi, -EBADF);
  const int32_t waiting = udp_waiting(env);
  const int timeout = waiting >= 0 ? 0 : int_of(napi, a.v[0], 0);
  struct epoll_event events[EVENTS_MAX];
  const double deadline = timeout > 0 ? monotonic_ms() + timeout : 0;
  int left = timeout;
  int n;
  while ((n = epoll_wait(env->epoll, events, EVENTS_MAX, left)) < 0 && errno == EINTR) {
    if (timeout <= 0) continue;
    const double rest = deadline - monotonic_ms();
    left = rest > 0 ? (int)rest + 1 : 0;
  }
  if (n < 0) return return_int(napi, -errno);
  uint32_t bits = waiting >= 0 ? (uint32_t)READY_SOCKET0 << waiting : 0;
  for (int i = 0; i < n; i++) bits |= events[i].data.u32;
  if ((bits & READY_WAKE) != 0) drain_wake(env);
  env->time[0] = monotonic_ms();
  return return_int(napi, (int32_t)bits);
}

/* wakeFd() -> the number that `wake` takes, or -EBADF before bind and after closeAll. */
static napi_value wake_fd(napi_env napi, napi_callback_info info) {
  (void)info;
  const struct env *env = env_of(napi);
  return return_int(napi, env->wake < 0 ? -EBADF : env->wake);
}

/* wake(fd) -> 0, or -EBADF when no environment waits on it (any more). Callable from every thread. */
static napi_value wake(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  const int32_t fd = int_of(napi, a.v[0], -1);
  int result = -EBADF;
  pthread_mutex_lock(&live_lock);
  for (const struct env *env = live; env != NULL; env = env->next) {
    if (env->wake != fd) continue;
    const uint64_t one = 1;
    /* EAGAIN: the counter is full, so the sleeper is awake already. */
    result = write(fd, &one, sizeof one) < 0 && errno != EAGAIN ? -errno : 0;
    break;
  }
  pthread_mutex_unlock(&live_lock);
  return return_int(napi, result);
}

int poll_register(napi_env napi, napi_value exports) {
  return export_function(napi, exports, "poll", poll_wait) | export_function(napi, exports, "wakeFd", wake_fd) |
         export_function(napi, exports, "wake", wake);
}

/*
 * Plain system calls that a daemon needs and Node lacks: syslog, chroot, entering a network namespace, giving memory back, a
 * socket that is closed first. Cold; they change the process or the thread, not the environment.
 */
#include "sys.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

#include "napi_util.h"

#define IDENT_BYTES 64
#define LINE_BYTES 2048

/* openlog(3) keeps the pointer, and there is one syslog connection per process. */
static pthread_mutex_t syslog_lock = PTHREAD_MUTEX_INITIALIZER;
static char syslog_ident[IDENT_BYTES];

/* syslog(facility 0-23, ident, priority 0-7, line) -> 0 or -EINVAL. Numbers: RFC 5424 section 6.2.1. */
static napi_value sys_syslog(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  char ident[IDENT_BYTES];
  char line[LINE_BYTES];
  string_of(napi, a.v[1], ident, sizeof ident);
  string_of(napi, a.v[3], line, sizeof line);
  const int32_t facility = int_of(napi, a.v[0], -1);
  const int32_t priority = int_of(napi, a.v[2], -1);
  if (facility < 0 || facility > 23 || priority < 0 || priority > 7) return return_int(napi, -EINVAL);
  pthread_mutex_lock(&syslog_lock);
  if (strcmp(ident, syslog_ident) != 0) {
    closelog();
    memcpy(syslog_ident, ident, sizeof ident);
    openlog(syslog_ident, LOG_PID, LOG_DAEMON);
  }
  syslog(facility << 3 | priority, "%s", line);
  pthread_mutex_unlock(&syslog_lock);
  return return_int(napi, 0);
}

/* chroot(directory) -> 0 or -errno. Also changes the working directory, or the jail would have an open door. */
static napi_value sys_chroot(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  char directory[PATH_MAX];
  string_of(napi, a.v[0], directory, sizeof directory);
  if (chroot(directory) < 0 || chdir("/") < 0) return return_int(napi, -errno);
  return return_int(napi, 0);
}

/*
 * enterNetns(path) -> 0 or -errno. Moves the calling thread into a network namespace (/run/netns/NAME): sockets and
 * devices opened from here on belong to it, those already open stay where they are.
 */
static napi_value sys_enter_netns(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  char path[PATH_MAX];
  string_of(napi, a.v[0], path, sizeof path);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return return_int(napi, -errno);
  const int result = setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
  close(fd);
  return return_int(napi, result);
}

/* trimMemory() -> 1 when pages went back to the system, 0 when there were none or the C library keeps them. */
static napi_value sys_trim_memory(napi_env napi, napi_callback_info info) {
  (void)info;
#ifdef __GLIBC__
  return return_int(napi, malloc_trim(0));
#else
  return return_int(napi, 0);
#endif
}

/*
 * firstClosedSocket(address: 16 bytes, IPv4 as ::ffff:a.b.c.d; port) -> descriptor of a bound UDP socket that shares its
 * port with others (SO_REUSEADDR), or -errno. When the process is killed it is gone first, and who sends to it hears of that
 * at once.
 */
static napi_value sys_first_closed_socket(napi_env napi, napi_callback_info info) {
  static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const struct args a = args_of(napi, info);
  size_t length;
  const uint8_t *address = elements_of(napi, a.v[0], napi_uint8_array, &length);
  const int32_t port = int_of(napi, a.v[1], -1);
  if (address == NULL || length != 16 || port < 0 || port > 65535) return return_int(napi, -EINVAL);
  const int is4 = memcmp(address, v4_mapped, sizeof v4_mapped) == 0;
  struct sockaddr_in6 name6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  struct sockaddr_in name4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  memcpy(&name6.sin6_addr, address, 16);
  memcpy(&name4.sin_addr, address + 12, 4);
  const struct sockaddr *name = is4 ? (const struct sockaddr *)&name4 : (const struct sockaddr *)&name6;
  const int low = socket(is4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (low < 0) return return_int(napi, -errno);
  const int yes = 1;
  const int failed = setsockopt(low, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
                     (!is4 && setsockopt(low, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes) < 0) ||
                     bind(low, name, is4 ? sizeof name4 : sizeof name6) < 0;
  int high = failed ? -errno : fcntl(low, F_DUPFD_CLOEXEC, FIRST_CLOSED_FD);
  if (!failed && high < 0) high = -errno;
  close(low);
  return return_int(napi, high);
}

/*
 * closedFirst(descriptor, order) -> a second descriptor of the same socket, or -errno. When the process is killed the socket
 * ends when this one is closed: with those of order 0 before everything else, with those of order 1 before these.
 */
static napi_value sys_closed_first(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  const int32_t fd = int_of(napi, a.v[0], -1);
  const int32_t order = int_of(napi, a.v[1], -1);
  if (order < 0 || order > 1) return return_int(napi, -EINVAL);
  const int high = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_CLOSED_FD + order * FIRST_CLOSED_STEP);
  return return_int(napi, high < 0 ? -errno : high);
}

int sys_register(napi_env napi, napi_value exports) {
  return export_function(napi, exports, "syslog", sys_syslog) | export_function(napi, exports, "chroot", sys_chroot) |
         export_function(napi, exports, "enterNetns", sys_enter_netns) |
         export_function(napi, exports, "trimMemory", sys_trim_memory) |
         export_function(napi, exports, "firstClosedSocket", sys_first_closed_socket) |
         export_function(napi, exports, "closedFirst", sys_closed_first);
}

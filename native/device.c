/*
 * TUN and TAP: inner packets or frames from and to the host. A TUN device is opened with IFF_VNET_HDR where the kernel
 * has it, so that one read or write carries a whole super-packet (device_frame.c, coalesce.c); a TAP device, or one whose
 * kernel refuses, moves one packet per call. The device lives as long as its descriptor, unless somebody made it
 * persistent. Never decides where a packet goes.
 */
#include "device.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "coalesce.h"
#include "device_frame.h"
#include "napi_util.h"
#include "poll_set.h"
#include "sys.h"

/*
 * After this many rows whoever waits for their packets may want this CPU: without a yield a burst overflows the socket
 * buffers of the host's programs (measured with 64-byte UDP on two cores: 3 of 10 packets lost instead of 1, and TCP a
 * third faster). Nobody waiting: 0.2 us.
 */
#define YIELD_ROWS 64

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

void device_close(struct env *env) {
  if (env->device < 0) return;
  close(env->device);
  env->device = -1;
  env->vnet = false;
}

/* Opens the device and writes the name that the kernel gave into `request`. Descriptor or -errno. */
static int open_tun(struct ifreq *request) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  if (ioctl(fd, TUNSETIFF, request) == 0) return fd;
  const int error = errno;
  close(fd);
  return -error;
}

static bool wanted(const struct env *env, int feature) { return (env->without & feature) == 0; }

/*
 * Asks the kernel for super-packets, fewer kinds when it refuses, and notes in env->feature what it grants. `vnet`: frames
 * have headers. Without any offload the frames stay; they are then all plain.
 */
static void set_offloads(struct env *env, int fd, bool vnet) {
  const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  const unsigned udp = TUN_F_USO4 | TUN_F_USO6;
  env->feature[FEATURE_TSO] = vnet ? 0 : -ECANCELED;
  env->feature[FEATURE_USO] = vnet && wanted(env, FEATURE_USO) ? 0 : -ECANCELED;
  if (vnet && env->feature[FEATURE_USO] == 0) {
    if (ioctl(fd, TUNSETOFFLOAD, tcp | udp) == 0) return;
    env->feature[FEATURE_USO] = -errno;
  }
  if (vnet && ioctl(fd, TUNSETOFFLOAD, tcp) == 0) return;
  if (vnet) env->feature[FEATURE_TSO] = -errno;
  /* A persistent device remembers what its last owner could take. */
  ioctl(fd, TUNSETOFFLOAD, 0);
}

/* Whether the device of that name is up and some program has a queue of it. */
static bool in_use(const struct ifreq *request) {
  struct ifreq query = *request;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool known = ioctl(fd, SIOCGIFFLAGS, &query) == 0;
  close(fd);
  return known && (query.ifr_flags & IFF_RUNNING) != 0;
}

/*
 * Opens one queue of a device that has several. To the kernel another program's queues are as good as ours: so the first
 * shard makes the device, or takes a persistent one that nobody uses, and only the others join.
 */
static int open_queue(struct ifreq *request, int share) {
  const short flags = (short)(request->ifr_flags | IFF_MULTI_QUEUE);
  request->ifr_flags = share == SHARE_FIRST ? (short)(flags | IFF_TUN_EXCL) : flags;
  const int fd = open_tun(request);
  if (fd != -EBUSY || share != SHARE_FIRST || in_use(request)) return fd;
  request->ifr_flags = flags;
  return open_tun(request);
}

/* Opens with frame headers if possible. Descriptor or -errno; sets *vnet. */
static int open_best(struct env *env, struct ifreq *request, bool tap, int share, bool *vnet) {
  const short plain = (short)(IFF_NO_PI | (tap ? IFF_TAP : IFF_TUN));
  *vnet = !tap && wanted(env, FEATURE_TSO);
  if (*vnet) {
    unsigned known = 0;
    const int probe = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (probe >= 0 && (ioctl(probe, TUNGETFEATURES, &known) < 0 || (known & IFF_VNET_HDR) == 0)) *vnet = false;
    if (probe >= 0) close(probe);
  }
  request->ifr_flags = (short)(plain | (*vnet ? IFF_VNET_HDR : 0));
  return share == SHARE_ALONE ? open_tun(request) : open_queue(request, share);
}

/* When the process is killed this one is gone before devices that are not. Without room above it stays where it is. */
static int closed_early(int fd) {
  const int high = fcntl(fd, F_DUPFD_CLOEXEC, SECOND_CLOSED_FD);
  if (high < 0) return fd;
  close(fd);
  return high;
}

/*
 * deviceOpen(name or "", tap, share: SHARE_*, closed early) -> name of the device, or -errno. EALREADY: this environment
 * has one.
 */
static napi_value device_open(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  struct ifreq request = {0};
  char name[IFNAMSIZ + 1];
  bool tap = false;
  bool vnet = false;
  if (env->epoll < 0 || napi_get_value_bool(napi, a.v[1], &tap) != napi_ok) return return_int(napi, -EINVAL);
  if (env->device >= 0) return return_int(napi, -EALREADY);
  string_of(napi, a.v[0], name, sizeof name);
  if (strlen(name) >= IFNAMSIZ) return return_int(napi, -ENAMETOOLONG);
  memcpy(request.ifr_name, name, strlen(name));
  bool early = false;
  napi_get_value_bool(napi, a.v[3], &early);
  int fd = open_best(env, &request, tap, int_of(napi, a.v[2], SHARE_ALONE), &vnet);
  if (fd < 0) return return_int(napi, fd);
  if (early) fd = closed_early(fd);
  const int error = poll_add(env, fd, READY_DEVICE);
  if (error < 0) {
    close(fd);
    return return_int(napi, error);
  }
  set_offloads(env, fd, vnet);
  if (tap) {
    env->feature[FEATURE_TSO] = -ENOTSUP;
    env->feature[FEATURE_USO] = -ENOTSUP;
  }
  env->device = fd;
  env->vnet = vnet;
  napi_value result = NULL;
  napi_create_string_utf8(napi, request.ifr_name, NAPI_AUTO_LENGTH, &result);
  return result;
}

/* readDevice(max) -> rows filled, 0 = nothing there, or -errno (EBADFD, EIO, EFAULT: the device is gone). */
static napi_value device_read(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int max = rows_of(&env->in, int_of(napi, a.v[0], 0));
  if (env->device < 0) return return_int(napi, -EBADF);
  int32_t at = READ_BASE;
  int i = 0;
  while (i < max && at <= ANSWER_BASE - READ_ROOM) {
    const ssize_t got = read(env->device, env->slab + at, READ_ROOM);
    if (got <= 0) {
      const bool empty = got == 0 || errno == EAGAIN || errno == EINTR;
      return return_int(napi, i > 0 || empty ? i : -errno);
    }
    if (env->vnet) {
      frame_to_row(env, i++, at, (int32_t)got);
    } else {
      packet_to_row(env, i++, at, (int32_t)got);
    }
    /* The next frame begins on a cache line. */
    at += ((int32_t)got + 63) & ~63;
  }
  return return_int(napi, i);
}

struct device_sink {
  struct frame_sink sink;
  int fd;
};

static int write_device(struct frame_sink *sink, const struct iovec *iov, int count) {
  const struct device_sink *device = (struct device_sink *)(void *)sink;
  return writev(device->fd, iov, count) < 0 ? errno : 0;
}

/* One write a packet, for a device without frame headers. */
static void write_rows(struct env *env, int n) {
  int32_t *verdict = IN(env, COL_VERDICT);
  for (int i = 0; i < n; i++) {
    if (verdict[i] != TO_DEVICE) continue;
    const int32_t at = IN(env, COL_AT)[i];
    const int32_t len = IN(env, COL_LEN)[i];
    if (!in_slab(env, at, len)) {
      verdict[i] = DEVICE_REFUSED;
    } else if (write(env->device, env->slab + at, (size_t)len) < 0) {
      verdict[i] = device_verdict(errno);
    }
  }
}

/* writeDevice(n): input rows [0, n) with verdict TO_DEVICE; a failed one gets DEVICE_*. Returns the rows looked at. */
static napi_value device_write(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int n = rows_of(&env->in, int_of(napi, a.v[0], 0));
  if (n == 0) return return_int(napi, 0);
  if (env->vnet) {
    struct device_sink device = {.sink = {.write = write_device}, .fd = env->device};
    coalesce_write(env, n, env->feature[FEATURE_TSO] == 0, env->feature[FEATURE_USO] == 0, &device.sink);
    if (n >= YIELD_ROWS) sched_yield();
  } else {
    write_rows(env, n);
  }
  return return_int(napi, n);
}

int device_register(napi_env napi, napi_value exports) {
  return export_function(napi, exports, "deviceOpen", device_open) |
         export_function(napi, exports, "readDevice", device_read) |
         export_function(napi, exports, "writeDevice", device_write) | device_frame_register(napi, exports);
}

/*
 * TUN and TAP: inner packets or frames from and to the host. One packet per read or write is what the kernel offers
 * without IFF_VNET_HDR. The device lives as long as its descriptor, unless somebody made it persistent.
 * Never looks into a packet.
 */
#include "device.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "napi_util.h"
#include "poll_set.h"

void device_close(struct env *env) {
  if (env->device < 0) return;
  close(env->device);
  env->device = -1;
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

/* deviceOpen(name or "", tap) -> name of the device, or -errno. EALREADY: this environment has one. */
static napi_value device_open(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  struct ifreq request = {0};
  char name[IFNAMSIZ + 1];
  bool tap = false;
  if (env->epoll < 0 || napi_get_value_bool(napi, a.v[1], &tap) != napi_ok) return return_int(napi, -EINVAL);
  if (env->device >= 0) return return_int(napi, -EALREADY);
  string_of(napi, a.v[0], name, sizeof name);
  if (strlen(name) >= IFNAMSIZ) return return_int(napi, -ENAMETOOLONG);
  memcpy(request.ifr_name, name, strlen(name));
  request.ifr_flags = (short)(IFF_NO_PI | (tap ? IFF_TAP : IFF_TUN));
  const int fd = open_tun(&request);
  if (fd < 0) return return_int(napi, fd);
  const int error = poll_add(env, fd, READY_DEVICE);
  if (error < 0) {
    close(fd);
    return return_int(napi, error);
  }
  env->device = fd;
  napi_value result = NULL;
  napi_create_string_utf8(napi, request.ifr_name, NAPI_AUTO_LENGTH, &result);
  return result;
}

static void fill_row(struct env *env, int i, int32_t len) {
  IN(env, COL_AT)[i] = i * SLOT_BYTES;
  IN(env, COL_LEN)[i] = len;
  /* A packet that fills the slot may have been cut, and would not fit an output slot with a header before it. */
  IN(env, COL_VERDICT)[i] = len < SLOT_BYTES ? LIVE : DATAGRAM_OVERSIZE;
  IN(env, COL_TUNNEL)[i] = -1;
  IN(env, COL_SOCK)[i] = -1;
  IN(env, COL_TOS)[i] = 0;
  IN(env, COL_FLAGS)[i] = 0;
}

/* readDevice(max) -> rows filled, 0 = nothing there, or -errno (EBADFD, EIO, EFAULT: the device is gone). */
static napi_value device_read(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int max = rows_of(&env->in, int_of(napi, a.v[0], 0));
  if (env->device < 0) return return_int(napi, -EBADF);
  for (int i = 0; i < max; i++) {
    const ssize_t got = read(env->device, env->slab + (size_t)i * SLOT_BYTES, SLOT_BYTES);
    if (got > 0) {
      fill_row(env, i, (int32_t)got);
      continue;
    }
    const bool empty = got == 0 || errno == EAGAIN || errno == EINTR;
    return return_int(napi, i > 0 || empty ? i : -errno);
  }
  return return_int(napi, max);
}

/* Full queue, no memory, or the interface is down (EIO): the next packet may pass. Others: this packet never will. */
static int32_t verdict_of(int error) {
  return error == EIO || error == EAGAIN || error == ENOBUFS || error == ENOMEM ? DEVICE_BUSY : DEVICE_REFUSED;
}

/* writeDevice(n): input rows [0, n) with verdict TO_DEVICE; a failed one gets DEVICE_*. Returns the rows looked at. */
static napi_value device_write(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int n = rows_of(&env->in, int_of(napi, a.v[0], 0));
  if (n == 0) return return_int(napi, 0);
  int32_t *verdict = IN(env, COL_VERDICT);
  for (int i = 0; i < n; i++) {
    if (verdict[i] != TO_DEVICE) continue;
    const int32_t at = IN(env, COL_AT)[i];
    const int32_t len = IN(env, COL_LEN)[i];
    if (!in_slab(env, at, len)) {
      verdict[i] = DEVICE_REFUSED;
    } else if (write(env->device, env->slab + at, (size_t)len) < 0) {
      verdict[i] = verdict_of(errno);
    }
  }
  return return_int(napi, n);
}

int device_register(napi_env napi, napi_value exports) {
  return export_function(napi, exports, "deviceOpen", device_open) |
         export_function(napi, exports, "readDevice", device_read) |
         export_function(napi, exports, "writeDevice", device_write);
}

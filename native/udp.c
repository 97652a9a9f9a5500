/*
 * UDP sockets: open, close, and receive in batches (recvmmsg), the first step of a packet from the network. Each
 * datagram lands in the slot of its row; where it came from lands in the columns. Never interprets a payload.
 */
#include "udp.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "napi_util.h"
#include "poll_set.h"

#define BUFFER_BYTES (4 << 20)
/* A pending ICMP error makes one receive call fail; more than this in a row and the loop gets its turn back. */
#define SOFT_ERRORS_MAX 8

static const uint8_t V4_MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int udp_bind(struct env *env) {
  struct udp_scratch *u = calloc(1, sizeof *u);
  if (u == NULL) return -ENOMEM;
  for (int i = 0; i < IN_ROWS; i++) {
    u->in_iov[i] = (struct iovec){.iov_base = env->slab + (size_t)i * SLOT_BYTES, .iov_len = SLOT_BYTES};
    u->in[i].msg_hdr = (struct msghdr){
        .msg_name = &u->in_name[i],
        .msg_namelen = sizeof u->in_name[i],
        .msg_iov = &u->in_iov[i],
        .msg_iovlen = 1,
        .msg_control = &u->in_control[i],
        .msg_controllen = sizeof u->in_control[i],
    };
  }
  for (int i = 0; i < OUT_ROWS; i++) {
    u->out[i].msg_hdr = (struct msghdr){
        .msg_name = &u->out_name[i],
        .msg_iov = &u->out_iov[i],
        .msg_iovlen = 1,
    };
  }
  env->udp = u;
  return 0;
}

static int set_int(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value);
}

/* What every socket has: large buffers, and TOS (on wildcards also the local address) with each datagram. */
static int configure(const struct udp_socket *s) {
  /* FORCE needs CAP_NET_ADMIN and passes rmem_max; without it take what the limit gives. */
  if (set_int(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES) < 0) set_int(s->fd, SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES);
  if (set_int(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES) < 0) set_int(s->fd, SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES);
  if (s->family == AF_INET) {
    if (set_int(s->fd, IPPROTO_IP, IP_RECVTOS, 1) < 0) return -errno;
    if (s->wildcard && set_int(s->fd, IPPROTO_IP, IP_PKTINFO, 1) < 0) return -errno;
    return 0;
  }
  if (set_int(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0) return -errno;
  if (set_int(s->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1) < 0) return -errno;
  if (s->wildcard && set_int(s->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) < 0) return -errno;
  return 0;
}

/* Binds to 16 address bytes (IPv4 as ::ffff:a.b.c.d). 0 or -errno. */
static int bind_to(struct udp_socket *s, const uint8_t *address, uint16_t port) {
  if (s->family == AF_INET) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    memcpy(&name.sin_addr, address + 12, 4);
    return bind(s->fd, (const struct sockaddr *)&name, sizeof name) < 0 ? -errno : 0;
  }
  struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  memcpy(&name.sin6_addr, address, 16);
  return bind(s->fd, (const struct sockaddr *)&name, sizeof name) < 0 ? -errno : 0;
}

static void close_socket(struct env *env, int index) {
  struct udp_socket *s = env->sockets[index];
  if (s == NULL) return;
  env->sockets[index] = NULL;
  if (s->fd >= 0) close(s->fd); /* leaves the poll set by itself */
  free(s);
}

void udp_close_all(struct env *env) {
  for (int i = 0; i < SOCKETS_MAX; i++) close_socket(env, i);
}

/* Opens a socket at `index`. 0 or -errno; on failure the caller closes the index. */
static int open_socket(struct env *env, int index, const uint8_t *address, uint16_t port) {
  struct udp_socket *s = calloc(1, sizeof *s);
  if (s == NULL) return -ENOMEM;
  env->sockets[index] = s;
  s->df = -1;
  s->family = memcmp(address, V4_MAPPED, sizeof V4_MAPPED) == 0 ? AF_INET : AF_INET6;
  static const uint8_t zero[16];
  const int skip = s->family == AF_INET ? 12 : 0;
  s->wildcard = memcmp(address + skip, zero, (size_t)(16 - skip)) == 0;
  s->fd = socket(s->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (s->fd < 0) return -errno;
  int error = configure(s);
  if (error == 0) error = bind_to(s, address, port);
  if (error == 0) error = poll_add(env, s->fd, (uint32_t)READY_SOCKET0 << index);
  return error;
}

/* udpOpen(address: 16 bytes, port) -> socket index or -errno. EMFILE: all SOCKETS_MAX are open. */
static napi_value udp_open(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  size_t length;
  const uint8_t *address = elements_of(napi, a.v[0], napi_uint8_array, &length);
  const int32_t port = int_of(napi, a.v[1], -1);
  if (env->slab == NULL || address == NULL || length != 16 || port < 0 || port > 65535) return return_int(napi, -EINVAL);
  for (int i = 0; i < SOCKETS_MAX; i++) {
    if (env->sockets[i] != NULL) continue;
    const int error = open_socket(env, i, address, (uint16_t)port);
    if (error == 0) return return_int(napi, i);
    close_socket(env, i);
    return return_int(napi, error);
  }
  return return_int(napi, -EMFILE);
}

/* udpPort(sock) -> local port or -errno. */
static napi_value udp_port(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  const struct udp_socket *s = socket_at(env_of(napi), int_of(napi, a.v[0], -1));
  struct sockaddr_in6 name; /* both families have the port at the same place */
  socklen_t length = sizeof name;
  if (s == NULL) return return_int(napi, -EBADF);
  if (getsockname(s->fd, (struct sockaddr *)&name, &length) < 0) return return_int(napi, -errno);
  return return_int(napi, ntohs(name.sin6_port));
}

/* udpClose(sock) -> 0 or -EBADF. */
static napi_value udp_close(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int32_t sock = int_of(napi, a.v[0], -1);
  if (socket_at(env, sock) == NULL) return return_int(napi, -EBADF);
  close_socket(env, sock);
  return return_int(napi, 0);
}

/*
 * Number of a local address, learnt on first sight. The kernel delivers only to addresses of this host, so strangers
 * cannot fill the table unless a whole prefix is local; when it is full, 0: the kernel chooses.
 */
static int local_number(struct udp_socket *s, const struct in6_addr *address) {
  const int last = s->local_last;
  if (last > 0 && memcmp(&s->locals[last - 1], address, sizeof *address) == 0) return last;
  int k = 0;
  while (k < s->local_count && memcmp(&s->locals[k], address, sizeof *address) != 0) k++;
  if (k == LOCALS_MAX) return 0;
  if (k == s->local_count) s->locals[s->local_count++] = *address;
  s->local_last = k + 1;
  return s->local_last;
}

/* Reads the TOS byte and, on wildcards, the number of the local address from the control messages. */
static void read_control(struct udp_socket *s, struct msghdr *m, int32_t *tos, int *local) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      *tos = *CMSG_DATA(c);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      int value;
      memcpy(&value, CMSG_DATA(c), sizeof value);
      *tos = value & 0xff;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo pktinfo;
      struct in6_addr address = IN6ADDR_ANY_INIT;
      memcpy(&pktinfo, CMSG_DATA(c), sizeof pktinfo);
      memcpy(&address, &pktinfo.ipi_spec_dst, 4);
      *local = local_number(s, &address);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo pktinfo;
      memcpy(&pktinfo, CMSG_DATA(c), sizeof pktinfo);
      if (!IN6_IS_ADDR_MULTICAST(&pktinfo.ipi6_addr)) *local = local_number(s, &pktinfo.ipi6_addr);
    }
  }
}

/* Writes the columns of row i from its message, and makes the message ready for the next call. */
static void fill_row(struct env *env, struct udp_socket *s, int32_t sock, int i) {
  struct mmsghdr *m = &env->udp->in[i];
  const struct sockaddr_in6 *name = &env->udp->in_name[i];
  int32_t tos = 0;
  int local = 0;
  uint32_t words[4] = {0, 0, htonl(0xffff), 0};
  read_control(s, &m->msg_hdr, &tos, &local);
  if (s->family == AF_INET) {
    memcpy(&words[3], &((const struct sockaddr_in *)name)->sin_addr, 4);
  } else {
    memcpy(words, &name->sin6_addr, 16);
  }
  IN(env, COL_AT)[i] = i * SLOT_BYTES;
  IN(env, COL_LEN)[i] = (int32_t)m->msg_len;
  IN(env, COL_VERDICT)[i] = (m->msg_hdr.msg_flags & MSG_TRUNC) != 0 ? DATAGRAM_OVERSIZE : LIVE;
  IN(env, COL_TUNNEL)[i] = -1;
  IN(env, COL_SOCK)[i] = sock | local << 8;
  IN(env, COL_ADDR0)[i] = (int32_t)ntohl(words[0]);
  IN(env, COL_ADDR1)[i] = (int32_t)ntohl(words[1]);
  IN(env, COL_ADDR2)[i] = (int32_t)ntohl(words[2]);
  IN(env, COL_ADDR3)[i] = (int32_t)ntohl(words[3]);
  IN(env, COL_PORT)[i] = ntohs(name->sin6_port);
  IN(env, COL_TOS)[i] = tos;
  IN(env, COL_FLAGS)[i] = 0;
  m->msg_hdr.msg_namelen = sizeof *name;
  m->msg_hdr.msg_controllen = sizeof env->udp->in_control[i];
}

/* An ICMP error about an earlier datagram that the kernel hands to the next receive call: not a fault of the socket. */
static bool is_soft(int error) {
  return error == EINTR || error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
         error == ENETDOWN || error == EHOSTDOWN || error == EMSGSIZE || error == EPROTO || error == ENOPROTOOPT ||
         error == ENONET || error == EACCES;
}

/* receive(sock, max) -> rows filled, 0 = nothing there, or -errno. LEN of a cut datagram is SLOT_BYTES. */
static napi_value udp_receive(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int32_t sock = int_of(napi, a.v[0], -1);
  const int32_t max = rows_of(&env->in, int_of(napi, a.v[1], 0));
  struct udp_socket *s = socket_at(env, sock);
  if (s == NULL) return return_int(napi, -EBADF);
  if (max == 0) return return_int(napi, 0);
  int n = -1;
  for (int tries = 0; tries < SOFT_ERRORS_MAX; tries++) {
    n = recvmmsg(s->fd, env->udp->in, (unsigned)max, MSG_DONTWAIT, NULL);
    if (n >= 0 || !is_soft(errno)) break;
  }
  if (n < 0) return return_int(napi, errno == EAGAIN || is_soft(errno) ? 0 : -errno);
  for (int i = 0; i < n; i++) fill_row(env, s, sock, i);
  return return_int(napi, n);
}

int udp_register(napi_env napi, napi_value exports) {
  return export_function(napi, exports, "udpOpen", udp_open) | export_function(napi, exports, "udpPort", udp_port) |
         export_function(napi, exports, "udpClose", udp_close) | export_function(napi, exports, "receive", udp_receive);
}

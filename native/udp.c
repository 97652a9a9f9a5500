/*
 * UDP sockets: open, close, and receive in batches (recvmmsg), the first step of a packet from the network. With UDP_GRO
 * one buffer may hold a train of datagrams of equal length, the last perhaps shorter; each becomes a row that points into
 * the buffer. Where a datagram came from lands in the columns. Never interprets a payload.
 */
#include "udp.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "local_address.h"
#include "napi_util.h"
#include "poll_set.h"

#define BUFFER_BYTES (4 << 20)
/* A pending ICMP error makes one receive call fail; more than this in a row and the loop gets its turn back. */
#define SOFT_ERRORS_MAX 8

static const uint8_t V4_MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int udp_bind(struct env *env) {
  struct udp_scratch *u = calloc(1, sizeof *u);
  if (u == NULL) return -ENOMEM;
  for (int i = 0; i < RECV_BUFFERS; i++) {
    u->in_iov[i] = (struct iovec){.iov_base = env->slab + (size_t)i * RECV_BYTES, .iov_len = RECV_BYTES};
    u->in[i].msg_hdr = (struct msghdr){
        .msg_name = &u->in_name[i],
        .msg_namelen = sizeof u->in_name[i],
        .msg_iov = &u->in_iov[i],
        .msg_iovlen = 1,
        .msg_control = &u->in_control[i],
        .msg_controllen = sizeof u->in_control[i],
    };
  }
  for (int k = 0; k < MESSAGES_MAX; k++) u->out[k].msg_hdr = (struct msghdr){.msg_name = &u->out_name[k]};
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

/* Asks for the offloads that are wanted and notes the answers. A kernel without them is no reason to fail. */
static void probe(struct env *env, const struct udp_socket *s) {
  int seg = 0;
  socklen_t length = sizeof seg;
  env->feature[FEATURE_GSO] = env->feature[FEATURE_GRO] = -ECANCELED;
  if ((env->without & FEATURE_GSO) == 0) {
    env->feature[FEATURE_GSO] = getsockopt(s->fd, IPPROTO_UDP, UDP_SEGMENT, &seg, &length) < 0 ? -errno : 0;
  }
  if ((env->without & FEATURE_GRO) == 0) {
    env->feature[FEATURE_GRO] = set_int(s->fd, IPPROTO_UDP, UDP_GRO, 1) < 0 ? -errno : 0;
  }
}

/* Binds to 16 address bytes (IPv4 as ::ffff:a.b.c.d). 0 or -errno. */
static int bind_to(const struct udp_socket *s, const uint8_t *address, uint16_t port) {
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
  if (udp_waiting(env) == index) env->udp->in_next = env->udp->in_count;
  if (s->fd >= 0) close(s->fd); /* leaves the poll set by itself */
  free(s);
}

void udp_close_all(struct env *env) {
  for (int i = 0; i < SOCKETS_MAX; i++) close_socket(env, i);
}

/*
 * Binds alone, or as one of the sockets among which the kernel spreads peers. The first of them binds before it lets
 * others in, so a foreign program on the port is found out. 0 or -errno.
 */
static int bind_shared(const struct udp_socket *s, const uint8_t *address, uint16_t port, int share) {
  if (share == SHARE_JOIN && set_int(s->fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0) return -errno;
  const int error = bind_to(s, address, port);
  if (error < 0 || share != SHARE_FIRST) return error;
  return set_int(s->fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0 ? -errno : 0;
}

/* Opens a socket at `index`. 0 or -errno; on failure the caller closes the index. */
static int open_socket(struct env *env, int index, const uint8_t *address, uint16_t port, int share) {
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
  probe(env, s);
  if (error == 0) error = bind_shared(s, address, port, share);
  if (error == 0) error = poll_add(env, s->fd, (uint32_t)READY_SOCKET0 << index);
  return error;
}

/* udpOpen(address: 16 bytes, port, share: SHARE_*) -> socket index or -errno. EMFILE: all SOCKETS_MAX are open. */
static napi_value udp_open(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  size_t length;
  const uint8_t *address = elements_of(napi, a.v[0], napi_uint8_array, &length);
  const int32_t port = int_of(napi, a.v[1], -1);
  const int32_t share = int_of(napi, a.v[2], SHARE_ALONE);
  if (env->slab == NULL || address == NULL || length != 16 || port < 0 || port > 65535) return return_int(napi, -EINVAL);
  for (int i = 0; i < SOCKETS_MAX; i++) {
    if (env->sockets[i] != NULL) continue;
    const int error = open_socket(env, i, address, (uint16_t)port, share);
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

/* udpReceiveBuffer(sock) -> SO_RCVBUF in bytes, as the kernel counts them, or -errno. */
static napi_value udp_receive_buffer(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  const struct udp_socket *s = socket_at(env_of(napi), int_of(napi, a.v[0], -1));
  int bytes = 0;
  socklen_t length = sizeof bytes;
  if (s == NULL) return return_int(napi, -EBADF);
  if (getsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &bytes, &length) < 0) return return_int(napi, -errno);
  return return_int(napi, bytes);
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

/* `local_number` that looks at the socket's last address first. */
static int local_of(struct udp_socket *s, const struct in6_addr *address) {
  const struct in6_addr *last = local_address(s->local_last);
  if (last == NULL || memcmp(last, address, sizeof *address) != 0) s->local_last = local_number(address);
  return s->local_last;
}

/* localNumber(address: 16 bytes) -> its number for the bits of COL_SOCK above the index; 0: the table is full. */
static napi_value udp_local_number(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  size_t length;
  const uint8_t *bytes = elements_of(napi, a.v[0], napi_uint8_array, &length);
  struct in6_addr address;
  if (bytes == NULL || length != sizeof address) return return_int(napi, -EINVAL);
  memcpy(&address, bytes, sizeof address);
  return return_int(napi, local_number(&address));
}

/* localAddress(number, into: 16 bytes) -> 0 or -ENOENT. */
static napi_value udp_local_address(napi_env napi, napi_callback_info info) {
  const struct args a = args_of(napi, info);
  size_t length;
  const struct in6_addr *address = local_address(int_of(napi, a.v[0], 0));
  uint8_t *into = elements_of(napi, a.v[1], napi_uint8_array, &length);
  if (into == NULL || length != sizeof *address) return return_int(napi, -EINVAL);
  if (address == NULL) return return_int(napi, -ENOENT);
  memcpy(into, address, sizeof *address);
  return return_int(napi, 0);
}

/* What the control messages of one message say. */
struct control_facts {
  int32_t tos;
  int local;   /* number of the local address on wildcards, else 0 */
  int32_t seg; /* bytes of each datagram of a train, 0 = there is one datagram */
};

static struct control_facts read_control(struct udp_socket *s, struct msghdr *m) {
  struct control_facts facts = {0};
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      facts.tos = *CMSG_DATA(c);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      int value;
      memcpy(&value, CMSG_DATA(c), sizeof value);
      facts.tos = value & 0xff;
    } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      int value;
      memcpy(&value, CMSG_DATA(c), sizeof value);
      facts.seg = value;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo pktinfo;
      struct in6_addr address;
      memcpy(&pktinfo, CMSG_DATA(c), sizeof pktinfo);
      memcpy(&address, V4_MAPPED, sizeof V4_MAPPED);
      memcpy(&address.s6_addr[12], &pktinfo.ipi_spec_dst, sizeof pktinfo.ipi_spec_dst);
      facts.local = local_of(s, &address);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo pktinfo;
      memcpy(&pktinfo, CMSG_DATA(c), sizeof pktinfo);
      if (!IN6_IS_ADDR_MULTICAST(&pktinfo.ipi6_addr)) facts.local = local_of(s, &pktinfo.ipi6_addr);
    }
  }
  return facts;
}

/*
 * Makes rows [i, max) of the datagrams of message k from in_offset on. Returns the row behind the last one; the message
 * is used up and ready for the next call when in_offset is 0.
 */
static int rows_of_message(struct env *env, struct udp_socket *s, int k, int i, int max) {
  struct udp_scratch *u = env->udp;
  struct mmsghdr *m = &u->in[k];
  const struct sockaddr_in6 *name = &u->in_name[k];
  const int32_t total = (int32_t)m->msg_len;
  const struct control_facts facts = read_control(s, &m->msg_hdr);
  const int32_t seg = facts.seg > 0 ? facts.seg : total;
  uint32_t words[4] = {0, 0, htonl(0xffff), 0};
  if (s->family == AF_INET) {
    memcpy(&words[3], &((const struct sockaddr_in *)name)->sin_addr, 4);
  } else {
    memcpy(words, &name->sin6_addr, 16);
  }
  int32_t offset = u->in_offset;
  do {
    const int32_t len = total - offset < seg ? total - offset : seg;
    IN(env, COL_AT)[i] = k * RECV_BYTES + offset;
    IN(env, COL_LEN)[i] = len;
    IN(env, COL_VERDICT)[i] = LIVE;
    IN(env, COL_TUNNEL)[i] = -1;
    IN(env, COL_SOCK)[i] = u->in_sock | facts.local << 8;
    IN(env, COL_ADDR0)[i] = (int32_t)ntohl(words[0]);
    IN(env, COL_ADDR1)[i] = (int32_t)ntohl(words[1]);
    IN(env, COL_ADDR2)[i] = (int32_t)ntohl(words[2]);
    IN(env, COL_ADDR3)[i] = (int32_t)ntohl(words[3]);
    IN(env, COL_PORT)[i] = ntohs(name->sin6_port);
    IN(env, COL_TOS)[i] = facts.tos;
    IN(env, COL_FLAGS)[i] = 0;
    IN(env, COL_SEG)[i] = 0;
    IN(env, COL_HDR)[i] = 0;
    offset += len;
    i++;
  } while (offset < total && i < max);
  u->in_offset = offset < total ? offset : 0;
  if (u->in_offset > 0) return i;
  if ((m->msg_hdr.msg_flags & MSG_TRUNC) != 0) IN(env, COL_VERDICT)[i - 1] = DATAGRAM_OVERSIZE;
  m->msg_hdr.msg_namelen = sizeof *name;
  m->msg_hdr.msg_controllen = sizeof u->in_control[k];
  return i;
}

/* Makes rows [0, max) of the messages that wait. Returns how many. */
static int take_waiting(struct env *env, struct udp_socket *s, int max) {
  struct udp_scratch *u = env->udp;
  int i = 0;
  while (u->in_next < u->in_count && i < max) {
    i = rows_of_message(env, s, u->in_next, i, max);
    if (u->in_offset == 0) u->in_next++;
  }
  return i;
}

/* An ICMP error about an earlier datagram that the kernel hands to the next receive call: not a fault of the socket. */
static bool is_soft(int error) {
  return error == EINTR || error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
         error == ENETDOWN || error == EHOSTDOWN || error == EMSGSIZE || error == EPROTO || error == ENOPROTOOPT ||
         error == ENONET || error == EACCES;
}

/*
 * receive(sock, max) -> rows filled, 0 = nothing there, or -errno. Datagrams of one receive that find no row wait for the
 * next call; while another socket's wait (`poll` reports it ready), this gives 0, because they lie in the buffers.
 */
static napi_value udp_receive(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int32_t sock = int_of(napi, a.v[0], -1);
  const int32_t max = rows_of(&env->in, int_of(napi, a.v[1], 0));
  struct udp_socket *s = socket_at(env, sock);
  if (s == NULL) return return_int(napi, -EBADF);
  if (max == 0) return return_int(napi, 0);
  const int32_t waiting = udp_waiting(env);
  if (waiting >= 0) return return_int(napi, waiting == sock ? take_waiting(env, s, max) : 0);
  struct udp_scratch *u = env->udp;
  const unsigned buffers = max < RECV_BUFFERS ? (unsigned)max : RECV_BUFFERS;
  int n = -1;
  for (int tries = 0; tries < SOFT_ERRORS_MAX; tries++) {
    n = recvmmsg(s->fd, u->in, buffers, MSG_DONTWAIT, NULL);
    if (n >= 0 || !is_soft(errno)) break;
  }
  if (n < 0) return return_int(napi, errno == EAGAIN || is_soft(errno) ? 0 : -errno);
  u->in_next = 0;
  u->in_count = n;
  u->in_offset = 0;
  u->in_sock = sock;
  return return_int(napi, take_waiting(env, s, max));
}

int udp_register(napi_env napi, napi_value exports) {
  return export_function(napi, exports, "udpOpen", udp_open) | export_function(napi, exports, "udpPort", udp_port) |
         export_function(napi, exports, "udpReceiveBuffer", udp_receive_buffer) |
         export_function(napi, exports, "udpClose", udp_close) | export_function(napi, exports, "receive", udp_receive) |
         export_function(napi, exports, "localNumber", udp_local_number) |
         export_function(napi, exports, "localAddress", udp_local_address);
}

/*
 * A UDP socket of one address family, and the message headers that recvmmsg and sendmmsg need. udp.c opens, closes and
 * receives; udp_send.c sends.
 *
 * COL_SOCK: the low byte is the socket index. On a socket bound to a wildcard address the bits above it number the
 * local address that the peer used (local_address.h; 0 = the kernel chooses), so that an answer sent to the same
 * COL_SOCK leaves from the address that the peer knows. The data plane carries the number and need not look inside. All
 * shards open the same list of sockets, so a COL_SOCK means the same in each of them.
 */
#ifndef ANYHOP_UDP_H
#define ANYHOP_UDP_H

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "env.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define SOCK_INDEX(sock) ((sock) & 0xff)
#define SOCK_LOCAL(sock) ((sock) >> 8)

struct udp_socket {
  int fd;
  int family;    /* AF_INET or AF_INET6 */
  bool wildcard; /* local addresses are remembered */
  int df;        /* current mode of the socket: 0, FLAG_DF, or -1 = not set yet */
  int local_last; /* number of the address that the datagram before this one used */
};

/* Room for a TOS (or traffic class), a packet info and a segment size message. */
union control {
  struct cmsghdr align;
  uint8_t bytes[2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* Messages of one sendmmsg call, and pieces of memory that they may have together. */
#define MESSAGES_MAX 256
#define PIECES_MAX 1024

/* What one message carries: datagrams [datagram, ...) of output row `row`, then of the rows behind it. */
struct message_range {
  int32_t row;
  int32_t datagram;
  int32_t count;
};

struct udp_scratch {
  struct mmsghdr in[RECV_BUFFERS];
  struct iovec in_iov[RECV_BUFFERS];
  struct sockaddr_in6 in_name[RECV_BUFFERS];
  union control in_control[RECV_BUFFERS];
  /* Received messages [in_next, in_count) of socket in_sock wait for rows; of the first one, the bytes from in_offset. */
  int in_next;
  int in_count;
  int32_t in_sock;
  int32_t in_offset;

  struct mmsghdr out[MESSAGES_MAX];
  struct iovec out_iov[PIECES_MAX];
  struct sockaddr_in6 out_name[MESSAGES_MAX];
  union control out_control[MESSAGES_MAX];
  struct message_range out_range[MESSAGES_MAX];
  int32_t out_error[OUT_ROWS]; /* verdict of the last datagram of a row that was refused, 0 = none */
};

/* The socket at an index; NULL when there is none. */
static inline struct udp_socket *socket_at(const struct env *env, int32_t index) {
  return index >= 0 && index < SOCKETS_MAX ? env->sockets[index] : NULL;
}

/* The socket that a COL_SOCK value names; NULL when there is none. */
static inline struct udp_socket *socket_of(const struct env *env, int32_t sock) {
  return sock >= 0 ? socket_at(env, SOCK_INDEX(sock)) : NULL;
}

/* The socket with received datagrams that had no row yet, -1 = none. epoll knows nothing of them. */
static inline int32_t udp_waiting(const struct env *env) {
  const struct udp_scratch *u = env->udp;
  return u != NULL && u->in_next < u->in_count ? u->in_sock : -1;
}

int udp_register(napi_env napi, napi_value exports);
int udp_send_register(napi_env napi, napi_value exports);

/* Allocates the message headers and points them at the slab. 0 or -errno. */
int udp_bind(struct env *env);
void udp_close_all(struct env *env);

#endif

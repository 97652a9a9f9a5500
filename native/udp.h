/*
 * A UDP socket of one address family, and the message headers that recvmmsg and sendmmsg need. udp.c opens, closes and
 * receives; udp_send.c sends.
 *
 * COL_SOCK: the low byte is the socket index. On a socket bound to a wildcard address the bits above it number the
 * local address that the peer used (1-255, per socket; 0 = the kernel chooses), so that an answer sent to the same
 * COL_SOCK leaves from the address that the peer knows. The data plane carries the number and need not look inside.
 */
#ifndef ANYHOP_UDP_H
#define ANYHOP_UDP_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "env.h"

#define LOCALS_MAX 255
#define SOCK_INDEX(sock) ((sock) & 0xff)
#define SOCK_LOCAL(sock) ((sock) >> 8)

struct udp_socket {
  int fd;
  int family;    /* AF_INET or AF_INET6 */
  bool wildcard; /* local addresses are remembered */
  int df;        /* current mode of the socket: 0, FLAG_DF, or -1 = not set yet */
  int local_count;
  int local_last; /* number of the address that the datagram before this one used */
  /* IPv4 in the first four bytes. Entry k has number k + 1. */
  struct in6_addr locals[LOCALS_MAX];
};

/* Room for a TOS (or traffic class) and a packet info message. */
union control {
  struct cmsghdr align;
  uint8_t bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct udp_scratch {
  struct mmsghdr in[IN_ROWS];
  struct iovec in_iov[IN_ROWS];
  struct sockaddr_in6 in_name[IN_ROWS];
  union control in_control[IN_ROWS];

  struct mmsghdr out[OUT_ROWS];
  struct iovec out_iov[OUT_ROWS];
  struct sockaddr_in6 out_name[OUT_ROWS];
  union control out_control[OUT_ROWS];
  int32_t out_row[OUT_ROWS]; /* row of message k */
};

/* The socket at an index; NULL when there is none. */
static inline struct udp_socket *socket_at(const struct env *env, int32_t index) {
  return index >= 0 && index < SOCKETS_MAX ? env->sockets[index] : NULL;
}

/* The socket that a COL_SOCK value names; NULL when there is none. */
static inline struct udp_socket *socket_of(const struct env *env, int32_t sock) {
  return sock >= 0 ? socket_at(env, SOCK_INDEX(sock)) : NULL;
}

int udp_register(napi_env napi, napi_value exports);
int udp_send_register(napi_env napi, napi_value exports);

/* Allocates the message headers and points them at the slab. 0 or -errno. */
int udp_bind(struct env *env);
void udp_close_all(struct env *env);

#endif

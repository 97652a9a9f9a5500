/*
 * What one JavaScript environment (main thread or worker) owns: the bound slab and columns, sockets, device, poll set,
 * and the crypto slots. Every native function starts from here; there is no other state but the list of live
 * environments that `wake` needs (poll_set.c), the syslog identity (sys.c) and the local addresses (local_address.c).
 *
 * Row rule for every hot function: JavaScript may have written anything into AT, LEN or an index, so check it with
 * `in_slab` before it becomes a pointer.
 */
#ifndef ANYHOP_ENV_H
#define ANYHOP_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <node_api.h>

#include "layout.h"

/* Columns of one batch: column c begins at c * rows (src/dataplane/batch.ts). */
struct cols {
  int32_t *c;
  int32_t rows;
};

struct udp_socket;
struct udp_scratch;

struct env {
  /* Bound memory; slab is NULL until `bind`. The references keep the typed arrays alive. */
  uint8_t *slab;
  uint32_t slab_len;
  struct cols in;
  struct cols out;
  double *time;
  napi_ref bound[4];

  struct udp_socket *sockets[SOCKETS_MAX]; /* NULL = free (udp.h) */
  struct udp_scratch *udp;                 /* message headers of both directions (udp.h) */
  int device;                              /* -1 = none, as all descriptors here */
  bool vnet;                               /* frames of the device begin with a virtio_net_hdr */
  int epoll;
  int wake;

  /* FEATURE_* bits that must stay off, and by bit what became of the others: 0 on, -errno off, 1 not asked for yet. */
  int without;
  int feature[FEATURE_GRO + 1];

  /* Crypto contexts; made, read and freed by the crypto half only (crypto.h). NULL until it needs them. */
  void *keys;

  struct env *next; /* list of environments with a wake descriptor, poll_set.c */
};

/* Start of a column: IN(env, COL_AT)[i]. The row counts are constants, so the compiler sees fixed offsets. */
#define IN(env, col) ((env)->in.c + (size_t)(col) * IN_ROWS)
#define OUT(env, col) ((env)->out.c + (size_t)(col) * OUT_ROWS)

/* True when [at, at + len) lies in the bound slab. Negative numbers are refused. */
static inline bool in_slab(const struct env *env, int32_t at, int32_t len) {
  return at >= 0 && len >= 0 && (uint32_t)at <= env->slab_len && (uint32_t)len <= env->slab_len - (uint32_t)at;
}

/* Rows that a hot function may touch: n cut to [0, rows of the batch]; 0 while nothing is bound. */
static inline int32_t rows_of(const struct cols *batch, int32_t n) {
  if (n <= 0) return 0;
  return n < batch->rows ? n : batch->rows;
}

#endif

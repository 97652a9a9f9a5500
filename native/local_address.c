/*
 * The table behind local_address.h: appended to under a lock, read without. An entry is written before the count that
 * makes it visible. Slow when there are many, so callers keep the last number.
 */
#include "local_address.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static pthread_mutex_t append_lock = PTHREAD_MUTEX_INITIALIZER;
/* Entry k has number k + 1. */
static struct in6_addr entries[LOCALS_MAX];
static atomic_int entry_count;

const struct in6_addr *local_address(int number) {
  return number > 0 && number <= atomic_load_explicit(&entry_count, memory_order_acquire) ? &entries[number - 1] : NULL;
}

static int find(const struct in6_addr *address, int count) {
  int k = 0;
  while (k < count && memcmp(&entries[k], address, sizeof *address) != 0) k++;
  return k;
}

int local_number(const struct in6_addr *address) {
  int count = atomic_load_explicit(&entry_count, memory_order_acquire);
  int k = find(address, count);
  if (k < count) return k + 1;
  pthread_mutex_lock(&append_lock);
  count = atomic_load_explicit(&entry_count, memory_order_relaxed);
  k = find(address, count);
  if (k == count && count < LOCALS_MAX) {
    entries[k] = *address;
    atomic_store_explicit(&entry_count, ++count, memory_order_release);
  }
  pthread_mutex_unlock(&append_lock);
  return k < count ? k + 1 : 0;
}

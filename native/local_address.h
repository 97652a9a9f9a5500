/*
 * Numbers for the local addresses that peers use, see COL_SOCK in udp.h. One table for the whole process, because shards
 * tell each other where a peer is, and the number is a part of that. Entries stay for ever and never change.
 */
#ifndef ANYHOP_LOCAL_ADDRESS_H
#define ANYHOP_LOCAL_ADDRESS_H

#include <netinet/in.h>

/* Most numbers; whoever comes later has 0. */
#define LOCALS_MAX 1023

/* The address of a number; NULL when there is none, also for 0. IPv4 as ::ffff:a.b.c.d. */
const struct in6_addr *local_address(int number);

/*
 * Number of an address from 1 on, learnt on first sight; 0 when the table is full. The kernel delivers only to addresses
 * of this host, so strangers cannot fill the table unless a whole prefix is local. Callable from every thread.
 */
int local_number(const struct in6_addr *address);

#endif

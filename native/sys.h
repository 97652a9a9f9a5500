/*
 * Plain system calls that Node lacks.
 */
#ifndef ANYHOP_SYS_H
#define ANYHOP_SYS_H

#include <node_api.h>

/*
 * What a killed process leaves, the kernel closes from the highest descriptor down, and a TUN device takes it tens of
 * milliseconds each time. So the order is: sockets whose silence would keep others waiting, the device by which routers
 * know that the process serves, everything else. Both are above what a process has open otherwise and below the usual
 * limit of 1024.
 */
#define FIRST_CLOSED_FD 512
#define FIRST_CLOSED_STEP 256
#define SECOND_CLOSED_FD 256

int sys_register(napi_env napi, napi_value exports);

#endif

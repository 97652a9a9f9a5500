/**
 * What an errno of the addon means to a person: for each operation, the sentence that names the socket, device or
 * directory and says what to do. The `code` is the errno name (EADDRINUSE, EPERM ...).
 */
import { getSystemErrorMap } from "node:util";
import { AnyhopError } from "../base/errors.ts";
import { SOCKETS_MAX } from "../dataplane/layout.ts";

/** "EADDRINUSE" for -98; "errno 200" when Node has no name. */
export function errorName(result: number): string {
  return getSystemErrorMap().get(result)?.[0] ?? `errno ${-result}`;
}

function failure(result: number, beginning: string, reasons: Readonly<Record<string, string>>): AnyhopError {
  const name = errorName(result);
  const reason =
    reasons[name] ?? `the kernel says ${name} (${getSystemErrorMap().get(result)?.[1] ?? "unknown error"})`;
  return new AnyhopError(name, `${beginning}: ${reason}.`);
}

/** A UDP socket that could not be opened. */
export function socketError(result: number, address: string, port: number): AnyhopError {
  return failure(result, `Cannot listen on port ${port} of ${address}`, {
    EADDRINUSE: "another program uses it (ss -ulpn shows which); choose another port or stop that program",
    EADDRNOTAVAIL:
      "this host does not have the address; add it to an interface (`ip address add`) or listen on another",
    EAFNOSUPPORT: "this host has no IPv6; listen on an IPv4 address or switch IPv6 on",
    EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another port or start as root",
    EPERM: "a security policy of this host forbids it",
    EMFILE: `too many open files, or more than ${SOCKETS_MAX} sockets in one shard; listen on fewer addresses`,
    EINVAL: "the port has to be 0-65535, and the address one that a socket can be bound to",
    EBADF: "this shard has been closed",
  });
}

/** A TUN or TAP device that could not be opened. */
export function deviceError(
  result: number,
  name: string | undefined,
  ethernet: boolean,
  severalQueues = false,
): AnyhopError {
  const kind = ethernet ? "TAP" : "TUN";
  const what = name === undefined ? `a ${kind} device` : `the ${kind} device ${name}`;
  return failure(result, `Cannot open ${what}`, {
    EPERM: "this needs root or CAP_NET_ADMIN",
    EACCES: "no permission for /dev/net/tun; start as root or give this user access",
    EBUSY: "another program uses it; choose another name or stop that program",
    EALREADY: "this shard has a device already",
    EINVAL:
      `a device of that name exists and is no ${kind} device, or the name is not one that Linux allows` +
      (severalQueues ? "; or it was made without multi_queue, which several shards need" : ""),
    ENAMETOOLONG: "a device name has at most 15 characters",
    ENOENT: "/dev/net/tun is missing; load the module with `modprobe tun`",
    ENODEV: "the kernel has no TUN driver; load the module with `modprobe tun`",
    ENXIO: "the kernel has no TUN driver; load the module with `modprobe tun`",
  });
}

/** A root directory that could not be entered. */
export function chrootError(result: number, directory: string): AnyhopError {
  return failure(result, `Cannot change the root directory to ${directory}`, {
    EPERM: "this needs root or CAP_SYS_CHROOT",
    ENOENT: "it does not exist",
    ENOTDIR: "it is not a directory",
    EACCES: "a directory of the path may not be searched",
  });
}

/** A network namespace that could not be entered. */
export function netnsError(result: number, path: string): AnyhopError {
  return failure(result, `Cannot enter the network namespace ${path}`, {
    EPERM: "this needs root or CAP_SYS_ADMIN",
    ENOENT: "it does not exist; `ip netns list` shows those that do",
    EINVAL: "the file is not a network namespace",
  });
}

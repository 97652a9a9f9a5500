/**
 * The addon from TypeScript: loading it, and sockets, device and waiting of one shard over bound memory (`PacketIo`).
 * Hot calls go straight into C; cold ones turn an errno into a sentence here. Its twin is `memory_io.ts`; both keep the
 * rules of test/contract/io.contract.ts. One environment (thread) binds once, so one `createNativeIo` a thread.
 */
import { closeSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { AnyhopError } from "../base/errors.ts";
import { parseAddress } from "../base/ip.ts";
import type { Memory } from "../dataplane/batch.ts";
import { SHARE_ALONE } from "../dataplane/layout.ts";
import type { Offload, PacketIo } from "../dataplane/ports.ts";
import { LAYOUT_HASH } from "./layout_hash.ts";
import { chrootError, deviceError, errorName, netnsError, socketError } from "./native_errors.ts";
import { describeOffloads, featureBits, type OffloadName } from "./native_offloads.ts";

/** What build/Release/anyhop.node exports, as far as this file uses it. Numbers returned are results or -errno. */
export interface Addon {
  readonly layoutHash: number;
  bind(slab: Uint8Array, input: Int32Array, output: Int32Array, time: Float64Array): number;
  poll(timeoutMs: number): number;
  receive(sock: number, max: number): number;
  send(n: number): number;
  readDevice(max: number): number;
  writeDevice(n: number): number;
  pathMtu(i: number): number;
  udpOpen(address: Uint8Array, port: number, share: number): number;
  udpPort(sock: number): number;
  udpReceiveBuffer(sock: number): number;
  udpClose(sock: number): number;
  localNumber(address: Uint8Array): number;
  localAddress(number: number, into: Uint8Array): number;
  deviceOpen(name: string, tap: boolean, share: number, closedEarly: boolean): string | number;
  wakeFd(): number;
  wake(fd: number): number;
  syslog(facility: number, ident: string, priority: number, line: string): number;
  chroot(directory: string): number;
  enterNetns(path: string): number;
  trimMemory(): number;
  firstClosedSocket(address: Uint8Array, port: number): number;
  closedFirst(fd: number, order: number): number;
  without(bits: number): number;
  feature(bit: number): number;
  /** Both halves of the device without a device, for tests: see native/device_frame.c. */
  frameToRow(i: number, at: number, len: number): number;
  framesOf(n: number, udp: boolean): number;
  closeAll(): number;
}

/** The same place from src/drivers and from dist/drivers. ANYHOP_ADDON names another build, for the sanitizers. */
export const ADDON_PATH =
  process.env["ANYHOP_ADDON"] ?? fileURLToPath(new URL("../../build/Release/anyhop.node", import.meta.url));

const load = createRequire(import.meta.url);

/**
 * Loads the addon into this thread (cached by Node). Throws AnyhopError "ADDON_MISSING" when it was not built or cannot
 * be loaded, "ADDON_STALE" when it was built from another memory layout.
 */
export function loadAddon(path: string = ADDON_PATH): Addon {
  let addon: Addon;
  try {
    addon = load(path) as Addon;
  } catch (cause) {
    throw new AnyhopError(
      "ADDON_MISSING",
      `The native addon ${path} cannot be loaded: run \`npm run build\`. (${(cause as Error).message.split("\n")[0]})`,
      { cause },
    );
  }
  if (addon.layoutHash !== LAYOUT_HASH) {
    throw new AnyhopError(
      "ADDON_STALE",
      `The native addon ${path} was built from another memory layout than this program: run \`npm run build\`.`,
    );
  }
  return addon;
}

/** `PacketIo` with the operations that prepare it. Those throw AnyhopError; `code` is the errno name. */
export interface NativeIo extends PacketIo {
  /** For `wake` in another thread: ends the wait of `poll`. */
  readonly wakeFd: number;
  /**
   * Opens a UDP socket on a literal address; port 0: the kernel picks. Returns its index: 0 for the first, then
   * counting up. A socket on a wildcard address (0.0.0.0, ::) answers from the address that the peer used: such rows
   * carry the number of the local address in `sock` above the low byte. `share`, here and below: SHARE_*, as the only
   * shard (the default), or as the first or a later one of several among which the kernel spreads packets by flow.
   */
  openSocket(address: string, port: number, share?: number): number;
  /** Local port of a socket. */
  socketPort(sock: number): number;
  /** Bytes that the kernel keeps of what has not been received, its own overhead included. */
  receiveBuffer(sock: number): number;
  closeSocket(sock: number): void;
  /**
   * Opens (or attaches to) a TUN device, TAP with `ethernet`; without a name the kernel picks. Returns the name.
   * `closedEarly`: when the process is killed the kernel takes this device away before the others.
   */
  openDevice(name: string | undefined, ethernet: boolean, share?: number, closedEarly?: boolean): string;
  /** What the kernel takes off the packet path, as of the sockets and the device that are open. */
  offloads(): readonly Offload[];
  /**
   * Closes everything; hot calls fail with -EBADF from then on. The device disappears unless it was made persistent.
   * Idempotent.
   */
  close(): void;
}

/**
 * Binds the memory of a shard to the addon. The memory must never be transferred to another thread. Throws AnyhopError
 * "EALREADY" when this thread has bound before. `without`: offloads to leave off, as a kernel without them would.
 */
export function createNativeIo(
  memory: Memory,
  { addon = loadAddon(), without = [] }: { readonly addon?: Addon; readonly without?: readonly OffloadName[] } = {},
): NativeIo {
  const time = new Float64Array(1);
  const bound = addon.bind(memory.slab, memory.input.columns, memory.output.columns, time);
  if (bound < 0) {
    const why =
      errorName(bound) === "EALREADY"
        ? "this thread has bound memory before; use one shard per thread"
        : `${errorName(bound)}; memory has to come from createMemory()`;
    throw new AnyhopError(errorName(bound), `The shard memory cannot be bound to the native addon: ${why}.`);
  }
  addon.without(featureBits(without));
  return {
    wakeFd: addon.wakeFd(),
    poll: addon.poll,
    now: () => time[0],
    receive: addon.receive,
    send: addon.send,
    readDevice: addon.readDevice,
    writeDevice: addon.writeDevice,
    pathMtu: addon.pathMtu,
    openSocket(address, port, share = SHARE_ALONE) {
      const sock = addon.udpOpen(addressBytes(address), port, share);
      if (sock < 0) throw socketError(sock, address, port);
      return sock;
    },
    socketPort(sock) {
      const port = addon.udpPort(sock);
      if (port < 0) throw new AnyhopError(errorName(port), `Socket ${sock} is not open.`);
      return port;
    },
    receiveBuffer: (sock) => Math.max(0, addon.udpReceiveBuffer(sock)),
    closeSocket(sock) {
      addon.udpClose(sock);
    },
    openDevice(name, ethernet, share = SHARE_ALONE, closedEarly = false) {
      const result = addon.deviceOpen(name ?? "", ethernet, share, closedEarly);
      if (typeof result === "number") throw deviceError(result, name, ethernet, share !== SHARE_ALONE);
      return result;
    },
    offloads: () => describeOffloads(addon.feature),
    close() {
      addon.closeAll();
    },
  };
}

/** Ends the wait of a shard in another thread. False: that shard is gone. */
export function wake(wakeFd: number, addon: Addon = loadAddon()): boolean {
  return addon.wake(wakeFd) === 0;
}

/** Gives free memory of the C library back to the system. */
export function trimMemory(): void {
  loadAddon().trimMemory();
}

/** syslog(3). Facility 0-23 and priority 0-7 as in RFC 5424 section 6.2.1; a line is cut after 2047 bytes. */
export function syslog(facility: number, ident: string, priority: number, line: string): void {
  const result = loadAddon().syslog(facility, ident, priority, line);
  if (result < 0) {
    throw new AnyhopError(
      errorName(result),
      `Syslog facility ${facility} with priority ${priority} does not exist: use a facility of 0-23 and a priority of 0-7.`,
    );
  }
}

/** Makes `directory` the root of this process and its working directory. Open files stay usable. */
export function chroot(directory: string): void {
  const result = loadAddon().chroot(directory);
  if (result < 0) throw chrootError(result, directory);
}

/**
 * Descriptor of a UDP socket on a literal address, which shares its port and is the first thing that the kernel closes when
 * this process dies. Throws AnyhopError; `code` is the errno name.
 */
export function firstClosedSocket(address: string, port: number): number {
  const fd = loadAddon().firstClosedSocket(addressBytes(address), port);
  if (fd < 0) throw socketError(fd, address, port);
  return fd;
}

/**
 * Makes a socket end before all else when this process dies; with order 1 even before those with 0. Returns what undoes that, to
 * be called when the socket is closed. Without a descriptor to spare it ends later, which costs milliseconds.
 */
export function closedFirst(fd: number, order: 0 | 1): () => void {
  const second = loadAddon().closedFirst(fd, order);
  return second < 0 ? () => {} : () => closeSync(second);
}

/**
 * Moves this thread into a network namespace, /run/netns/NAME. Sockets and devices opened from here on belong to it;
 * open ones stay, so outer and inner network may lie in different namespaces.
 */
export function enterNetns(path: string): void {
  const result = loadAddon().enterNetns(path);
  if (result < 0) throw netnsError(result, path);
}

/**
 * Number of an own address in the bits of `sock` above the index, on sockets bound to a wildcard: what is sent with it comes
 * from that address. 0: there are too many, the kernel chooses.
 */
export const localNumber = (address: string): number => Math.max(0, loadAddon().localNumber(addressBytes(address)));

/** The address that `localNumber` gave this number, as four words; undefined: none. */
export function localAddress(number: number): Int32Array | undefined {
  const bytes = new Uint8Array(16);
  if (loadAddon().localAddress(number, bytes) < 0) return undefined;
  const view = new DataView(bytes.buffer);
  return Int32Array.from([0, 4, 8, 12], (at) => view.getInt32(at));
}

/** 16 bytes as the addon wants them, IPv4 as ::ffff:a.b.c.d. */
function addressBytes(text: string): Uint8Array {
  const address = parseAddress(text);
  if (address === undefined) {
    throw new AnyhopError(
      "EINVAL",
      `"${text}" is not an IP address to listen on: write one like 192.0.2.1 or 2001:db8::1, or 0.0.0.0 or :: for all.`,
    );
  }
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, address.w0);
  view.setInt32(4, address.w1);
  view.setInt32(8, address.w2);
  view.setInt32(12, address.w3);
  return bytes;
}

/**
 * `PacketIo` without an operating system: the twin of `native.ts` for tests and simulation. One `MemoryIo` is one host
 * with its addresses, its sockets on a `MemoryNetwork`, and its device, whose other side the test holds. Same columns,
 * verdicts and errors as the native driver (test/contract/io.contract.ts); nothing is allocated per packet of up to
 * SLOT_BYTES. Sockets and device move one packet at a time, but the host may give the device super-packets.
 */
import { constants } from "node:os";
import { isMapped, parseAddress } from "../base/ip.ts";
import type { Batch, Memory } from "../dataplane/batch.ts";
import * as L from "../dataplane/layout.ts";
import type { PacketIo } from "../dataplane/ports.ts";
import * as V from "../dataplane/verdict.ts";
import {
  FACT_HDR,
  FACT_LOCAL,
  FACT_PORT,
  FACT_SEG,
  FACT_TOS,
  FACTS,
  isMappedWords,
  type MemoryNetwork,
  type MemorySocket,
  PacketRing,
} from "./memory_network.ts";
import { deviceError, socketError } from "./native_errors.ts";

const { EADDRINUSE, EADDRNOTAVAIL, EALREADY, EBADF, EINVAL, EMFILE, ENETUNREACH } = constants.errno;

/** First port that port 0 gives, as in RFC 6335 section 6. */
const EPHEMERAL_PORT = 49152;
const HEADERS_V4 = 20 + 8;
const HEADERS_V6 = 40 + 8;

/** The host's end of a device: what a real kernel would route into it and take from it. */
export class MemoryDevice {
  readonly name: string;
  readonly ethernet: boolean;
  /** Packets to a device that is down are refused with DEVICE_BUSY. */
  up = true;
  readonly fromHost: PacketRing;
  readonly toHost: PacketRing;

  constructor(name: string, ethernet: boolean, depth: number) {
    this.name = name;
    this.ethernet = ethernet;
    this.fromHost = new PacketRing(depth);
    this.toHost = new PacketRing(depth);
  }

  /** The host sends `len` bytes at `at`; false: the queue is full. */
  inject(packet: Uint8Array, at = 0, len = packet.length - at): boolean {
    return this.injectSuper(packet, at, len, 0, 0);
  }

  /** The host sends a super-packet of `seg` payload bytes a segment, as a kernel with offloads does. */
  injectSuper(packet: Uint8Array, at: number, len: number, seg: number, hdr: number): boolean {
    const slot = this.up ? this.fromHost.push(packet, at, len) : -1;
    if (slot < 0) return false;
    this.fromHost.facts[slot * FACTS + FACT_SEG] = seg;
    this.fromHost.facts[slot * FACTS + FACT_HDR] = hdr;
    return true;
  }

  /** Copies the oldest packet that was written to the device to `target`; its length, or -1: none. */
  takeInto(target: Uint8Array, at: number): number {
    const slot = this.toHost.shift(target, at);
    return slot < 0 ? -1 : this.toHost.len[slot];
  }

  /** The oldest packet that was written to the device, as a copy. */
  take(): Uint8Array | undefined {
    const len = this.toHost.nextLen();
    if (len < 0) return undefined;
    const packet = new Uint8Array(len);
    this.takeInto(packet, 0);
    return packet;
  }
}

export interface MemoryIoOptions {
  readonly memory: Memory;
  readonly network: MemoryNetwork;
  /** Addresses of this host, as text. */
  readonly addresses: readonly string[];
  /** Packets that a socket or a device direction holds. */
  readonly depth?: number;
}

export class MemoryIo implements PacketIo {
  /** The device, once it is open. */
  device: MemoryDevice | undefined;
  private readonly input: Batch;
  private readonly output: Batch;
  private readonly slab: Uint8Array;
  private readonly network: MemoryNetwork;
  private readonly host: readonly (readonly [number, number, number, number])[];
  private readonly depth: number;
  private readonly sockets: (MemorySocket | undefined)[] = new Array(L.SOCKETS_MAX).fill(undefined);
  private woken = false;
  private closed = false;

  constructor({ memory, network, addresses, depth = 1024 }: MemoryIoOptions) {
    this.input = memory.input;
    this.output = memory.output;
    this.slab = memory.slab;
    this.network = network;
    this.depth = depth;
    this.host = addresses.map((text) => {
      const a = parseAddress(text);
      if (a === undefined) throw new RangeError(`"${text}" is not an IP address`);
      return [a.w0, a.w1, a.w2, a.w3] as const;
    });
  }

  /** Opens a socket, as `NativeIo.openSocket`; the same AnyhopError codes. */
  openSocket(text: string, port: number): number {
    const fail = (errno: number) => socketError(-errno, text, port);
    const a = parseAddress(text);
    if (this.closed) throw fail(EBADF);
    if (a === undefined || !(port >= 0 && port <= 65535)) throw fail(EINVAL);
    const wildcard = a.w0 === 0 && a.w1 === 0 && (a.family === 4 || a.w2 === 0) && a.w3 === 0;
    const address = wildcard
      ? undefined
      : this.host.find((h) => h[0] === a.w0 && h[1] === a.w1 && h[2] === a.w2 && h[3] === a.w3);
    if (!wildcard && address === undefined) throw fail(EADDRNOTAVAIL);
    const sock = this.sockets.indexOf(undefined);
    if (sock < 0) throw fail(EMFILE);
    const clash = (p: number) =>
      this.sockets.some(
        (s) =>
          s !== undefined &&
          s.port === p &&
          s.family === a.family &&
          (s.address === undefined || address === undefined || s.address === address),
      );
    let chosen = port;
    if (port === 0) for (chosen = EPHEMERAL_PORT; clash(chosen); ) chosen++;
    if (clash(chosen)) throw fail(EADDRINUSE);
    const socket = { host: this.host, family: a.family, address, port: chosen, queue: new PacketRing(this.depth) };
    this.sockets[sock] = socket;
    this.network.sockets.push(socket);
    return sock;
  }

  /** Local port of an open socket. */
  socketPort(sock: number): number {
    const socket = this.sockets[sock];
    if (socket === undefined) throw new RangeError(`Socket ${sock} is not open.`);
    return socket.port;
  }

  closeSocket(sock: number): void {
    const socket = this.sockets[sock];
    if (socket === undefined) return;
    this.sockets[sock] = undefined;
    this.network.sockets.splice(this.network.sockets.indexOf(socket), 1);
  }

  /** Opens the device, as `NativeIo.openDevice`. It is up at once. Without a name: tun0 or tap0. */
  openDevice(name: string | undefined, ethernet: boolean): string {
    if (this.device !== undefined) throw deviceError(-EALREADY, name, ethernet);
    if (this.closed) throw deviceError(-EINVAL, name, ethernet);
    this.device = new MemoryDevice(name ?? (ethernet ? "tap0" : "tun0"), ethernet, this.depth);
    return this.device.name;
  }

  close(): void {
    for (let sock = 0; sock < L.SOCKETS_MAX; sock++) this.closeSocket(sock);
    this.device = undefined;
    this.closed = true;
  }

  /** Makes the next `poll` report READY_WAKE. False: closed. */
  wake(): boolean {
    this.woken = !this.closed;
    return this.woken;
  }

  /** Never sleeps: when nothing is ready, the virtual clock moves by the timeout (not at all for -1) and 0 comes back. */
  poll(timeoutMs: number): number {
    if (this.closed) return -EBADF;
    let bits = this.woken ? L.READY_WAKE : 0;
    this.woken = false;
    if (this.device !== undefined && this.device.fromHost.count > 0) bits |= L.READY_DEVICE;
    for (let s = 0; s < L.SOCKETS_MAX; s++) {
      const socket = this.sockets[s];
      if (socket !== undefined && socket.queue.count > 0) bits |= L.READY_SOCKET0 << s;
    }
    if (bits === 0 && timeoutMs > 0) this.network.nowMs += timeoutMs;
    return bits;
  }

  now(): number {
    return this.network.nowMs;
  }

  receive(sock: number, max: number): number {
    const socket = this.sockets[sock];
    if (socket === undefined) return -EBADF;
    const { input, slab } = this;
    const { queue } = socket;
    const rows = Math.min(Math.max(0, max), input.capacity);
    let at = 0;
    let n = 0;
    for (; n < rows && queue.count > 0 && at + queue.nextLen() <= L.READ_BASE; n++) {
      const i = n;
      const slot = queue.shift(slab, at);
      const base = slot * FACTS;
      this.startRow(i, at, queue.len[slot]);
      at += queue.len[slot];
      input.sock[i] = sock | (queue.facts[base + FACT_LOCAL] << 8);
      input.addr0[i] = queue.facts[base];
      input.addr1[i] = queue.facts[base + 1];
      input.addr2[i] = queue.facts[base + 2];
      input.addr3[i] = queue.facts[base + 3];
      input.port[i] = queue.facts[base + FACT_PORT];
      input.tos[i] = queue.facts[base + FACT_TOS];
    }
    return n;
  }

  /** Columns that receive and readDevice fill alike. */
  private startRow(i: number, at: number, len: number): void {
    const { input } = this;
    input.at[i] = at;
    input.len[i] = len;
    input.verdict[i] = V.LIVE;
    input.tunnel[i] = -1;
    input.tos[i] = 0;
    input.flags[i] = 0;
    input.seg[i] = 0;
    input.hdr[i] = 0;
  }

  send(n: number): void {
    const rows = Math.min(n, this.output.capacity);
    const { verdict } = this.output;
    for (let i = 0; i < rows; i++) {
      if (verdict[i] === V.LIVE) verdict[i] = this.sendRow(i);
    }
  }

  private sendRow(i: number): number {
    const { output, network } = this;
    const socket = this.sockets[output.sock[i] & 0xff];
    const at = output.at[i];
    const len = output.len[i];
    output.done[i] = 0;
    if (socket === undefined || !this.inSlab(at, len) || !this.hasRemote(i, socket)) return V.SEND_FAILED;
    const w0 = output.addr0[i];
    const w1 = output.addr1[i];
    const w2 = output.addr2[i];
    const w3 = output.addr3[i];
    if (!network.hasRoute(w0, w1, w2, w3)) return V.SEND_UNREACHABLE;
    const headers = socket.family === 4 ? HEADERS_V4 : HEADERS_V6;
    const df = (output.flags[i] & L.FLAG_DF) !== 0;
    const source = this.sourceOf(socket, output.sock[i] >> 8);
    if (source === undefined) return V.SEND_UNREACHABLE;
    const stride = output.seg[i] > 0 ? output.seg[i] : len;
    if (Math.min(stride, len) > L.DATAGRAM_MAX) return V.SEND_TOO_BIG;
    let verdict: number = V.SENT;
    let from = at;
    do {
      const bytes = Math.min(stride, at + len - from);
      if (df && bytes + headers > network.mtuBytes) {
        verdict = V.SEND_TOO_BIG;
      } else {
        network.deliver(socket, source, w0, w1, w2, w3, output.port[i], this.slab, from, bytes, output.tos[i] & 0xff);
        output.done[i]++;
      }
      from += bytes;
    } while (from < at + len);
    return verdict;
  }

  private inSlab(at: number, len: number): boolean {
    return at >= 0 && len >= 0 && at + len <= this.slab.length;
  }

  /** Whether the remote of an output row is one that the socket can send to. */
  private hasRemote(i: number, socket: MemorySocket): boolean {
    const { addr0, addr1, addr2, port } = this.output;
    if (port[i] < 1 || port[i] > 65535) return false;
    return isMapped(addr0[i], addr1[i], addr2[i]) === (socket.family === 4);
  }

  /** Source address: the bound one, else the one with that number, else the host's first of the family. */
  private sourceOf(socket: MemorySocket, local: number): readonly [number, number, number, number] | undefined {
    if (socket.address !== undefined) return socket.address;
    if (local > 0 && local <= this.host.length) return this.host[local - 1];
    for (let k = 0; k < this.host.length; k++) {
      if (isMappedWords(this.host[k]) === (socket.family === 4)) return this.host[k];
    }
    return undefined;
  }

  readDevice(max: number): number {
    const { device, input } = this;
    if (device === undefined) return -EBADF;
    const { fromHost } = device;
    const rows = Math.min(Math.max(0, max), input.capacity);
    let at = L.READ_BASE;
    let n = 0;
    for (; n < rows && fromHost.count > 0 && at + fromHost.nextLen() <= L.ANSWER_BASE; n++) {
      const slot = fromHost.shift(this.slab, at);
      this.startRow(n, at, fromHost.len[slot]);
      input.sock[n] = -1;
      input.seg[n] = fromHost.facts[slot * FACTS + FACT_SEG];
      input.hdr[n] = fromHost.facts[slot * FACTS + FACT_HDR];
      at += fromHost.len[slot];
    }
    return n;
  }

  writeDevice(n: number): void {
    const rows = Math.min(n, this.input.capacity);
    const { verdict } = this.input;
    for (let i = 0; i < rows; i++) {
      if (verdict[i] === V.TO_DEVICE) verdict[i] = this.writeRow(this.input.at[i], this.input.len[i]);
    }
  }

  private writeRow(at: number, len: number): number {
    const { device } = this;
    if (device === undefined || !this.inSlab(at, len)) return V.DEVICE_REFUSED;
    if (!device.up) return V.DEVICE_BUSY;
    // What the kernel refuses: no whole Ethernet header (TAP), neither IPv4 nor IPv6 (TUN).
    const version = this.slab[at] >> 4;
    if (device.ethernet ? len < 14 : len === 0 || (version !== 4 && version !== 6)) return V.DEVICE_REFUSED;
    return device.toHost.push(this.slab, at, len) < 0 ? V.DEVICE_BUSY : V.TO_DEVICE;
  }

  pathMtu(i: number): number {
    const { output, network } = this;
    if (!(i >= 0 && i < output.capacity)) return -EINVAL;
    const socket = this.sockets[output.sock[i] & 0xff];
    if (socket === undefined) return -EBADF;
    if (!this.hasRemote(i, socket)) return -EINVAL;
    if (!network.hasRoute(output.addr0[i], output.addr1[i], output.addr2[i], output.addr3[i])) return -ENETUNREACH;
    return network.mtuBytes;
  }
}

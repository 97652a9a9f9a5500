/** Hosts on an in-memory network, each a whole plane with twin crypto or the given one, driven by hand. */
import { parseAddress, remoteOf } from "../../src/base/ip.ts";
import { parsePrefix } from "../../src/base/prefix.ts";
import { satpKeyFromPassphrase } from "../../src/crypto/satp.ts";
import { IndexKeys } from "../../src/crypto/session_index.ts";
import { createMemory, type Memory } from "../../src/dataplane/batch.ts";
import { READY_DEVICE, READY_SOCKET0, ROLE_LEFT, ROLE_RIGHT } from "../../src/dataplane/layout.ts";
import { turnFromDevice, turnFromSocket } from "../../src/dataplane/pipeline.ts";
import { Plane } from "../../src/dataplane/plane.ts";
import type { PacketCrypto } from "../../src/dataplane/ports.ts";
import type { SharedMemory } from "../../src/dataplane/shared.ts";
import { createTunnelMemory, IN_CLIENT, IN_NODE, NO_SESSION, type TunnelMemory } from "../../src/dataplane/tunnels.ts";
import { verdicts } from "../../src/dataplane/verdict.ts";
import { MemoryIo } from "../../src/drivers/memory_io.ts";
import type { MemoryNetwork } from "../../src/drivers/memory_network.ts";
import { createTwinCrypto } from "../../src/drivers/twin_crypto.ts";
import { apply } from "../../src/shard/apply.ts";
import type { SessionSetup, TunnelSetup } from "../../src/shard/messages.ts";

export const PORT = 4444;

export interface HostOptions {
  readonly address: string;
  readonly ethernet?: boolean;
  readonly crypto?: (memory: Memory) => PacketCrypto;
  readonly fanoutMax?: number;
  readonly floodPps?: number;
  /** One of several shards: its own table, and what it shares. */
  readonly shard?: { readonly tunnels: TunnelMemory; readonly shared: SharedMemory };
  /** Which end of sessions this host is; without: muxes from 0x8000 on are tunnels. */
  readonly sessions?: "node" | "client";
  /** A node that is one of several with the same sessions. */
  readonly group?: boolean;
}

export const INDEX_KEY = new Uint8Array(8).fill(6);
const indexKeys = new IndexKeys([INDEX_KEY]);

/** The index of a session that every host here takes for one of its group. */
export const indexOf = (n: number): number => indexKeys.make(5, n);

export class Host {
  readonly io: MemoryIo;
  readonly plane: Plane;
  readonly address: string;
  private tunnels = 0;

  constructor(network: MemoryNetwork, options: HostOptions) {
    const memory = createMemory();
    this.address = options.address;
    this.io = new MemoryIo({ memory, network, addresses: [options.address] });
    this.io.openSocket(options.address, PORT);
    this.io.openDevice("tun0", options.ethernet ?? false);
    this.plane = new Plane({
      memory,
      tunnels: options.shard?.tunnels ?? createTunnelMemory(64),
      shared: options.shard?.shared,
      io: this.io,
      crypto: (options.crypto ?? createTwinCrypto)(memory),
      ethernet: options.ethernet ?? false,
      fanoutMax: options.fanoutMax ?? 256,
      floodPps: options.floodPps ?? 1000,
      dscp: -1,
      windowMax: 2048,
      hashSeed: 1,
      group: options.group ?? false,
      indexKeys: [INDEX_KEY],
    });
    if (options.sessions !== undefined) this.plane.sessions = options.sessions === "node" ? IN_NODE : IN_CLIENT;
    else this.plane.sessions = NO_SESSION;
  }

  /** Adds a tunnel; `remote` is another host's address. Returns its index. */
  tunnel(
    role: "left" | "right",
    mux: number,
    more: { remote?: string; routes?: string[]; passphrase?: string } & Partial<Omit<TunnelSetup, "routes">> & {
        tagLen?: number;
        cipherLen?: 0 | 16 | 24 | 32;
      } = {},
  ): number {
    const index = this.tunnels++;
    this.plane.tunnels.seqLimit[index] = 2 ** 32;
    const { remote, routes, passphrase, tagLen, cipherLen, ...rest } = more;
    const key = satpKeyFromPassphrase(passphrase ?? "documentation", {
      cipherLen: cipherLen ?? 16,
      tagLen: tagLen ?? 10,
      kdLen: 16,
      role: role === "left" ? ROLE_LEFT : ROLE_RIGHT,
    });
    const words = remote === undefined ? undefined : parseAddress(remote)!;
    const setup: TunnelSetup = {
      index,
      mux,
      senderId: 0,
      key,
      window: 64,
      keepaliveMs: 0,
      innerMtu: 1400,
      routes: routes?.map((r) => parsePrefix(r)!),
      endpoint: words && remoteOf([words.w0, words.w1, words.w2, words.w3], PORT, 0),
      seqNext: 0,
      ...rest,
    };
    apply(this.plane, { kind: "add", tunnel: setup });
    return index;
  }

  /** Adds a session in row `index`, with another host as its peer. Returns the row. */
  session(
    index: number,
    more: { remote: string; routes?: string[] } & Omit<
      SessionSetup,
      "index" | "routes" | "endpoint" | "window" | "keepaliveMs" | "innerMtu" | "owner" | "pending"
    > &
      Partial<Pick<SessionSetup, "window" | "keepaliveMs" | "innerMtu" | "owner" | "pending">>,
  ): number {
    const { remote, routes, ...rest } = more;
    const words = parseAddress(remote)!;
    apply(this.plane, {
      kind: "session",
      session: {
        ...{ index, owner: 1_000_000, window: 64, keepaliveMs: 0, innerMtu: 1400, pending: false },
        routes: routes?.map((r) => parsePrefix(r)!),
        endpoint: remoteOf([words.w0, words.w1, words.w2, words.w3], PORT, 0),
        ...rest,
      },
    });
    return index;
  }

  local(...addresses: string[]): void {
    apply(this.plane, { kind: "local", addresses: addresses.map((a) => parsePrefix(a)!), broadcasts: [] });
  }

  /** Handles everything that waits; true if there was something. */
  turn(): boolean {
    const ready = this.io.poll(0);
    if (ready & READY_SOCKET0) turnFromSocket(this.plane, 0, this.io.now());
    if (ready & READY_DEVICE) turnFromDevice(this.plane, this.io.now());
    return ready !== 0;
  }

  /** Counter of a verdict by name. */
  count(name: string): number {
    const number = verdicts.findIndex((v) => v.name === name);
    if (number < 0) throw new RangeError(`no verdict ${name}`);
    return this.plane.verdicts[number];
  }

  /** Everything that came out of the device since the last call. */
  delivered(): Uint8Array[] {
    const packets = [];
    for (let p = this.io.device!.take(); p; p = this.io.device!.take()) packets.push(p);
    return packets;
  }
}

/** Lets hosts work until nothing is under way. */
export function settle(...hosts: Host[]): void {
  for (let busy = true; busy; ) {
    busy = false;
    for (const host of hosts) busy = host.turn() || busy;
  }
}

/** An IPv4 UDP packet with a right header checksum. */
export function packet4(
  src: string,
  dst: string,
  payload: number,
  more: { df?: boolean; tos?: number } = {},
): Uint8Array {
  const length = 28 + payload;
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x45;
  bytes[1] = more.tos ?? 0;
  view.setUint16(2, length);
  view.setUint16(6, more.df === false ? 0 : 0x4000);
  bytes[8] = 64;
  bytes[9] = 17;
  view.setUint32(12, parseAddress(src)!.w3 >>> 0);
  view.setUint32(16, parseAddress(dst)!.w3 >>> 0);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += view.getUint16(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~sum & 0xffff);
  view.setUint16(24, 8 + payload);
  for (let i = 28; i < length; i++) bytes[i] = i;
  return bytes;
}

/** An IPv6 UDP packet without checksum. */
export function packet6(src: string, dst: string, payload: number): Uint8Array {
  const bytes = new Uint8Array(48 + payload);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x60000000);
  view.setUint16(4, 8 + payload);
  bytes[6] = 17;
  bytes[7] = 64;
  [src, dst].forEach((text, k) => {
    const a = parseAddress(text)!;
    [a.w0, a.w1, a.w2, a.w3].forEach((w, j) => {
      view.setInt32(8 + 16 * k + 4 * j, w);
    });
  });
  view.setUint16(44, 8 + payload);
  return bytes;
}

/** An Ethernet frame of type 0x88b5 (local experimental). MACs as 12 hex digits. */
export function frame(dst: string, src: string, payload = 50): Uint8Array {
  const bytes = new Uint8Array(14 + payload);
  bytes.set(Buffer.from(dst, "hex"), 0);
  bytes.set(Buffer.from(src, "hex"), 6);
  bytes[12] = 0x88;
  bytes[13] = 0xb5;
  return bytes;
}

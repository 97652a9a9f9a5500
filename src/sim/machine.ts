/**
 * One machine: a real plane with twin crypto on the simulated network, and what makes its sessions. Between shard and
 * control thread lies as much time as between real threads, and messages keep their order.
 */
import { decodeHanded, type SessionEnd } from "../control/instance/session_end.ts";
import { CookieTags } from "../crypto/cookie_tags.ts";
import { createMemory, type Memory } from "../dataplane/batch.ts";
import { HELD, HELD_UNKNOWN } from "../dataplane/control_ring.ts";
import { CONFIRMED, ENDPOINT_MOVED, EVENT_WORDS } from "../dataplane/events.ts";
import { READY_DEVICE, READY_SOCKET0 } from "../dataplane/layout.ts";
import type { Lease } from "../dataplane/lease.ts";
import { turnFromDevice, turnFromSocket, turnKeepalive } from "../dataplane/pipeline.ts";
import { Plane } from "../dataplane/plane.ts";
import type { PacketCrypto } from "../dataplane/ports.ts";
import { createTunnelMemory, IN_CLIENT, IN_NODE } from "../dataplane/tunnels.ts";
import { MemoryIo } from "../drivers/memory_io.ts";
import type { MemoryNetwork, MemorySocket } from "../drivers/memory_network.ts";
import { apply } from "../shard/apply.ts";
import type { ToShard, Yielded } from "../shard/messages.ts";
import type { Life, VirtualTime } from "./virtual_time.ts";

export const SERVICE_PORT = 4444;
/** As in `shard/loop.ts`. */
const SHARD_TICK_MS = 250;
const CLIENT_ROWS = 256;

export interface MachineOptions {
  readonly side: "node" | "client";
  readonly address: string;
  readonly rows: number;
  readonly threadMs: number;
  /** Watches what is sealed. */
  readonly watchCrypto: (memory: Memory, machine: Machine) => PacketCrypto;
  /** A packet came out of the device. */
  readonly onDevice: (packet: Uint8Array) => void;
  /** What the shard is told, on its way there, and what it answers. */
  readonly onMessage?: (message: ToShard) => void;
  readonly onYielded?: (message: Yielded) => void;
  /** Of a node: whether it may act as the owner of sessions. */
  readonly lease?: Lease;
}

export class Machine {
  readonly life: Life = { alive: true };
  readonly plane: Plane;
  readonly socket: MemorySocket;
  readonly sinceMs: number;
  end!: SessionEnd;
  /** Datagrams that came to the socket, packets that the host sent, rows and datagrams that went out. */
  arrived = 0;
  injected = 0;
  hostSent = 0;
  sealedRows = 0;
  controlSent = 0;
  /** Datagrams that were handed over to be held. */
  held = 0;
  readonly #io: MemoryIo;
  readonly #time: VirtualTime;
  readonly #options: MachineOptions;

  constructor(time: VirtualTime, network: MemoryNetwork, options: MachineOptions) {
    this.#time = time;
    this.#options = options;
    this.sinceMs = time.nowMs;
    const memory = spare.pop() ?? createMemory();
    memory.output.n = 0;
    this.#io = new MemoryIo({ memory, network, addresses: [options.address], depth: 256 });
    this.#io.openSocket(options.address, SERVICE_PORT);
    this.#io.openDevice("tun0", false);
    this.socket = network.sockets.at(-1)!;
    const isNode = options.side === "node";
    this.plane = new Plane({
      ...{ memory, tunnels: createTunnelMemory(isNode ? options.rows : CLIENT_ROWS), io: this.#io },
      crypto: options.watchCrypto(memory, this),
      ...{ ethernet: false, fanoutMax: 256, floodPps: 1000, dscp: -1, windowMax: 2048, hashSeed: 1, group: isNode },
      lease: options.lease,
    });
    this.plane.sessions = isNode ? IN_NODE : IN_CLIENT;
  }

  start(end: SessionEnd): void {
    this.end = end;
    this.plane.indexKeys.set(end.indexKeys ?? []);
    this.plane.cookieTags = end.cookieTagKey && new CookieTags(end.cookieTagKey);
    this.#time.as(this.life, () => {
      end.start(
        {
          post: (message) => this.post(message),
          tunnels: this.plane.tunnels,
          deviceName: "tun0",
          socketFor: (family) => (family === 4 ? 0 : -1),
        },
        0,
      );
      this.#every(SHARD_TICK_MS, () => {
        turnKeepalive(this.plane, this.#io.now());
        this.#flushEvents();
      });
    });
  }

  /** The machine is gone, as by kill -9: its socket is closed, nothing was said. */
  kill(): void {
    this.life.alive = false;
    this.#io.close();
    spare.push(this.plane.memory);
  }

  post(message: ToShard): void {
    this.#options.onMessage?.(message);
    this.#later(() => this.apply(message));
  }

  /** The shard does what it is told, now. */
  apply(message: ToShard): void {
    if (message.kind === "inject") this.injected += message.datagrams.length;
    if (message.kind === "send") this.controlSent++;
    apply(this.plane, message, {
      answer: (answer) => {
        this.#options.onYielded?.(answer);
        this.#later(() => this.end.yielded?.(answer));
      },
    });
    this.work();
  }

  /** The host sends a packet into the tunnel. */
  sendFromHost(packet: Uint8Array): void {
    if (!this.#io.device!.inject(packet)) return;
    this.hostSent++;
    this.#time.as(this.life, () => this.work());
  }

  /** Handles all that waits. */
  work(): void {
    for (let ready = this.#io.poll(0); ready > 0; ready = this.#io.poll(0)) {
      if (ready & READY_SOCKET0) turnFromSocket(this.plane, 0, this.#io.now());
      if (ready & READY_DEVICE) turnFromDevice(this.plane, this.#io.now());
    }
    const { control, events } = this.plane;
    if (control.count > 0) {
      const { words, bytes } = control.drain();
      this.#later(() => {
        for (const entry of decodeHanded(words, bytes)) {
          if (entry.kind === HELD || entry.kind === HELD_UNKNOWN) this.held++;
          this.end.handed(entry);
        }
      });
    }
    if (events.urgent) this.#flushEvents();
    for (let packet = this.#io.device!.take(); packet; packet = this.#io.device!.take()) this.#options.onDevice(packet);
  }

  #flushEvents(): void {
    if (this.plane.events.count === 0) return;
    const words = this.plane.events.drain();
    this.#later(() => {
      for (let at = 0; at < words.length; at += EVENT_WORDS) {
        if (words[at] === CONFIRMED) this.end.confirmed(words[at + 1]);
        else if (words[at] === ENDPOINT_MOVED) this.end.moved?.(words[at + 1]);
      }
    });
  }

  #every(everyMs: number, work: () => void): void {
    this.#time.later(
      everyMs,
      () => {
        work();
        this.#every(everyMs, work);
      },
      this.life,
    );
  }

  #later(work: () => void): void {
    this.#time.later(this.#options.threadMs, work, this.life);
  }
}

/** Slabs are large; those of machines that are gone serve the next ones. */
const spare: Memory[] = [];

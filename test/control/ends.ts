/**
 * A node's and a client's end of sessions in one process: real control objects over real planes on the in-memory network,
 * on one virtual clock that also drives their timers. Nothing of the house is replaced but the worker threads.
 */
import { vi } from "vitest";
import { parseAddress } from "../../src/base/ip.ts";
import { createLogger, DEBUG, type LogRecord } from "../../src/base/log.ts";
import { EventHub } from "../../src/control/asked/event_hub.ts";
import { ClientEnd } from "../../src/control/client/client_end.ts";
import { decodeHanded, type SessionEnd } from "../../src/control/instance/session_end.ts";
import { NodeEnd, type NodeTiming } from "../../src/control/node/node_end.ts";
import type { ClientSpec, NodeSpec, ServiceSpec } from "../../src/control/spec/instance.ts";
import type { ClientRecord, Reach, Resolver, Store } from "../../src/control/spec/ports.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { CookieTags } from "../../src/crypto/cookie_tags.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { CONFIRMED, EVENT_WORDS } from "../../src/dataplane/events.ts";
import { turnKeepalive } from "../../src/dataplane/pipeline.ts";
import { createMemoryHost, type MemoryHost } from "../../src/drivers/memory_host.ts";
import { MemoryNetwork, type MemorySocket } from "../../src/drivers/memory_network.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import { apply } from "../../src/shard/apply.ts";
import { NO_ANNOUNCE } from "../announce/parts.ts";
import { Host, PORT } from "../dataplane/world.ts";
import { seededEntropy } from "../handshake/party.ts";

export const NODE = "192.0.2.1";
export const NODE_INNER = "198.51.100.1";
export const PSK = new Uint8Array(32).fill(0x55);
const pairOf = (seed: number) => {
  const privateKey = new Uint8Array(32).fill(seed);
  return { privateKey, publicKey: keyPairFromPrivate(privateKey).publicKey };
};
export const GROUP = pairOf(1);
const WALL_MS = Date.UTC(2026, 0, 1);
const TICK_MS = 10;

/** One machine: a plane, what makes its sessions, and what it was told to do to its host. */
export class Machine {
  readonly host: Host;
  readonly end: SessionEnd;
  readonly log: LogRecord[];
  /** Calls to the host network, one sentence each. */
  readonly done: string[];
  /** Its host refuses to be configured. */
  refuses = false;
  /** Of a client: its host's network configuration. */
  network!: MemoryHost;
  /** What its events told, name and subject. */
  readonly told: string[] = [];

  constructor(host: Host, end: SessionEnd, log: LogRecord[], done: string[]) {
    this.host = host;
    this.end = end;
    this.log = log;
    this.done = done;
    host.plane.indexKeys.set(end.indexKeys ?? []);
    host.plane.cookieTags = end.cookieTagKey && new CookieTags(end.cookieTagKey);
    end.start(
      {
        post: (message) => void apply(host.plane, message),
        tunnels: host.plane.tunnels,
        deviceName: "tun0",
        socketFor: (family) => (family === 4 ? 0 : -1),
      },
      0,
    );
  }

  /** Handles all that waits, and passes on what the shard would; true if there was something. */
  work(): boolean {
    const { host, end } = this;
    let busy = host.turn();
    if (host.plane.control.count > 0) {
      const { words, bytes } = host.plane.control.drain();
      for (const entry of decodeHanded(words, bytes)) end.handed(entry);
      busy = true;
    }
    if (host.plane.events.count > 0) {
      const words = host.plane.events.drain();
      for (let at = 0; at < words.length; at += EVENT_WORDS) if (words[at] === CONFIRMED) end.confirmed(words[at + 1]);
      busy = true;
    }
    return busy;
  }

  /** Messages of one kind of event. */
  said(event: string): string[] {
    return this.log.filter((record) => record.event === event).map(({ message }) => message);
  }

  /** Rows of sessions in use. */
  rows(): number {
    return this.host.plane.tunnels.used.reduce((sum, n) => sum + n);
  }
}

/** A network with one node and any number of clients. Call `close` when done: it stops timers. */
export class World {
  readonly network = new MemoryNetwork();
  readonly store: Store = createMemoryStore();
  readonly machines: Machine[] = [];
  /** Every datagram that was handed to the network, with the sockets it went between. */
  readonly recorded: { readonly from: MemorySocket; readonly to: MemorySocket; readonly bytes: Uint8Array }[] = [];
  /** Sockets of machines that are gone, whose timers run on here. */
  readonly #dead = new Set<MemorySocket>();
  /** Of the network, without a look at who lives. */
  readonly #deliver: MemoryNetwork["deliver"];
  /** What is lost on the way. */
  loses: (datagram: Uint8Array) => boolean = () => false;
  #seed = 1;
  #nextKeepaliveMs = 0;

  constructor() {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "setTimeout", "clearTimeout"] });
    this.network.nowMs = 1000;
    this.#deliver = this.network.deliver.bind(this.network);
    // Keeps a copy of what passes; the network itself does what it always does.
    this.network.deliver = (from, source, w0, w1, w2, w3, port, bytes, at, len, tos) => {
      if (this.#dead.has(from)) return true;
      if (this.loses(bytes.subarray(at, at + len))) return true;
      const to = this.network.sockets.find((s) => s.port === port && s.address?.[3] === w3 && s.address[2] === w2);
      if (to) this.recorded.push({ from, to, bytes: bytes.slice(at, at + len) });
      return this.#deliver(from, source, w0, w1, w2, w3, port, bytes, at, len, tos);
    };
  }

  clock(skewMs = 0) {
    return {
      monotonicMs: () => this.network.nowMs,
      wallMs: () => WALL_MS + skewMs + this.network.nowMs,
    };
  }

  #log(clock: { monotonicMs(): number; wallMs(): number }) {
    const records: LogRecord[] = [];
    const sink = { level: DEBUG, write: (record: LogRecord) => void records.push(record), close: () => {} };
    return { records, logger: createLogger(clock, [sink]) };
  }

  /** A node at `address`; the same store as nodes before it. `skewMs`: how wrong its clock is. */
  node(
    options: { skewMs?: number; timing?: NodeTiming; networks?: readonly string[] } = {},
  ): Machine & { readonly end: NodeEnd; readonly spec: NodeSpec } {
    const clock = this.clock(options.skewMs);
    const { records, logger } = this.#log(clock);
    const spec: NodeSpec = {
      instance: {
        ...{
          name: "node",
          listen: [{ address: NODE, port: PORT }],
          senderId: 1,
          tunnels: [],
          shards: 1,
          fanoutMax: 256,
        },
        device: {
          ...{ type: "tun", name: undefined, mtuBytes: 1400, hostRoutes: [], postUp: undefined },
          addresses: [`${NODE_INNER}/24`],
        },
        ...{ floodPps: 1000, dscp: "copy", stateDir: "/nowhere", socketPath: "/nowhere" },
      },
      ...{ group: "example", privateKey: GROUP.privateKey, publicKey: GROUP.publicKey, addresses: [] },
      ...{ pool: ["198.51.100.0/24", "2001:db8:9::/64"], networks: options.networks ?? [], dns: [], clients: [] },
      ...{ keepaliveMs: 25_000, rekeyMs: 120_000, sessionsMax: 64, announce: NO_ANNOUNCE, cluster: undefined },
    };
    const host = new Host(this.network, { address: NODE, sessions: "node" });
    host.local(`${NODE_INNER}/32`);
    const events = new EventHub(clock);
    const ports = {
      clock,
      log: logger,
      entropy: seededEntropy(this.#seed++),
      store: this.store,
      pairOf: keyPairFromPrivate,
      events,
    };
    const machine = new Machine(host, new NodeEnd(spec, ports, options.timing), records, []);
    events.listen(({ event, subject }) => machine.told.push(`${event} ${subject}`));
    this.machines.push(machine);
    return Object.assign(machine as Machine & { readonly end: NodeEnd }, { spec });
  }

  /** Client number `n`, which the node admits as `recordOf(n)`. */
  client(
    n: number,
    options: {
      skewMs?: number;
      address?: string;
      groupKey?: Uint8Array;
      /** Whose word counts for other keys of the group. */
      operator?: Uint8Array;
      psk?: Uint8Array;
      killSwitch?: boolean;
      routes?: "everything";
      /** What an earlier start of it has kept, and in which boot this one is. */
      store?: Store;
      boot?: string;
      resolve?: Resolver;
      remotes?: ServiceSpec["remotes"];
      /** What the kernel hears of an address. */
      reach?: Reach;
    } = {},
  ): Machine & { readonly end: ClientEnd } {
    const clock = this.clock(options.skewMs);
    const { records, logger } = this.#log(clock);
    const own = keyOf(n);
    const done: string[] = [];
    const service: ServiceSpec = {
      ...{
        name: "example",
        remotes: options.remotes ?? [{ host: NODE, port: PORT }],
        publicKey: options.groupKey ?? GROUP.publicKey,
        operator: options.operator,
      },
      ...{ psk: options.psk ?? PSK, routes: options.routes, addresses: undefined, device: undefined },
      ...{ mtuBytes: undefined, keepaliveMs: 0, killSwitch: options.killSwitch ?? false },
      hooks: { dns: undefined, postUp: undefined, postDown: undefined },
    };
    const spec: ClientSpec = {
      ...{ name: `client${n}`, privateKey: own.privateKey, publicKey: own.publicKey, port: PORT },
      ...{ services: [service], stateDir: "/nowhere", socketPath: "/nowhere" },
    };
    const host = new Host(this.network, { address: options.address ?? `192.0.2.${10 + n}`, sessions: "client" });
    const events = new EventHub(clock);
    const memoryHost = createMemoryHost(done);
    memoryHost.refuse = () => (machine.refuses ? "no" : undefined);
    const end = new ClientEnd(spec, service, {
      ...{ clock, log: logger, entropy: seededEntropy(1000 + this.#seed++), host: memoryHost },
      ...{ resolve: options.resolve ?? (async (name) => [name]), probe: async () => options.reach ?? "silent" },
      ...{ path: "/bin", events, boot: options.boot ?? "boot" },
      store: options.store ?? createMemoryStore(),
    });
    const machine: Machine = new Machine(host, end, records, done);
    machine.network = memoryHost;
    events.listen(({ event, subject }) => machine.told.push(`${event} ${subject}`));
    this.machines.push(machine);
    return machine as Machine & { readonly end: ClientEnd };
  }

  /** The machine is gone, as by kill -9: its socket is closed, nothing was said. */
  kill(machine: Machine): void {
    const { address } = machine.host;
    const { w3 } = parseAddress(address)!;
    const at = this.network.sockets.findIndex((socket) => socket.address?.[3] === w3);
    for (const socket of this.network.sockets.splice(at, 1)) this.#dead.add(socket);
    this.machines.splice(this.machines.indexOf(machine), 1);
  }

  /** Lets time pass in steps, with all that happens in it. */
  async run(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= TICK_MS) {
      this.network.nowMs += TICK_MS;
      await vi.advanceTimersByTimeAsync(TICK_MS);
      if (this.network.nowMs >= this.#nextKeepaliveMs) {
        this.#nextKeepaliveMs = this.network.nowMs + 250;
        for (const { host } of this.machines) turnKeepalive(host.plane, this.network.nowMs);
      }
      this.settle();
    }
  }

  settle(): void {
    for (let busy = true; busy; ) {
      busy = false;
      for (const machine of this.machines) busy = machine.work() || busy;
    }
  }

  /** Hands recorded datagrams to the network once more, as somebody on the path can. */
  replay(recorded: World["recorded"][number]): void {
    const [w0, w1, w2, w3] = recorded.to.address!;
    const { bytes, from, to } = recorded;
    this.#deliver(from, from.address!, w0, w1, w2, w3, to.port, bytes, 0, bytes.length, 0);
    this.settle();
  }

  close(): void {
    vi.useRealTimers();
  }
}

export const keyOf = (n: number) => pairOf(100 + n);
export const addressOf = (n: number) => `198.51.100.${100 + n}`;
export const publicKeyOf = (n: number) => formatKey(keyOf(n).publicKey);

export const recordOf = (n: number, change: Partial<ClientRecord> = {}): ClientRecord => ({
  ...{ name: `client${n}`, publicKey: publicKeyOf(n), psk: formatKey(PSK) },
  ...{ addresses: [addressOf(n), `2001:db8:9::${n + 1}`], prefixes: [], modes: ["tunnel"] },
  ...{ origin: "api", createdMs: 0 },
  ...change,
});

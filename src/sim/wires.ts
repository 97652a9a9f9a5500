/**
 * What lies between machines: the anycast service with a catchment for each client, the clients' NATs, and the node link.
 * Loses, doubles, delays and cuts as it is told. Remembers what clients sent, as somebody on the path can.
 */
import type { Prng } from "../base/prng.ts";
import type { Endpoint } from "../cluster/endpoint.ts";
import type { MemoryNetwork, MemorySocket } from "../drivers/memory_network.ts";
import { type Machine, SERVICE_PORT } from "./machine.ts";
import type { Weather } from "./plan.ts";
import type { VirtualTime } from "./virtual_time.ts";

export const SERVICE = "192.0.2.1";
/** Last words of addresses, IPv4. */
const SERVICE_WORD = 0xc0000201 | 0;
const CLIENT_WORD = 0xc000020a;
const LINK_WORD = 0xc6336400;
const ATTACKER = [0, 0, 0xffff, 0xcb007107 | 0] as const;
const LINK_PORT = 4445;
const RECORDED_MAX = 4096;
/** So long a datagram that was lost or late between two nodes counts as "cut off". */
const TROUBLE_MS = 1500;
/** Hold time, less what shards and retries take. */
const LATE_MS = 2;

export const addressOfClient = (client: number): string => `192.0.2.${10 + client}`;
export const linkOf = (node: number): Endpoint => ({
  ...{ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: (LINK_WORD + node) | 0, port: LINK_PORT },
});

interface Recorded {
  readonly client: number;
  readonly bytes: Uint8Array;
}

export class Wires {
  readonly network: MemoryNetwork;
  readonly weather: Record<"access" | "link" | "bus", Weather>;
  /** Node that has each client's packets, by client. */
  readonly catchment: number[];
  /** Outer port of each client, by client. */
  readonly ports: number[];
  /** "from>to" of nodes, "client>" and ">client": nothing goes there. Counted, since cuts overlap. */
  readonly cuts = new Map<string, number>();
  /** By node, and by client. */
  readonly nodes = new Map<number, Machine>();
  readonly clients = new Map<number, Machine>();
  readonly links = new Map<number, (from: Endpoint, bytes: Uint8Array) => void>();
  /** Changes with everything that arrives: two runs of one seed must agree on it. */
  trace = 0x811c9dc5;
  readonly recorded: Recorded[] = [];
  replayed = 0;
  forged = 0;
  /** What nodes sent to each other over the node link: UDP payload. */
  readonly load = { datagrams: 0, bytes: 0 };
  readonly #time: VirtualTime;
  readonly #prng: Prng;
  readonly #deliver: MemoryNetwork["deliver"];
  /** When the link between two nodes last lost something or was slow, by "low-high". */
  readonly #trouble = new Map<string, number>();

  constructor(network: MemoryNetwork, time: VirtualTime, prng: Prng, weather: Wires["weather"], clients: number) {
    this.network = network;
    this.#time = time;
    this.#prng = prng;
    this.weather = weather;
    this.catchment = Array.from({ length: clients }, () => 1);
    this.ports = Array.from({ length: clients }, () => SERVICE_PORT);
    this.#deliver = network.deliver.bind(network);
    network.deliver = (from, _source, _w0, _w1, _w2, w3, port, bytes, at, len) => {
      this.#sent(from, w3, port, bytes.slice(at, at + len));
      return true;
    };
  }

  unit(): number {
    return this.#prng.nextU32() / 2 ** 32;
  }

  /** Somebody sends what a client once sent, to a node of his choice, from an address of his own or the client's. */
  replay(): void {
    const recorded = this.recorded[this.#prng.nextBelow(Math.max(1, this.recorded.length))];
    const nodes = [...this.nodes.values()];
    if (recorded === undefined || nodes.length === 0) return;
    const { client, bytes } = recorded;
    const own = this.unit() < 0.5;
    const port = own ? 666 : this.ports[client];
    const source = own ? ATTACKER : sourceOf(client);
    this.replayed++;
    this.#arrive(nodes[this.#prng.nextBelow(nodes.length)], source, port, SERVICE_WORD, bytes.slice());
  }

  /** Somebody off the path sends a datagram to a node in the name of a client. */
  forge(node: number, client: number, bytes: Uint8Array): void {
    const machine = this.nodes.get(node);
    if (machine === undefined) return;
    this.forged++;
    this.#arrive(machine, sourceOf(client), this.ports[client], SERVICE_WORD, bytes);
  }

  sendLink(from: number, to: Endpoint, bytes: Uint8Array): void {
    const node = to.w3 - (LINK_WORD | 0);
    const copy = bytes.slice();
    this.load.datagrams++;
    this.load.bytes += bytes.length;
    const delays = this.isCut(`${from}>${node} link`) ? [] : this.#delays("link");
    if (delays.length === 0 || delays[0] > LATE_MS) this.#trouble.set(pair(from, node), this.#time.nowMs);
    for (const delayMs of delays) {
      this.#time.later(delayMs, () => {
        const machine = this.nodes.get(node);
        if (machine === undefined) return;
        this.#note(copy);
        this.#time.as(machine.life, () => this.links.get(node)?.(linkOf(from), copy.slice()));
      });
    }
  }

  /** Of one segment of TCP between two nodes; undefined: it is lost. */
  linkDelay(): number | undefined {
    return this.#delays("link")[0];
  }

  /**
   * Whether two living nodes may take each other for dead or slow: something between them went wrong lately, or one has
   * just started, which the other believes when the start before it has been silent for a second.
   */
  inTrouble(a: number, b: number): boolean {
    const starts = [a, b].map((node) => this.nodes.get(node)?.sinceMs ?? 0);
    const since = Math.max(this.#trouble.get(pair(a, b)) ?? 0, ...starts);
    return this.#time.nowMs - since < TROUBLE_MS;
  }

  isCut(name: string): boolean {
    return (this.cuts.get(name) ?? 0) > 0;
  }

  /** Times at which copies of a datagram arrive; none: it is lost. */
  #delays(path: "access" | "link"): number[] {
    const { loss, doubled, minMs, maxMs } = this.weather[path];
    if (this.unit() < loss) return [];
    const delay = () => minMs + (maxMs - minMs) * this.unit();
    return this.unit() < doubled ? [delay(), delay()] : [delay()];
  }

  #sent(from: MemorySocket, w3: number, port: number, bytes: Uint8Array): void {
    if (w3 === SERVICE_WORD) this.#toService(from, bytes);
    else this.#toClient(from, w3 - (CLIENT_WORD | 0), port, bytes);
  }

  #toService(from: MemorySocket, bytes: Uint8Array): void {
    const client = from.address![3] - (CLIENT_WORD | 0);
    if (this.recorded.length < RECORDED_MAX) this.recorded.push({ client, bytes });
    else this.recorded[this.#prng.nextBelow(RECORDED_MAX)] = { client, bytes };
    const [node, port] = [this.catchment[client], this.ports[client]];
    if (this.isCut(`${client}>`)) return;
    for (const delayMs of this.#delays("access")) {
      this.#time.later(delayMs, () => {
        const machine = this.nodes.get(node);
        if (machine) this.#arrive(machine, sourceOf(client), port, SERVICE_WORD, bytes);
      });
    }
  }

  #toClient(from: MemorySocket, client: number, port: number, bytes: Uint8Array): void {
    if (this.isCut(`>${client}`)) return;
    for (const delayMs of this.#delays("access")) {
      this.#time.later(delayMs, () => {
        const machine = this.clients.get(client);
        if (machine === undefined || this.ports[client] !== port) return;
        this.#arrive(machine, from.address!, SERVICE_PORT, sourceOf(client)[3], bytes);
      });
    }
  }

  #arrive(
    machine: Machine,
    source: readonly [number, number, number, number],
    port: number,
    w3: number,
    bytes: Uint8Array,
  ): void {
    const socket = machine.socket;
    const from = { ...socket, address: source, port };
    this.network.carries = (_, to) => to === socket;
    this.#note(bytes);
    if (this.#deliver(from, source, 0, 0, 0xffff, w3, SERVICE_PORT, bytes, 0, bytes.length, 0)) machine.arrived++;
    this.#time.as(machine.life, () => machine.work());
  }

  #note(bytes: Uint8Array): void {
    let hash = this.trace ^ Math.round(this.#time.nowMs * 1000);
    for (let k = 0; k < bytes.length; k += 7) hash = Math.imul(hash ^ bytes[k], 0x01000193);
    this.trace = hash;
  }
}

const sourceOf = (client: number) => [0, 0, 0xffff, (CLIENT_WORD + client) | 0] as const;
const pair = (a: number, b: number) => `${Math.min(a, b)}-${Math.max(a, b)}`;

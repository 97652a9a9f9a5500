/**
 * One run: a whole group on one virtual clock, with clients, faults and somebody who replays, all from one plan. Says what
 * happens to machines; what must hold is in `checks.ts`.
 */
import { Prng } from "../base/prng.ts";
import type { Bus, BusListener } from "../cluster/bus.ts";
import { type LifelineEvent, type LifelineOptions, PAUSE_MS } from "../cluster/lifeline_types.ts";
import type { ClientEnd } from "../control/client/client_end.ts";
import type { NodeGroup } from "../control/group/node_group.ts";
import type { NodeEnd } from "../control/node/node_end.ts";
import type { NodeSpec } from "../control/spec/instance.ts";
import type { LifelinePort, Store } from "../control/spec/ports.ts";
import { createLease, isFenced, type Lease, raiseFence, renewLease } from "../dataplane/lease.ts";
import { MemoryHub } from "../drivers/memory_bus.ts";
import { MemoryLifelines } from "../drivers/memory_lifeline.ts";
import { MemoryNetwork } from "../drivers/memory_network.ts";
import { createMemoryStore } from "../drivers/memory_store.ts";
import { Ledger, type Packet } from "./ledger.ts";
import { Machine } from "./machine.ts";
import {
  clockOf,
  FLEET_KEY,
  innerOfClient,
  LOCAL,
  logOf,
  makeClient,
  makeNode,
  NODE_INNER,
  ROWS,
  seededEntropy,
} from "./members.ts";
import { FAIR, type Fault, type Plan } from "./plan.ts";
import { madeUp } from "./stranger.ts";
import { Takeovers } from "./takeovers.ts";
import { type Life, VirtualTime } from "./virtual_time.ts";
import { addressOfClient, SERVICE, Wires } from "./wires.ts";

const PART_EVERY_MS = 20;
const PART_FOR_MS = 500;
/** Mean time between packets of nodes to clients. */
const NODE_EVERY_MS = 60;
const BURST = 8;
/** Of crashes: those of the whole host, of which nobody hears. */
const HOSTS = 0.3;

export interface SimNode {
  readonly node: number;
  readonly machine: Machine;
  readonly end: NodeEnd;
  readonly group: NodeGroup;
  /** Its file at its start. */
  readonly spec: NodeSpec;
  readonly sinceMs: number;
  /** Undefined until other nodes were asked what they know. */
  bus: Bus | undefined;
}

export interface SimClient {
  readonly client: number;
  readonly machine: Machine;
  readonly end: ClientEnd;
}

/** What went through the engine. */
export interface BusLoad {
  puts: number;
  putBytes: number;
  shouts: number;
  shoutBytes: number;
}

/** In the calm at the end all nodes are there when their files change once more. */
const RELOAD_MS = 200;
const MANY_NETWORKS = 300;

export class World {
  readonly plan: Plan;
  readonly time: VirtualTime;
  readonly wires: Wires;
  readonly ledger = new Ledger();
  readonly takeovers: Takeovers;
  readonly nodes = new Map<number, SimNode>();
  readonly clients = new Map<number, SimClient>();
  readonly bus: BusLoad = { puts: 0, putBytes: 0, shouts: 0, shoutBytes: 0 };
  flips = 0;
  /** What ended on its own, as sentences. */
  readonly refused: string[] = [];
  readonly #hub: MemoryHub;
  readonly #lifelines: MemoryLifelines;
  /** Of the present start of each node. */
  readonly #lives = new Map<number, Life>();
  readonly #prng: Prng;
  readonly #stranger: Prng;
  readonly #disks = new Map<string, Store>();
  readonly #leaving = new Set<number>();
  readonly #tell: ((line: string) => void) | undefined;
  #starts = 0;
  /** How often the nodes' files were changed. */
  #edition = 0;
  #calm = false;

  constructor(plan: Plan, tell?: (line: string) => void) {
    this.plan = plan;
    const network = new MemoryNetwork();
    this.time = new VirtualTime(network);
    this.#prng = new Prng(plan.seed + 2 ** 40);
    this.#stranger = new Prng(plan.seed + 2 ** 42);
    const weather = { ...plan.weather };
    this.wires = new Wires(network, this.time, new Prng(plan.seed + 2 ** 41), weather, plan.clients.length);
    this.#tell = tell && ((line) => tell(`${(this.time.nowMs / 1000).toFixed(3)} ${line}`));
    const random = () => this.wires.unit();
    this.#hub = new MemoryHub({
      nowMs: () => this.time.nowMs,
      later: (delayMs, work) => void this.time.later(delayMs, work),
      random,
    });
    this.#lifelines = new MemoryLifelines({
      now: (node) => {
        const { monotonicMs, wallMs } = clockOf(this.time, plan.nodes[node - 1].skewMs);
        return { ms: monotonicMs(), wallMs: wallMs() };
      },
      later: (delayMs, act) => void this.time.later(delayMs, act),
      delayMs: () => this.wires.linkDelay(),
      isCut: (from, to) => this.wires.isCut(`${from}>${to} link`),
      as: (node, act) => this.time.as(this.#lives.get(node)!, act),
    });
    this.#hub.links.delayMs = () => {
      const { minMs, maxMs } = this.wires.weather.bus;
      return minMs + (maxMs - minMs) * random();
    };
    this.#hub.links.lostShouts = plan.weather.bus.loss;
    this.#hub.links.doubled = plan.weather.bus.doubled;
    this.takeovers = new Takeovers(
      FLEET_KEY,
      this.wires.nodes,
      () => this.time.nowMs,
      (a, b) => this.wires.inTrouble(a, b),
    );
  }

  /** Until the end of the faults. */
  async run(): Promise<void> {
    const { plan, time } = this;
    plan.nodes.forEach(({ startMs }, k) => void time.later(startMs, () => this.#startNode(k + 1)));
    plan.clients.forEach((_, client) => {
      this.wires.catchment[client] = 1 + this.#prng.nextBelow(plan.nodes.length);
      time.later(100 + 900 * this.#unit(), () => this.#startClient(client));
      this.#sendLater(client);
    });
    this.#nodeSendsLater();
    if (plan.replayEveryMs > 0) this.#replayLater();
    if (plan.strangerEveryMs > 0) this.#forgeLater();
    for (const { atMs, forMs, fault } of plan.incidents) time.later(atMs, () => this.#strike(fault, forMs));
    time.later(plan.forMs * this.#unit(), () => this.#reload(plan.forMs / 4));
    await time.pass(plan.forMs);
  }

  /** The files of all nodes announce other networks; each node reads its own within so many ms. */
  #reload(withinMs: number): void {
    this.#edition++;
    for (const { node, end, machine, spec } of this.nodes.values())
      this.time.later(
        withinMs * this.#unit(),
        () => {
          this.#say(`node ${node} reads its file again`);
          end.reconfigure({ ...spec, networks: this.#networks() });
        },
        machine.life,
      );
  }

  /** With every other seed more than a grant has room for. */
  #networks(): string[] {
    const count = this.plan.seed % 2 === 0 ? 3 : MANY_NETWORKS;
    return Array.from({ length: count }, (_, k) => `10.${2 * this.#edition + Math.floor(k / 256)}.${k % 256}.0/24`);
  }

  /** From now on nothing breaks, and what is broken mends. */
  calm(): void {
    this.#calm = true;
    const { wires } = this;
    Object.assign(wires.weather, { access: FAIR, link: FAIR, bus: FAIR });
    Object.assign(this.#hub.links, { lostShouts: 0, doubled: 0 });
    wires.cuts.clear();
    const ids = this.plan.nodes.map((_, k) => k + 1);
    for (const from of ids) for (const to of ids) if (from !== to) this.#hub.heal(from, to);
    for (const node of ids) {
      this.#hub.setEngine(node, true);
      if (!this.nodes.has(node)) this.#startNode(node);
    }
    this.plan.clients.forEach((_, client) => {
      if (!this.clients.has(client)) this.#startClient(client);
      this.#reroute(client);
    });
    this.time.later(RELOAD_MS, () => this.#reload(0));
  }

  /** Ends all machines. */
  close(): void {
    for (const { machine } of [...this.nodes.values(), ...this.clients.values()]) machine.kill();
  }

  sendFromClient(client: number, dst: string): Packet | undefined {
    const machine = this.clients.get(client)?.machine;
    if (machine === undefined) return undefined;
    const { packet, bytes } = this.ledger.make(client, innerOfClient(client), dst);
    machine.sendFromHost(bytes);
    return packet;
  }

  sendFromNode(node: number, client: number): Packet | undefined {
    const machine = this.nodes.get(node)?.machine;
    if (machine === undefined) return undefined;
    const { packet, bytes } = this.ledger.make(undefined, NODE_INNER, innerOfClient(client));
    machine.sendFromHost(bytes);
    return packet;
  }

  #unit(): number {
    return this.#prng.nextU32() / 2 ** 32;
  }

  #disk(name: string, kept: boolean): Store {
    const known = this.#disks.get(name);
    if (known !== undefined && kept) return known;
    const store = createMemoryStore();
    this.#disks.set(name, store);
    return store;
  }

  #startNode(node: number, kept = true): void {
    if (this.nodes.has(node) || this.#leaving.has(node)) return;
    const { time, wires, plan } = this;
    const lease = createLease(PAUSE_MS);
    const machine = new Machine(time, wires.network, {
      ...{ side: "node", address: SERVICE, rows: ROWS, threadMs: plan.threadMs, lease },
      watchCrypto: (memory, self) =>
        this.ledger.watch(
          memory,
          (n) => {
            self.sealedRows += n;
          },
          ({ packet }) => this.#accepted(node, packet),
        ),
      onDevice: (packet) => this.#accepted(node, this.ledger.packetIn(packet)?.id ?? -1),
      onMessage: (message) => this.takeovers.message(node, message),
      onYielded: (answer) => this.takeovers.yielded(node, answer),
    });
    this.#say(`node ${node} starts`);
    this.#lives.set(node, machine.life);
    time.as(machine.life, () => {
      const { end, group, spec } = makeNode(plan, node, this.#networks(), {
        ...{ time, entropy: seededEntropy(plan.seed * 1000 + this.#starts++), skewMs: plan.nodes[node - 1].skewMs },
        ...{ log: logOf(time, `node ${node}`, this.#tell), store: this.#disk(`node ${node}`, kept) },
        link: {
          onDatagram: (receive) => void wires.links.set(node, receive),
          send: (to, bytes) => wires.sendLink(node, to, bytes),
          close: () => void wires.links.delete(node),
        },
        lifeline: (options) => this.#lifeline(machine, lease, options),
        openBus: (listener) => {
          self.bus = this.#openBus(node, machine, listener);
          return self.bus;
        },
      });
      void end.failed.then((error) => {
        if (machine.life.alive) this.refused.push(`node ${node}: ${error.message}`);
      });
      wires.nodes.set(node, machine);
      machine.apply(LOCAL);
      const self: SimNode = { node, machine, end, group, spec, sinceMs: time.nowMs, bus: undefined };
      machine.start(end);
      this.nodes.set(node, self);
    });
  }

  #lifeline({ life }: Machine, lease: Lease, options: LifelineOptions): LifelinePort {
    const { time, plan } = this;
    let listener = (_: LifelineEvent) => {};
    const tell = (event: LifelineEvent) => {
      if (event.kind === "fenced") raiseFence(lease, event.fence);
      time.later(plan.threadMs, () => listener(event), life);
    };
    const { heard, agreed, setPeers, status, close } = this.#lifelines.start(options, tell, (nowMs) =>
      renewLease(lease, nowMs),
    );
    return {
      lease,
      onEvent(next) {
        listener = next;
      },
      ...{ heard, agreed, setPeers, status, close, ran() {}, fenced: () => isFenced(lease, time.nowMs) },
    };
  }

  #openBus(node: number, machine: Machine, listener: BusListener): Bus {
    const { time } = this;
    const hear = (act: () => void) => {
      if (machine.life.alive) time.as(machine.life, act);
    };
    const bus = this.#hub.open(node, {
      record: (from, key, value) => hear(() => listener.record(from, key, value)),
      shout: (from, message) => {
        this.takeovers.shout(node, from, message);
        hear(() => listener.shout(from, message));
      },
      state: (connected, why) => hear(() => listener.state(connected, why)),
      caughtUp: () => hear(() => listener.caughtUp()),
    });
    const load = this.bus;
    return {
      put(entries) {
        load.puts += entries.length;
        for (const { key, value } of entries) load.putBytes += key.length + (value?.length ?? 0);
        bus.put(entries);
      },
      shout(message) {
        load.shouts++;
        load.shoutBytes += message.length;
        bus.shout(message);
      },
      status: () => bus.status(),
      close: () => bus.close(),
    };
  }

  #startClient(client: number, kept = true): void {
    if (this.clients.has(client)) return;
    const { time, wires, plan } = this;
    const machine = new Machine(time, wires.network, {
      ...{ side: "client", address: addressOfClient(client), rows: 0, threadMs: plan.threadMs },
      watchCrypto: (memory, self) =>
        this.ledger.watch(
          memory,
          (n) => {
            self.sealedRows += n;
          },
          ({ packet: id, senderId, mux, seq }) => {
            const packet = this.ledger.packets[id];
            if (packet === undefined) return;
            packet.index = senderId * 2 ** 15 + (mux & 0x7fff);
            packet.seq = seq;
          },
        ),
      onDevice: (packet) => this.ledger.packetIn(packet)?.received.push(client),
    });
    this.#say(`client ${client} starts`);
    wires.clients.set(client, machine);
    const end = makeClient(client, {
      ...{ time, entropy: seededEntropy(plan.seed * 1000 + 500 + this.#starts++) },
      ...{ skewMs: plan.clients[client].skewMs, store: this.#disk(`client ${client}`, kept) },
      log: logOf(time, `client ${client}`, this.#tell),
    });
    machine.start(end);
    this.clients.set(client, { client, machine, end });
  }

  /** A node took a packet of a client: it came out of its device, or goes to another client. */
  #accepted(node: number, id: number): void {
    const packet = this.ledger.packets[id];
    if (packet?.client === undefined) return;
    this.takeovers.accepted(packet, node);
    packet.accepted.push(node);
  }

  #sendLater(client: number): void {
    const { everyMs, flipChance } = this.plan.clients[client];
    this.time.later(everyMs * 2 * this.#unit(), () => {
      if (this.#calm) return;
      const count = this.#unit() < 0.05 ? BURST : 1;
      for (let k = 0; k < count; k++) {
        if (this.#unit() < flipChance) this.#move(client);
        const other = this.#prng.nextBelow(this.plan.clients.length);
        this.sendFromClient(client, other !== client && this.#unit() < 0.3 ? innerOfClient(other) : NODE_INNER);
      }
      this.#sendLater(client);
    });
  }

  #nodeSendsLater(): void {
    this.time.later(NODE_EVERY_MS * 2 * this.#unit(), () => {
      if (this.#calm) return;
      const node = 1 + this.#prng.nextBelow(this.plan.nodes.length);
      this.sendFromNode(node, this.#prng.nextBelow(this.plan.clients.length));
      this.#nodeSendsLater();
    });
  }

  #replayLater(): void {
    this.time.later(this.plan.replayEveryMs * 2 * this.#unit(), () => {
      if (this.#calm) return;
      this.wires.replay();
      this.#replayLater();
    });
  }

  /** With numbers of its own, so that everything else happens as without it. */
  #forgeLater(): void {
    const prng = this.#stranger;
    this.time.later((this.plan.strangerEveryMs * 2 * prng.nextU32()) / 2 ** 32, () => {
      if (this.#calm) return;
      const client = prng.nextBelow(this.plan.clients.length);
      const node = 1 + prng.nextBelow(this.plan.nodes.length);
      const seen = this.clients
        .get(client)
        ?.end.status()
        .sessions.find(({ current }) => current)?.id;
      this.wires.forge(node, client, madeUp(prng, seen));
      this.#forgeLater();
    });
  }

  #move(client: number): void {
    const { catchment } = this.wires;
    const others = [...this.nodes.keys()].filter((node) => node !== catchment[client] && !this.#leaving.has(node));
    if (others.length === 0) return;
    catchment[client] = others[this.#prng.nextBelow(others.length)];
    this.flips++;
  }

  /** Off nodes that are not there. */
  #reroute(client: number): void {
    const node = this.wires.catchment[client];
    if (!this.nodes.has(node) || this.#leaving.has(node)) this.#move(client);
  }

  #strike(fault: Fault, forMs: number): void {
    if (this.#calm) return;
    this.#say(`${JSON.stringify(fault)} for ${Math.round(forMs)} ms`);
    switch (fault.kind) {
      case "cut": {
        const { from, to, what } = fault;
        if (what !== "bus") this.#cut(`${from}>${to} link`, forMs);
        if (what === "link") return;
        this.#hub.cut(from, to);
        this.time.later(forMs, () => this.#hub.heal(from, to));
        return;
      }
      case "deaf":
        this.#cut(`>${fault.client}`, forMs);
        return;
      case "mute":
        this.#cut(`${fault.client}>`, forMs);
        return;
      case "engine_down":
        this.#hub.setEngine(fault.node, false);
        this.time.later(forMs, () => this.#hub.setEngine(fault.node, true));
        return;
      case "crash":
        this.#crash(fault.node, fault.disk === "kept", forMs);
        return;
      case "drain":
        this.#drain(fault.node, forMs);
        return;
      case "client_crash": {
        const { client, disk } = fault;
        this.clients.get(client)?.machine.kill();
        this.clients.delete(client);
        this.wires.clients.delete(client);
        this.time.later(forMs, () => this.#startClient(client, disk === "kept"));
        return;
      }
      case "rebind":
        this.wires.ports[fault.client]++;
        return;
      case "attract":
        this.wires.catchment.forEach((_, client) => {
          if (!this.nodes.has(fault.node) || this.#leaving.has(fault.node)) return;
          this.wires.catchment[client] = fault.node;
          this.flips++;
        });
        return;
    }
  }

  #cut(name: string, forMs: number): void {
    const { cuts } = this.wires;
    cuts.set(name, (cuts.get(name) ?? 0) + 1);
    this.time.later(forMs, () => {
      if (cuts.has(name)) cuts.set(name, cuts.get(name)! - 1);
    });
  }

  #crash(node: number, kept: boolean, forMs: number): void {
    const dead = this.nodes.get(node);
    if (dead === undefined || this.#leaving.has(node)) return;
    this.#remove(dead, this.#unit() < HOSTS);
    void dead.bus?.close();
    this.time.later(this.plan.withdrawMs, () => {
      for (let client = 0; client < this.plan.clients.length; client++) this.#reroute(client);
    });
    this.time.later(forMs, () => this.#startNode(node, kept));
  }

  /** `host`: it is without power, too. */
  #remove({ node, machine }: SimNode, host = false): void {
    machine.kill();
    this.#lifelines.kill(node, host);
    this.nodes.delete(node);
    this.wires.nodes.delete(node);
    this.wires.links.delete(node);
    this.takeovers.forget(node);
  }

  /** As `anyhop drain` does: routes go, windows are handed over, the daemon ends; later it starts again. */
  #drain(node: number, forMs: number): void {
    const draining = this.nodes.get(node);
    if (draining === undefined || this.#leaving.has(node) || this.nodes.size < 2) return;
    const { machine, group, end } = draining;
    this.#leaving.add(node);
    this.time.as(machine.life, () => group.drain("draining"));
    this.wires.catchment.forEach((_, client) => {
      this.time.later(forMs * this.#unit(), () => this.#reroute(client));
    });
    const goneMs = this.time.nowMs + forMs + PART_FOR_MS;
    const part = () => {
      if (group.part() > 0 && this.time.nowMs < goneMs) {
        this.time.later(PART_EVERY_MS, part, machine.life);
        return;
      }
      group.drain("leaving");
      this.time.later(
        PART_EVERY_MS,
        () => {
          end.stop();
          this.time.later(
            PART_EVERY_MS,
            () => {
              this.#remove(draining);
              this.#leaving.delete(node);
              this.time.later(forMs, () => this.#startNode(node));
            },
            this.time.world,
          );
        },
        machine.life,
      );
    };
    this.time.later(forMs, part, machine.life);
  }

  #say(line: string): void {
    this.#tell?.(line);
  }
}

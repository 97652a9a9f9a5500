/**
 * The bus for several nodes in one process, on a virtual clock: twin of `nats_bus.ts` for simulations. Each node has an
 * island that keeps its own subtree and copies of the others', and outlives the node. Links between islands have a delay
 * and can be cut in one direction; shouts can be lost, and everything can come twice.
 */
import { type Bus, type BusListener, type BusStatus, type Entry, LIVE_MS, SHOUT_LEN_MAX } from "../cluster/bus.ts";
import { kindOf } from "../cluster/bus_subjects.ts";
import { BusErrors, entryFault } from "./bus_entries.ts";

/** Time and chance of the simulation. */
export interface MemoryHubOptions {
  nowMs(): number;
  /** Runs `work` once, `delayMs` from now; in order when times are equal. */
  later(delayMs: number, work: () => void): void;
  /** Uniform in [0, 1). */
  random(): number;
}

/** What the links between islands do; changed at any time. */
export interface MemoryLinks {
  /** One way, in ms. */
  delayMs(from: number, to: number): number;
  /** Part of the shouts that is lost. */
  lostShouts: number;
  /** Part of records and shouts that comes twice. */
  doubled: number;
}

interface Stored {
  readonly value: Uint8Array | undefined;
  readonly seq: number;
  readonly putMs: number;
}

interface Island {
  readonly node: number;
  up: boolean;
  /** Number of the last put. */
  seq: number;
  readonly own: Map<string, Stored>;
  readonly copies: Map<number, { upTo: number; readonly entries: Map<string, Stored> }>;
  daemon: MemoryBus | undefined;
}

export class MemoryHub {
  readonly links: MemoryLinks = { delayMs: () => 1, lostShouts: 0, doubled: 0 };
  readonly options: MemoryHubOptions;
  readonly #islands = new Map<number, Island>();
  readonly #cuts = new Set<string>();

  constructor(options: MemoryHubOptions) {
    this.options = options;
  }

  /** A daemon comes to its island, which is made when there is none. */
  open(node: number, listener: BusListener): Bus {
    const island = this.#island(node);
    if (island.daemon !== undefined) throw new Error(`Node ${node} has a bus already.`);
    island.daemon = new MemoryBus(this, island, listener);
    return island.daemon;
  }

  /** Nothing goes from one node to another any more; the other way it may. */
  cut(from: number, to: number): void {
    this.#cuts.add(`${from} ${to}`);
  }
  heal(from: number, to: number): void {
    this.#cuts.delete(`${from} ${to}`);
    this.replicate(this.#island(from), this.#island(to));
  }

  /** The island of a node stops, or comes back with all that it had. */
  setEngine(node: number, up: boolean): void {
    const island = this.#island(node);
    if (island.up === up) return;
    island.up = up;
    island.daemon?.turned();
    if (!up) return;
    for (const other of this.#islands.values()) {
      if (other === island) continue;
      this.replicate(island, other);
      this.replicate(other, island);
    }
  }

  islands(): Iterable<Island> {
    return this.#islands.values();
  }
  isOpen(from: Island, to: Island): boolean {
    return from.up && to.up && !this.#cuts.has(`${from.node} ${to.node}`);
  }

  /** Everything that was put until now arrives after the delay, if the link is open then. */
  replicate(from: Island, to: Island): void {
    const upTo = from.seq;
    this.options.later(this.links.delayMs(from.node, to.node), () => {
      if (!this.isOpen(from, to)) return;
      const copy = this.copy(to, from.node);
      const news = [...from.own].filter(([, { seq }]) => seq > copy.upTo && seq <= upTo);
      copy.upTo = Math.max(copy.upTo, upTo);
      for (const [key, stored] of news.sort((a, b) => a[1].seq - b[1].seq)) {
        copy.entries.set(key, stored);
        to.daemon?.give(from.node, key, stored);
      }
      to.daemon?.checkSnapshot();
    });
  }

  copy(island: Island, from: number) {
    let copy = island.copies.get(from);
    if (copy === undefined) {
      copy = { upTo: 0, entries: new Map() };
      island.copies.set(from, copy);
    }
    return copy;
  }

  shout(from: Island, message: Uint8Array): void {
    for (const to of this.#islands.values()) {
      if (to === from || this.options.random() < this.links.lostShouts) continue;
      const times = this.options.random() < this.links.doubled ? 2 : 1;
      for (let n = 0; n < times; n++)
        this.options.later(this.links.delayMs(from.node, to.node), () => {
          if (this.isOpen(from, to)) to.daemon?.hear(from.node, message.slice());
        });
    }
  }

  #island(node: number): Island {
    const known = this.#islands.get(node);
    if (known !== undefined) return known;
    const island: Island = { node, up: true, seq: 0, own: new Map(), copies: new Map(), daemon: undefined };
    for (const other of this.#islands.values()) {
      this.replicate(other, island);
    }
    this.#islands.set(node, island);
    return island;
  }
}

class MemoryBus implements Bus {
  readonly #hub: MemoryHub;
  readonly #island: Island;
  readonly #listener: BusListener;
  readonly #outbox = new Map<string, Uint8Array | undefined>();
  readonly #errors: BusErrors;
  readonly #heard = new Map<number, number>();
  /** How far the copies must be for the snapshot; undefined: it was given. */
  #goals: Map<number, number> | undefined;
  /** The last state that the listener was told. */
  #told: boolean | undefined;
  #recovered = false;
  #closed = false;

  constructor(hub: MemoryHub, island: Island, listener: BusListener) {
    this.#hub = hub;
    this.#island = island;
    this.#listener = listener;
    this.#errors = new BusErrors(() => hub.options.nowMs());
    hub.options.later(0, () => this.#begin());
  }

  put(entries: readonly Entry[]): void {
    if (this.#closed) return;
    for (const entry of entries) {
      const fault = entryFault(entry);
      if (fault !== undefined) this.#errors.add("bad_entry", fault);
      else this.#outbox.set(entry.key, entry.value && new Uint8Array(entry.value));
    }
    this.#flush();
  }

  shout(message: Uint8Array): void {
    if (message.length > SHOUT_LEN_MAX) this.#errors.add("bad_entry", `a shout has ${message.length} bytes`);
    else if (!this.#closed && this.#island.up) this.#hub.shout(this.#island, new Uint8Array(message));
  }

  status(): BusStatus {
    const peers = [...this.#hub.islands()].filter((other) => other !== this.#island);
    return {
      kind: "memory",
      connected: this.#told === true,
      why: this.#told === true ? "" : this.#why(),
      server: "",
      caughtUp: this.#told === true && this.#goals === undefined,
      outbox: this.#outbox.size,
      peers: peers.map(({ node, seq }) => ({
        node,
        lag: seq - this.#hub.copy(this.#island, node).upTo,
        heardMs: this.#heard.get(node),
      })),
      errors: this.#errors.list(),
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#island.daemon === this) this.#island.daemon = undefined;
  }

  /** The island stopped or came back. */
  turned(): void {
    this.#hub.options.later(0, () => {
      if (this.#closed || this.#told === this.#island.up || this.#told === undefined) return;
      if (this.#island.up) this.#connected();
      else {
        this.#told = false;
        this.#listener.state(false, this.#why());
      }
    });
  }

  give(node: number, key: string, { value, putMs }: Stored): void {
    if (this.#closed || this.#told !== true) return;
    const now = this.#hub.options.nowMs();
    if (kindOf(key) === "l" && now - putMs > LIVE_MS) return;
    this.#heard.set(node, now);
    const times = this.#hub.options.random() < this.#hub.links.doubled ? 2 : 1;
    for (let n = 0; n < times && !this.#closed; n++) this.#listener.record(node, key, value?.slice());
  }

  hear(node: number, message: Uint8Array): void {
    if (this.#closed || this.#told !== true) return;
    this.#heard.set(node, this.#hub.options.nowMs());
    this.#listener.shout(node, message);
  }

  checkSnapshot(): void {
    if (this.#goals === undefined || this.#closed || this.#told !== true) return;
    for (const other of this.#hub.islands()) {
      const goal = this.#goals.get(other.node);
      if (goal === undefined || !this.#hub.isOpen(other, this.#island)) continue;
      if (this.#hub.copy(this.#island, other.node).upTo < goal) return;
    }
    this.#goals = undefined;
    this.#listener.caughtUp();
  }

  #begin(): void {
    if (this.#closed) return;
    if (!this.#island.up) {
      this.#told = false;
      this.#listener.state(false, this.#why());
      return;
    }
    this.#connected();
  }

  /** Gives what the island has; what is on its way comes by itself. */
  #connected(): void {
    const first = !this.#recovered;
    this.#recovered = true;
    this.#told = true;
    this.#goals = new Map(
      [...this.#hub.islands()].filter((o) => o !== this.#island).map(({ node, seq }) => [node, seq]),
    );
    this.#listener.state(true, "");
    if (first)
      // What is in the outbox is newer.
      for (const [key, stored] of [...this.#island.own])
        if (stored.value !== undefined && !this.#outbox.has(key)) this.give(this.#island.node, key, stored);
    for (const [node, { entries }] of [...this.#island.copies])
      for (const [key, stored] of [...entries]) this.give(node, key, stored);
    this.#flush();
    this.checkSnapshot();
  }

  #flush(): void {
    if (!this.#island.up || this.#told !== true) return;
    for (const [key, value] of this.#outbox) {
      this.#island.seq += 1;
      this.#island.own.set(key, { value, seq: this.#island.seq, putMs: this.#hub.options.nowMs() });
    }
    if (this.#outbox.size === 0) return;
    this.#outbox.clear();
    for (const other of this.#hub.islands()) if (other !== this.#island) this.#hub.replicate(this.#island, other);
  }

  #why(): string {
    return "the engine is down";
  }
}

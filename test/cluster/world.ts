/**
 * A group in one process on virtual time: real `Group`s, a bus and a link network that lose, double and reorder from a
 * seed, shards whose replay windows are plain sets, and clients that send real numbers and answer PING. Remembers where
 * every number was accepted.
 */

import type { Endpoint } from "../../src/cluster/endpoint.ts";
import { Group } from "../../src/cluster/group.ts";
import type { GroupConfig, GroupOutput, HeldPacket } from "../../src/cluster/group_types.ts";
import type { LifelineEvent, LinkSecrets } from "../../src/cluster/lifeline_types.ts";
import type { LiveRecord } from "../../src/cluster/record.ts";
import type { Window } from "../../src/cluster/window.ts";
import type { Entropy } from "../../src/crypto/entropy.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { MemoryLifelines } from "../../src/drivers/memory_lifeline.ts";
import { newIndex } from "../support/new_index.ts";
import { Prng } from "../support/prng.ts";

const WINDOW = 2048;
const WALL = 1_800_000_000_000;
export const LIFE_MS = 600_000;
const PROGRESS_MS = 250;
const TICK_MS = 1;
export const FLEET_KEY = new Uint8Array(32).fill(9);

export const endpoint = (last: number, port = 4445): Endpoint => ({
  ...{ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: (0xc6336400 + last) | 0 },
  port,
});

/** How bad the network is, in parts of one. */
export interface Weather {
  readonly linkLoss: number;
  readonly shoutLoss: number;
  readonly doubled: number;
  /** Delays are drawn between these, so messages overtake each other. */
  readonly minMs: number;
  readonly maxMs: number;
}
export const FAIR: Weather = { linkLoss: 0, shoutLoss: 0, doubled: 0, minMs: 0.2, maxMs: 0.2 };

class Row {
  foreign = true;
  highest = -1;
  readonly seen = new Set<number>();
  /** Everything up to here counts as received. */
  floor = -1;
  reported = -1;
  confirmed = false;
  readonly record: LiveRecord;
  constructor(record: LiveRecord) {
    this.record = record;
  }

  check(seq: number): "fresh" | "duplicate" | "old" {
    if (seq <= this.floor || seq <= this.highest - WINDOW) return "old";
    return this.seen.has(seq) ? "duplicate" : "fresh";
  }

  reclaim(floor: number): void {
    this.floor = Math.max(this.floor, floor);
    this.highest = Math.max(this.highest, floor);
    this.foreign = false;
  }

  window(): Window {
    if (this.highest < 0) return { highest: -1, words: new Int32Array(0) };
    const words = new Int32Array(WINDOW / 32);
    const lowest = 32 * ((this.highest >>> 5) - words.length + 1);
    const mark = (seq: number) => {
      if (seq >= lowest) words[(this.highest >>> 5) - (seq >>> 5)] |= 1 << (seq & 31);
    };
    for (let seq = Math.max(0, lowest); seq <= this.floor; seq++) mark(seq);
    for (const seq of this.seen) mark(seq);
    return { highest: this.highest, words };
  }

  install({ highest, words }: Window): void {
    this.seen.clear();
    this.highest = highest;
    this.floor = highest < 0 ? -1 : 32 * ((highest >>> 5) - words.length + 1) - 1;
    for (let k = 0; k < words.length; k++) {
      for (let bit = 0; words[k] !== 0 && bit < 32; bit++) {
        if (words[k] & (1 << bit)) this.seen.add(32 * ((highest >>> 5) - k) + bit);
      }
    }
    this.foreign = false;
  }
}

type Yield = Extract<GroupOutput, { kind: "yield" }>;

/** One node: group and shard. */
export class Node {
  readonly group: Group;
  /** What it shares with each peer. */
  readonly agreed = new Map<number, LinkSecrets>();
  readonly rows = new Map<number, Row>();
  readonly bootId: Uint8Array;
  readonly outputs: GroupOutput[] = [];
  readonly startMs: number;
  up = true;
  /** The bus has begun. */
  follows = false;
  progressMs = 0;
  #yields: Yield[] = [];
  /** Number of the fence that stands, 0 = none. */
  fence = 0;
  /** Since when its control thread hangs: its shard goes on, and nobody hears it. Undefined: it does not. */
  hungMs: number | undefined;
  readonly #missed: LifelineEvent[] = [];
  /** The shard answers to `yield` after so long. */
  shardMs = 0.05;

  readonly world: World;
  readonly id: number;

  constructor(world: World, id: number, changes: Partial<GroupConfig>) {
    this.world = world;
    this.id = id;
    this.bootId = world.entropy.bytes(8);
    this.startMs = world.ms;
    this.progressMs = world.ms;
    const config: GroupConfig = {
      ...{
        node: id,
        bootId: this.bootId,
        fleetKey: FLEET_KEY,
        groupPublicKey: new Uint8Array(32).fill(3),
      },
      peers: world.ids.filter((peer) => peer !== id).map((node) => ({ node, endpoint: endpoint(node) })),
      ...{ holdMs: 10, sessionLifeMs: LIFE_MS, sessionsMax: 1000, tellsOverLink: false },
      ...changes,
    };
    this.group = new Group(world.now(), config, {
      entropy: world.entropy,
      open: (record, datagram) => openPacket(record, datagram),
      superseded: (record) => world.superseded(this, record),
      claimsOf: () => [],
      fenced: () => this.fence > 0,
    });
  }

  /** What its lifeline found out. The fence is seen before the group hears of it, as the shard sees it. */
  lifeline(event: LifelineEvent): void {
    if (event.kind === "fenced") this.fence = event.fence;
    if (this.hungMs !== undefined) this.#missed.push(event);
    else if (this.up) this.group.lifeline(this.world.now(), event);
  }

  /** Its control thread does nothing for so long. */
  hang(forMs: number): void {
    this.hungMs = this.world.ms;
    this.world.after(forMs, () => {
      this.hungMs = undefined;
      for (const event of this.#missed.splice(0)) this.lifeline(event);
      this.settle();
    });
  }

  /** It hears what others say. */
  get hears(): boolean {
    return this.up && this.hungMs === undefined;
  }

  count(kind: GroupOutput["kind"]): number {
    return this.outputs.filter((output) => output.kind === kind).length;
  }

  get outcomes() {
    return this.group.status().outcomes;
  }

  /** A client's datagram, or one that is put back. */
  receive(packet: HeldPacket): void {
    const row = this.rows.get(packet.index);
    if (row === undefined || row.foreign || this.fence > 0) {
      if (this.hungMs !== undefined) return;
      this.group.held(this.world.now(), packet);
      return;
    }
    if (openPacket(row.record, packet.datagram) === undefined) return;
    if (row.check(packet.seq) !== "fresh") {
      this.world.refused.push(packet.seq);
      return;
    }
    row.seen.add(packet.seq);
    row.highest = Math.max(row.highest, packet.seq);
    this.world.accept(this, packet);
    if (row.confirmed || this.hungMs !== undefined) return;
    row.confirmed = true;
    this.group.confirmed(this.world.now(), packet.index);
  }

  /** Until nothing more comes of it. */
  settle(): void {
    while (this.hungMs === undefined) {
      const out: GroupOutput[] = [];
      this.group.flush(this.world.now(), out);
      if (out.length === 0) return;
      for (const output of out) this.#carryOut(output);
      this.outputs.push(...out);
    }
  }

  #carryOut(output: GroupOutput): void {
    const { world } = this;
    switch (output.kind) {
      case "follow":
        this.follows = true;
        world.bus.snapshot(this);
        break;
      case "put":
        for (const { key, value } of output.entries) world.bus.put(this, key, value);
        break;
      case "shout":
        world.bus.shout(this, output.message);
        break;
      case "link":
        world.sendLink(this, output.to, output.bytes);
        break;
      case "install": {
        const row = new Row(output.record);
        row.confirmed = output.record.phase === "up";
        this.rows.set(output.record.index, row);
        break;
      }
      case "up":
        this.rows.get(output.index)!.confirmed = true;
        break;
      case "retire":
        if (this.rows.get(output.index)?.record.created === output.created) this.rows.delete(output.index);
        break;
      case "yield":
        if (this.#yields.length === 0) world.after(this.shardMs, () => this.#answerYields());
        this.#yields.push(output);
        break;
      case "reclaim":
        this.rows.get(output.index)!.reclaim(output.floor);
        break;
      case "fall":
        if (output.yields) for (const row of this.rows.values()) row.foreign = true;
        if (this.fence === output.fence) this.fence = 0;
        break;
      case "heard":
        world.lifelines.get(this.id)?.heard(output.node, world.ms);
        break;
      case "agreed":
        this.agreed.set(output.agreed.node, output.agreed);
        world.lifelines.get(this.id)?.agreed(output.agreed);
        break;
      case "peers":
        world.lifelines.get(this.id)?.setPeers(output.peers);
        break;
      case "own":
        this.rows.get(output.index)?.install(output.window);
        break;
      case "inject":
        for (const packet of output.datagrams) this.receive(packet);
        break;
      case "challenge":
        world.after(0.5, () => world.clients.get(output.index)?.answer(output.token));
        break;
    }
  }

  #answerYields(): void {
    const yields = this.#yields;
    this.#yields = [];
    if (!this.hears) return;
    for (const output of yields) this.#yield(output);
    this.settle();
  }

  #yield({ index, seq, token }: Yield): void {
    const row = this.rows.get(index);
    const now = this.world.now();
    if (row === undefined || row.foreign) this.group.yielded(now, { token, result: "moved", window: undefined });
    else if (seq > row.highest) {
      row.foreign = true;
      this.group.yielded(now, { token, result: "given", window: row.window() });
    } else {
      const result = row.check(seq) === "fresh" ? "keep" : "stale";
      this.group.yielded(now, { token, result, window: undefined });
    }
  }
}

/** The engine: latest values, delivered in order per node; shouts as the weather is. */
class Bus {
  readonly values = new Map<string, { node: number; key: string; value: Uint8Array }>();
  up = true;
  /** Nodes to and from which nothing goes. */
  readonly away = new Set<number>();
  readonly world: World;
  constructor(world: World) {
    this.world = world;
  }

  #reaches(from: Node, to: Node): boolean {
    return this.up && to.hears && to.follows && !this.away.has(from.id) && !this.away.has(to.id);
  }

  put(from: Node, key: string, value: Uint8Array | undefined): void {
    const name = `${from.id} ${key}`;
    if (value === undefined) this.values.delete(name);
    else this.values.set(name, { node: from.id, key, value });
    if (!this.up) return;
    for (const node of this.world.others(from)) {
      this.world.after(this.world.delay(), () => {
        if (!this.#reaches(from, node)) return;
        node.group.busRecord(this.world.now(), from.id, key, value);
        node.settle();
      });
    }
  }

  shout(from: Node, message: Uint8Array): void {
    if (!this.up) return;
    for (const node of this.world.others(from)) {
      if (this.world.chance(this.world.weather.shoutLoss)) continue;
      const times = this.world.chance(this.world.weather.doubled) ? 2 : 1;
      for (let n = 0; n < times; n++) {
        this.world.after(this.world.delay(), () => {
          if (!this.#reaches(from, node)) return;
          node.group.busShout(this.world.now(), from.id, message);
          node.settle();
        });
      }
    }
  }

  /** What a node is given at its start. */
  snapshot(node: Node): void {
    const now = this.world.now();
    node.group.busState(now, this.up);
    if (!this.up) return;
    for (const { node: from, key, value } of this.values.values()) node.group.busRecord(now, from, key, value);
    node.group.caughtUp(now);
    node.settle();
  }

  /** `noticed`: all nodes are told. */
  stop(noticed = true): void {
    this.up = false;
    if (!noticed) return;
    for (const node of this.world.nodes.values()) if (node.follows) node.group.busState(this.world.now(), false);
  }

  /** `whole`: everybody is given everything again; else what was missed stays missed. */
  start(whole = true): void {
    this.up = true;
    for (const node of this.world.nodes.values()) {
      if (!node.follows) continue;
      if (node.up && whole) this.snapshot(node);
      node.group.busState(this.world.now(), true);
      node.group.caughtUp(this.world.now());
    }
  }
}

/** A client with one session. */
export class Client {
  seq = 0;
  from: Endpoint;
  readonly world: World;
  readonly record: LiveRecord;
  /** Node that its packets reach. */
  at: number;

  constructor(world: World, record: LiveRecord, at: number) {
    this.world = world;
    this.record = record;
    this.at = at;
    this.from = record.endpoint;
  }

  /** The datagram of a number; `seq` defaults to the next. */
  packet(seq = this.seq++, token?: Uint8Array): HeldPacket {
    const { index, secret } = this.record;
    const datagram = new Uint8Array(token === undefined ? 64 : 8 + 10);
    const view = new DataView(datagram.buffer);
    view.setUint32(0, seq);
    view.setUint16(4, Math.floor(index / 2 ** 15));
    view.setUint16(6, 0x8000 | (index & 0x7fff));
    datagram[8] = secret[0];
    if (token !== undefined) {
      datagram[9] = 1;
      datagram.set(token, 10);
    }
    return { index, seq, datagram, from: this.from, tos: 0 };
  }

  /** Sends the next packet to where its packets go. */
  send(): number {
    const packet = this.packet();
    this.world.receive(this.at, packet);
    return packet.seq;
  }

  /** PING arrived. */
  answer(token: Uint8Array): void {
    this.world.receive(this.at, this.packet(this.seq++, token));
  }
}

export function forged(packet: HeldPacket): HeldPacket {
  const datagram = packet.datagram.slice();
  datagram[8] ^= 0xff;
  return { ...packet, datagram };
}

function openPacket(record: LiveRecord, datagram: Uint8Array) {
  if (datagram[8] !== record.secret[0]) return undefined;
  return { pong: datagram[9] === 1 ? datagram.slice(10, 18) : undefined };
}

export class World {
  ms = 1000;
  weather: Weather = FAIR;
  readonly random: Prng;
  readonly entropy: Entropy;
  readonly nodes = new Map<number, Node>();
  readonly clients = new Map<number, Client>();
  readonly bus = new Bus(this);
  /** "index/seq" -> nodes that accepted it. */
  readonly accepted = new Map<string, number[]>();
  readonly order: number[] = [];
  readonly refused: number[] = [];
  /** Pairs of nodes without a link, "from>to". */
  readonly cut = new Set<string>();
  readonly ids: readonly number[];
  readonly tcp = new MemoryLifelines({
    now: () => this.now(),
    later: (ms, act) => this.after(ms, act),
    delayMs: () => (this.chance(this.weather.linkLoss) ? undefined : this.delay()),
    isCut: (from, to) => this.cut.has(`${from}>${to}`),
    controlSilentMs: (id) => this.ms - (this.nodes.get(id)?.hungMs ?? this.ms),
    as: (id, act) => {
      act();
      this.nodes.get(id)?.settle();
    },
  });
  readonly lifelines = new Map<number, ReturnType<MemoryLifelines["start"]>>();
  /** What a datagram of the link takes beyond the weather. */
  lateMs: (from: number) => number = () => 0;
  superseded: (node: Node, record: LiveRecord) => boolean = () => false;
  readonly #events = new Events();
  #created = 1;

  constructor(
    seed: number,
    ids: readonly number[],
    changes: Partial<GroupConfig> | ((id: number) => Partial<GroupConfig>) = {},
  ) {
    this.random = new Prng(seed);
    this.ids = ids;
    const bytes = (n: number) => Uint8Array.from({ length: n }, () => this.random.nextU32() & 255);
    this.entropy = { bytes, keyPair: () => keyPairFromPrivate(bytes(32)) };
    for (const id of ids) this.start(id, typeof changes === "function" ? changes(id) : changes);
    this.run(1500);
  }

  now() {
    return { ms: this.ms, wallMs: WALL + this.ms };
  }

  node(id: number): Node {
    return this.nodes.get(id)!;
  }

  others(from: Node): Node[] {
    return [...this.nodes.values()].filter((node) => node.up && node !== from);
  }

  /** A node that knows nothing but what is on the bus. */
  start(id: number, changes: Partial<GroupConfig> = {}): Node {
    const node = new Node(this, id, changes);
    this.nodes.set(id, node);
    const { bootId } = node;
    const peers =
      changes.peers ?? this.ids.filter((peer) => peer !== id).map((peer) => ({ node: peer, endpoint: endpoint(peer) }));
    this.lifelines.set(
      id,
      this.tcp.start({ node: id, bootId, peers, entropy: this.entropy }, (event) => node.lifeline(event)),
    );
    return node;
  }

  /** A second machine with the number of another node. */
  twin(id: number): Node {
    const node = new Node(this, id, {});
    this.nodes.set(1000 + id, node);
    return node;
  }

  /** The daemon ends; `host`: its host too, so nobody is told. */
  kill(id: number, host = false): void {
    this.node(id).up = false;
    this.tcp.kill(id, host);
  }

  /** Node `id` answers for a session; the client's packets go there. */
  session(id: number): Client {
    const created = this.#created++;
    let index = newIndex(id, this.entropy.bytes(4));
    while (this.clients.has(index)) index = newIndex(id, this.entropy.bytes(4));
    const record: LiveRecord = {
      ...{ index, created, creator: id, phase: "pending", clientKey: this.entropy.bytes(32) },
      ...{ instance: this.entropy.bytes(8), receiver: 1, aead: 1, modes: 1, secret: this.entropy.bytes(32) },
      ...{ expiryMs: this.now().wallMs + LIFE_MS, addresses: [], endpoint: endpoint(100, 5000) },
    };
    const node = this.node(id);
    const row = new Row(record);
    row.foreign = false;
    node.rows.set(index, row);
    node.group.answered(this.now(), record);
    node.settle();
    const client = new Client(this, record, id);
    this.clients.set(index, client);
    return client;
  }

  receive(id: number, packet: HeldPacket): void {
    const node = this.node(id);
    if (!node.up) return;
    node.receive(packet);
    node.settle();
  }

  accept(node: Node, { index, seq }: HeldPacket): void {
    const name = `${index}/${seq}`;
    this.accepted.set(name, [...(this.accepted.get(name) ?? []), node.id]);
    this.order.push(seq);
  }

  /** Nodes that accepted a number of a client. */
  acceptedAt(client: Client, seq: number): number[] {
    return this.accepted.get(`${client.record.index}/${seq}`) ?? [];
  }

  owners(client: Client): number[] {
    const { index } = client.record;
    return [...this.nodes.values()]
      .filter((node) => node.up && node.rows.get(index)?.foreign === false)
      .map(({ id }) => id);
  }

  chance(part: number): boolean {
    return this.random.nextU32() / 2 ** 32 < part;
  }

  delay(): number {
    const { minMs, maxMs } = this.weather;
    return minMs + ((maxMs - minMs) * this.random.nextU32()) / 2 ** 32;
  }

  sendLink(from: Node, to: Endpoint, bytes: Uint8Array): void {
    const id = to.w3 & 0xff;
    if (this.cut.has(`${from.id}>${id}`)) return;
    const times = this.chance(this.weather.linkLoss) ? 0 : this.chance(this.weather.doubled) ? 2 : 1;
    for (let n = 0; n < times; n++) {
      this.after(this.delay() + this.lateMs(from.id), () => {
        for (const node of this.nodes.values()) {
          if (node.id !== id || !node.hears) continue;
          node.group.linkDatagram(this.now(), endpoint(from.id), bytes);
          node.settle();
        }
      });
    }
  }

  after(ms: number, act: () => void): void {
    this.#events.push(this.ms + ms, act);
  }

  /** Lets time pass. */
  run(ms: number): void {
    const endMs = this.ms + ms;
    for (;;) {
      const next = this.#events.first();
      const tickMs = Math.min(
        ...[...this.nodes.values()].filter(({ hears }) => hears).map((node) => this.#dueOf(node)),
      );
      const nextMs = Math.min(next?.ms ?? Number.POSITIVE_INFINITY, tickMs);
      if (nextMs > endMs) break;
      this.ms = Math.max(this.ms, nextMs);
      if (next !== undefined && next.ms <= this.ms) {
        this.#events.pop();
        next.act();
      } else {
        for (const node of this.nodes.values()) if (node.hears && this.#dueOf(node) <= this.ms) this.#tick(node);
      }
    }
    this.ms = endMs;
  }

  #dueOf(node: Node): number {
    return Math.min(node.progressMs, Math.max(node.group.nextTimeout(), this.#tickedMs.get(node) ?? 0));
  }

  readonly #tickedMs = new Map<Node, number>();

  #tick(node: Node): void {
    if (node.progressMs <= this.ms) {
      node.progressMs = this.ms + PROGRESS_MS;
      const advanced = [...node.rows].filter(([, row]) => !row.foreign && row.highest > row.reported);
      for (const [, row] of advanced) row.reported = row.highest;
      node.group.progress(
        this.now(),
        advanced.map(([index, row]) => ({ index, seqHigh: row.highest })),
      );
    }
    node.group.tick(this.now());
    this.#tickedMs.set(node, this.ms + TICK_MS);
    node.settle();
  }
}

interface Event {
  readonly ms: number;
  readonly n: number;
  readonly act: () => void;
}

/** A binary heap: the earliest first; of one time the one that came first. */
class Events {
  readonly #heap: Event[] = [];
  #n = 0;

  first(): Event | undefined {
    return this.#heap[0];
  }

  push(ms: number, act: () => void): void {
    const event = { ms, n: this.#n++, act };
    let at = this.#heap.push(event) - 1;
    for (let up = (at - 1) >> 1; at > 0 && before(event, this.#heap[up]); up = (at - 1) >> 1) {
      this.#heap[at] = this.#heap[up];
      at = up;
    }
    this.#heap[at] = event;
  }

  pop(): void {
    const last = this.#heap.pop()!;
    const size = this.#heap.length;
    if (size === 0) return;
    let at = 0;
    for (let down = 1; down < size; down = 2 * at + 1) {
      if (down + 1 < size && before(this.#heap[down + 1], this.#heap[down])) down++;
      if (!before(this.#heap[down], last)) break;
      this.#heap[at] = this.#heap[down];
      at = down;
    }
    this.#heap[at] = last;
  }
}

const before = (a: Event, b: Event): boolean => a.ms < b.ms || (a.ms === b.ms && a.n < b.n);

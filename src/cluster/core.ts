/**
 * What the parts of the group share: the table of sessions, what was counted, and the ways out. Messages of one batch of
 * inputs wait here until `flush`, so that ten thousand flips at once are a hundred datagrams.
 */
import { Alarms } from "./alarms.ts";
import type { Entry } from "./bus.ts";
import { Digest } from "./digest.ts";
import type { Envelope } from "./envelope.ts";
import type { GroupConfig, GroupOutput, GroupPorts, HeldPacket } from "./group_types.ts";
import { HoldQueue } from "./hold.ts";
import { Link, type LinkOutput } from "./link.ts";
import { FORWARD_MAX, type LinkMessage, packMessages, SHOUT_MAX } from "./link_message.ts";
import { encodeShouts, type Shout } from "./location.ts";
import type { Now } from "./now.ts";
import { Outcomes } from "./outcomes.ts";
import { SessionTable } from "./session_table.ts";
import type { Trusted } from "./trust_types.ts";

/** Sessions that may wait for another node at once, and what they may keep waiting. */
export const FLIPS_MAX = 16_384;
/** Of one session: 100 ms of 100 Mbit/s, which a busy machine may take. */
const HOLD = { perSession: 1024, packets: FLIPS_MAX, bytes: 32 << 20, sessions: FLIPS_MAX };

/** News of flips waits this long for more of it: ten thousand would be as many messages to every node. */
const SHOUT_GAP_MS = 5;
/**
 * A node whose connection lives and which can't be asked anything for so long counts as gone all the same: its control thread
 * hangs, or UDP does not come through.
 */
export const UNASKABLE_MS = 10_000;

export class Core {
  readonly config: GroupConfig;
  readonly ports: GroupPorts;
  readonly table: SessionTable;
  readonly digest = new Digest();
  readonly outcomes = new Outcomes(() => this.now.ms);
  readonly alarms = new Alarms();
  readonly hold = new HoldQueue<HeldPacket>(HOLD);
  readonly link: Link;
  readonly trust: Trusted;
  readonly #envelope: Envelope;
  readonly #messages = new Map<number, LinkMessage[]>();
  #shouts: Shout[] = [];
  #shoutedMs = Number.NEGATIVE_INFINITY;
  #entries: Entry[] = [];
  #out: GroupOutput[] = [];
  /** Values put since the start. */
  version = 0;
  /** Time of the present input. */
  now: Now;
  /** Numbers of the other nodes. */
  readonly peers: Set<number>;
  /** This node ends now: it takes nothing over any more. */
  departing = false;
  /** The engine can't be reached from here: it said so, or the bus has not begun. */
  busAway = true;
  /** What is put before waits here. */
  busBegun = false;
  /** Nodes that do not hear this one through the engine. */
  readonly deaf = new Set<number>();
  /** Nodes that drain. */
  readonly leaving = new Set<number>();
  #turn = 0;
  /** Nodes of which there is evidence that they are dead, as the lifeline has it. */
  readonly dead = new Set<number>();
  readonly #startMs: number;
  /** When each node was heard last on the link, monotonic ms. */
  readonly heardMs = new Map<number, number>();
  /** When the last shout of each node about its sessions came, monotonic ms. */
  readonly shoutMs = new Map<number, number>();

  constructor(now: Now, config: GroupConfig, ports: GroupPorts, envelope: Envelope, trust: Trusted) {
    const { node, bootId, groupPublicKey, peers } = config;
    this.now = now;
    this.#startMs = now.ms;
    this.config = config;
    this.ports = ports;
    this.#envelope = envelope;
    this.peers = new Set(peers.map((peer) => peer.node));
    this.table = new SessionTable(config.sessionsMax);
    this.trust = trust;
    const { fleetKeys, identity } = trust;
    this.link = new Link(now, { node, bootId, fleetKeys, groupPublicKey, peers, entropy: ports.entropy, identity });
  }

  emit(output: GroupOutput): void {
    const last = this.#out.at(-1);
    // Before the packets of other sessions, so that those of all sessions that come in one go are injected in one go.
    const goesFirst = output.kind === "own" && last?.kind === "inject" && !concerns(last.datagrams, output.index);
    if (goesFirst) this.#out.splice(-1, 0, output);
    else this.#out.push(output);
  }

  /** Through the pipeline, behind everything that was emitted before. */
  inject(packets: readonly HeldPacket[]): void {
    if (packets.length === 0) return;
    const last = this.#out.at(-1);
    if (last?.kind === "inject") last.datagrams.push(...packets);
    else this.#out.push({ kind: "inject", datagrams: [...packets] });
  }

  /** To another node, with the next `flush`. */
  say(node: number, message: LinkMessage): void {
    const waiting = this.#messages.get(node);
    if (waiting === undefined) this.#messages.set(node, [message]);
    else waiting.push(message);
  }

  /** Packets for the owner of their session, with the next `flush`. */
  forward(node: number, packets: readonly HeldPacket[]): void {
    for (const { from, tos, datagram } of packets) {
      this.outcomes.add(datagram.length > FORWARD_MAX ? "forward_too_long" : "forwarded");
      this.say(node, { kind: "forward", source: from, tos, datagram });
    }
  }

  shout(shout: Shout): void {
    this.#shouts.push(shout);
  }

  /** To the bus with the next `flush`; undefined deletes. */
  put(key: string, plain: Uint8Array | undefined): void {
    this.version++;
    this.#entries.push({ key, value: plain && this.#envelope.seal(this.now.ms, key, plain) });
  }

  /** `node` has the session in this row from now on; NOBODY: who has it is not known. */
  setOwner(row: number, node: number): void {
    this.table.setOwner(row, node, this.now.wallMs);
  }

  alive(node: number): boolean {
    return node !== this.config.node && this.link.isAlive(node);
  }

  /**
   * What the node owned is nobody's any more: it is none of the group, or there is evidence that it is dead. A node that
   * just can't be asked is not gone.
   */
  gone(node: number): boolean {
    if (!this.peers.has(node)) return true;
    if (this.link.isAlive(node)) return false;
    return this.dead.has(node) || this.now.ms - this.#lastMs(node) >= UNASKABLE_MS;
  }

  /** Gone, and nothing says that it is dead: it may have delivered what came until a moment ago. */
  hangs(node: number): boolean {
    return this.peers.has(node) && this.gone(node) && !this.dead.has(node);
  }

  /** Monotonic time at which a node that can't be asked counts as gone. */
  goneAtMs(node: number): number {
    return this.#lastMs(node) + UNASKABLE_MS;
  }

  #lastMs(node: number): number {
    return this.heardMs.get(node) ?? this.#startMs;
  }

  /** Nodes that can be asked now. */
  living(): number[] {
    return [...this.peers].filter((node) => this.alive(node));
  }

  /** Nodes that may own sessions, whether they can be asked now or not. */
  present(): number[] {
    return [...this.peers].filter((node) => !this.gone(node));
  }

  /** Whether a node hears of records and shouts over the link, since no bus takes them there. */
  tellsOverLink(node: number): boolean {
    return this.config.tellsOverLink || this.busAway || this.deaf.has(node);
  }

  /** The living ones of these. */
  toldOverLink(): number[] {
    return this.living().filter((node) => this.tellsOverLink(node));
  }

  /** A living node to give sessions to, each in turn; undefined when there is none that stays. */
  successor(): number | undefined {
    const staying = this.living().filter((node) => !this.leaving.has(node));
    this.#turn++;
    return staying[this.#turn % Math.max(1, staying.length)];
  }

  /** Moves everything that came of the inputs since the last time to `out`. */
  flush(out: GroupOutput[]): void {
    const datagrams: LinkOutput[] = [];
    const shouts = this.#shoutsDue();
    this.#shoutOverLink(shouts);
    for (const [node, messages] of this.#messages) {
      for (const payload of packMessages(messages)) this.link.send(this.now, node, payload, datagrams);
    }
    this.#messages.clear();
    if (this.#entries.length > 0 && this.busBegun) {
      this.#out.push({ kind: "put", entries: this.#entries });
      this.#entries = [];
    }
    this.#shoutOverBus(shouts);
    this.send(datagrams);
    for (const output of this.#out) out.push(output);
    this.#out = [];
  }

  /** Monotonic time of the next `flush` that has something to tell. */
  nextTimeout(): number {
    return this.#shouts.length > 0 ? this.#shoutedMs + SHOUT_GAP_MS : Number.POSITIVE_INFINITY;
  }

  /** Takes out what is told now. */
  #shoutsDue(): readonly Shout[] {
    const due = this.#shouts;
    const isSoon = this.now.ms < this.#shoutedMs + SHOUT_GAP_MS && !this.departing;
    if (due.length === 0 || (isSoon && due.every(({ kind }) => kind === "moved"))) return [];
    this.#shouts = [];
    this.#shoutedMs = this.now.ms;
    return due;
  }

  #shoutOverBus(shouts: readonly Shout[]): void {
    if (shouts.length === 0 || this.config.tellsOverLink || this.busAway) return;
    for (const plain of encodeShouts(shouts))
      this.#out.push({ kind: "shout", message: this.#envelope.seal(this.now.ms, "", plain) });
  }

  /** All but heartbeats: the link has its own. */
  #shoutOverLink(due: readonly Shout[]): void {
    const shouts = due.filter(({ kind }) => kind !== "heartbeat");
    const nodes = shouts.length === 0 ? [] : this.toldOverLink();
    if (nodes.length === 0 || shouts.length === 0) return;
    for (const plain of encodeShouts(shouts, SHOUT_MAX))
      for (const node of nodes) this.say(node, { kind: "shout", plain });
  }

  /** What the link wants to send. Returns the rest of what it says. */
  send(outputs: readonly LinkOutput[]): readonly LinkOutput[] {
    const rest: LinkOutput[] = [];
    for (const output of outputs) {
      if (output.kind === "datagram") this.#out.push({ kind: "link", to: output.to, bytes: output.bytes });
      else rest.push(output);
    }
    return rest;
  }
}

const concerns = (packets: readonly HeldPacket[], index: number): boolean =>
  packets.some((packet) => packet.index === index);

/**
 * Holds packets of sessions that this node does not know while it asks other nodes. A session index names the node that created
 * it, so that node is asked first, then the nodes that follow it, one at a time and at most three in all: a stranger who makes up
 * indices can't make this node send much. When none of them knows the session, the client is told and resumes by its ticket.
 *
 * Such a packet proves nothing about its sender, so packets here have room of their own and take none from known sessions.
 */
import { creatorOf, NODE_MAX } from "../crypto/session_index.ts";
import type { Core } from "./core.ts";
import { Deadlines, type Due } from "./deadlines.ts";
import { type Endpoint, sameEndpoint } from "./endpoint.ts";
import type { HeldPacket } from "./group_types.ts";
import { HoldQueue } from "./hold.ts";

/** Time between the questions to two nodes. */
const STEP_MS = 3;
const ASKED_MAX = 3;
/** Unknown sessions that are asked about at once. */
const ASKING_MAX = 4096;
/** `perSession`: packets, which are 100 ms at 10 Mbit/s or 10 ms at 100 Mbit/s. */
const HOLD = { perSession: 128, packets: 8192, bytes: 8 << 20, sessions: ASKING_MAX };
/** For how long a session that nobody knew is not asked about again. */
const UNKNOWN_MS = 1000;
/**
 * Shortest time between two datagrams that tell a client that its session is unknown. One may be lost, so there are several; one for
 * each packet of the client would keep both ends too busy to make a new session.
 */
const TELL_MS = 10;
/** Bytes of its packet that the client gets back, by which it knows that the sender has received it. */
const HEAD_LEN = 24;

/** A session that nobody knew. */
interface Unknown {
  readonly untilMs: number;
  toldMs: number;
  /** Where the client was when it was told last. */
  to: Endpoint | undefined;
}

interface Asking extends Due {
  readonly index: number;
  readonly sinceMs: number;
  readonly asked: Set<number>;
  /** Nodes whose answer is outstanding. */
  readonly waiting: Set<number>;
}

export class Askings {
  readonly #core: Core;
  readonly #askings = new Map<number, Asking>();
  readonly #deadlines = new Deadlines<Asking>();
  readonly #hold = new HoldQueue<HeldPacket>(HOLD);
  /** By index, in the order of time. */
  readonly #unknown = new Map<number, Unknown>();

  constructor(core: Core) {
    this.#core = core;
  }

  get size(): number {
    return this.#askings.size;
  }

  /** What waits. */
  get packets(): number {
    return this.#hold.packets;
  }

  get bytes(): number {
    return this.#hold.bytes;
  }

  held(packet: HeldPacket): void {
    const { outcomes, now } = this.#core;
    const { index } = packet;
    const unknown = this.#unknown.get(index);
    if (unknown !== undefined && unknown.untilMs > now.ms) {
      this.#tellAgain(unknown, packet);
      return;
    }
    outcomes.add("held");
    const asking = this.#askings.get(index);
    if (asking === undefined && this.#askings.size >= ASKING_MAX) {
      this.#tell([packet]);
      return;
    }
    if (this.#hold.hold(index, Number.POSITIVE_INFINITY, packet) !== undefined) {
      outcomes.add("hold_full");
      return;
    }
    if (asking === undefined) this.#begin(index);
  }

  /** The session is known now: its packets, oldest first. */
  learnt(index: number): readonly HeldPacket[] {
    this.#unknown.delete(index);
    const asking = this.#askings.get(index);
    if (asking === undefined) return [];
    this.#end(asking);
    this.#core.outcomes.add("learnt");
    return this.#hold.take(index);
  }

  /** A node does not know it. */
  absent(node: number, index: number): void {
    const asking = this.#askings.get(index);
    if (asking === undefined || !asking.waiting.delete(node) || this.#askNext(asking)) return;
    if (asking.waiting.size === 0) this.#giveUp(asking, false);
  }

  /** A forwarded packet of a session that this node does not know either: it is the last to ask. */
  unknown(packet: HeldPacket): void {
    this.#core.outcomes.add("unknown_forwarded");
    this.#emit(packet);
  }

  tick(): void {
    const { now } = this.#core;
    for (let due = this.#deadlines.take(now.ms); due !== undefined; due = this.#deadlines.take(now.ms)) {
      if (!this.#askNext(due)) this.#giveUp(due, true);
    }
    for (const [index, { untilMs }] of this.#unknown) {
      if (untilMs > now.ms) return;
      this.#unknown.delete(index);
    }
  }

  nextTimeout(): number {
    return this.#deadlines.next();
  }

  #begin(index: number): void {
    const { now } = this.#core;
    this.#core.outcomes.add("asked");
    const asking: Asking = {
      index,
      sinceMs: now.ms,
      asked: new Set(),
      waiting: new Set(),
      dueMs: 0,
      waitMs: undefined,
    };
    this.#askings.set(index, asking);
    if (!this.#askNext(asking)) this.#giveUp(asking, false);
  }

  /** Asks one more node, the last one for the rest of the hold time. False: there is none. */
  #askNext(asking: Asking): boolean {
    const node = this.#nextFor(asking);
    if (node === undefined) return false;
    const { now, config } = this.#core;
    asking.asked.add(node);
    asking.waiting.add(node);
    this.#core.say(node, { kind: "ask", index: asking.index });
    const isLast = this.#nextFor(asking) === undefined;
    const restMs = asking.sinceMs + config.holdMs - now.ms;
    this.#deadlines.set(now.ms, isLast ? Math.max(1, restMs) : STEP_MS, asking);
    return true;
  }

  /** The creator, then the living nodes with the next higher numbers, round the circle. */
  #nextFor({ index, asked }: Asking): number | undefined {
    const creator = creatorOf(index);
    if (asked.size >= ASKED_MAX) return undefined;
    if (!asked.has(creator) && this.#core.alive(creator)) return creator;
    const after = (node: number) => (node - creator + NODE_MAX) % NODE_MAX;
    const others = this.#core.living().filter((node) => !asked.has(node));
    return others.length === 0 ? undefined : others.reduce((best, node) => (after(node) < after(best) ? node : best));
  }

  /** `late`: some have not answered. */
  #giveUp(asking: Asking, late: boolean): void {
    const { index, waiting } = asking;
    this.#end(asking);
    const packets = this.#hold.take(index);
    const creator = creatorOf(index);
    if (late && waiting.has(creator) && this.#core.alive(creator)) {
      this.#core.forward(creator, packets);
      return;
    }
    this.#unknown.delete(index);
    const { ms } = this.#core.now;
    this.#unknown.set(index, { untilMs: ms + UNKNOWN_MS, toldMs: ms, to: packets[0]?.from });
    if (this.#unknown.size > ASKING_MAX) this.#unknown.delete(this.#unknown.keys().next().value!);
    this.#tell(packets);
  }

  /** Somebody else with this index must not keep the client from being told. */
  #tellAgain(unknown: Unknown, packet: HeldPacket): void {
    const { outcomes, now } = this.#core;
    const isSame = unknown.to !== undefined && sameEndpoint(unknown.to, packet.from);
    if (isSame && now.ms - unknown.toldMs < TELL_MS) {
      outcomes.add("unknown");
      return;
    }
    unknown.toldMs = now.ms;
    unknown.to = packet.from;
    this.#tell([packet]);
  }

  /** One answer is enough for all. */
  #tell(packets: readonly HeldPacket[]): void {
    this.#core.outcomes.add("unknown", packets.length);
    if (packets.length > 0) this.#emit(packets[0]);
  }

  #emit({ datagram, from }: HeldPacket): void {
    this.#core.emit({ kind: "unknown", datagram: datagram.slice(0, HEAD_LEN), from });
  }

  #end(asking: Asking): void {
    this.#deadlines.clear(asking);
    this.#askings.delete(asking.index);
  }
}

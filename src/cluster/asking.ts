/**
 * Packets of sessions that this node does not know: held while the group is asked. The creator of an index stands in it, so
 * it is asked first, everybody else after 3 ms. Nobody knows it: the client is told, and resumes by its ticket.
 */
import { creatorOf } from "../crypto/session_index.ts";
import type { Core } from "./core.ts";
import { Deadlines, type Due } from "./deadlines.ts";
import { type Endpoint, sameEndpoint } from "./endpoint.ts";
import type { HeldPacket } from "./group_types.ts";

const CREATOR_FIRST_MS = 3;
/** Unknown sessions that are asked about at once. */
const ASKING_MAX = 4096;
/** How long an answer "nobody knows it" is believed. */
const UNKNOWN_MS = 1000;
/** The client is told again so often, since that may be lost: for every packet would keep both from making a session. */
const TELL_MS = 10;
/** Echoed to the client: as much as its answer needs. */
const HEAD_LEN = 24;

/** Nobody knows the session. */
interface Unknown {
  readonly untilMs: number;
  toldMs: number;
  /** Who was told. */
  to: Endpoint | undefined;
}

interface Asking extends Due {
  readonly index: number;
  readonly sinceMs: number;
  /** Nodes whose answer is outstanding. */
  readonly waiting: Set<number>;
  everybody: boolean;
}

export class Askings {
  readonly #core: Core;
  readonly #askings = new Map<number, Asking>();
  readonly #deadlines = new Deadlines<Asking>();
  /** By index, in the order of time. */
  readonly #unknown = new Map<number, Unknown>();

  constructor(core: Core) {
    this.#core = core;
  }

  get size(): number {
    return this.#askings.size;
  }

  held(packet: HeldPacket): void {
    const { outcomes, hold, now } = this.#core;
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
    if (hold.hold(index, Number.POSITIVE_INFINITY, packet) !== undefined) {
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
    return this.#core.hold.take(index);
  }

  /** A node does not know it. */
  absent(node: number, index: number): void {
    const asking = this.#askings.get(index);
    if (asking === undefined || !asking.waiting.delete(node) || asking.waiting.size > 0) return;
    if (asking.everybody) this.#giveUp(asking, false);
    else this.#askEverybody(asking);
  }

  /** A forwarded packet of a session that this node does not know either: it is the last to ask. */
  unknown(packet: HeldPacket): void {
    this.#core.outcomes.add("unknown_forwarded");
    this.#emit(packet);
  }

  tick(): void {
    const { now } = this.#core;
    for (let due = this.#deadlines.take(now.ms); due !== undefined; due = this.#deadlines.take(now.ms)) {
      if (due.everybody) this.#giveUp(due, true);
      else this.#askEverybody(due);
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
    const asking = {
      index,
      sinceMs: now.ms,
      waiting: new Set<number>(),
      everybody: false,
      dueMs: 0,
      waitMs: undefined,
    };
    this.#askings.set(index, asking);
    const creator = creatorOf(index);
    if (!this.#core.alive(creator)) {
      this.#askEverybody(asking);
      return;
    }
    this.#ask(asking, creator);
    this.#deadlines.set(now.ms, CREATOR_FIRST_MS, asking);
  }

  /** The creator too, once more: its answer or our question may have been lost. */
  #askEverybody(asking: Asking): void {
    asking.everybody = true;
    for (const node of this.#core.living()) this.#ask(asking, node);
    if (asking.waiting.size === 0) {
      this.#giveUp(asking, false);
      return;
    }
    this.#deadlines.set(this.#core.now.ms, Math.max(1, this.#core.config.holdMs - CREATOR_FIRST_MS), asking);
  }

  #ask({ index, waiting }: Asking, node: number): void {
    waiting.add(node);
    this.#core.say(node, { kind: "ask", index });
  }

  /** `late`: some have not answered. */
  #giveUp(asking: Asking, late: boolean): void {
    const { index, waiting } = asking;
    this.#end(asking);
    const packets = this.#core.hold.take(index);
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

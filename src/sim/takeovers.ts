/**
 * Who really has each replay window, and whether a node was right to make one of its own: watches windows that shards give
 * and install, and what nodes hear of each other. A window goes on through all who are given it; every packet that is
 * accepted twice must have been accepted by two windows, above where the younger one began.
 */
import { Envelope } from "../cluster/envelope.ts";
import { FleetKeys } from "../cluster/fleet_keys.ts";
import { decodeShouts } from "../cluster/location.ts";
import { NODE_MAX } from "../crypto/session_index.ts";
import type { ToShard, Yielded } from "../shard/messages.ts";
import { sessionsOf } from "../shard/session_batch.ts";
import type { Packet } from "./ledger.ts";
import type { Machine } from "./machine.ts";

const NONE = -1;
/** An owner repeats its answer for a second; and what takes its time on the way. */
const GIVEN_MS = 2500;
/** Nodes tell each other of a session within two reports. */
const NEWS_MS = 600;
/** From a shout that a node hears until its shard has given up what is outdone. */
const GIVE_UP_MS = 5;

/** One window, from where it was made through all that it was given to. */
interface Line {
  /** Everything up to here counted as received when it began. */
  readonly floor: number;
}

interface Given {
  readonly atMs: number;
  readonly line: Line;
  /** Bits of the window, as the shard gave it. */
  readonly words: Int32Array;
}

export interface Exposure {
  /** `two_owners`: another node has a window of the session, too. `forecast`: whoever accepted it is gone. */
  readonly kind: "forecast" | "two_owners";
  readonly packet: Packet;
  readonly node: number;
}

export class Takeovers {
  readonly exposures: Exposure[] = [];
  /** As sentences, by check. */
  readonly wrong: { readonly check: string; readonly text: string }[] = [];
  /** Windows that were handed over, and that were made. */
  exact = 0;
  made = 0;
  readonly #nodes: ReadonlyMap<number, Machine>;
  readonly #inTrouble: (a: number, b: number) => boolean;
  readonly #nowMs: () => number;
  readonly #envelope: Envelope;
  /** Windows that were given and not taken yet, by session and greatest number. */
  readonly #given = new Map<string, Given[]>();
  /** By node and row of the shard: the session in it, as soon as the shard was told. */
  readonly #rows = new Map<string, number>();
  /** Session of each question to a shard, by node and token. */
  readonly #questions = new Map<string, number>();
  /** By node and session: when the node made it its own, the window that it has, and the greatest number it was told. */
  readonly #ownedMs = new Map<string, number>();
  readonly #lines = new Map<string, Line>();
  readonly #told = new Map<string, number>();
  /** By session: the window of who answered for it. */
  readonly #first = new Map<number, Line>();
  /** By node and session: a number above all that this owner has, which it heard of another one. */
  readonly #outdone = new Map<string, { readonly seq: number; readonly atMs: number }>();
  /** Windows that accepted each packet. */
  readonly #accepted = new Map<Packet, Line[]>();

  constructor(
    fleetKey: Uint8Array,
    nodes: ReadonlyMap<number, Machine>,
    nowMs: () => number,
    inTrouble: (a: number, b: number) => boolean,
  ) {
    this.#nodes = nodes;
    this.#inTrouble = inTrouble;
    this.#nowMs = nowMs;
    this.#envelope = new Envelope(new FleetKeys(fleetKey), NODE_MAX, new Uint8Array(8));
  }

  /** A node lost its memory. */
  forget(node: number): void {
    for (const map of [this.#rows, this.#told, this.#questions, this.#lines, this.#outdone, this.#ownedMs])
      for (const name of map.keys()) if (name.startsWith(`${node} `)) map.delete(name);
  }

  /** `node` hears a shout of another one through the engine. Counts what it can know: numbers of sessions that it has. */
  shout(node: number, from: number, sealed: Uint8Array): void {
    const opened = this.#envelope.open(this.#nowMs(), from, "", sealed);
    const shouts = typeof opened === "string" ? undefined : decodeShouts(opened.plain);
    for (const shout of shouts ?? []) {
      if (shout.kind === "heartbeat") continue;
      for (const { index, seq } of shout.kind === "progress" ? shout.sessions : [shout]) this.#hears(node, index, seq);
    }
  }

  /** The shard of `node` is told something, which it will hear soon. */
  message(node: number, message: ToShard): void {
    if (message.kind === "session") this.#opens(node, message.session);
    else if (message.kind === "sessions")
      for (const session of sessionsOf(message.sessions)) this.#opens(node, session);
    else if (message.kind === "yield") {
      this.#questions.set(`${node} ${message.token}`, this.#sessionIn(node, message.index));
    } else if (message.kind === "own")
      this.#owns(node, this.#sessionIn(node, message.index), message.highest, message.words);
  }

  #opens(node: number, { index: row, sessionIndex }: { readonly index: number; readonly sessionIndex: number }): void {
    this.#rows.set(`${node} ${row}`, sessionIndex);
  }

  #sessionIn(node: number, row: number): number {
    return this.#rows.get(`${node} ${row}`)!;
  }

  yielded(node: number, answer: Yielded): void {
    const session = this.#questions.get(`${node} ${answer.token}`);
    if (answer.result !== "given" || session === undefined) return;
    const name = `${node} ${session}`;
    const given = { atMs: this.#nowMs(), line: this.#lineOf(node, session), words: answer.words };
    const place = `${session} ${answer.highest}`;
    this.#given.set(place, [...(this.#given.get(place) ?? []), given]);
    this.#lines.delete(name);
    this.#outdone.delete(name);
  }

  /** `node` took a packet of a client. */
  accepted(packet: Packet, node: number): void {
    const { index: session, seq } = packet;
    const line = this.#lineOf(node, session);
    const before = this.#accepted.get(packet);
    const text = `packet ${seq} of session ${session.toString(16)} at node ${node}`;
    if (seq <= line.floor) this.#isWrong("exposure", `${text}, whose window began at ${line.floor}`);
    this.#mayAccept(node, packet, text);
    if (before === undefined) {
      this.#accepted.set(packet, [line]);
      return;
    }
    if (before.includes(line))
      this.#isWrong("replay", `${text}, by one window; before at ${packet.accepted.join(", ")}`);
    const others = this.ownersOf(session).filter((other) => other !== node);
    const isThere = others.some((other) => before.includes(this.#lineOf(other, session)));
    this.exposures.push({ kind: isThere ? "two_owners" : "forecast", packet, node });
    before.push(line);
  }

  /** Living nodes that have a window of a session. */
  ownersOf(session: number): number[] {
    return [...this.#nodes.keys()].filter((node) => this.#rowState(node, session) === "own");
  }

  #hears(node: number, session: number, seq: number): void {
    const name = `${node} ${session}`;
    const state = this.#rowState(node, session);
    if (state === "foreign") this.#told.set(name, Math.max(this.#told.get(name) ?? NONE, seq));
    else if (state === "own" && seq > this.#highest(node, session) && !this.#outdone.has(name))
      this.#outdone.set(name, { seq, atMs: this.#nowMs() });
  }

  /** An owner that has heard of a newer number than all it has accepts nothing any more, but for one that is newer still. */
  #mayAccept(node: number, { index: session, seq }: Packet, text: string): void {
    const name = `${node} ${session}`;
    const outdone = this.#outdone.get(name);
    if (outdone === undefined) return;
    const sinceMs = this.#nowMs() - outdone.atMs;
    if (sinceMs > GIVE_UP_MS)
      this.#isWrong("outdone", `${text}, which heard of ${outdone.seq} ${sinceMs.toFixed(1)} ms before`);
    if (seq > outdone.seq || sinceMs > GIVE_UP_MS) this.#outdone.delete(name);
  }

  #owns(node: number, session: number, highest: number, words: Int32Array): void {
    const name = `${node} ${session}`;
    const place = `${session} ${highest}`;
    const all = this.#given.get(place) ?? [];
    const given = all.find((one) => isClosed(one.words, words));
    // What was given is taken once.
    this.#given.set(
      place,
      all.filter((one) => one !== given),
    );
    const isGiven = given !== undefined && this.#nowMs() - given.atMs < GIVEN_MS;
    if (isGiven) this.exact++;
    else this.#makes(node, session, highest);
    this.#ownedMs.set(name, this.#nowMs());
    this.#lines.set(name, isGiven ? given.line : { floor: highest });
    this.#outdone.delete(name);
  }

  #makes(node: number, session: number, highest: number): void {
    this.made++;
    const told = this.#told.get(`${node} ${session}`) ?? NONE;
    const text = `node ${node} made a window of session ${session.toString(16)} that begins at ${highest}`;
    if (highest < told) this.#isWrong("floor", `${text}, though it had been told of ${told}`);
    // Of one that took over a moment ago, by itself too, the others may not have heard.
    const isSettled = (other: number) => this.#nowMs() - (this.#ownedMs.get(`${other} ${session}`) ?? 0) > NEWS_MS;
    // One of two owners whose numbers are older than what is known has nothing to hand over.
    const isOutdone = (other: number) => this.#highest(other, session) < told;
    for (const other of this.ownersOf(session))
      if (other !== node && isSettled(other) && !isOutdone(other) && !this.#inTrouble(node, other))
        this.#isWrong("despite_owner", `${text}, though node ${other} has it`);
  }

  #lineOf(node: number, session: number): Line {
    const line = this.#lines.get(`${node} ${session}`);
    if (line !== undefined) return line;
    const first = this.#first.get(session) ?? { floor: NONE };
    this.#first.set(session, first);
    return first;
  }

  #rowOf(node: number, session: number): number {
    const plane = this.#nodes.get(node)?.plane;
    const row = plane?.byIndex.find(session) ?? NONE;
    return row === NONE || plane?.tunnels.used[row] === 0 ? NONE : row;
  }

  #rowState(node: number, session: number): "own" | "foreign" | undefined {
    const row = this.#rowOf(node, session);
    if (row === NONE) return undefined;
    return this.#nodes.get(node)!.plane.tunnels.foreign[row] === 1 ? "foreign" : "own";
  }

  /** Greatest number that a node accepted of a session, or that its window began with. */
  #highest(node: number, session: number): number {
    return this.#nodes.get(node)!.plane.tunnels.seqHigh[this.#rowOf(node, session)] - 1;
  }

  #isWrong(check: string, text: string): void {
    this.wrong.push({ check, text: `${(this.#nowMs() / 1000).toFixed(3)} s: ${text}` });
  }
}

/** Whether this is the window that was given, of which the new owner may have closed old holes: no number is open again. */
const isClosed = (given: Int32Array, window: Int32Array): boolean =>
  given.length === window.length && given.every((word, k) => (word & ~window[k]) === 0);

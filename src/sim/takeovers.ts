/**
 * Who really has each replay window, and whether a node was right to make one of its own: watches windows that shards give
 * and install, and what nodes hear of each other. Every packet that is accepted twice must have such a reason.
 */
import { Envelope } from "../cluster/envelope.ts";
import { decodeShouts } from "../cluster/location.ts";
import type { ToShard, Yielded } from "../shard/messages.ts";
import type { Packet } from "./ledger.ts";
import type { Machine } from "./machine.ts";

const NONE = -1;
/** An owner repeats its answer for a second; and what takes its time on the way. */
const GIVEN_MS = 2500;
/** Nodes tell each other of a session within two reports. */
const NEWS_MS = 600;

export interface Takeover {
  readonly node: number;
  readonly atMs: number;
  /** Everything up to here counts as received. */
  readonly floor: number;
  /** Greatest number of the session that the node had heard of. */
  readonly told: number;
  /** Living nodes that had the window. */
  readonly others: readonly number[];
}

export interface Exposure {
  /** `forecast`: above the floor of a node that took over. `two_owners`: at one of two, while they did not hear each other. */
  readonly kind: "forecast" | "two_owners";
  readonly packet: Packet;
  readonly node: number;
}

export class Takeovers {
  readonly exposures: Exposure[] = [];
  /** As sentences, by check. */
  readonly wrong: { readonly check: string; readonly text: string }[] = [];
  exact = 0;
  readonly withoutOwner = new Map<number, Takeover[]>();
  readonly #nodes: ReadonlyMap<number, Machine>;
  readonly #inTrouble: (a: number, b: number) => boolean;
  readonly #nowMs: () => number;
  readonly #envelope: Envelope;
  /** When each window was given last. */
  readonly #given = new Map<string, number>();
  /** Session of each question to a shard, by node and token. */
  readonly #questions = new Map<string, number>();
  /** When a node made a session its own. */
  readonly #ownedMs = new Map<string, number>();
  /** By node and session. */
  readonly #told = new Map<string, number>();

  constructor(
    fleetKey: Uint8Array,
    nodes: ReadonlyMap<number, Machine>,
    nowMs: () => number,
    inTrouble: (a: number, b: number) => boolean,
  ) {
    this.#nodes = nodes;
    this.#inTrouble = inTrouble;
    this.#nowMs = nowMs;
    this.#envelope = new Envelope(fleetKey, 4095, new Uint8Array(8));
  }

  /** A node lost its memory. */
  forget(node: number): void {
    for (const name of this.#told.keys()) if (name.startsWith(`${node} `)) this.#told.delete(name);
    for (const name of this.#questions.keys()) if (name.startsWith(`${node} `)) this.#questions.delete(name);
  }

  /** `node` hears a shout of another one. Counts what it can know: numbers of sessions that it has and does not own. */
  shout(node: number, from: number, sealed: Uint8Array): void {
    const opened = this.#envelope.open(from, "", sealed);
    const shouts = typeof opened === "string" ? undefined : decodeShouts(opened.plain);
    for (const shout of shouts ?? []) {
      if (shout.kind === "heartbeat") continue;
      for (const { index, seq } of shout.kind === "progress" ? shout.sessions : [shout]) {
        if (this.#rowState(node, index) !== "foreign") continue;
        const name = `${node} ${index}`;
        this.#told.set(name, Math.max(this.#told.get(name) ?? NONE, seq));
      }
    }
  }

  /** The shard of `node` is told something. */
  message(node: number, message: ToShard): void {
    const { index: sessions } = this.#nodes.get(node)!.plane.tunnels;
    if (message.kind === "yield") this.#questions.set(`${node} ${message.token}`, sessions[message.index]);
    else if (message.kind === "own") this.#owns(node, sessions[message.index], message.highest, message.words);
  }

  yielded(node: number, answer: Yielded): void {
    const session = this.#questions.get(`${node} ${answer.token}`);
    if (answer.result === "given" && session !== undefined)
      this.#given.set(windowName(session, answer.highest, answer.words), this.#nowMs());
  }

  /** `node` took a packet of a client that was taken before. */
  acceptedAgain(packet: Packet, node: number): void {
    const takeovers = this.withoutOwner.get(packet.index) ?? [];
    const before = packet.accepted.join(", ");
    const text = `packet ${packet.seq} of session ${packet.index.toString(16)} at node ${node}, before at ${before}`;
    if (takeovers.length === 0) this.#isWrong("replay", `${text}; every window was handed over`);
    else if (takeovers.some(({ others }) => others.length > 0))
      this.exposures.push({ kind: "two_owners", packet, node });
    else if (packet.accepted.length > takeovers.length)
      this.#isWrong("exposure", `${text}; ${takeovers.length} windows were made`);
    else if (takeovers.every(({ told }) => packet.seq <= told))
      this.#isWrong("exposure", `${text}; told: ${takeovers.map(({ told }) => told).join(", ")}`);
    else this.exposures.push({ kind: "forecast", packet, node });
  }

  /** Living nodes that have the window of a session. */
  ownersOf(session: number): number[] {
    return [...this.#nodes.keys()].filter((node) => this.#rowState(node, session) === "own");
  }

  #owns(node: number, session: number, highest: number, words: Int32Array): void {
    this.#ownedMs.set(`${node} ${session}`, this.#nowMs());
    const givenMs = this.#given.get(windowName(session, highest, words)) ?? Number.NEGATIVE_INFINITY;
    // What was given is taken once.
    this.#given.delete(windowName(session, highest, words));
    if (this.#nowMs() - givenMs < GIVEN_MS) {
      this.exact++;
      return;
    }
    const others = this.ownersOf(session).filter((other) => other !== node);
    const told = this.#told.get(`${node} ${session}`) ?? NONE;
    const takeover = { node, atMs: this.#nowMs(), floor: highest, told, others };
    this.withoutOwner.set(session, [...(this.withoutOwner.get(session) ?? []), takeover]);
    const text = `node ${node} made a window of session ${session.toString(16)} that begins at ${highest}`;
    if (highest < told) this.#isWrong("floor", `${text}, though it had been told of ${told}`);
    // Of one that took over a moment ago, by itself too, the others may not have heard.
    const isSettled = (other: number) => this.#nowMs() - (this.#ownedMs.get(`${other} ${session}`) ?? 0) > NEWS_MS;
    for (const other of others)
      if (isSettled(other) && !this.#inTrouble(node, other))
        this.#isWrong("despite_owner", `${text}, though node ${other} has it`);
  }

  #rowState(node: number, session: number): "own" | "foreign" | undefined {
    const machine = this.#nodes.get(node);
    if (machine === undefined) return undefined;
    const { plane } = machine;
    const row = plane.byIndex.find(session);
    if (row < 0 || plane.tunnels.used[row] === 0) return undefined;
    return plane.tunnels.foreign[row] === 1 ? "foreign" : "own";
  }

  #isWrong(check: string, text: string): void {
    this.wrong.push({ check, text: `${(this.#nowMs() / 1000).toFixed(3)} s: ${text}` });
  }
}

const windowName = (session: number, highest: number, words: Int32Array) => `${session} ${highest} ${words.join()}`;

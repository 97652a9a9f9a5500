/**
 * The channel of one session with one start of one node: numbered messages in each direction, paged, acknowledged, delivered
 * once and in order. Sans-IO: pages and acknowledgements go in with the time, payloads to be sealed and whole messages come out.
 *
 * The other end may be reached through any node of a group: pages and acknowledgements say which node they are for, and the one
 * that gets them passes them on. So nothing of a channel moves when a session moves. A channel ends with the session or with
 * the start of the node; until then nothing that was given to it is lost. docs/PROTOCOL.md, "The channel";
 * why so: docs/decisions/0007-channel-with-each-node.md.
 */
import { Incoming, type PageMemory } from "./incoming.ts";
import { PAGE } from "./kinds.ts";
import type { ControlCounters } from "./outcomes.ts";
import { Outgoing, type Parts } from "./outgoing.ts";
import { decodeAck, decodePage, encodeAck, encodePage, MESSAGE_MAX, type NodeStart, type Page } from "./page.ts";

export type ChannelOutput =
  /** Seal it in the session, under TYPE_CONTROL. */
  | { readonly out: "seal"; readonly payload: Uint8Array }
  /** From the other end. */
  | { readonly out: "message"; readonly kind: number; readonly content: Uint8Array };

/** What is left of a channel in which nothing is under way: numbers of the next messages. */
export interface ChannelNumbers {
  readonly sending: number;
  readonly receiving: number;
}

export class Channel {
  readonly #name: NodeStart;
  readonly #counters: ControlCounters;
  readonly #incoming: Incoming;
  readonly #outgoing: Outgoing;

  constructor(name: NodeStart, memory: PageMemory, counters: ControlCounters, numbers?: ChannelNumbers) {
    this.#name = name;
    this.#counters = counters;
    this.#incoming = new Incoming(memory, numbers?.receiving ?? 0);
    this.#outgoing = new Outgoing(numbers?.sending ?? 0);
  }

  get numbers(): ChannelNumbers {
    return { sending: this.#outgoing.number, receiving: this.#incoming.next };
  }

  /** Nothing is under way in either direction: `numbers` is all that is to be remembered. */
  get isIdle(): boolean {
    return this.#incoming.isIdle && this.#outgoing.isIdle;
  }

  /** Nothing of this end is under way. */
  get isSent(): boolean {
    return this.#outgoing.isIdle;
  }

  /**
   * Hands a message over. False: too many wait, or it is longer than MESSAGE_MAX. `newest`: one of the same kind that still waits
   * is out of date.
   */
  send(nowMs: number, kind: number, parts: Parts, newest: boolean, out: ChannelOutput[]): boolean {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (length > MESSAGE_MAX || !this.#outgoing.add(kind, parts, newest)) {
      this.#counters.add("queue_full");
      return false;
    }
    this.#pump(nowMs, out);
    return true;
  }

  /** A PAGE or PAGE_ACK of this channel. */
  receive(nowMs: number, payload: Uint8Array, out: ChannelOutput[]): void {
    if (payload[0] === PAGE) this.#page(nowMs, payload, out);
    else this.#acknowledged(nowMs, payload, out);
  }

  /** What is due: pages that were not answered or had to wait, and an unfinished message that is to be forgotten. */
  tick(nowMs: number, out: ChannelOutput[]): void {
    if (nowMs >= this.#incoming.dueMs) {
      this.#incoming.forget();
      this.#counters.add("timed_out");
    }
    this.#pump(nowMs, out);
  }

  /** Monotonic time of the next `tick` that does something. */
  nextTimeout(nowMs: number): number {
    return Math.min(this.#incoming.dueMs, this.#outgoing.dueMs(nowMs));
  }

  /** The session has ended. */
  close(): void {
    this.#incoming.forget();
  }

  #page(nowMs: number, payload: Uint8Array, out: ChannelOutput[]): void {
    const page = decodePage(payload);
    const taken = page === undefined ? "malformed" : this.#incoming.take(nowMs, page);
    if (typeof taken === "string") this.#counters.add(taken);
    else {
      this.#counters.add("page");
      this.#counters.add("delivered");
      out.push({ out: "message", ...taken });
    }
    if (taken === "malformed" || taken === "ahead") return;
    const { next, seen } = this.#incoming;
    out.push({ out: "seal", payload: encodeAck({ ...this.#name, next, seen }) });
  }

  #acknowledged(nowMs: number, payload: Uint8Array, out: ChannelOutput[]): void {
    const ack = decodeAck(payload);
    this.#counters.add(ack === undefined ? "malformed" : this.#outgoing.acknowledged(nowMs, ack));
    if (ack !== undefined) this.#pump(nowMs, out);
  }

  #pump(nowMs: number, out: ChannelOutput[]): void {
    const pages: Page[] = [];
    this.#outgoing.pump(nowMs, this.#name, pages);
    for (const page of pages) out.push({ out: "seal", payload: encodePage(page) });
  }
}

/**
 * The channels of a node with its clients. A session has a channel object only while a message is under way in it; afterwards two
 * numbers are kept, those of its next messages. Messages for another node of the group are passed on to that node.
 */
import { Channel, type ChannelOutput } from "../../channel/channel.ts";
import { PageMemory } from "../../channel/incoming.ts";
import type { ControlCounters } from "../../channel/outcomes.ts";
import type { Parts } from "../../channel/outgoing.ts";
import { channelName, channelOf, type NodeStart } from "../../channel/page.ts";
import type { Sender } from "../../handshake/keys.ts";

/** For messages that are not whole yet, of all sessions together: 128 of the longest ones. */
const MEMORY_MAX = 32 << 20;

export interface SessionChannelPorts {
  /** Monotonic ms. */
  now(): number;
  readonly counters: ControlCounters;
  /** Seals a control message in a session. */
  seal(row: number, payload: Uint8Array): void;
  /** Passes one on to another node. False: there is none of this number. */
  relay(row: number, node: number, payload: Uint8Array): boolean;
  /** A numbered message of the client. False: a kind that this node does not take. */
  message(row: number, kind: number, content: Uint8Array): boolean;
}

export class SessionChannels {
  readonly #use: SessionChannelPorts;
  readonly #name: NodeStart;
  readonly #memory = new PageMemory(MEMORY_MAX);
  readonly #first: number;
  /** By row of the session: the channels in which a message is under way. */
  readonly #live = new Map<number, Channel>();
  // From row `#first` on: numbers of the next messages. Memory that was never written stays the system's.
  readonly #sending: Uint32Array;
  readonly #receiving: Uint32Array;

  /** Sessions are in rows [first, first + rows). `sender`: this start of this node. */
  constructor(sender: Sender, first: number, rows: number, ports: SessionChannelPorts) {
    this.#use = ports;
    this.#name = channelName(sender);
    this.#first = first;
    this.#sending = new Uint32Array(rows);
    this.#receiving = new Uint32Array(rows);
  }

  /** A PAGE or PAGE_ACK arrived in a session. */
  received(row: number, payload: Uint8Array): void {
    const name = channelOf(payload);
    const { counters } = this.#use;
    if (name === undefined) counters.add("malformed");
    else if (name.node === this.#name.node) this.relayed(row, payload);
    else counters.add(this.#use.relay(row, name.node, payload) ? "relayed" : "channel_unknown");
  }

  /** The same when another node of the group says that it arrived there: it goes no further. */
  relayed(row: number, payload: Uint8Array): void {
    const name = channelOf(payload);
    if (name?.node !== this.#name.node || name.start !== this.#name.start) {
      this.#use.counters.add("channel_unknown");
      return;
    }
    this.#act(row, (channel, nowMs, out) => channel.receive(nowMs, payload, out));
  }

  /** See Channel.send. */
  send(row: number, kind: number, parts: Parts, newest: boolean): boolean {
    let isTaken = false;
    this.#act(row, (channel, nowMs, out) => {
      isTaken = channel.send(nowMs, kind, parts, newest, out);
    });
    return isTaken;
  }

  /** Something for the client of this session is under way. */
  isSending(row: number): boolean {
    return this.#live.get(row)?.isSent === false;
  }

  /** The session of this row has ended. */
  ended(row: number): void {
    this.#live.get(row)?.close();
    this.#live.delete(row);
    if (this.#sending[row - this.#first] !== 0) this.#sending[row - this.#first] = 0;
    if (this.#receiving[row - this.#first] !== 0) this.#receiving[row - this.#first] = 0;
  }

  tick(): void {
    for (const row of this.#live.keys()) {
      this.#act(row, (channel, nowMs, out) => channel.tick(nowMs, out));
      const channel = this.#live.get(row);
      if (channel?.isIdle !== true) continue;
      const { sending, receiving } = channel.numbers;
      this.#sending[row - this.#first] = sending;
      this.#receiving[row - this.#first] = receiving;
      this.#live.delete(row);
    }
  }

  #act(row: number, act: (channel: Channel, nowMs: number, out: ChannelOutput[]) => void): void {
    const { counters } = this.#use;
    let channel = this.#live.get(row);
    if (channel === undefined) {
      const numbers = { sending: this.#sending[row - this.#first], receiving: this.#receiving[row - this.#first] };
      channel = new Channel(this.#name, this.#memory, counters, numbers);
      this.#live.set(row, channel);
    }
    const out: ChannelOutput[] = [];
    act(channel, this.#use.now(), out);
    for (const output of out) {
      if (output.out === "seal") this.#use.seal(row, output.payload);
      else if (!this.#use.message(row, output.kind, output.content)) counters.add("message_unknown");
    }
  }
}

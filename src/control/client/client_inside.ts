/**
 * Control inside the sessions of a client: answers what the group sends beside packets, keeps a channel with each node that has
 * something to say, and sees to it that the client has all of its settings: those of the grant, those that the grant only
 * names, and those that it is told later. What the node that owns the session said last counts.
 */
import type { Clock } from "../../base/clock.ts";
import { Channel, type ChannelOutput } from "../../channel/channel.ts";
import { PageMemory } from "../../channel/incoming.ts";
import * as kinds from "../../channel/kinds.ts";
import { ControlCounters } from "../../channel/outcomes.ts";
import { channelName, channelOf, type NodeStart } from "../../channel/page.ts";
import { type CloseReason, decodeUnnumbered, encodeUnnumbered, type Unnumbered } from "../../channel/unnumbered.ts";
import type { ClientSession } from "../../handshake/client_session.ts";
import { decodeSettings, type Settings } from "../../handshake/settings.ts";
import type { Pings } from "../instance/pings.ts";

/** For messages that are not whole yet, of all nodes and sessions together. */
const MEMORY_MAX = 4 << 20;
/** Settings that are wanted are asked for again after this, doubling. */
const WANTED_MS = 250;
const WANTED_MAX_MS = 4000;
const APPLIED_LEN = 5;

export interface ClientInsidePorts {
  readonly clock: Clock;
  readonly pings: Pings;
  /** Seals a control message in a session. */
  seal(row: number, payload: Uint8Array): void;
  /** The group ends a session. */
  closed(receiver: number, reason: CloseReason): void;
  /** The group says which static keys it has: the text of a notice, not yet read. */
  groupKeys(notice: string): void;
  /** Sets the host up as these settings say. Rejects when it did not take all of it. */
  apply(settings: Settings): Promise<void>;
}

/** A session and its row of the tunnel table. */
export interface SessionRow {
  readonly row: number;
  readonly session: ClientSession;
}

interface Peer {
  readonly row: number;
  readonly start: number;
  readonly channel: Channel;
}

/** Whom to tell what became of settings; undefined: nobody asked. */
interface Answer {
  readonly at: SessionRow;
  readonly name: NodeStart;
}

export class ClientInside {
  readonly counters = new ControlCounters();
  readonly #use: ClientInsidePorts;
  readonly #memory = new PageMemory(MEMORY_MAX);
  /** Of each session by receiver index, then by node. */
  readonly #peers = new Map<number, Map<number, Peer>>();
  #applied: Settings | undefined;
  /** To be applied; only the newest. */
  #next: { readonly settings: Settings; readonly answer: Answer | undefined } | undefined;
  #isApplying = false;
  /** The grant named settings that this client lacks. */
  #wanted: { readonly row: number; readonly version: number; nextMs: number; pauseMs: number } | undefined;

  constructor(ports: ClientInsidePorts) {
    this.#use = ports;
  }

  /** Version of what the host is set up with; undefined: nothing yet. */
  get version(): number | undefined {
    return this.#applied?.version;
  }

  /** A session is up. */
  granted(at: SessionRow): void {
    const { settings, senders, receiver } = at.session;
    this.#peers.set(receiver, new Map());
    this.#wanted = undefined;
    const isKnown = settings.version !== 0 && settings.version === this.#applied?.version && this.#next === undefined;
    if (!settings.more) {
      if (!isKnown) this.#take(settings, undefined);
    } else if (isKnown) this.#answer({ at, name: channelName(senders[0]) }, settings.version, true);
    else {
      this.#wanted = { row: at.row, version: settings.version, nextMs: 0, pauseMs: WANTED_MS };
      this.#ask();
    }
  }

  /** A control payload of a session, sealed by the node `sender`. `length`: of the whole, of which `payload` may be the beginning. */
  received(at: SessionRow, sender: number, payload: Uint8Array, length: number): void {
    if (payload[0] === kinds.PAGE || payload[0] === kinds.PAGE_ACK) {
      this.#paged(at, sender, payload);
      return;
    }
    const message = decodeUnnumbered(payload, length);
    this.counters.add(message === undefined ? "kind_unknown" : "unnumbered");
    if (message?.kind === kinds.PING) this.tell(at.row, { kind: kinds.PONG, token: message.token });
    if (message?.kind === kinds.PONG) this.#use.pings.answered(message.token);
    if (message?.kind === kinds.CLOSE) this.#use.closed(at.session.receiver, message.reason);
    if (message?.kind === kinds.PATH_PROBE)
      this.tell(at.row, { kind: kinds.PATH_ACK, token: message.token, length: message.length });
  }

  tell(row: number, message: Unnumbered): void {
    this.#use.seal(row, encodeUnnumbered(message));
  }

  retired({ row, session }: SessionRow): void {
    for (const { channel } of this.#peers.get(session.receiver)?.values() ?? []) channel.close();
    this.#peers.delete(session.receiver);
    if (this.#wanted?.row === row) this.#wanted = undefined;
  }

  tick(): void {
    for (const peers of this.#peers.values())
      for (const peer of peers.values()) this.#act(peer, (nowMs, out) => peer.channel.tick(nowMs, out));
    this.#ask();
  }

  #paged(at: SessionRow, sender: number, payload: Uint8Array): void {
    const name = channelOf(payload);
    // Each node speaks for itself.
    if (name === undefined || name.node !== sender) {
      this.counters.add(name === undefined ? "malformed" : "channel_unknown");
      return;
    }
    const peer = this.#peer(at, name);
    if (peer === undefined) return;
    this.#act(
      peer,
      (nowMs, out) => peer.channel.receive(nowMs, payload, out),
      (kind, content) => this.#message({ at, name }, kind, content),
    );
  }

  /** False: a kind that a client does not take. */
  #message(from: Answer, kind: number, content: Uint8Array): boolean {
    if (kind === kinds.GROUP_KEYS) {
      this.#use.groupKeys(new TextDecoder().decode(content));
      return true;
    }
    const settings = kind === kinds.SETTINGS ? decodeSettings(content) : undefined;
    if (settings === undefined) return false;
    if (settings.version === this.#applied?.version && this.#next === undefined) {
      this.#wanted = undefined;
      this.#answer(from, settings.version, true);
    } else this.#take(settings, from);
    return true;
  }

  #take(settings: Settings, answer: Answer | undefined): void {
    this.#wanted = undefined;
    this.#next = { settings, answer };
    if (!this.#isApplying) void this.#apply();
  }

  async #apply(): Promise<void> {
    this.#isApplying = true;
    for (let next = this.#next; next !== undefined; next = this.#next) {
      this.#next = undefined;
      const { settings, answer } = next;
      const isDone = await this.#use.apply(settings).then(
        () => true,
        () => false,
      );
      this.#applied = settings;
      if (answer !== undefined) this.#answer(answer, settings.version, isDone);
    }
    this.#isApplying = false;
  }

  /** Tells a node what became of its settings, unless the session has ended meanwhile. */
  #answer({ at, name }: Answer, version: number, isDone: boolean): void {
    const content = new Uint8Array(APPLIED_LEN);
    new DataView(content.buffer).setUint32(0, version);
    content[4] = isDone ? 0 : 1;
    const peer = this.#peer(at, name);
    if (peer !== undefined)
      this.#act(peer, (nowMs, out) => peer.channel.send(nowMs, kinds.SETTINGS_APPLIED, [content], true, out));
  }

  #ask(): void {
    const wanted = this.#wanted;
    const nowMs = this.#use.clock.monotonicMs();
    if (wanted === undefined || nowMs < wanted.nextMs) return;
    this.tell(wanted.row, { kind: kinds.SETTINGS_WANTED });
    wanted.nextMs = nowMs + wanted.pauseMs;
    wanted.pauseMs = Math.min(WANTED_MAX_MS, 2 * wanted.pauseMs);
  }

  /**
   * The channel with a start of a node; that with an earlier start of it has ended with it. Undefined: so has the session.
   */
  #peer({ row, session }: SessionRow, { node, start }: NodeStart): Peer | undefined {
    const peers = this.#peers.get(session.receiver);
    if (peers === undefined) return undefined;
    const before = peers.get(node);
    if (before?.start === start) return before;
    before?.channel.close();
    const peer = { row, start, channel: new Channel({ node, start }, this.#memory, this.counters) };
    peers.set(node, peer);
    return peer;
  }

  #act(
    { row }: Peer,
    act: (nowMs: number, out: ChannelOutput[]) => void,
    message: (kind: number, content: Uint8Array) => boolean = () => false,
  ): void {
    const out: ChannelOutput[] = [];
    act(this.#use.clock.monotonicMs(), out);
    for (const output of out) {
      if (output.out === "seal") this.#use.seal(row, output.payload);
      else if (!message(output.kind, output.content)) this.counters.add("message_unknown");
    }
  }
}

/**
 * Thousands of clients, each with a session of its own that a real handshake made. Steady: all send at a given rate.
 * Burst: one packet in each session at once, sealed before the clock starts; answers are opened after it stopped, so what
 * is measured is the group.
 */
import { parseAddress } from "../base/ip.ts";
import { TOKEN_LEN } from "../channel/unnumbered.ts";
import { TAG_LEN } from "../crypto/aead.ts";
import { CONTROL_MUX, SENDER, SENDER_RECEIVER, TRANSACTION, TYPE } from "../handshake/control.ts";
import { mac1Key } from "../handshake/macs.ts";
import { groupNameBytes } from "../handshake/offer.ts";
import { HEADER_LEN, MUX, SENDER_ID, TYPE_LEN } from "../wire/satp.ts";
import type { BurstAnswer, CrowdCommand, CrowdLine, CrowdOrder } from "./order.ts";
import { CrowdSession, ECHO_PACKET_LEN, type Source } from "./session.ts";

/** Handshakes under way at a time; more than a busy node's receive buffer holds would be lost there. */
const IN_FLIGHT = 64;
const PATIENCE_MS = 1000;
const TICK_MS = 5;
/** Sealed, with its token. */
const PING_LEN = HEADER_LEN + TYPE_LEN + 1 + TOKEN_LEN + TAG_LEN;
/** A sealed echo request, and its answer. */
const ANSWER_LEN = HEADER_LEN + TYPE_LEN + ECHO_PACKET_LEN + TAG_LEN;
/** A sender id has the shard of the node above this. */
const NODE_MASK = 0x0fff;

type Connect = Extract<CrowdCommand, { kind: "connect" }>;

interface Arrived {
  readonly session: CrowdSession;
  readonly datagram: Uint8Array;
  readonly ms: number;
}

interface Burst {
  readonly arrived: Arrived[];
  /** Nothing that could be an answer came for them yet. */
  readonly silent: Set<CrowdSession>;
  end: () => void;
}

export class Crowd {
  readonly #sessions: readonly CrowdSession[];
  readonly #echo: number;
  readonly #say: (line: CrowdLine) => void;
  readonly #asked = new Set<CrowdSession>();
  #waiting: CrowdSession[] = [];
  #until: Connect["until"] = "confirmed";
  #number = 0;
  #timer: NodeJS.Timeout | undefined;
  #bursting: Burst | undefined;

  constructor(order: CrowdOrder, sources: readonly Source[], say: (line: CrowdLine) => void) {
    this.#echo = parseAddress(order.echo)!.w3;
    this.#say = say;
    const group = new Uint8Array(Buffer.from(order.groupKey, "base64"));
    const common = {
      ...{ groupKey: group, groupName: groupNameBytes(""), psk: new Uint8Array(32) },
      mac1Key: mac1Key(group),
    };
    const bySource = sources.map((): CrowdSession[] => []);
    this.#sessions = Array.from({ length: order.clients }, (_, n) => {
      const own = bySource[n % sources.length]!;
      const session = new CrowdSession(order, n, own.length, sources[n % sources.length]!, common);
      own.push(session);
      return session;
    });
    for (const [i, { socket }] of sources.entries())
      socket.on("message", (datagram) => this.#receive(bySource[i]!, datagram));
  }

  obey(command: CrowdCommand): void {
    clearInterval(this.#timer);
    if (command.kind === "connect") this.#connect(command);
    else if (command.kind === "steady") this.#steady(command.perSecond);
    else this.#burst(command.waitMs);
  }

  #connect({ first, clients, tries, until }: Connect): void {
    const wanted = this.#sessions.slice(first, first + clients);
    for (const session of wanted) session.prepare();
    this.#waiting = [...wanted];
    this.#until = until;
    let failed = 0;
    const startMs = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      for (const session of this.#asked) {
        if (session.sinceMs + PATIENCE_MS > now) continue;
        this.#asked.delete(session);
        if (session.tries < tries) this.#waiting.push(session);
        else failed++;
      }
      this.#ask();
      if (this.#asked.size > 0 || this.#waiting.length > 0) return;
      clearInterval(this.#timer);
      const cookies = wanted.reduce((sum, session) => sum + session.cookies, 0);
      const seconds = (performance.now() - startMs) / 1000;
      this.#say({ kind: "connected", sessions: wanted.length - failed, failed, cookies, seconds });
    }, TICK_MS);
  }

  #ask(): void {
    while (this.#asked.size < IN_FLIGHT) {
      const session = this.#waiting.shift();
      if (session === undefined) return;
      this.#asked.add(session);
      this.#send(session, session.ask(performance.now()));
    }
  }

  #receive(own: readonly CrowdSession[], datagram: Buffer): void {
    if (datagram.length < HEADER_LEN) return;
    const mux = datagram.readUInt16BE(MUX);
    if (mux === CONTROL_MUX) this.#control(own[receiverOf(datagram)], datagram);
    else this.#packet(own[mux & 0x7fff], datagram);
  }

  #control(session: CrowdSession | undefined, datagram: Uint8Array): void {
    const answer = session?.heard(datagram);
    if (session === undefined || answer === undefined) return;
    this.#send(session, answer);
    if (this.#until === "confirmed" && !session.isAsking) this.#done(session);
  }

  #packet(session: CrowdSession | undefined, datagram: Uint8Array): void {
    if (session === undefined) return;
    if (this.#until === "heard" && this.#asked.has(session) && !session.isAsking && session.opens(datagram))
      this.#done(session);
    if (datagram.length === PING_LEN) this.#pong(session, datagram);
    else if (this.#bursting !== undefined) arrive(this.#bursting, session, datagram);
  }

  #done(session: CrowdSession): void {
    if (this.#asked.delete(session)) this.#ask();
  }

  /** A node without an owner to ask wants to know whether the client is here. */
  #pong(session: CrowdSession, datagram: Uint8Array): void {
    const pong = session.pong(datagram);
    if (pong !== undefined) this.#send(session, pong);
  }

  /** Spread over the second, so that no node sees them in step. */
  #steady(perSecond: number): void {
    const startMs = performance.now();
    const up = this.#sessions.filter(({ isUp }) => isUp);
    let sent = 0;
    this.#timer = setInterval(() => {
      const due = Math.floor(((performance.now() - startMs) * up.length * perSecond) / 1000);
      for (; sent < due; sent++) {
        const session = up[sent % up.length]!;
        this.#send(session, session.request(this.#echo, this.#number++));
      }
    }, TICK_MS);
    this.#say({ kind: "steady" });
  }

  #burst(waitMs: number): void {
    const up = this.#sessions.filter(({ isUp }) => isUp);
    const first = this.#number;
    const datagrams = up.map((session) => session.request(this.#echo, this.#number++));
    const sentAt = new Float64Array(up.length);
    const startMs = performance.now();
    const burst: Burst = { arrived: [], silent: new Set(up), end: () => {} };
    this.#bursting = burst;
    for (const [i, session] of up.entries()) {
      sentAt[i] = performance.now();
      this.#send(session, datagrams[i]!);
    }
    const sentMs = performance.now() - startMs;
    const end = () => {
      clearTimeout(timer);
      this.#bursting = undefined;
      const answers: BurstAnswer[] = [];
      const seen = new Set<number>();
      for (const { session, datagram, ms } of burst.arrived) {
        const i = (session.answered(datagram) ?? -1) - first;
        if (i < 0 || up[i] !== session || seen.has(i)) continue;
        seen.add(i);
        const senderId = new DataView(datagram.buffer, datagram.byteOffset).getUint16(SENDER_ID);
        answers.push({ node: senderId & NODE_MASK, atMs: ms - startMs, rttMs: ms - sentAt[i]! });
      }
      this.#say({ kind: "burst", sent: up.length, sentMs, answers });
    };
    const timer = setTimeout(end, waitMs);
    burst.end = end;
  }

  #send({ source }: CrowdSession, datagram: Uint8Array): void {
    source.socket.send(datagram, ignore);
  }
}

/** Kept unopened; the last one that was waited for ends the burst. */
function arrive({ arrived, silent, end }: Burst, session: CrowdSession, datagram: Uint8Array): void {
  arrived.push({ session, datagram, ms: performance.now() });
  if (datagram.length === ANSWER_LEN && silent.delete(session) && silent.size === 0) end();
}

/** What the kernel does not take shows as loss. */
function ignore(): void {}

/** Requests carry their receiver as transaction, and only SENDER is nobody's answer. */
const receiverOf = (datagram: Buffer): number =>
  datagram.length > SENDER_RECEIVER + 1 && datagram[TYPE] === SENDER
    ? datagram.readUInt16BE(SENDER_RECEIVER)
    : datagram.readUInt32BE(TRANSACTION);

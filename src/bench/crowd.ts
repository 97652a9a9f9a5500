/**
 * Thousands of clients in one process, each with a session of its own that a real handshake made. Steady: all send at a
 * given rate. Burst: one packet in each session at once, sealed before the clock starts; answers are opened after it
 * stopped, so what is measured is the group. Talks in lines of JSON (`crowd_order.ts`), ends with its standard input.
 */
import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";
import { parseAddress } from "../base/ip.ts";
import { TAG_LEN } from "../crypto/aead.ts";
import { CONTROL_MUX, SENDER, SENDER_RECEIVER, TRANSACTION, TYPE } from "../handshake/control.ts";
import { mac1Key } from "../handshake/macs.ts";
import { groupNameBytes } from "../handshake/offer.ts";
import { TOKEN_LEN } from "../handshake/session_control.ts";
import { HEADER_LEN, MUX, SENDER_ID, TYPE_LEN } from "../wire/satp.ts";
import type { CrowdCommand, CrowdLine, CrowdOrder } from "./crowd_order.ts";
import { CrowdSession, type Source } from "./crowd_session.ts";
import { quantile } from "./statistics.ts";

const SOURCE_PORT = 4444;
const BUFFER = 4 << 20;
/** Handshakes under way at a time; more than a busy node's receive buffer holds would be lost there. */
const IN_FLIGHT = 64;
const PATIENCE_MS = 1000;
const TRIES = 10;
const TICK_MS = 5;
/** Sealed, with its token. */
const PING_LEN = HEADER_LEN + TYPE_LEN + TOKEN_LEN + TAG_LEN;

interface Arrived {
  readonly session: CrowdSession;
  readonly datagram: Uint8Array;
  readonly ms: number;
}

class Crowd {
  readonly #sessions: readonly CrowdSession[];
  readonly #echo: number;
  readonly #asked = new Set<CrowdSession>();
  #waiting: CrowdSession[] = [];
  #number = 0;
  #timer: NodeJS.Timeout | undefined;
  #arrived: Arrived[] | undefined;

  constructor(order: CrowdOrder, sources: readonly Source[]) {
    this.#echo = parseAddress(order.echo)!.w3;
    const group = new Uint8Array(Buffer.from(order.groupKey, "base64"));
    const common = {
      ...{ groupKey: group, groupName: groupNameBytes(""), psk: new Uint8Array(32) },
      mac1Key: mac1Key(group),
    };
    const bySource = sources.map((): CrowdSession[] => []);
    this.#sessions = Array.from({ length: order.clients }, (_, n) => {
      const own = bySource[n % sources.length]!;
      const session = new CrowdSession(n, own.length, sources[n % sources.length]!, common, order.seed);
      own.push(session);
      return session;
    });
    for (const [i, { socket }] of sources.entries())
      socket.on("message", (datagram) => this.#receive(bySource[i]!, datagram));
  }

  obey(command: CrowdCommand): void {
    clearInterval(this.#timer);
    if (command.kind === "connect") this.#connect();
    else if (command.kind === "steady") this.#steady(command.perSecond);
    else this.#burst(command.waitMs);
  }

  #connect(): void {
    const startMs = performance.now();
    this.#waiting = this.#sessions.filter(({ isUp }) => !isUp);
    this.#timer = setInterval(() => {
      const now = performance.now();
      for (const session of this.#asked) {
        if (session.sinceMs + PATIENCE_MS > now) continue;
        this.#asked.delete(session);
        if (session.tries < TRIES) this.#waiting.push(session);
      }
      this.#ask();
      if (this.#asked.size > 0 || this.#waiting.length > 0) return;
      clearInterval(this.#timer);
      const sessions = this.#sessions.filter(({ isUp }) => isUp).length;
      say({ kind: "connected", sessions, seconds: (performance.now() - startMs) / 1000 });
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
    if (mux !== CONTROL_MUX) {
      const session = own[mux & 0x7fff];
      if (session === undefined) return;
      if (datagram.length === PING_LEN) this.#pong(session, datagram);
      else this.#arrived?.push({ session, datagram, ms: performance.now() });
      return;
    }
    const session = own[receiverOf(datagram)];
    const answer = session?.heard(datagram);
    if (session === undefined || answer === undefined) return;
    this.#send(session, answer);
    if (session.isUp && this.#asked.delete(session)) this.#ask();
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
    say({ kind: "steady" });
  }

  #burst(waitMs: number): void {
    const first = this.#number;
    const up = this.#sessions.filter(({ isUp }) => isUp);
    const datagrams = up.map((session) => session.request(this.#echo, this.#number++));
    const sentAt = new Float64Array(up.length);
    this.#arrived = [];
    const startMs = performance.now();
    for (const [i, session] of up.entries()) {
      sentAt[i] = performance.now();
      this.#send(session, datagrams[i]!);
    }
    const sentMs = performance.now() - startMs;
    setTimeout(() => {
      const arrived = this.#arrived ?? [];
      this.#arrived = undefined;
      const rtts: number[] = [];
      const byNode: Record<string, number> = {};
      const seen = new Set<number>();
      let lastMs = 0;
      for (const { session, datagram, ms } of arrived) {
        const i = (session.answered(datagram) ?? -1) - first;
        if (i < 0 || up[i] !== session || seen.has(i)) continue;
        seen.add(i);
        rtts.push(ms - sentAt[i]!);
        lastMs = Math.max(lastMs, ms - startMs);
        const node = new DataView(datagram.buffer, datagram.byteOffset).getUint16(SENDER_ID);
        byNode[node] = (byNode[node] ?? 0) + 1;
      }
      const rttMs = { p50: quantile(rtts, 0.5), p99: quantile(rtts, 0.99), max: quantile(rtts, 1) };
      say({ kind: "burst", sent: up.length, sentMs, answered: rtts.length, byNode, rttMs, lastMs });
    }, waitMs);
  }

  #send({ source }: CrowdSession, datagram: Uint8Array): void {
    source.socket.send(datagram, ignore);
  }
}

/** What the kernel does not take shows as loss. */
function ignore(): void {}

/** Requests carry their receiver as transaction, and only SENDER is nobody's answer. */
const receiverOf = (datagram: Buffer): number =>
  datagram.length > SENDER_RECEIVER + 1 && datagram[TYPE] === SENDER
    ? datagram.readUInt16BE(SENDER_RECEIVER)
    : datagram.readUInt32BE(TRANSACTION);

function say(line: CrowdLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** Connected, because then `send` gives the datagram to the kernel before it returns. */
function openSource(address: string, service: CrowdOrder["service"]): Promise<Source> {
  const socket = createSocket({ type: "udp4", recvBufferSize: BUFFER, sendBufferSize: BUFFER });
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(SOURCE_PORT, address, () =>
      socket.connect(service.port, service.address, () => resolve({ socket, cookie: undefined })),
    );
  });
}

/** Obeys until its standard input ends. */
export async function runCrowd(order: CrowdOrder): Promise<void> {
  const crowd = new Crowd(order, await Promise.all(order.sources.map((address) => openSource(address, order.service))));
  say({ kind: "ready" });
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => crowd.obey(JSON.parse(line) as CrowdCommand));
  lines.on("close", () => process.exit());
}

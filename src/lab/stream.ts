/**
 * The traffic of the anycast lab, one process in every namespace that needs it: sends numbered UDP datagrams at a rate,
 * counts those of others, and holds TCP connections whose every byte is checked. Talks in lines of JSON: `StreamOrder` on
 * standard input, `StreamLine` on standard output. It ends with its standard input.
 */
import { createSocket, type Socket } from "node:dgram";
import { createConnection, createServer, type Socket as TcpSocket } from "node:net";
import { createInterface } from "node:readline";
import { Seen, STREAM_HEADER_LEN, STREAM_PORT, seqOf, streamOf, TCP_PORT, writeStream } from "./stream_format.ts";

/** What to do now. */
export type StreamOrder =
  /** `count`: stop after so many more; 0: never. */
  | {
      readonly kind: "send";
      readonly id: number;
      readonly address: string;
      readonly packetsPerSecond: number;
      readonly bytes: number;
      readonly count: number;
    }
  | { readonly kind: "stop"; readonly id: number }
  /** A TCP connection for as long as the process lives. */
  | { readonly kind: "connect"; readonly id: number; readonly address: string; readonly bytesPerSecond: number };

export interface TcpCount {
  readonly id: number;
  readonly sent: number;
  /** undefined: all is well. */
  readonly problem: string | undefined;
}

export interface StreamLine {
  readonly sent: readonly { readonly id: number; readonly sent: number; readonly done: boolean }[];
  readonly received: readonly { readonly id: number; readonly received: number; readonly duplicates: number }[];
  readonly connections: readonly TcpCount[];
  /** Of all connections that came in. */
  readonly tcpReceived: number;
  readonly tcpProblems: readonly string[];
}

const REPORT_MS = 200;
const TICK_MS = 1;
/** After a stall at most this many are made up for in one turn. */
const CATCH_UP = 64;
const BUFFER_BYTES = 8 << 20;
/** TCP carries this over and over. */
const PATTERN = Buffer.from(Array.from({ length: 65_536 }, (_, i) => (i * 31 + (i >> 8) * 7) & 255));

interface Sender {
  readonly id: number;
  readonly address: string;
  readonly socket: Socket;
  readonly packet: Buffer;
  readonly packetsPerSecond: number;
  /** The number that is not sent any more; 0: none. */
  readonly until: number;
  since: number;
  sent: number;
  stopped: boolean;
}

interface Connection {
  readonly id: number;
  readonly socket: TcpSocket;
  sent: number;
  problem: string | undefined;
}

const senders = new Map<number, Sender>();
const received = new Map<number, Seen>();
const connections: Connection[] = [];
const tcp = { received: 0, problems: [] as string[] };
const sockets = {
  4: createSocket({ type: "udp4", recvBufferSize: BUFFER_BYTES, sendBufferSize: BUFFER_BYTES }),
  6: createSocket({ type: "udp6", ipv6Only: true, recvBufferSize: BUFFER_BYTES, sendBufferSize: BUFFER_BYTES }),
};

function take(packet: Buffer): void {
  const id = streamOf(packet, 0, packet.length);
  if (id < 0) return;
  let seen = received.get(id);
  if (seen === undefined) {
    seen = new Seen();
    received.set(id, seen);
  }
  seen.add(seqOf(packet, 0));
}

/** What cannot be sent at the moment (no route yet) shows as loss. */
function ignore(): void {}

function sendDue(sender: Sender, now: number): void {
  if (sender.stopped) return;
  let due = Math.floor(((now - sender.since) * sender.packetsPerSecond) / 1000) + 1 - sender.sent;
  if (due > CATCH_UP) {
    // What was not sent in a stall is sent later at the normal rate: nothing is skipped, so numbers have no holes.
    sender.since += ((due - CATCH_UP) * 1000) / sender.packetsPerSecond;
    due = CATCH_UP;
  }
  for (; due > 0 && !sender.stopped; due--) {
    const packet = Buffer.from(sender.packet);
    writeStream(packet, sender.id, sender.sent++);
    sender.socket.send(packet, STREAM_PORT, sender.address, ignore);
    if (sender.sent === sender.until) sender.stopped = true;
  }
}

function connect(order: Extract<StreamOrder, { kind: "connect" }>): void {
  const socket = createConnection({ host: order.address, port: TCP_PORT });
  const connection: Connection = { id: order.id, socket, sent: 0, problem: undefined };
  connections.push(connection);
  const share = Math.max(1, Math.round(order.bytesPerSecond / 50));
  const timer = setInterval(() => {
    if (socket.writableLength > order.bytesPerSecond) return;
    const at = connection.sent % PATTERN.length;
    const part = PATTERN.subarray(at, Math.min(PATTERN.length, at + share));
    socket.write(part);
    connection.sent += part.length;
  }, 20);
  const end = (why: string) => {
    connection.problem ??= why;
    clearInterval(timer);
  };
  socket.on("error", (error) => end(error.message));
  socket.on("close", () => end("closed"));
}

function accept(socket: TcpSocket): void {
  let at = 0;
  socket.on("data", (chunk) => {
    tcp.received += chunk.length;
    for (let done = 0; done < chunk.length; ) {
      const n = Math.min(chunk.length - done, PATTERN.length - at);
      if (chunk.compare(PATTERN, at, at + n, done, done + n) !== 0 && tcp.problems.length < 8)
        tcp.problems.push("other bytes than were sent");
      done += n;
      at = (at + n) % PATTERN.length;
    }
  });
  socket.on("error", (error) => tcp.problems.push(error.message));
}

function report(): void {
  const line: StreamLine = {
    sent: [...senders.values()].map(({ id, sent, stopped }) => ({ id, sent, done: stopped })),
    received: [...received].map(([id, { count, duplicates }]) => ({ id, received: count, duplicates })),
    connections: connections.map(({ id, sent, problem }) => ({ id, sent, problem })),
    tcpReceived: tcp.received,
    tcpProblems: tcp.problems,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function obey(order: StreamOrder): void {
  if (order.kind === "connect") {
    connect(order);
    return;
  }
  if (order.kind === "stop") {
    const sender = senders.get(order.id);
    if (sender !== undefined) sender.stopped = true;
    return;
  }
  const { id, address, packetsPerSecond, count } = order;
  const packet = Buffer.alloc(Math.max(STREAM_HEADER_LEN, order.bytes));
  const socket = sockets[address.includes(":") ? 6 : 4];
  // At another rate, the numbers go on.
  const sent = senders.get(id)?.sent ?? 0;
  const since = performance.now() - (sent * 1000) / packetsPerSecond;
  const until = count === 0 ? 0 : sent + count;
  senders.set(id, { id, address, socket, packet, packetsPerSecond, until, since, sent, stopped: false });
}

for (const socket of Object.values(sockets)) {
  socket.on("message", take);
  socket.bind(STREAM_PORT);
}
createServer(accept).listen({ port: TCP_PORT, host: "::", ipv6Only: false });
setInterval(() => {
  const now = performance.now();
  for (const sender of senders.values()) sendDue(sender, now);
}, TICK_MS);
setInterval(report, REPORT_MS);
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => obey(JSON.parse(line) as StreamOrder));
lines.on("close", () => process.exit());

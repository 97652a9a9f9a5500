/**
 * The lab's traffic, one process in every namespace: answers UDP probes, and sends its own along the paths that begin
 * here. Talks to the lab in lines: `start` and `stop` on standard input, JSON (`ProbeLine`) on standard output.
 *
 * Before `start` it asks along every path until the first answer, so that the count begins with a tunnel that is up.
 * Round-trip times are taken by the clock of the sender alone. It ends with its standard input: a lab that died leaves
 * no probe behind.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { createInterface } from "node:readline";
import { Meter, type Reading } from "./meter.ts";

/** The one argument of the process, as JSON. `paths[i].id` is the lab's number of the path. */
export interface ProbeOrder {
  readonly paths: readonly { readonly id: number; readonly family: 4 | 6; readonly address: string }[];
  readonly packetsPerSecond: number;
}

/** `ready`: every path of this probe was answered once. `done`: the last line. */
export interface ProbeLine {
  readonly ready: boolean;
  readonly done: boolean;
  readonly paths: readonly (Reading & { readonly id: number })[];
}

const PORT = 7007;
const REPORT_MS = 500;
const WARM_UP_MS = 100;
const TICK_MS = 5;
/** Longest wait for answers after `stop`. */
const DRAIN_MS = 2000;
/** After a stall of the machine at most this many packets are made up for at once; the rest is never sent. */
const CATCH_UP = 8;

// A probe: kind, path and sequence number as 32-bit words, then padding to the size of a small datagram.
const PROBE_BYTES = 200;
const KIND_ASK = 0x61686f70;
const KIND_ANSWER = 0x41484f50;
const WARM_UP_SEQ = 0xffffffff;

interface Sender {
  readonly id: number;
  readonly address: string;
  readonly socket: Socket;
  readonly meter: Meter;
  warm: boolean;
  /** Time of the packet with sequence number 0; moved on after a stall. */
  since: number;
}

function main(order: ProbeOrder): void {
  const sockets = { 4: createSocket("udp4"), 6: createSocket({ type: "udp6", ipv6Only: true }) };
  const senders: Sender[] = order.paths.map(({ id, family, address }) => {
    return { id, address, socket: sockets[family], meter: new Meter(), warm: false, since: 0 };
  });
  const byId = new Map(senders.map((sender) => [sender.id, sender]));
  let running = false;

  const report = (done: boolean) => {
    const paths = senders.map(({ id, meter }) => ({ id, ...meter.read(performance.now()) }));
    const line: ProbeLine = { ready: senders.every((sender) => sender.warm), done, paths };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  };
  const receive = (socket: Socket, packet: Buffer, from: RemoteInfo) => {
    if (packet.length !== PROBE_BYTES) return;
    const kind = packet.readUInt32BE(0);
    if (kind === KIND_ASK) {
      packet.writeUInt32BE(KIND_ANSWER, 0);
      socket.send(packet, from.port, from.address, ignore);
    } else if (kind === KIND_ANSWER) {
      const sender = byId.get(packet.readUInt32BE(4));
      const seq = packet.readUInt32BE(8);
      if (sender === undefined) return;
      if (seq !== WARM_UP_SEQ) sender.meter.answer(seq, performance.now());
      else if (!sender.warm) {
        sender.warm = true;
        if (senders.every((other) => other.warm)) report(false);
      }
    }
  };

  const warmUp = setInterval(() => {
    for (const sender of senders) if (!sender.warm && !running) ask(sender, WARM_UP_SEQ);
  }, WARM_UP_MS);
  const tick = setInterval(() => {
    if (!running) return;
    for (const sender of senders) sendDue(sender, order.packetsPerSecond, performance.now());
  }, TICK_MS);
  const reports = setInterval(() => report(false), REPORT_MS);

  const stop = () => {
    running = false;
    clearInterval(warmUp);
    clearInterval(tick);
    const until = performance.now() + DRAIN_MS;
    const drain = setInterval(() => {
      const missing = senders.some(({ meter }) => meter.unanswered > 0);
      if (missing && performance.now() < until) return;
      clearInterval(drain);
      clearInterval(reports);
      // The sockets stay open: other probes may still wait for our answers. The end of the input ends the process.
      report(true);
    }, 20);
  };

  for (const socket of Object.values(sockets)) {
    socket.on("message", (packet, from) => receive(socket, packet, from));
    socket.bind(PORT);
  }
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    if (line === "start") {
      for (const sender of senders) sender.since = performance.now();
      running = true;
    } else if (line === "stop") stop();
  });
  lines.on("close", () => process.exit());
}

/** Errors of single probes (no route yet, device not up) show as loss. */
function ignore(): void {}

function ask(sender: Sender, seq: number): void {
  const packet = Buffer.alloc(PROBE_BYTES);
  packet.writeUInt32BE(KIND_ASK, 0);
  packet.writeUInt32BE(sender.id, 4);
  packet.writeUInt32BE(seq, 8);
  sender.socket.send(packet, PORT, sender.address, ignore);
}

function sendDue(sender: Sender, packetsPerSecond: number, now: number): void {
  const due = Math.floor(((now - sender.since) * packetsPerSecond) / 1000) + 1 - sender.meter.sent;
  if (due > CATCH_UP) sender.since += ((due - CATCH_UP) * 1000) / packetsPerSecond;
  for (let n = Math.min(due, CATCH_UP); n > 0; n--) ask(sender, sender.meter.send(performance.now()));
}

main(JSON.parse(process.argv[2] ?? "{}") as ProbeOrder);

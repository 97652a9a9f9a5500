/**
 * A UDP socket inside a namespace, in the hands of a test: an attacker, a hand-made peer, or a man in the middle who
 * counts sequence numbers. A child process holds the socket, because a namespace belongs to a process.
 */
import { createInterface } from "node:readline";
import type { Namespace, Program } from "../../src/bench/netns.ts";

export interface Datagram {
  readonly address: string;
  readonly port: number;
  readonly bytes: Uint8Array;
}

/** Runs in the child. Lines in and out: address, port, payload in hexadecimal digits ("-" for an empty payload). */
const CHILD = `
const [address, port] = process.argv.slice(1);
const socket = require("node:dgram").createSocket({ type: address.includes(":") ? "udp6" : "udp4", recvBufferSize: 4e6 });
socket.on("message", (m, from) => process.stdout.write(from.address + " " + from.port + " " + (m.toString("hex") || "-") + "\\n"));
socket.bind(Number(port), address, () => process.stdout.write("ready\\n"));
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const [to, toPort, hex] = line.split(" ");
  socket.send(Buffer.from(hex === "-" ? "" : hex, "hex"), Number(toPort), to);
});
`;

export class NetnsSocket {
  /** Everything received, unless `onDatagram` takes it. */
  readonly received: Datagram[] = [];
  onDatagram: (datagram: Datagram) => void = (datagram) => void this.received.push(datagram);
  private readonly program: Program;

  private constructor(program: Program) {
    this.program = program;
  }

  static async open(namespace: Namespace, address: string, port: number): Promise<NetnsSocket> {
    const program = namespace.start([process.execPath, "-e", CHILD, address, String(port)], { stdin: true });
    const socket = new NetnsSocket(program);
    await new Promise<void>((done, fail) => {
      program.ended.then(() => fail(new Error(`No socket on ${address} port ${port}: ${program.output}`)));
      createInterface({ input: program.child.stdout! }).on("line", (line) => {
        if (line === "ready") return done();
        const [from, fromPort, hex] = line.split(" ");
        const bytes = hex === "-" ? new Uint8Array(0) : Uint8Array.from(Buffer.from(hex!, "hex"));
        socket.onDatagram({ address: from!, port: Number(fromPort), bytes });
      });
    });
    return socket;
  }

  send(bytes: Uint8Array, address: string, port: number): void {
    const hex = bytes.length === 0 ? "-" : Buffer.from(bytes).toString("hex");
    this.program.child.stdin?.write(`${address} ${port} ${hex}\n`);
  }

  close(): Promise<void> {
    return this.program.stop();
  }
}

/** Header fields of a datagram that has at least the eight bytes of a SATP header. */
export function headerOf(bytes: Uint8Array): { readonly seq: number; readonly senderId: number; readonly mux: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { seq: view.getUint32(0), senderId: view.getUint16(4), mux: view.getUint16(6) };
}

/**
 * Sends captured datagrams again, unchanged, with the source address that they came from: what a stranger who listened
 * can do. A process of its own in the stranger's namespace; prints one line of JSON when it is done.
 */
import { createSocket } from "node:dgram";
import { createReadStream } from "node:fs";
import { PcapReader } from "./pcap.ts";

/** The one argument of the process, as JSON. */
export interface ReplayOrder {
  /** A capture of whole datagrams. */
  readonly file: string;
  readonly source: string;
  readonly sourcePort: number;
  readonly target: string;
  readonly port: number;
  readonly packetsPerSecond: number;
}

export interface Replayed {
  readonly sent: number;
}

const TICK_MS = 2;

async function main(order: ReplayOrder): Promise<void> {
  const datagrams: Buffer[] = [];
  const reader = new PcapReader(({ bytes, payloadAt, payloadEnd }) =>
    datagrams.push(Buffer.from(bytes.subarray(payloadAt, payloadEnd))),
  );
  for await (const chunk of createReadStream(order.file)) reader.push(chunk as Buffer);
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(order.sourcePort, order.source, resolve));
  const begun = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    const due = Math.min(datagrams.length, Math.ceil(((performance.now() - begun) * order.packetsPerSecond) / 1000));
    for (; sent < due; sent++) socket.send(datagrams[sent]!, order.port, order.target, () => {});
    if (sent < datagrams.length) return;
    clearInterval(timer);
    // The last ones are with the kernel when the socket has closed.
    setTimeout(() => {
      socket.close();
      process.stdout.write(`${JSON.stringify({ sent } satisfies Replayed)}\n`);
    }, 200);
  }, TICK_MS);
}

await main(JSON.parse(process.argv[2]!) as ReplayOrder);

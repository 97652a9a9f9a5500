/** `node dist/crowd/main.js FILE`: the clients of the order in FILE, which obey until standard input ends. */
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Crowd } from "./crowd.ts";
import type { CrowdCommand, CrowdLine, CrowdOrder } from "./order.ts";
import type { Source } from "./session.ts";

const SOURCE_PORT = 4444;
const BUFFER = 4 << 20;

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

const say = (line: CrowdLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

const order = JSON.parse(readFileSync(process.argv[2]!, "utf8")) as CrowdOrder;
const sources = await Promise.all(order.sources.map((address) => openSource(address, order.service)));
const crowd = new Crowd(order, sources, say);
say({ kind: "ready" });
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => crowd.obey(JSON.parse(line) as CrowdCommand));
lines.on("close", () => process.exit());

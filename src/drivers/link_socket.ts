/**
 * The UDP sockets of the node link: one unicast address, datagrams in and out. What they mean is in cluster/link.ts. Each
 * peer has a connected socket beside the one that is open to all, on the same port: a datagram leaves it without a look for
 * the way.
 */
import { createSocket, type Socket } from "node:dgram";
import { AnyhopError } from "../base/errors.ts";
import { type Address, formatAddress, parseAddress } from "../base/ip.ts";
import type { LinkSocket } from "../control/spec/ports.ts";
import { firstClosedSocket } from "./native.ts";

/** Room for the packets of a flip storm, as far as the kernel allows. */
const BUFFER_BYTES = 4 * 1024 * 1024;

interface Place {
  readonly host: string;
  readonly port: number;
}
/** The literal address and the port that it is bound to. */
interface LinkPlace {
  readonly address: string;
  readonly port: number;
}
type Endpoint = Address & { readonly port: number };

/** Rejects with AnyhopError "link_bind". Errors of single datagrams are losses, which the link is made for. */
export async function bindLink(own: Place, peers: readonly Endpoint[]): Promise<LinkSocket & LinkPlace> {
  const { address, port } = await freePlace(own);
  const all = opened(address, port);
  const ofPeers = new Map<string, Socket>();
  for (const peer of peers) {
    const socket = opened(address, port);
    if (await connected(socket, peer)) ofPeers.set(nameOf(peer), socket);
    else socket.close();
  }
  const sockets = [all, ...ofPeers.values()];
  let open = true;
  const isRefusal = (error: Error | null) => (error as NodeJS.ErrnoException | null)?.code === "ECONNREFUSED";
  const sendOpenly = ({ port, w0, w1, w2, w3 }: Endpoint, bytes: Uint8Array) =>
    all.send(bytes, port, formatAddress(w0, w1, w2, w3), () => {});
  return {
    address,
    port,
    onDatagram(receive) {
      for (const socket of sockets)
        socket.on("message", (bytes, from) => {
          const address = parseAddress(from.address);
          if (address !== undefined) receive({ ...address, port: from.port }, bytes);
        });
    },
    send(to, bytes) {
      if (!open) return;
      const socket = ofPeers.get(nameOf(to));
      if (socket === undefined) {
        sendOpenly(to, bytes);
        return;
      }
      socket.send(bytes, (error) => {
        if (!open || !isRefusal(error)) return;
        // Of a datagram before this one, which was not sent.
        sendOpenly(to, bytes);
      });
    },
    close() {
      open = false;
      for (const socket of sockets) socket.close();
    },
  };
}

const nameOf = ({ w0, w1, w2, w3, port }: Endpoint): string => `${w0} ${w1} ${w2} ${w3} ${port}`;

/** The literal address and port of a place that no other socket has: those that share one don't see another daemon's. */
async function freePlace({ host, port }: Place): Promise<LinkPlace> {
  const probe = createSocket({ type: host.includes(":") ? "udp6" : "udp4" });
  await new Promise<void>((resolve, reject) => {
    probe.once("error", (error: NodeJS.ErrnoException) => {
      reject(
        new AnyhopError(
          "link_bind",
          `The node link can't listen on ${host} port ${port}: ${error.code}. group.link must be an address of this machine, and the port free.`,
        ),
      );
    });
    probe.bind({ address: host, port, exclusive: true }, resolve);
  });
  const place = probe.address();
  await new Promise<void>((resolve) => probe.close(resolve));
  return place;
}

function opened(address: string, port: number): Socket {
  const socket = createSocket({ type: address.includes(":") ? "udp6" : "udp4" });
  socket.on("error", () => {});
  socket.bind({ fd: firstClosedSocket(address, port) });
  // Less is the system's limit (net.core.rmem_max), and enough for small groups.
  socket.setRecvBufferSize(BUFFER_BYTES);
  socket.setSendBufferSize(BUFFER_BYTES);
  return socket;
}

/** False: there is no way to the peer at the moment. */
const connected = (socket: Socket, { w0, w1, w2, w3, port }: Endpoint): Promise<boolean> =>
  new Promise((resolve) => {
    // Given to the callback, whatever the types say.
    socket.connect(port, formatAddress(w0, w1, w2, w3), (error?: Error) => resolve(error === undefined));
  });

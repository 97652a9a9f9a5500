/** The UDP sockets of the self-test: one for each address family that is asked, on ports that the kernel picks. */
import { createSocket, type Socket } from "node:dgram";

export interface ProbeSocket {
  /** A failure is as good as a loss. */
  send(datagram: Uint8Array, address: string, port: number): void;
  close(): void;
}

export function openProbeSocket(onDatagram: (datagram: Uint8Array) => void): ProbeSocket {
  const sockets = new Map<"udp4" | "udp6", Socket>();
  const socketFor = (type: "udp4" | "udp6"): Socket => {
    const known = sockets.get(type);
    if (known !== undefined) return known;
    const socket = createSocket(type);
    socket.on("message", onDatagram);
    // An unreachable address: the probe stays without an answer, which is what is reported.
    socket.on("error", () => {});
    sockets.set(type, socket);
    return socket;
  };
  return {
    send(datagram, address, port) {
      socketFor(address.includes(":") ? "udp6" : "udp4").send(datagram, port, address, () => {});
    },
    close() {
      for (const socket of sockets.values()) socket.close();
      sockets.clear();
    },
  };
}

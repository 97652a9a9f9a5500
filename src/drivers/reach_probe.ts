/**
 * Asks the kernel whether an address can be reached at all. The shard's sockets are open to all peers, so they are not told
 * of ICMP errors; a connected socket is. Sends one empty datagram, which a node counts as datagram_short. Anybody can forge
 * ICMP: the answer is for people to read.
 */
import { createSocket } from "node:dgram";
import type { Reach } from "../control/spec/ports.ts";

const WAIT_MS = 1000;

/** Resolves with "silent" when nothing was heard within a second. Never rejects. */
export function probeReach(address: string, port: number): Promise<Reach> {
  return new Promise((resolve) => {
    const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
    let isOver = false;
    const end = (reach: Reach) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on("error", () => {});
      socket.close();
      resolve(reach);
    };
    const timer = setTimeout(() => end("silent"), WAIT_MS);
    timer.unref();
    const heard = (error: Error | null | undefined) => {
      const code = (error as NodeJS.ErrnoException | null | undefined)?.code;
      if (code === "ECONNREFUSED") end("port_closed");
      else if (code === "ENETUNREACH" || code === "EADDRNOTAVAIL") end("no_route");
      else if (code === "EHOSTUNREACH" || code === "EACCES" || code === "EPERM") end("filtered");
    };
    socket.once("error", heard);
    // Given to the callback, whatever the types say.
    socket.connect(port, address, (error?: Error) => {
      if (error !== undefined && error !== null) heard(error);
      else socket.send("", heard);
    });
  });
}

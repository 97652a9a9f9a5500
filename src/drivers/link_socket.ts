/** The UDP socket of the node link: one unicast address, datagrams in and out. What they mean is in cluster/link.ts. */
import { createSocket } from "node:dgram";
import { AnyhopError } from "../base/errors.ts";
import { formatAddress, parseAddress } from "../base/ip.ts";
import type { LinkSocket } from "../control/ports.ts";

/** Room for the packets of a flip storm, as far as the kernel allows. */
const BUFFER_BYTES = 4 * 1024 * 1024;

/** Rejects with AnyhopError "link_bind". Errors of single datagrams are losses, which the link is made for. */
export async function bindLink(host: string, port: number): Promise<LinkSocket> {
  const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4" });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", (error: NodeJS.ErrnoException) => {
      reject(
        new AnyhopError(
          "link_bind",
          `The node link can't listen on ${host} port ${port}: ${error.code}. group.link must be an address of this machine, and the port free.`,
        ),
      );
    });
    socket.bind({ address: host, port, exclusive: true }, resolve);
  });
  socket.on("error", () => {});
  // Less is the system's limit (net.core.rmem_max), and enough for small groups.
  socket.setRecvBufferSize(BUFFER_BYTES);
  socket.setSendBufferSize(BUFFER_BYTES);
  let open = true;
  return {
    onDatagram(receive) {
      socket.on("message", (bytes, from) => {
        const address = parseAddress(from.address);
        if (address !== undefined) receive({ ...address, port: from.port }, bytes);
      });
    },
    send(to, bytes) {
      if (open) socket.send(bytes, to.port, formatAddress(to.w0, to.w1, to.w2, to.w3), () => {});
    },
    close() {
      open = false;
      socket.close();
    },
  };
}

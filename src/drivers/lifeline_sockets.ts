/**
 * The TCP side of the lifeline: listens at the address of the node link, connects to peers, and carries bytes between the
 * kernel and the state machine (cluster/lifeline.ts). Belongs into a thread that does nothing else.
 */
import { createServer, type Server, type Socket, connect as tcpConnect } from "node:net";
import type { Clock } from "../base/clock.ts";
import { type Address, formatAddress, parseAddress } from "../base/ip.ts";
import type { Lifeline } from "../cluster/lifeline.ts";
import type { ConnectionEnd, LifelineEvent, LifelineOutput, LinkSecrets } from "../cluster/lifeline_types.ts";
import type { WatchStatus } from "../cluster/lifeline_watch.ts";
import type { LinkPeer } from "../cluster/link_peer.ts";
import { closedFirst } from "./native.ts";

/** Of strangers that connect faster than they are turned away. */
const BACKLOG = 64;

export interface LifelinePorts {
  readonly clock: Clock;
  /** Address that this node has for its peers. */
  readonly own: { readonly address: string; readonly port: number };
  readonly tell: (event: LifelineEvent) => void;
  /** This thread runs, after all that was told. */
  readonly ran: (nowMs: number) => void;
  /** For how long the control thread has not run, ms. */
  readonly controlSilentMs: (nowMs: number) => number;
  /** The listener can't be had. */
  readonly failed: (reason: string) => void;
}

export class LifelineSockets {
  readonly #lifeline: Lifeline;
  readonly #use: LifelinePorts;
  readonly #sockets = new Map<number, Socket>();
  readonly #server: Server;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(lifeline: Lifeline, ports: LifelinePorts) {
    this.#lifeline = lifeline;
    this.#use = ports;
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    this.#server.on("error", (error: NodeJS.ErrnoException) => ports.failed(error.code ?? error.message));
    const { address: host, port } = ports.own;
    this.#server.listen({ host, port, backlog: BACKLOG, exclusive: true }, () => {
      // Before the connections: who tries again when one ends is to be refused.
      const fd = descriptorOf(this.#server);
      if (fd !== undefined) this.#server.once("close", closedFirst(fd, 1));
      this.#tick();
    });
  }

  /** An authentic datagram of a node came over the node link at `ms`. */
  heard(node: number, ms: number): void {
    this.#lifeline.heard(node, ms);
  }

  /** Another node belongs to the group no more. */
  setPeers(peers: readonly LinkPeer[]): void {
    this.#in((out) => this.#lifeline.setPeers(this.#now(), peers, out));
  }

  /** The node link has agreed with a peer on other secrets. */
  agreed(agreed: LinkSecrets): void {
    this.#in((out) => this.#lifeline.agreed(this.#now(), agreed, out));
  }

  status(): WatchStatus[] {
    return this.#lifeline.status(this.#now());
  }

  /** Says farewell, and ends all connections. */
  close(): void {
    this.#in((out) => this.#lifeline.leave(out));
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#server.close();
    for (const socket of this.#sockets.values()) socket.end();
  }

  #now() {
    return { ms: this.#use.clock.monotonicMs(), wallMs: this.#use.clock.wallMs() };
  }

  #in(act: (out: LifelineOutput[]) => void): void {
    if (this.#closed) return;
    const out: LifelineOutput[] = [];
    act(out);
    this.#carryOut(out);
    this.#use.ran(this.#now().ms);
  }

  /** Timers come before sockets: after a pause, what has come meanwhile is read first. */
  #tick(): void {
    if (this.#closed) return;
    setImmediate(() => {
      this.#in((out) => {
        const now = this.#now();
        this.#lifeline.controlSilent(now, this.#use.controlSilentMs(now.ms), out);
        this.#lifeline.tick(now, out);
      });
      if (this.#closed) return;
      const wait = Math.max(1, Math.ceil(this.#lifeline.nextTimeout() - this.#use.clock.monotonicMs()));
      this.#timer = setTimeout(() => this.#tick(), wait);
    });
  }

  #accept(socket: Socket): void {
    // Without a listener an early reset would end the thread.
    socket.on("error", () => {});
    const from = addressOf(socket.remoteAddress);
    let connection: number | undefined;
    this.#in((out) => {
      connection = from && this.#lifeline.accepted(this.#now(), from, out);
    });
    if (connection === undefined) socket.destroy();
    else this.#follow(connection, socket);
  }

  #connect(connection: number, node: number): void {
    const endpoint = this.#lifeline.endpointOf(node);
    if (endpoint === undefined) return;
    const { port, w0, w1, w2, w3 } = endpoint;
    const socket = tcpConnect({
      ...{ host: formatAddress(w0, w1, w2, w3), port, localAddress: this.#use.own.address, noDelay: true },
    });
    socket.on("connect", () => this.#in((out) => this.#lifeline.opened(this.#now(), connection, out)));
    this.#follow(connection, socket);
  }

  #follow(connection: number, socket: Socket): void {
    this.#sockets.set(connection, socket);
    const hasten = () => {
      const fd = descriptorOf(socket);
      if (fd !== undefined) socket.once("close", closedFirst(fd, 0));
    };
    if (socket.connecting) socket.once("connect", hasten);
    else hasten();
    let how: ConnectionEnd = "closed";
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") how = "refused";
      else if (error.code !== "ECONNRESET" && error.code !== "EPIPE") how = "unreachable";
    });
    socket.on("data", (bytes) => {
      if (this.#sockets.get(connection) !== socket) return;
      this.#in((out) => this.#lifeline.received(this.#now(), connection, bytes, out));
    });
    socket.on("end", () => socket.destroy());
    socket.on("close", () => {
      if (this.#sockets.get(connection) !== socket) return;
      this.#sockets.delete(connection);
      this.#in((out) => this.#lifeline.ended(this.#now(), connection, how, out));
    });
  }

  #carryOut(outputs: readonly LifelineOutput[]): void {
    for (const output of outputs) {
      if (output.kind === "event") this.#use.tell(output.event);
      else if (output.kind === "connect") this.#connect(output.connection, output.node);
      else if (output.kind === "write") this.#sockets.get(output.connection)?.write(output.bytes);
      else {
        const socket = this.#sockets.get(output.connection);
        this.#sockets.delete(output.connection);
        socket?.destroy();
      }
    }
  }
}

/** Node has it and does not document it; undefined: it is closed already. */
function descriptorOf(of: Server | Socket): number | undefined {
  const fd = (of as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  return fd === undefined || fd < 0 ? undefined : fd;
}

const addressOf = (text: string | undefined): Address | undefined =>
  text === undefined ? undefined : parseAddress(text);

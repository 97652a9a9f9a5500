/**
 * One service of a client: wires the initiator's decisions to the shard and the host, and what the shard sees to the
 * initiator. Keeps the newest ticket on disk; what is done to the host is in client_host.ts. Never gives up until it is
 * stopped.
 */
import type { Clock } from "../base/clock.ts";
import { AnyhopError } from "../base/errors.ts";
import { formatEndpoint, parseAddress } from "../base/ip.ts";
import type { Logger } from "../base/log.ts";
import * as kinds from "../channel/kinds.ts";
import { decodeUnnumbered, encodeUnnumbered, type Unnumbered } from "../channel/unnumbered.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { keyPairFromPrivate } from "../crypto/x25519.ts";
import { CONTROL_DATAGRAM, SESSION_CONTROL } from "../dataplane/control_ring.ts";
import type { ClientOutput, ClientProblem, ClientSession } from "../handshake/client_session.ts";
import * as control from "../handshake/control.ts";
import { Initiator } from "../handshake/initiator.ts";
import { AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, type Sender } from "../handshake/keys.ts";
import { MODE_TUNNEL } from "../handshake/offer.ts";
import type { Endpoint } from "../shard/messages.ts";
import { ClientHost, innerMtu } from "./client_host.ts";
import type { ServiceStatus } from "./control_port.ts";
import type { EventHub } from "./event_hub.ts";
import type { ClientSpec, ServiceSpec } from "./instance.ts";
import { loadTicket, ticketName } from "./kept_ticket.ts";
import { aeadKey, aeadNames } from "./node_end.ts";
import { Pings } from "./pings.ts";
import type { HostNetwork, Resolver, SavedTicket, Store } from "./ports.ts";
import { type Handed, Rows, type SessionEnd, type ShardPort } from "./session_end.ts";

/** Sessions, and crypto contexts of further senders, share these numbers. */
const ROWS = 256;
const WINDOW = 2048;
const TICK_MS = 50;
/** All rows of a client stand for the one group. */
const OWNER = 1_000_000;
/** Sealed, it is an empty packet. */
const NOTHING = new Uint8Array(0);

export interface ClientEndPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly entropy: Entropy;
  readonly host: HostNetwork;
  readonly resolve: Resolver;
  /** PATH for hooks. */
  readonly path: string;
  /** For the ticket. */
  readonly store: Store;
  /** What tells boots of machines apart. */
  readonly boot: string;
  readonly events: EventHub;
}

interface Held {
  readonly row: number;
  readonly session: ClientSession;
  /** Crypto contexts of senders beyond the first. */
  readonly slots: number[];
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  heardMs: number;
  sentBytes: number;
}

export class ClientEnd implements SessionEnd {
  readonly side = "client";
  readonly rows = ROWS;
  readonly #service: ServiceSpec;
  readonly #use: ClientEndPorts;
  readonly #initiator: Initiator;
  /** By receiver index. */
  readonly #held = new Map<number, Held>();
  readonly #host: ClientHost;
  readonly #pings: Pings;
  readonly #ticketName: string;
  /** Undefined until packets flow. */
  #running: ShardPort | undefined;
  #free!: Rows;
  #timer: NodeJS.Timeout | undefined;
  #remote: Endpoint | undefined;
  /** What is to be written to disk: a ticket, or that there is none. */
  #unsaved: { readonly ticket: SavedTicket | undefined } | undefined;
  #tried = 0;
  #isConfigured = false;
  #isReplaced = false;
  #firstUp!: () => void;
  /** Settles when the first session is up. */
  readonly whenUp = new Promise<void>((resolve) => {
    this.#firstUp = resolve;
  });

  constructor(spec: ClientSpec, service: ServiceSpec, ports: ClientEndPorts) {
    this.#service = service;
    this.#use = ports;
    this.#host = new ClientHost(service, ports);
    this.#pings = new Pings(ports.clock, ports.entropy);
    this.#ticketName = ticketName(service.publicKey, spec.publicKey, service.psk);
    this.#initiator = new Initiator(
      {
        own: keyPairFromPrivate(spec.privateKey),
        groupKey: service.publicKey,
        groupName: "",
        psk: service.psk ?? new Uint8Array(32),
        aeads: (1 << AES_256_GCM) | (1 << AES_128_GCM) | (1 << CHACHA20_POLY1305),
        modes: MODE_TUNNEL,
      },
      ports.entropy,
      loadTicket(ports.store, this.#ticketName, ports.boot, ports.clock.wallMs()),
    );
  }

  start(shard: ShardPort, firstRow: number): void {
    this.#running = shard;
    this.#free = new Rows(firstRow, ROWS);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#begin().catch((error: Error) => this.#warn("start", `cannot start: ${error.message}`));
  }

  /** With a kill switch nothing for the routes of the file leaves the host outside the tunnel, not even before it is up. */
  async #begin(): Promise<void> {
    await this.#host.blockNamed();
    await this.#findRemote();
    await this.#host.blockEverything();
    this.#carry((out) => this.#initiator.start(this.#now(), out));
  }

  stop(): void {
    clearInterval(this.#timer);
    const current = this.#initiator.current;
    const held = current && this.#held.get(current.receiver);
    if (held) this.#seal(held.row, { kind: kinds.CLOSE, reason: "shutdown" });
    this.#write();
  }

  /** Takes back what was changed on the host beyond the device, and says post_down. */
  leave(): Promise<void> {
    return this.#host.leave();
  }

  /** What `status` shows. */
  status(): ServiceStatus {
    const { clock } = this.#use;
    const [nowMs, wallMs] = [clock.monotonicMs(), clock.wallMs()];
    const current = this.#initiator.current;
    const sessions = [...this.#held.values()].map(({ row, session, slots, sinceMs }) => {
      const rekeyAtMs = this.#initiator.rekeyAtMs(session.receiver);
      const { lastRx, rxPackets, rxBytes, txPackets, txBytes } = this.#shard.tunnels;
      return {
        ...{ id: session.index, current: session.receiver === current?.receiver, resumed: session.resumed },
        ...{ endpoint: this.#endpoint(row), cipher: aeadNames[session.aead], sinceMs, senders: 1 + slots.length },
        heardMs: lastRx[row] > 0 ? Math.round(wallMs - (nowMs - lastRx[row])) : null,
        rekeyInMs: rekeyAtMs === undefined ? null : Math.max(0, Math.round(rekeyAtMs - nowMs)),
        rx: { packets: rxPackets[row], bytes: rxBytes[row] },
        tx: { packets: txPackets[row], bytes: txBytes[row] },
      };
    });
    const { state } = this.#host;
    return {
      ...{ name: this.#service.name, state: this.#stateName(), device: this.#running?.deviceName ?? "" },
      remote: this.#remote ? formatEndpoint(...this.#remote.words, this.#remote.port) : null,
      ...{ addresses: state?.addresses ?? [], routes: state?.routes ?? [], dns: state?.dns ?? [] },
      ...{ mtu: state?.mtuBytes ?? null, sessions: sessions.sort((a, b) => Number(b.current) - Number(a.current)) },
      host: this.#host.changes,
    };
  }

  /** Round trip through the session, in milliseconds. Rejects with AnyhopError. */
  async ping(timeoutMs: number): Promise<number> {
    const current = this.#initiator.current;
    const held = current && this.#held.get(current.receiver);
    if (held === undefined) throw new AnyhopError("no_session", `Service ${this.#service.name} has no session.`);
    return this.#pings.send(timeoutMs, (token) => this.#seal(held.row, { kind: kinds.PING, token }));
  }

  get #shard(): ShardPort {
    return this.#running!;
  }

  #stateName(): ServiceStatus["state"] {
    if (this.#isReplaced) return "replaced";
    if (this.#initiator.current === undefined) return "connecting";
    return this.#initiator.confirmed ? "up" : "confirming";
  }

  #endpoint(row: number): string {
    const { addr0, addr1, addr2, addr3, port } = this.#shard.tunnels;
    return formatEndpoint(addr0[row], addr1[row], addr2[row], addr3[row], port[row]);
  }

  handed(entry: Handed): void {
    if (entry.kind === CONTROL_DATAGRAM) {
      // The data plane has compared the echo with what it sent; the initiator asks its own ring.
      if (entry.bytes[control.TYPE] === control.UNKNOWN_SESSION && entry.detail === 1) {
        const view = control.viewOf(entry.bytes);
        const [seq, high, low] = [0, control.ECHO_HEAD, control.ECHO_HEAD + 4].map((at) => view.getInt32(at));
        this.#initiator.sent.note(seq >>> 0, high, low);
      }
      this.#carry((out) => this.#initiator.receive(this.#now(), entry.bytes, out));
      return;
    }
    if (entry.kind !== SESSION_CONTROL) return;
    const held = [...this.#held.values()].find(({ row }) => row === entry.row);
    const message = held && decodeUnnumbered(entry.bytes, entry.detail & 0xffff);
    if (held === undefined || message === undefined) return;
    if (message.kind === kinds.PING) this.#seal(held.row, { kind: kinds.PONG, token: message.token });
    if (message.kind === kinds.PONG) this.#pings.answered(message.token);
    if (message.kind === kinds.CLOSE)
      this.#carry((out) => this.#initiator.closedByGroup(this.#now(), held.session.receiver, message.reason, out));
    if (message.kind === kinds.PATH_PROBE)
      this.#seal(held.row, { kind: kinds.PATH_ACK, token: message.token, length: message.length });
  }

  nameOf(): string {
    return this.#service.name;
  }

  /** Rows of a client are never pending. */
  confirmed(): void {}

  #tick(): void {
    const { lastRx, txBytes, seqNext, rxPackets } = this.#shard.tunnels;
    const now = this.#now();
    for (const held of this.#held.values()) {
      const { row, session } = held;
      if (lastRx[row] !== held.heardMs) {
        held.heardMs = lastRx[row];
        this.#initiator.heard(now, session.receiver, rxPackets[row]);
      } else if (txBytes[row] !== held.sentBytes && session.receiver === this.#initiator.current?.receiver) {
        this.#initiator.sealed(now, seqNext[row] - 1);
      }
      held.sentBytes = txBytes[row];
    }
    this.#carry((out) => this.#initiator.tick(now, out));
  }

  #carry(act: (out: ClientOutput[]) => void): void {
    const out: ClientOutput[] = [];
    act(out);
    for (const output of out) this.#carryOut(output);
  }

  #carryOut(output: ClientOutput): void {
    switch (output.kind) {
      case "send":
        if (this.#remote) this.#shard.post({ kind: "send", datagram: output.datagram, to: this.#remote });
        break;
      case "up":
        this.#up(output.session);
        break;
      case "confirm": {
        const held = this.#held.get(output.session.receiver);
        if (held) this.#shard.post({ kind: "seal", index: held.row, payload: NOTHING });
        break;
      }
      case "sender": {
        const held = this.#held.get(output.session.receiver);
        if (held) this.#addSender(held, output.sender);
        break;
      }
      case "acknowledge": {
        const held = this.#held.get(output.session.receiver);
        if (held) this.#seal(held.row, { kind: kinds.SENDER_ACK, sender: output.sender });
        break;
      }
      case "retire":
        this.#retire(output.session);
        break;
      case "down":
        this.#down(output.reason);
        break;
      case "problem":
        this.#problem(output.problem);
        break;
    }
  }

  #up(session: ClientSession): void {
    const row = this.#free.take();
    const [first, ...others] = session.senders;
    if (row === undefined || first === undefined || this.#remote === undefined) return;
    const isFirst = this.#held.size === 0;
    const held: Held = { row, session, slots: [], sinceMs: this.#use.clock.wallMs(), heardMs: 0, sentBytes: 0 };
    this.#held.set(session.receiver, held);
    this.#shard.post({
      kind: "session",
      session: {
        ...{ index: row, owner: OWNER, end: "client", sessionIndex: session.index, receiver: session.receiver },
        senderId: first.senderId,
        key: aeadKey(session.aead, session.sealKey, first.openKey),
        window: WINDOW,
        keepaliveMs: this.#service.keepaliveMs || session.keepaliveMs,
        innerMtu: innerMtu(this.#service, session.settings),
        ...{ routes: undefined, endpoint: this.#remote, pending: false },
      },
    });
    for (const sender of others) this.#addSender(held, sender);
    const how = session.resumed ? "resumed by ticket" : "up";
    const message = `Service ${this.#service.name}: session ${how}, ${aeadNames[session.aead]}`;
    this.#use.log.notice("session_up", message);
    this.#use.events.tell(isFirst ? "session_up" : "session_rekeyed", message, this.#service.name);
    this.#keepTicket(session);
    if (!this.#isConfigured)
      void this.#configure(session).catch((error: Error) => this.#warn("configure", error.message));
  }

  #addSender(held: Held, sender: Sender & { readonly openKey: Uint8Array }): void {
    const slot = this.#free.take();
    if (slot === undefined) return;
    held.slots.push(slot);
    const key = aeadKey(held.session.aead, held.session.sealKey, sender.openKey);
    this.#shard.post({ kind: "sender", index: held.row, senderId: sender.senderId, slot, key });
  }

  #retire(session: ClientSession): void {
    const held = this.#held.get(session.receiver);
    if (held === undefined) return;
    this.#held.delete(session.receiver);
    this.#shard.post({ kind: "remove", index: held.row, routes: [] });
    for (const row of [held.row, ...held.slots]) this.#free.give(row);
  }

  #down(reason: string): void {
    const message = `Service ${this.#service.name}: no session any more (${reason})`;
    this.#use.log.warning("session_down", message);
    this.#use.events.tell("session_down", message, this.#service.name);
    // Who was sent away, or has another in its place, does not come back by the side door.
    if (reason === "replaced" || reason === "removed") this.#save(undefined);
  }

  #keepTicket(session: ClientSession): void {
    const kept = this.#initiator.keep(session);
    this.#save(kept && { ...kept, savedMs: this.#use.clock.wallMs(), boot: this.#use.boot });
  }

  /** Once the shard knows what packets wait for: a disk may take many milliseconds. */
  #save(ticket: SavedTicket | undefined): void {
    if (this.#unsaved === undefined) setImmediate(() => this.#write());
    this.#unsaved = { ticket };
  }

  #write(): void {
    if (this.#unsaved === undefined) return;
    const { ticket } = this.#unsaved;
    this.#unsaved = undefined;
    try {
      this.#use.store.saveTicket(this.#ticketName, ticket);
    } catch (error) {
      this.#warn("ticket", `the ticket cannot be written to disk (${(error as Error).message})`);
    }
  }

  /** Once the node has said what the device is to have. */
  async #configure(session: ClientSession): Promise<void> {
    this.#isConfigured = true;
    const { deviceName } = this.#shard;
    const remote = formatEndpoint(...this.#remote!.words, this.#remote!.port);
    await this.#host.configure(deviceName, remote, session.settings);
    const { addresses, routes } = this.#host.state!;
    this.#use.log.notice(
      "service_up",
      `Service ${this.#service.name}: ${deviceName} has ${addresses.join(" ")}, routes ${routes.join(" ")}`,
    );
    this.#firstUp();
  }

  /** The next remote of the file, as an endpoint of a family that we have a socket for. */
  async #findRemote(): Promise<void> {
    const { remotes } = this.#service;
    for (let k = 0; k < remotes.length; k++) {
      const { host, port } = remotes[this.#tried++ % remotes.length];
      const texts = await this.#use.resolve(host).catch((error: Error) => {
        this.#warn("resolve", `${host} was not found (${error.message})`);
        return [];
      });
      for (const text of texts) {
        const address = parseAddress(text);
        const sock = address ? this.#shard.socketFor(address.family) : -1;
        if (address === undefined || sock < 0) continue;
        this.#remote = { words: [address.w0, address.w1, address.w2, address.w3], port, sock };
        await this.#host.pin(text, this.#shard.deviceName, () => this.#moved());
        return;
      }
    }
  }

  /** On another way we have another address: the group learns it from a packet. */
  #moved(): void {
    this.#initiator.moved();
    const current = this.#initiator.current;
    const held = current && this.#held.get(current.receiver);
    if (held) this.#shard.post({ kind: "seal", index: held.row, payload: NOTHING });
  }

  #problem(problem: ClientProblem): void {
    const name = this.#service.name;
    if (problem.reason === "no_answer") {
      const tried = this.#remote ? formatEndpoint(...this.#remote.words, this.#remote.port) : "no address";
      this.#warn(
        "no_answer",
        `${tried} does not answer: wrong address or port, another group key or psk, or this client is not known there`,
      );
      void this.#findRemote();
    } else if (problem.reason === "clock")
      this.#warn(
        "clock",
        problem.seenMs < problem.ownMs
          ? `this machine's clock is at ${date(problem.ownMs)}, that of the group at ${date(problem.seenMs)}: set the clock; going on from there`
          : `this machine's clock was at ${date(problem.ownMs)}, the group has seen ${date(problem.seenMs)} from this key: set the clock; going on from there`,
      );
    else if (problem.reason === "refused") this.#warn("refused", `the group refuses: ${problem.why}`);
    else {
      this.#isReplaced = true;
      this.#use.log.error(
        "replaced",
        `Service ${name}: another machine uses this client's key; stopped. Give each machine a key of its own`,
      );
    }
  }

  #warn(event: string, message: string): void {
    this.#use.log.warning(event, `Service ${this.#service.name}: ${message}`);
  }

  #seal(row: number, message: Unnumbered): void {
    this.#shard.post({ kind: "seal", index: row, payload: encodeUnnumbered(message) });
  }

  #now() {
    return { ms: this.#use.clock.monotonicMs(), wallMs: this.#use.clock.wallMs() };
  }
}

const date = (ms: number): string => new Date(ms).toISOString();

/**
 * One service of a client: wires the initiator's decisions to the shard and the host, and what the shard sees to the
 * initiator. Configures the device with what the node gives; never gives up until it is stopped.
 */
import type { Clock } from "../base/clock.ts";
import { formatAddress, formatEndpoint, parseAddress } from "../base/ip.ts";
import type { Logger } from "../base/log.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { keyPairFromPrivate } from "../crypto/x25519.ts";
import { CONTROL_DATAGRAM, SESSION_CONTROL } from "../dataplane/control_ring.ts";
import type { ClientOutput, ClientProblem, ClientSession } from "../handshake/client_session.ts";
import * as control from "../handshake/control.ts";
import { Initiator } from "../handshake/initiator.ts";
import { AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, type Sender } from "../handshake/keys.ts";
import { MODE_TUNNEL } from "../handshake/offer.ts";
import * as inside from "../handshake/session_control.ts";
import type { Endpoint } from "../shard/messages.ts";
import { hookEnvironment, type ServiceState } from "./hooks.ts";
import type { ClientSpec, ServiceSpec } from "./instance.ts";
import { aeadKey, aeadNames } from "./node_end.ts";
import type { HostNetwork, Resolver } from "./ports.ts";
import { type Handed, Rows, type SessionEnd, type ShardPort } from "./session_end.ts";

/** Sessions, and crypto contexts of further senders, share these numbers. */
const ROWS = 256;
const WINDOW = 2048;
const TICK_MS = 50;
const MTU_DEFAULT = 1400;
/** All rows of a client stand for the one group. */
const OWNER = 1_000_000;
const EVERYTHING_4 = ["0.0.0.0/1", "128.0.0.0/1"];
const EVERYTHING_6 = ["::/1", "8000::/1"];

export interface ClientEndPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly entropy: Entropy;
  readonly host: HostNetwork;
  readonly resolve: Resolver;
  /** PATH for hooks. */
  readonly path: string;
}

interface Held {
  readonly row: number;
  readonly session: ClientSession;
  /** Crypto contexts of senders beyond the first. */
  readonly slots: number[];
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
  readonly #undo: (() => Promise<void>)[] = [];
  #shard!: ShardPort;
  #free!: Rows;
  #timer: NodeJS.Timeout | undefined;
  #remote: Endpoint | undefined;
  #tried = 0;
  #isBlocked = false;
  /** Outer addresses with a host route of their own. */
  readonly #pinned = new Set<string>();
  #state: ServiceState | undefined;
  #firstUp!: () => void;
  /** Settles when the first session is up. */
  readonly whenUp = new Promise<void>((resolve) => {
    this.#firstUp = resolve;
  });

  constructor(spec: ClientSpec, service: ServiceSpec, ports: ClientEndPorts) {
    this.#service = service;
    this.#use = ports;
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
    );
  }

  start(shard: ShardPort, firstRow: number): void {
    this.#shard = shard;
    this.#free = new Rows(firstRow, ROWS);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#begin().catch((error: Error) => this.#warn("start", `cannot start: ${error.message}`));
  }

  /** With a kill switch nothing for the routes of the file leaves the host outside the tunnel, not even before it is up. */
  async #begin(): Promise<void> {
    const { killSwitch, routes } = this.#service;
    if (killSwitch && Array.isArray(routes)) await this.#block(routes);
    await this.#findRemote();
    // Both families, whatever the tunnel carries: what it does not carry would leave beside it.
    if (killSwitch && routes === "everything") await this.#block([...EVERYTHING_4, ...EVERYTHING_6]);
    this.#carry((out) => this.#initiator.start(this.#now(), out));
  }

  async #block(routes: readonly string[]): Promise<void> {
    this.#undo.push(await this.#use.host.block(routes));
    this.#isBlocked = true;
  }

  stop(): void {
    clearInterval(this.#timer);
    const current = this.#initiator.current;
    const held = current && this.#held.get(current.receiver);
    if (held) this.#seal(held.row, { type: inside.CLOSE, reason: "shutdown" });
  }

  /** Takes back what was changed on the host beyond the device, and says post_down. */
  async leave(): Promise<void> {
    for (const undo of this.#undo.reverse()) await undo().catch((error: Error) => this.#warn("undo", error.message));
    await this.#hook("post_down", this.#service.hooks.postDown);
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
    const message = held && inside.decodeSessionControl(entry.detail, entry.bytes);
    if (held === undefined || message === undefined) return;
    if (message.type === inside.PING) this.#seal(held.row, { type: inside.PONG, token: message.token });
    if (message.type === inside.CLOSE)
      this.#carry((out) => this.#initiator.closedByGroup(this.#now(), held.session.receiver, message.reason, out));
    if (message.type === inside.PATH_PROBE)
      this.#seal(held.row, { type: inside.PATH_ACK, token: message.token, length: message.length });
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
        if (held) this.#shard.post({ kind: "seal", index: held.row, type: -1, payload: new Uint8Array(0) });
        break;
      }
      case "sender": {
        const held = this.#held.get(output.session.receiver);
        if (held) this.#addSender(held, output.sender);
        break;
      }
      case "acknowledge": {
        const held = this.#held.get(output.session.receiver);
        if (held) this.#seal(held.row, { type: inside.SENDER_ACK, sender: output.sender });
        break;
      }
      case "retire":
        this.#retire(output.session);
        break;
      case "down":
        this.#use.log.warning("session_down", `Service ${this.#service.name}: no session any more (${output.reason})`);
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
    const held: Held = { row, session, slots: [], heardMs: 0, sentBytes: 0 };
    this.#held.set(session.receiver, held);
    this.#shard.post({
      kind: "session",
      session: {
        ...{ index: row, owner: OWNER, end: "client", sessionIndex: session.index, receiver: session.receiver },
        senderId: first.senderId,
        key: aeadKey(session.aead, session.sealKey, first.openKey),
        window: WINDOW,
        keepaliveMs: this.#service.keepaliveMs || session.keepaliveMs,
        innerMtu: this.#service.mtuBytes ?? (session.settings.mtuBytes || MTU_DEFAULT),
        ...{ routes: undefined, endpoint: this.#remote, pending: false },
      },
    });
    for (const sender of others) this.#addSender(held, sender);
    const how = session.resumed ? "resumed by ticket" : "up";
    this.#use.log.notice("session_up", `Service ${this.#service.name}: session ${how}, ${aeadNames[session.aead]}`);
    if (this.#state === undefined)
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

  /** Addresses, routes, kill switch and hooks, once the node has said what they are. */
  async #configure(session: ClientSession): Promise<void> {
    const { settings } = session;
    const service = this.#service;
    const given = settings.addresses.map((a) => `${formatAddress(a.w0, a.w1, a.w2, a.w3)}/${a.length}`);
    const announced = settings.routes.map((a) => `${formatAddress(a.w0, a.w1, a.w2, a.w3)}/${a.length}`);
    const addresses = service.addresses ?? given;
    const hasIpv6 = addresses.some((a) => a.includes(":"));
    const everything = [...EVERYTHING_4, ...(hasIpv6 ? EVERYTHING_6 : [])];
    const routes = service.routes === "everything" ? everything : (service.routes ?? announced);
    const { host } = this.#use;
    const [w0, w1, w2, w3] = this.#remote!.words;
    this.#state = {
      device: this.#shard.deviceName,
      endpoint: formatEndpoint(w0, w1, w2, w3, this.#remote!.port),
      ...{ addresses, routes },
      dns: settings.dns.map((a) => formatAddress(a.w0, a.w1, a.w2, a.w3)),
      mtuBytes: service.mtuBytes ?? (settings.mtuBytes || MTU_DEFAULT),
    };
    if (service.killSwitch && !this.#isBlocked) await this.#block(routes);
    const { device, mtuBytes } = this.#state;
    await host.configure({
      name: device,
      mtuBytes,
      addresses,
      routes: routes.filter((r) => hasIpv6 || !r.includes(":")),
    });
    if (this.#state.dns.length > 0) await this.#hook("dns", service.hooks.dns);
    await this.#hook("post_up", service.hooks.postUp);
    this.#use.log.notice(
      "service_up",
      `Service ${service.name}: ${device} has ${addresses.join(" ")}, routes ${routes.join(" ")}`,
    );
    this.#firstUp();
  }

  async #hook(event: "dns" | "post_up" | "post_down", program: string | undefined): Promise<void> {
    if (program === undefined || this.#state === undefined) return;
    const environment = hookEnvironment(event, this.#service, this.#state, this.#use.path);
    await this.#use.host
      .run(program, [], environment)
      .catch((error: Error) => this.#warn("hook", `${event}: ${error.message}`));
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
        await this.#pin(text);
        return;
      }
    }
  }

  /** The way to the node must not lead into the tunnel. */
  async #pin(address: string): Promise<void> {
    if (this.#service.routes !== "everything" || this.#pinned.has(address)) return;
    this.#pinned.add(address);
    await this.#use.host.pin(address).then(
      (undo) => this.#undo.push(undo),
      (error: Error) => this.#warn("pin", `there is no way to ${address} (${error.message})`),
    );
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
        `this machine's clock was at ${date(problem.ownMs)}, the group has seen ${date(problem.seenMs)} from this key: set the clock; going on from there`,
      );
    else if (problem.reason === "refused") this.#warn("refused", `the group refuses: ${problem.why}`);
    else
      this.#use.log.error(
        "replaced",
        `Service ${name}: another machine uses this client's key; stopped. Give each machine a key of its own`,
      );
  }

  #warn(event: string, message: string): void {
    this.#use.log.warning(event, `Service ${this.#service.name}: ${message}`);
  }

  #seal(row: number, message: inside.SessionControl): void {
    const payload = inside.encodeSessionControl(message);
    this.#shard.post({ kind: "seal", index: row, type: message.type, payload });
  }

  #now() {
    return { ms: this.#use.clock.monotonicMs(), wallMs: this.#use.clock.wallMs() };
  }
}

const date = (ms: number): string => new Date(ms).toISOString();

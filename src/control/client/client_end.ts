/**
 * One service of a client: wires the initiator's decisions to the shard and the host, and what the shard sees to the
 * initiator. Keeps the newest ticket on disk; what is done to the host is in client_host.ts. Never gives up until it is
 * stopped.
 */

import type { Clock } from "../../base/clock.ts";
import { AnyhopError } from "../../base/errors.ts";
import { formatAddress, formatEndpoint, type Remote } from "../../base/ip.ts";
import type { Logger } from "../../base/log.ts";
import * as kinds from "../../channel/kinds.ts";
import type { Entropy } from "../../crypto/entropy.ts";
import { keyPairFromPrivate } from "../../crypto/x25519.ts";
import { CONTROL_DATAGRAM, SESSION_CONTROL } from "../../dataplane/control_ring.ts";
import type { ClientOutput, ClientProblem, ClientSession } from "../../handshake/client_session.ts";
import * as control from "../../handshake/control.ts";
import { Initiator } from "../../handshake/initiator.ts";
import { AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, type Sender } from "../../handshake/keys.ts";
import { MODE_TUNNEL } from "../../handshake/offer.ts";
import type { Settings } from "../../handshake/settings.ts";
import { countsOf } from "../asked/control_counts.ts";
import type { ServiceStatus } from "../asked/control_port.ts";
import type { EventHub } from "../asked/event_hub.ts";
import type { ProblemReason } from "../asked/problem_reasons.ts";
import { ClientHost, innerMtu } from "../host/client_host.ts";
import { Pings } from "../instance/pings.ts";
import { Remotes } from "../instance/remotes.ts";
import { aeadKey, aeadNames } from "../instance/session_cipher.ts";
import { type Handed, Rows, type SessionEnd, type ShardPort } from "../instance/session_end.ts";
import type { ClientSpec, ServiceSpec } from "../spec/instance.ts";
import type { HostNetwork, OutcomeCount, Pong, ReachProbe, Resolver, SavedTicket, Store } from "../spec/ports.ts";
import { formatKey } from "../text/keys/key_text.ts";
import { ClientInside } from "./client_inside.ts";
import { ClientProblems, refusals, silence } from "./client_problems.ts";
import { KeptGroupKey } from "./kept_group_key.ts";
import { loadTicket, ticketName } from "./kept_ticket.ts";

/** Rows of the tunnel table. Sessions take them, and so does each further sender of a session, for its crypto context. */
const ROWS = 256;
const WINDOW = 2048;
const TICK_MS = 50;
/** Pause before a name that was not found is looked up again: it begins with the first value and doubles up to the second. */
const LOOK_UP_MS = 1000;
const LOOK_UP_MAX_MS = 16_000;
/** The service counts as silent when its session was not heard for so long and requests for a new one have no answer. */
const SILENT_MS = 15_000;
/** After so many requests without an answer the kernel is asked whether the node can be reached. */
const PROBE_AT_TRIES = 2;
/** The rest of a sender id is the shard (docs/OPERATIONS.md, "Shards"). */
const NODE_MASK = 0xfff;
/** All rows of a client stand for the one group. */
const OWNER = 1_000_000;
/** No payload: when it is sealed it becomes an empty packet. */
const NOTHING = new Uint8Array(0);
/** More are only counted in the log; `status` has them all. */
const ROUTES_SHOWN = 20;

export interface ClientEndPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly entropy: Entropy;
  readonly host: HostNetwork;
  readonly resolve: Resolver;
  readonly probe: ReachProbe;
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
  readonly #inside: ClientInside;
  readonly #problems = new ClientProblems();
  readonly #remotes: Remotes;
  /** In base64: what the node must know. */
  readonly #publicKey: string;
  readonly #ticketName: string;
  readonly #groupKey: KeptGroupKey;
  /** Undefined until packets flow. */
  #running: ShardPort | undefined;
  #free!: Rows;
  #timer: NodeJS.Timeout | undefined;
  #remote: Remote | undefined;
  /** When names that led nowhere are looked up again, monotonic; Infinity: a look-up is under way, or a place is known. */
  #lookUpAtMs = Number.POSITIVE_INFINITY;
  #lookUpPauseMs = LOOK_UP_MS;
  /** Requests of the present asking that steps were told of. */
  #toldTries = 0;
  /** The place that was probed last, and with how many requests. */
  #probedAtTries = 0;
  /** What is to be written to disk: a ticket, or that there is none. */
  #unsaved: { readonly ticket: SavedTicket | undefined } | undefined;
  /** Number of the node that was heard last, since when, and how often it was another one before; 0: none. Wall clock. */
  #node = 0;
  #nodeSinceMs = 0;
  #moves = 0;
  /** Since when packets pass both ways and the host is set up; undefined: they don't. Wall clock. */
  #upSinceMs: number | undefined;
  #handshakeMs: number | undefined;
  #isStopped = false;
  #isHostReady = false;
  /** What the host was to have when it could not. */
  #refused: Settings | undefined;
  #isReplaced = false;
  #firstUp!: () => void;
  /** Settles when the host is set up and the node was heard in a session. */
  readonly whenUp = new Promise<void>((resolve) => {
    this.#firstUp = resolve;
  });

  constructor(spec: ClientSpec, service: ServiceSpec, ports: ClientEndPorts) {
    this.#service = service;
    this.#use = ports;
    this.#host = new ClientHost(service, { ...ports, journal: ports.store.hostJournal });
    this.#pings = new Pings(ports.clock, ports.entropy);
    this.#inside = new ClientInside({
      ...{ clock: ports.clock, pings: this.#pings },
      seal: (row, payload) => this.#shard.post({ kind: "seal", index: row, payload }),
      closed: (receiver, reason) =>
        this.#carry((out) => this.#initiator.closedByGroup(this.#now(), receiver, reason, out)),
      apply: (settings) => this.#configure(settings),
      groupKeys: (notice) => this.#learnGroupKeys(notice),
    });
    this.#publicKey = formatKey(spec.publicKey);
    this.#remotes = new Remotes(service.remotes, {
      resolve: ports.resolve,
      speaks: (family) => this.#running !== undefined && this.#running.socketFor(family) >= 0,
      looking: (host) => this.#step("service_looks_up", `looks up ${host}`),
      failed: (_, why) => this.#trouble("no_name", why),
    });
    this.#ticketName = ticketName(service.publicKey, spec.publicKey, service.psk);
    this.#groupKey = new KeptGroupKey(service, this.#ticketName, ports.store);
    this.#initiator = new Initiator(
      {
        own: keyPairFromPrivate(spec.privateKey),
        groupKey: this.#groupKey.current,
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
    await this.#host.begin(this.#shard.deviceName);
    await this.#nextRemote();
    await this.#host.blockEverything();
    if (this.#remote === undefined) this.#lookUpLater();
    else this.#ask();
  }

  #ask(): void {
    if (!this.#isStopped) this.#carry((out) => this.#initiator.start(this.#now(), out));
  }

  #lookUpLater(): void {
    this.#lookUpAtMs = this.#use.clock.monotonicMs() + this.#lookUpPauseMs;
    this.#lookUpPauseMs = Math.min(LOOK_UP_MAX_MS, 2 * this.#lookUpPauseMs);
  }

  async #lookUpAgain(): Promise<void> {
    this.#lookUpAtMs = Number.POSITIVE_INFINITY;
    await this.#nextRemote();
    if (this.#remote === undefined) this.#lookUpLater();
    else this.#ask();
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
    const current = this.#initiator.current;
    const held = current && this.#held.get(current.receiver);
    if (held) this.#inside.tell(held.row, { kind: kinds.CLOSE, reason: "shutdown" });
    this.#write();
  }

  /** Takes back what was changed on the host beyond the device, and says post_down. `failed`: nobody wanted the end. */
  leave(failed = false): Promise<void> {
    return this.#host.leave(failed);
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
      remote: this.#remote ? this.#place() : null,
      ...{ addresses: state?.addresses ?? [], routes: state?.routes ?? [], dns: state?.dns ?? [] },
      ...{ mtu: state?.mtuBytes ?? null, sessions: sessions.sort((a, b) => Number(b.current) - Number(a.current)) },
      ...{ node: this.#node || null, nodeSinceMs: this.#node === 0 ? null : this.#nodeSinceMs, moves: this.#moves },
      ...{ upSinceMs: this.#upSinceMs ?? null, handshakeMs: this.#handshakeMs ?? null, asking: this.#asking() },
      problem: this.#problems.worst,
      ...{ host: this.#host.changes, hooks: this.#host.hooks, beside: this.#host.beside },
      ...{ protected: this.#host.isProtected, hostProblems: this.#host.problems },
    };
  }

  /** What became of control messages inside sessions. */
  controls(): OutcomeCount[] {
    return countsOf(this.#inside.counters);
  }

  /** Through the session. Rejects with AnyhopError. */
  async ping(timeoutMs: number): Promise<Pong> {
    const current = this.#initiator.current;
    const held = current && this.#held.get(current.receiver);
    if (held === undefined) throw new AnyhopError("no_session", `Service ${this.#service.name} has no session.`);
    const { rttMs } = await this.#pings.send(timeoutMs, (token) =>
      this.#inside.tell(held.row, { kind: kinds.PING, token }),
    );
    return { rttMs, node: this.#shard.tunnels.lastSender[held.row] & NODE_MASK || null };
  }

  get #shard(): ShardPort {
    return this.#running!;
  }

  #stateName(): ServiceStatus["state"] {
    if (this.#isReplaced) return "replaced";
    const { current, asking, confirmed } = this.#initiator;
    if (current === undefined) return "connecting";
    const heardMs = this.#held.get(current.receiver)?.heardMs ?? 0;
    if (asking !== undefined && confirmed && this.#now().ms - heardMs >= SILENT_MS) return "silent";
    return this.#upSinceMs === undefined ? "confirming" : "up";
  }

  #asking(): ServiceStatus["asking"] {
    const { asking } = this.#initiator;
    if (asking === undefined) return null;
    const { ms, wallMs } = this.#now();
    return { sinceMs: Math.round(wallMs - (ms - asking.sinceMs)), tries: asking.tries };
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
      this.#carry((out) => {
        const outcome = this.#initiator.receive(this.#now(), entry.bytes, out);
        if (outcome === "forged" && entry.bytes[control.TYPE] === control.RESPONSE)
          this.#trouble(
            "wrong_answer",
            `${this.#place()} answers, but not under the keys of this file: psk is another one there than here, or somebody forges answers`,
          );
      });
      return;
    }
    if (entry.kind !== SESSION_CONTROL) return;
    const held = [...this.#held.values()].find(({ row }) => row === entry.row);
    if (held !== undefined) this.#inside.received(held, entry.detail >>> 16, entry.bytes, entry.detail & 0xffff);
  }

  nameOf(): string {
    return this.#service.name;
  }

  /** Rows of a client are never pending. */
  confirmed(): void {}

  #tick(): void {
    const { lastRx, lastSender, txBytes, seqNext, rxPackets } = this.#shard.tunnels;
    const now = this.#now();
    if (now.ms >= this.#lookUpAtMs) void this.#lookUpAgain();
    for (const held of this.#held.values()) {
      const { row, session } = held;
      if (lastRx[row] !== held.heardMs) {
        held.heardMs = lastRx[row];
        if (session.receiver === this.#initiator.current?.receiver) this.#heardNode(lastSender[row] & NODE_MASK);
        this.#initiator.heard(now, session.receiver, rxPackets[row]);
      } else if (txBytes[row] !== held.sentBytes && session.receiver === this.#initiator.current?.receiver) {
        this.#initiator.sealed(now, seqNext[row] - 1);
      }
      held.sentBytes = txBytes[row];
    }
    this.#carry((out) => this.#initiator.tick(now, out));
    this.#inside.tick();
    this.#tryHostAgain();
    this.#nowUp();
  }

  /** Sets the host up again when that failed before and the reason may be gone. */
  #tryHostAgain(): void {
    const settings = this.#refused;
    if (settings === undefined || this.#isHostReady || !this.#host.isUsable) return;
    this.#refused = undefined;
    this.#configure(settings).catch(() => {});
  }

  #heardNode(node: number): void {
    if (node === this.#node) return;
    if (this.#node !== 0) this.#moves++;
    this.#node = node;
    this.#nodeSinceMs = this.#use.clock.wallMs();
    if (this.#moves > 0) this.#tell("service_moved", `node ${node} answers now`);
  }

  #carry(act: (out: ClientOutput[]) => void): void {
    const out: ClientOutput[] = [];
    act(out);
    for (const output of out) this.#carryOut(output);
    this.#noteAsking();
  }

  /** Says how asking goes while there is no tunnel, a step a request. */
  #noteAsking(): void {
    const { asking, current, confirmed } = this.#initiator;
    const tries = asking?.tries ?? 0;
    if (tries === this.#toldTries) return;
    this.#toldTries = tries;
    if (asking === undefined || tries === 0) {
      this.#probedAtTries = 0;
      return;
    }
    if (current !== undefined && !confirmed)
      this.#trouble(
        "unconfirmed",
        `${this.#place()} granted a session, but nothing of it came since: packets of sessions are lost on the way, or the node is not the one that routers send to`,
      );
    if (this.#upSinceMs === undefined && tries === 1) this.#step("service_asks", `asks ${this.#place()} for a session`);
    else if (this.#upSinceMs === undefined)
      this.#step("service_asks", `has no answer of ${this.#place()} yet, asks for the ${ordinal(tries)} time`);
    if (tries >= 2) this.#problems.note("no_answer", this.#silence(), this.#use.clock.wallMs());
    if (tries >= PROBE_AT_TRIES && this.#probedAtTries === 0) this.#probe(tries);
  }

  /** Of the requests before the newest one. */
  #silence(): string {
    const { tries, sinceMs } = this.#initiator.asking ?? { tries: 1, sinceMs: this.#now().ms };
    return silence(this.#place(), tries - 1, Math.round((this.#now().ms - sinceMs) / 1000), this.#publicKey);
  }

  /** Whether the kernel hears that the place can't be reached. */
  #probe(tries: number): void {
    const remote = this.#remote;
    if (remote === undefined) return;
    this.#probedAtTries = tries;
    const place = this.#place();
    const [host, port] = [formatAddress(remote.w0, remote.w1, remote.w2, remote.w3), remote.port];
    void this.#use.probe(host, port).then((reach) => {
      if (this.#isStopped || this.#initiator.asking === undefined) return;
      if (reach === "port_closed")
        this.#trouble(
          "port_closed",
          `${host} says that nobody listens on its UDP port ${port}: no node runs there, or at another port`,
        );
      else if (reach === "filtered")
        this.#trouble(
          "filtered",
          `the requests to ${place} are not let through, says a router, a firewall or a route on the way`,
        );
      else if (reach === "no_route") this.#trouble("no_route", `this machine has no route to ${place}`);
    });
  }

  /** The host is set up and the node was heard: now it is up, and not before. */
  #nowUp(): void {
    if (!this.#isHostReady || !this.#initiator.confirmed) return;
    if (this.#initiator.asking === undefined) this.#problems.settled();
    if (this.#upSinceMs !== undefined) return;
    this.#upSinceMs = this.#use.clock.wallMs();
    this.#remotes.found();
    this.#tell("service_up", `up through ${this.#place()}`);
    this.#firstUp();
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
        if (held) this.#inside.tell(held.row, { kind: kinds.SENDER_ACK, sender: output.sender });
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
    this.#handshakeMs = this.#use.clock.wallMs();
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
    this.#inside.granted(held);
  }

  #addSender(held: Held, sender: Sender & { readonly openKey: Uint8Array }): void {
    const slot = this.#free.take();
    if (slot === undefined) return;
    held.slots.push(slot);
    const key = aeadKey(held.session.aead, held.session.sealKey, sender.openKey);
    this.#shard.post({ kind: "sender", index: held.row, senderId: sender.senderId, slot, key });
  }

  /** The group says that it has other keys: what its operator has signed counts, from the next handshake on. */
  #learnGroupKeys(notice: string): void {
    const learnt = this.#groupKey.learn(notice);
    if (learnt === "known") return;
    if (typeof learnt === "object") {
      this.#warn("group_key_refused", `a node told of another key of the group, and it is not taken: ${learnt.fault}`);
      return;
    }
    this.#initiator.useGroupKey(this.#groupKey.current);
    const message = `Service ${this.#service.name}: the group has another key, ${formatKey(this.#groupKey.current)}; used from now on`;
    this.#use.log.notice("group_key", message);
    this.#use.events.tell("group_key", message, this.#service.name);
  }

  #retire(session: ClientSession): void {
    const held = this.#held.get(session.receiver);
    if (held === undefined) return;
    this.#inside.retired(held);
    this.#held.delete(session.receiver);
    this.#shard.post({ kind: "remove", index: held.row, routes: [] });
    for (const row of [held.row, ...held.slots]) this.#free.give(row);
  }

  #down(reason: string): void {
    this.#upSinceMs = undefined;
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

  /** Once the node has said all that the device is to have, and again when it is to have something else. */
  async #configure(settings: Settings): Promise<void> {
    const { deviceName } = this.#shard;
    const remote = this.#place();
    try {
      await this.#host.configure(deviceName, remote, settings);
    } catch (error) {
      this.#refused = settings;
      this.#trouble("host", (error as Error).message);
      throw error;
    }
    const { addresses, routes } = this.#host.state!;
    const shown = routes.length > ROUTES_SHOWN ? `${routes.length} routes` : `routes ${routes.join(" ")}`;
    const event = this.#isHostReady ? "settings_changed" : "service_up";
    const message = `Service ${this.#service.name}: ${deviceName} has ${addresses.join(" ")}, ${shown}`;
    this.#use.log.notice(event, message);
    if (this.#isHostReady) this.#use.events.tell(event, message, this.#service.name);
    this.#isHostReady = true;
    this.#nowUp();
  }

  /** The next place of the file; without one the last one stays. True when it is another. */
  async #nextRemote(): Promise<boolean> {
    const place = await this.#remotes.next();
    if (place === undefined || this.#isStopped) return false;
    const { address, port, text } = place;
    const before = this.#place();
    this.#remote = { ...address, port, sock: this.#shard.socketFor(address.family) };
    await this.#host.pin(text, () => this.#moved());
    return this.#place() !== before;
  }

  /** Where requests go, "192.0.2.1:4444". */
  #place(): string {
    if (this.#remote === undefined) return "no address";
    const { w0, w1, w2, w3, port } = this.#remote;
    return formatEndpoint(w0, w1, w2, w3, port);
  }

  /** Nobody answers: the next address has its turn. The first time that it has one it is asked at once. */
  async #askElsewhere(): Promise<void> {
    const isFirstTurn = !this.#remotes.swept;
    if (!(await this.#nextRemote())) return;
    this.#probedAtTries = 0;
    if (isFirstTurn) this.#carry((out) => this.#initiator.redirected(this.#now(), out));
  }

  /** On another way we have another address: the group learns it from a packet. */
  #moved(): void {
    this.#initiator.moved();
    const current = this.#initiator.current;
    const held = current && this.#held.get(current.receiver);
    if (held) this.#shard.post({ kind: "seal", index: held.row, payload: NOTHING });
  }

  #problem(problem: ClientProblem): void {
    if (problem.reason === "no_answer") {
      this.#trouble("no_answer", this.#silence());
      this.#probe(this.#initiator.asking?.tries ?? 0);
      void this.#askElsewhere();
    } else if (problem.reason === "clock")
      this.#trouble(
        "clock",
        problem.seenMs < problem.ownMs
          ? `this machine's clock is at ${date(problem.ownMs)}, that of the group at ${date(problem.seenMs)}: set the clock; going on from there`
          : `this machine's clock was at ${date(problem.ownMs)}, the group has seen ${date(problem.seenMs)} from this key: set the clock; going on from there`,
      );
    else if (problem.reason === "refused")
      this.#trouble("refused", `${this.#place()} refuses (${problem.why}): ${refusals[problem.why]}`);
    else {
      this.#isReplaced = true;
      const message = "another machine uses this client's key; stopped. Give each machine a key of its own";
      this.#problems.note("replaced", message, this.#use.clock.wallMs());
      this.#use.log.error("replaced", `Service ${this.#service.name}: ${message}`);
      this.#tell("service_problem", message);
    }
  }

  /** Remembered for `status`, and told when it is news. */
  #trouble(reason: ProblemReason, message: string): void {
    const isNews = this.#problems.note(reason, message, this.#use.clock.wallMs());
    this.#use.log.warning(reason, `Service ${this.#service.name}: ${message}`);
    if (isNews) this.#tell("service_problem", message);
  }

  /** On the way up. */
  #step(event: string, message: string): void {
    this.#use.log.info(event, `Service ${this.#service.name} ${message}`);
    this.#tell(event, message);
  }

  #tell(event: string, message: string): void {
    this.#use.events.tell(event, `Service ${this.#service.name}: ${message}`, this.#service.name);
  }

  #warn(event: string, message: string): void {
    this.#use.log.warning(event, `Service ${this.#service.name}: ${message}`);
  }

  #now() {
    return { ms: this.#use.clock.monotonicMs(), wallMs: this.#use.clock.wallMs() };
  }
}

const ordinal = (n: number): string =>
  `${n}${["th", "st", "nd", "rd"][n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] ?? "th"}`;
const date = (ms: number): string => new Date(ms).toISOString();

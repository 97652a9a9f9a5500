/**
 * The sessions of a node: wires the responder's decisions to the shard and what the shard sees to the responder. Knows
 * who may come from the client book; keeps no packet.
 */
import type { Clock } from "../base/clock.ts";
import { AnyhopError } from "../base/errors.ts";
import { formatEndpoint, parseAddress } from "../base/ip.ts";
import type { Logger } from "../base/log.ts";
import { parsePrefix } from "../base/prefix.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { expand } from "../crypto/kdf.ts";
import type { PairOf } from "../crypto/x25519.ts";
import { CONTROL_DATAGRAM, SESSION_CONTROL, UNKNOWN_SESSION } from "../dataplane/control_ring.ts";
import { ALG_AES_128_GCM, ALG_AES_256_GCM, ALG_CHACHA20_POLY1305 } from "../dataplane/layout.ts";
import type { AeadKey } from "../dataplane/ports.ts";
import {
  AES_128_GCM,
  AES_256_GCM,
  type Aead,
  CHACHA20_POLY1305,
  clientKey,
  groupKey,
  type Sender,
} from "../handshake/keys.ts";
import type { NodeOutput, NodeSession, RetireReason } from "../handshake/node_sessions.ts";
import { MODE_OPEN_TUNNEL, MODE_RELAY, MODE_TUNNEL } from "../handshake/offer.ts";
import {
  type ClientRecord as HandshakeClient,
  type NodeOutcome,
  nodeOutcomes,
  Responder,
} from "../handshake/responder.ts";
import * as inside from "../handshake/session_control.ts";
import type { InnerPrefix, Settings } from "../handshake/settings.ts";
import type { PrefixWords } from "../shard/messages.ts";
import { prefixesOf } from "./client_book.ts";
import type { EventHub } from "./event_hub.ts";
import type { NodeSpec } from "./instance.ts";
import { Pings } from "./pings.ts";
import type { ClientRecord, OutcomeCount, SessionState, Sessions, Store, TicketKey } from "./ports.ts";
import { endpointOf, type Handed, Rows, type SessionEnd, type ShardPort, type Source } from "./session_end.ts";
import { freshTicketKeys, TICKET_LIFETIME_MS } from "./ticket_keys.ts";

const ROWS = 4096;
const WINDOW = 2048;
const TICK_MS = 100;
const OVERLAP_MS = 30_000;
const EXPIRE_AFTER_MS = 600_000;
/** Ticket keys are looked after so often. */
const TICKET_KEYS_MS = 60_000;
/** Outcomes of requests that got what they asked for. */
const DONE: ReadonlySet<string> = new Set<NodeOutcome>(["answered", "resumed"]);

export const aeadAlgorithms: Readonly<Record<Aead, number>> = {
  [AES_256_GCM]: ALG_AES_256_GCM,
  [AES_128_GCM]: ALG_AES_128_GCM,
  [CHACHA20_POLY1305]: ALG_CHACHA20_POLY1305,
};
export const aeadNames: Readonly<Record<Aead, string>> = {
  [AES_256_GCM]: "aes-256-gcm",
  [AES_128_GCM]: "aes-128-gcm",
  [CHACHA20_POLY1305]: "chacha20-poly1305",
};

interface Admitted extends HandshakeClient {
  readonly record: ClientRecord;
}

interface Row {
  readonly row: number;
  readonly session: NodeSession;
  readonly routes: readonly PrefixWords[];
  readonly sinceMs: number;
}

export interface NodeEndPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly entropy: Entropy;
  readonly store: Store;
  /** Makes the group's key pair. */
  readonly pairOf: PairOf;
  readonly events: EventHub;
}

/** How long keys live. */
export interface NodeTiming {
  readonly rekeyAfterMs: number;
  /** How long the old session is opened after the new one came up. */
  readonly overlapMs: number;
  readonly expireAfterMs: number;
}

export class NodeEnd implements SessionEnd, Sessions {
  readonly side = "node";
  readonly rows = ROWS;
  readonly responder: Responder;
  /** Answers the daemon's own self-test (control/health.ts); undefined for any other datagram. */
  answerSelfTest: (datagram: Uint8Array) => Uint8Array | undefined = () => undefined;
  #spec: NodeSpec;
  /** What all clients are given. */
  #common: Settings;
  readonly #use: NodeEndPorts;
  readonly #sender: Sender;
  /** By public key in hex. */
  readonly #clients = new Map<string, Admitted>();
  readonly #owners = new Map<string, number>();
  readonly #byIndex = new Map<number, Row>();
  readonly #byRow = new Map<number, Row>();
  readonly #stamps = new Map<string, bigint>();
  /** Whether cookies were asked for at the last tick. */
  #loaded = false;
  readonly #pings: Pings;
  #shard!: ShardPort;
  #free!: Rows;
  #timer: NodeJS.Timeout | undefined;
  #ticketKeysAtMs = 0;

  constructor(spec: NodeSpec, ports: NodeEndPorts, timing: Partial<NodeTiming> = {}) {
    const { rekeyAfterMs = spec.rekeyMs, overlapMs = OVERLAP_MS, expireAfterMs = EXPIRE_AFTER_MS } = timing;
    this.#spec = spec;
    this.#common = commonSettings(spec);
    this.#use = ports;
    this.#pings = new Pings(ports.clock, ports.entropy);
    this.#sender = { senderId: spec.instance.senderId, bootId: ports.entropy.bytes(8) };
    this.responder = new Responder(
      {
        group: ports.pairOf(spec.privateKey),
        // The group is known by its key; its name is for people and stands in no client file.
        groupName: "",
        cookieSecret: expand(spec.privateKey, "cookie"),
        ticketKeys: this.#freshTicketKeys(),
        ticketLifetimeMs: TICKET_LIFETIME_MS,
        aeads: [AES_256_GCM, AES_128_GCM, CHACHA20_POLY1305],
        senders: [this.#sender],
        rekeyAfterMs,
        keepaliveMs: spec.keepaliveMs,
        sessions: { sessionsMax: ROWS, pendingMs: 5000, overlapMs, expireAfterMs },
        load: { enterPerSecond: 500, leavePerSecond: 250, calmMs: 5000, shedPerSecond: 10_000 },
        requestsPerSource: { perSecond: 10, burst: 20 },
      },
      { find: (key) => this.#clients.get(key), settings: (client) => this.#settings((client as Admitted).record) },
      {
        greatest: (key) => Number(this.#stamps.get(key) ?? ports.store.highWater(`timestamp ${key}`) ?? -1n),
        advance: (key, timestamp) => void this.#stamps.set(key, BigInt(timestamp)),
      },
      ports.entropy,
    );
  }

  start(shard: ShardPort, firstRow: number): void {
    this.#shard = shard;
    this.#free = new Rows(firstRow, ROWS);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const { row } of this.#byRow.values()) this.#close(row, "shutdown");
    this.#writeStamps();
  }

  handed(entry: Handed): void {
    const answer = entry.kind === CONTROL_DATAGRAM ? this.answerSelfTest(entry.bytes) : undefined;
    if (answer !== undefined) {
      this.#shard.post({ kind: "send", datagram: answer, to: endpointOf(entry.from) });
      return;
    }
    const out: NodeOutput[] = [];
    const now = this.#now();
    if (entry.kind === CONTROL_DATAGRAM) this.responder.receive(now, entry.bytes, entry.from, out);
    else if (entry.kind === UNKNOWN_SESSION) {
      const whole = entry.bytes.subarray(0, Math.min(entry.bytes.length, entry.detail));
      this.responder.unknownSession(now, whole, entry.from, out);
    } else if (entry.kind === SESSION_CONTROL) this.#inside(entry, out);
    this.#carryOut(out);
  }

  nameOf(row: number): string | undefined {
    return this.#byRow.get(row)?.session.clientName;
  }

  confirmed(row: number): void {
    const known = this.#byRow.get(row);
    if (known === undefined) return;
    const out: NodeOutput[] = [];
    this.responder.authentic(this.#now(), known.session.index, out);
    this.#carryOut(out);
  }

  admit(record: ClientRecord, psk: Uint8Array | undefined): void {
    const modes = { tunnel: MODE_TUNNEL, open: MODE_OPEN_TUNNEL, relay: MODE_RELAY };
    this.#clients.set(hexOf(record.publicKey), {
      name: record.name,
      psk: psk ?? new Uint8Array(32),
      modes: record.modes.reduce((bits, mode) => bits | modes[mode], 0),
      record,
    });
  }

  reconfigure(spec: NodeSpec): void {
    this.#spec = spec;
    this.#common = commonSettings(spec);
    this.responder.update({ rekeyAfterMs: spec.rekeyMs, keepaliveMs: spec.keepaliveMs });
  }

  expel(publicKey: string): void {
    const out: NodeOutput[] = [];
    this.#clients.delete(hexOf(publicKey));
    this.responder.sessions.endClient(hexOf(publicKey), out);
    this.#carryOut(out);
  }

  end(id: number): boolean {
    const known = this.#byIndex.get(id);
    if (known === undefined) return false;
    this.#close(known.row, "removed");
    const out: NodeOutput[] = [];
    this.responder.sessions.end(id, "removed", out);
    this.#carryOut(out);
    return true;
  }

  handshakes(): readonly OutcomeCount[] {
    return Object.entries(nodeOutcomes).map(([name, help]) => ({
      ...{ name, help, done: DONE.has(name) },
      count: this.responder.counters.get(name as NodeOutcome) ?? 0,
    }));
  }

  list(): readonly SessionState[] {
    const { tunnels } = this.#shard;
    const { monotonicMs, wallMs } = { monotonicMs: this.#use.clock.monotonicMs(), wallMs: this.#use.clock.wallMs() };
    const up = [...this.#byIndex.values()].filter(
      ({ session }) => this.responder.sessions.phase(session.index) === "up",
    );
    return up.map(({ row, session, sinceMs }) => ({
      id: session.index,
      publicKey: Buffer.from(session.clientKey, "hex").toString("base64"),
      endpoint: this.#endpoint(row),
      cipher: aeadNames[session.aead],
      sinceMs,
      heardMs: Math.round(wallMs - (monotonicMs - tunnels.lastRx[row])),
      rx: { packets: tunnels.rxPackets[row], bytes: tunnels.rxBytes[row] },
      tx: { packets: tunnels.txPackets[row], bytes: tunnels.txBytes[row] },
    }));
  }

  async ping(publicKey: string, timeoutMs: number): Promise<number> {
    const key = hexOf(publicKey);
    const { sessions } = this.responder;
    const known = [...this.#byIndex.values()].find(
      ({ session }) => session.clientKey === key && sessions.phase(session.index) === "up",
    );
    if (known === undefined) throw new AnyhopError("no_session", "This client has no session.");
    return this.#pings.send(timeoutMs, (token) => this.#seal(known.row, { type: inside.PING, token }));
  }

  #inside(entry: Handed, out: NodeOutput[]): void {
    const known = this.#byRow.get(entry.row);
    const message = known && inside.decodeSessionControl(entry.detail, entry.bytes);
    if (known === undefined || message === undefined) return;
    switch (message.type) {
      case inside.PING:
        this.#seal(known.row, { type: inside.PONG, token: message.token });
        break;
      case inside.PONG:
        this.#pings.answered(message.token);
        break;
      case inside.CLOSE:
        this.responder.sessions.end(known.session.index, "closed", out);
        break;
      case inside.SENDER_ACK:
        this.responder.acknowledged(known.session.index, message.sender);
        break;
      case inside.PATH_PROBE:
        this.#seal(known.row, { type: inside.PATH_ACK, token: message.token, length: message.length });
        break;
    }
  }

  #carryOut(out: readonly NodeOutput[]): void {
    for (const output of out) {
      switch (output.kind) {
        case "send":
          this.#shard.post({ kind: "send", datagram: output.datagram, to: endpointOf(output.to as Source) });
          break;
        case "pending":
          this.#open(output.session);
          break;
        case "up":
          this.#up(output.session, output.replaces.length > 0);
          break;
        case "close": {
          const known = this.#byIndex.get(output.index);
          if (known) this.#close(known.row, output.reason);
          break;
        }
        case "retire":
          this.#retire(output.index, output.reason);
          break;
        case "takeover": {
          const { clientName } = output.after;
          const message = `Client ${clientName}: another machine, or a new start of it, came in with the same key; the newer one is served`;
          this.#use.log.warning("takeover", message, { client: clientName });
          this.#use.events.tell("takeover", message, clientName);
          break;
        }
      }
    }
  }

  #open(session: NodeSession): void {
    const row = this.#free.take();
    const client = this.#clients.get(session.clientKey);
    if (row === undefined || client === undefined) return;
    const routes = prefixesOf(client.record).map((text) => parsePrefix(text)!);
    const known = { row, session, routes, sinceMs: this.#use.clock.wallMs() };
    this.#byIndex.set(session.index, known);
    this.#byRow.set(row, known);
    const owner = this.#owners.get(session.clientKey) ?? this.#owners.size + 1_000_000;
    this.#owners.set(session.clientKey, owner);
    this.#shard.post({
      kind: "session",
      session: {
        ...{ index: row, owner, end: "node", sessionIndex: session.index, receiver: session.receiver },
        senderId: this.#sender.senderId,
        key: aeadKey(
          session.aead,
          groupKey(session.secret, session.aead, this.#sender),
          clientKey(session.secret, session.aead),
        ),
        ...{ window: WINDOW, keepaliveMs: 0, innerMtu: this.#spec.instance.device.mtuBytes, routes },
        endpoint: endpointOf(session.from as Source),
        pending: true,
      },
    });
  }

  #up(session: NodeSession, rekeyed: boolean): void {
    const known = this.#byIndex.get(session.index);
    if (known === undefined) return;
    this.#shard.post({ kind: "seal", index: known.row, type: -1, payload: new Uint8Array(0) });
    const how = session.resumed ? "resumed by ticket" : "up";
    const peer = this.#endpoint(known.row);
    const message = `Client ${session.clientName}: session ${how}, ${aeadNames[session.aead]}`;
    this.#use.log.info("session_up", message, { client: session.clientName, peer });
    this.#use.events.tell(rekeyed ? "session_rekeyed" : "session_up", `${message}, at ${peer}`, session.clientName);
  }

  #retire(index: number, reason: RetireReason): void {
    const known = this.#byIndex.get(index);
    if (known === undefined) return;
    const { clientName } = known.session;
    // The others were never up, or a newer one has taken their place.
    if (reason === "expired" || reason === "removed" || reason === "closed")
      this.#use.events.tell("session_down", `Client ${clientName}: its session has ended (${reason})`, clientName);
    this.#byIndex.delete(index);
    this.#byRow.delete(known.row);
    this.#shard.post({ kind: "remove", index: known.row, routes: [] });
    this.#free.give(known.row);
  }

  #close(row: number, reason: inside.CloseReason): void {
    this.#seal(row, { type: inside.CLOSE, reason });
  }

  #seal(row: number, message: inside.SessionControl): void {
    const payload = inside.encodeSessionControl(message);
    this.#shard.post({ kind: "seal", index: row, type: message.type, payload });
  }

  #tick(): void {
    const out: NodeOutput[] = [];
    const now = this.#now();
    this.responder.tick(now, out);
    this.#carryOut(out);
    this.#writeStamps();
    if (now.ms - this.#ticketKeysAtMs >= TICKET_KEYS_MS) this.responder.update({ ticketKeys: this.#freshTicketKeys() });
    this.#noteLoad();
  }

  #noteLoad(): void {
    const { loaded } = this.responder;
    if (loaded === this.#loaded) return;
    this.#loaded = loaded;
    const { log } = this.#use;
    if (loaded) log.notice("cookies_on", "Many requests for sessions: new ones need a cookie from now on");
    else log.notice("cookies_off", "Requests for sessions are few again: no cookies are asked for");
  }

  /** In one commit for all handshakes since the last one. */
  #writeStamps(): void {
    if (this.#stamps.size === 0) return;
    this.#use.store.raiseHighWater(new Map([...this.#stamps].map(([key, value]) => [`timestamp ${key}`, value])));
    this.#stamps.clear();
  }

  #settings({ addresses }: ClientRecord): Settings | undefined {
    if (addresses.length === 0) return undefined;
    return { ...this.#common, addresses: addresses.map((text) => inner(text)) };
  }

  #freshTicketKeys(): TicketKey[] {
    const { store, clock, entropy } = this.#use;
    this.#ticketKeysAtMs = clock.monotonicMs();
    return freshTicketKeys(store, entropy, clock.wallMs());
  }

  #endpoint(row: number): string {
    const { addr0, addr1, addr2, addr3, port } = this.#shard.tunnels;
    return formatEndpoint(addr0[row], addr1[row], addr2[row], addr3[row], port[row]);
  }

  #now() {
    return { ms: this.#use.clock.monotonicMs(), wallMs: this.#use.clock.wallMs() };
  }
}

export function aeadKey(aead: Aead, sealKey: Uint8Array, openKey: Uint8Array): AeadKey {
  return { algorithm: aeadAlgorithms[aead], sealKey, openKey } as AeadKey;
}

const hexOf = (base64: string): string => Buffer.from(base64, "base64").toString("hex");

function commonSettings({ pool, networks, dns, instance }: NodeSpec): Settings {
  return {
    addresses: [],
    routes: [...new Set([...pool, ...networks])].map((text) => inner(text)),
    mtuBytes: instance.device.mtuBytes,
    dns: dns.map((text) => parseAddress(text)!),
    searchDomains: [],
  };
}

function inner(text: string): InnerPrefix {
  return parsePrefix(text)!;
}

/**
 * The sessions of a node: wires the responder's decisions to the shard and what the shard sees to the responder. Knows
 * who may come from the client book; keeps no packet.
 */
import type { Clock } from "../base/clock.ts";
import { AnyhopError } from "../base/errors.ts";
import { formatEndpoint } from "../base/ip.ts";
import type { Logger } from "../base/log.ts";
import { parsePrefix } from "../base/prefix.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { expand } from "../crypto/kdf.ts";
import { keyPairFromPrivate } from "../crypto/x25519.ts";
import { CONTROL_DATAGRAM, UNKNOWN_SESSION } from "../dataplane/control_ring.ts";
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
import type { NodeOutput, NodeSession } from "../handshake/node_sessions.ts";
import { Responder } from "../handshake/responder.ts";
import * as inside from "../handshake/session_control.ts";
import type { ToShard } from "../shard/messages.ts";
import { SessionBatch } from "../shard/session_batch.ts";
import { IndexMap } from "../table/index_map.ts";
import { prefixesOf } from "./client_book.ts";
import type { NodeSpec } from "./instance.ts";
import { Admitted, clientSettings, type SharedSettings, sharedSettings } from "./node_clients.ts";
import type { ClientRecord, SessionState, Sessions, Store, TicketKey } from "./ports.ts";
import { endpointOf, type Handed, Rows, type SessionEnd, type ShardPort, type Source } from "./session_end.ts";

const WINDOW = 2048;
const TICK_MS = 100;
const TIMING: NodeTiming = { rekeyAfterMs: 120_000, overlapMs: 30_000, expireAfterMs: 600_000 };
const TICKET_LIFETIME_MS = 24 * 3_600_000;
const PING_TOKEN = 8;

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

const NO_ROW = -1;
/** Owners of sessions are numbers from here on, those of classic tunnels their rows. */
const FIRST_OWNER = 1_000_000;

export interface NodeEndPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly entropy: Entropy;
  readonly store: Store;
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
  readonly rows: number;
  readonly responder: Responder;
  #spec: NodeSpec;
  readonly #use: NodeEndPorts;
  readonly #sender: Sender;
  /** By public key in base64, as it stands in the record. */
  readonly #clients = new Map<string, Admitted>();
  #nextOwner = FIRST_OWNER;
  #shared: SharedSettings;
  /** Row by session index. */
  readonly #byIndex: IndexMap;
  /** From `#firstRow` on: session index of each row in use + 1, 0 in others; and when it was opened, wall clock. */
  readonly #indices: Int32Array;
  readonly #sinceMs: Float64Array;
  #firstRow = 0;
  /** Sessions that the shard was not told of yet. */
  readonly #batch = new SessionBatch();
  readonly #stamps = new Map<string, bigint>();
  readonly #pings = new Map<string, (receivedMs: number) => void>();
  #shard!: ShardPort;
  #free!: Rows;
  #timer: NodeJS.Timeout | undefined;

  constructor(spec: NodeSpec, ports: NodeEndPorts, timing = TIMING) {
    const { rekeyAfterMs, overlapMs, expireAfterMs } = timing;
    this.#spec = spec;
    this.#shared = sharedSettings(spec);
    this.#use = ports;
    this.rows = spec.sessionsMax;
    this.#byIndex = new IndexMap(2 ** Math.ceil(Math.log2(this.rows)));
    this.#indices = new Int32Array(this.rows);
    this.#sinceMs = new Float64Array(this.rows);
    this.#sender = { senderId: spec.instance.senderId, bootId: ports.entropy.bytes(8) };
    this.responder = new Responder(
      {
        group: keyPairFromPrivate(spec.privateKey),
        // The group is known by its key; its name is for people and stands in no client file.
        groupName: "",
        cookieSecret: expand(spec.privateKey, "cookie"),
        ticketKeys: this.#ticketKeys(),
        ticketLifetimeMs: TICKET_LIFETIME_MS,
        aeads: [AES_256_GCM, AES_128_GCM, CHACHA20_POLY1305],
        senders: [this.#sender],
        rekeyAfterMs,
        keepaliveMs: spec.keepaliveMs,
        sessions: { sessionsMax: this.rows, pendingMs: 5000, overlapMs, expireAfterMs },
        load: { enterPerSecond: 500, leavePerSecond: 250, calmMs: 5000, shedPerSecond: 10_000 },
        requestsPerSource: { perSecond: 10, burst: 20 },
      },
      {
        find: (key) => this.#clients.get(base64Of(key)),
        settings: (client) => clientSettings((client as Admitted).record, this.#shared),
      },
      {
        greatest: (key) => Number(this.#stamps.get(key) ?? ports.store.highWater(`timestamp ${key}`) ?? -1n),
        advance: (key, timestamp) => void this.#stamps.set(key, BigInt(timestamp)),
      },
      ports.entropy,
    );
  }

  start(shard: ShardPort, firstRow: number): void {
    this.#shard = shard;
    this.#firstRow = firstRow;
    this.#free = new Rows(firstRow, this.rows);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    for (let k = 0; k < this.rows; k++) if (this.#indices[k] !== 0) this.#close(this.#firstRow + k, "shutdown");
    this.#writeStamps();
  }

  handed(entry: Handed): void {
    const out: NodeOutput[] = [];
    const now = this.#now();
    if (entry.kind === CONTROL_DATAGRAM) this.responder.receive(now, entry.bytes, entry.from, out);
    else if (entry.kind === UNKNOWN_SESSION) {
      const whole = entry.bytes.subarray(0, Math.min(entry.bytes.length, entry.detail));
      this.responder.unknownSession(now, whole, entry.from, out);
    } else this.#inside(entry, out);
    this.#carryOut(out);
  }

  nameOf(row: number): string | undefined {
    return this.responder.sessions.nameOf(this.#indexOf(row));
  }

  confirmed(row: number): void {
    const out: NodeOutput[] = [];
    this.responder.authentic(this.#now(), this.#indexOf(row), out);
    this.#carryOut(out);
  }

  admit(record: ClientRecord, psk: Uint8Array | undefined): void {
    const owner = this.#clients.get(record.publicKey)?.owner ?? this.#nextOwner++;
    this.#clients.set(record.publicKey, new Admitted(record, psk, owner));
  }

  reconfigure(spec: NodeSpec): void {
    this.#spec = spec;
    this.#shared = sharedSettings(spec);
  }

  /** Sessions that were agreed on elsewhere; as `Responder` answered for them. Stops when the table is full. */
  takeIn(sessions: Iterable<NodeSession>): void {
    const now = this.#now();
    for (const session of sessions) {
      if (this.responder.sessions.full) break;
      const out: NodeOutput[] = [];
      this.responder.sessions.add(now, session, out);
      for (const output of out) this.#obey(output);
    }
    this.#flush();
  }

  expel(publicKey: string): void {
    const out: NodeOutput[] = [];
    this.#clients.delete(publicKey);
    this.responder.sessions.endClient(hexOf(publicKey), out);
    this.#carryOut(out);
  }

  end(id: number): boolean {
    const row = this.#byIndex.find(id);
    if (row === NO_ROW) return false;
    this.#close(row, "removed");
    const out: NodeOutput[] = [];
    this.responder.sessions.end(id, "removed", out);
    this.#carryOut(out);
    return true;
  }

  list(after = -1, limit = Number.POSITIVE_INFINITY): readonly SessionState[] {
    const { sessions } = this.responder;
    const ids = new Int32Array(sessions.size);
    let count = 0;
    for (const id of sessions.up()) if (id > after) ids[count++] = id;
    const page = ids.subarray(0, count).sort().subarray(0, Math.min(count, limit));
    return [...page].map((id) => this.#state(sessions.get(id)!));
  }

  get(id: number): SessionState | undefined {
    const { sessions } = this.responder;
    return sessions.phase(id) === "up" ? this.#state(sessions.get(id)!) : undefined;
  }

  sessionOf(publicKey: string): number | undefined {
    const id = this.responder.sessions.upOf(hexOf(publicKey));
    return id < 0 ? undefined : id;
  }

  #state(session: NodeSession): SessionState {
    const { tunnels } = this.#shard;
    const row = this.#byIndex.find(session.index);
    const { clock } = this.#use;
    return {
      id: session.index,
      publicKey: base64Of(session.clientKey),
      endpoint: this.#endpoint(row),
      cipher: aeadNames[session.aead],
      sinceMs: this.#sinceMs[row - this.#firstRow],
      heardMs: Math.round(clock.wallMs() - (clock.monotonicMs() - tunnels.lastRx[row])),
      rx: { packets: tunnels.rxPackets[row], bytes: tunnels.rxBytes[row] },
      tx: { packets: tunnels.txPackets[row], bytes: tunnels.txBytes[row] },
    };
  }

  async ping(publicKey: string, timeoutMs: number): Promise<number> {
    const row = this.#byIndex.find(this.responder.sessions.upOf(hexOf(publicKey)));
    if (row === NO_ROW) throw new AnyhopError("no_session", "This client has no session.");
    const token = this.#use.entropy.bytes(PING_TOKEN);
    const name = Buffer.from(token).toString("hex");
    const sentMs = this.#use.clock.monotonicMs();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pings.delete(name);
        reject(new AnyhopError("ping_timeout", `No answer within ${timeoutMs} ms.`));
      }, timeoutMs);
      this.#pings.set(name, (receivedMs) => {
        clearTimeout(timer);
        resolve(receivedMs - sentMs);
      });
      this.#seal(row, { type: inside.PING, token });
    });
  }

  #inside(entry: Handed, out: NodeOutput[]): void {
    const index = this.#indexOf(entry.row);
    const message = inside.decodeSessionControl(entry.detail, entry.bytes);
    if (index === NO_ROW || message === undefined) return;
    switch (message.type) {
      case inside.PING:
        this.#seal(entry.row, { type: inside.PONG, token: message.token });
        break;
      case inside.PONG: {
        const name = Buffer.from(message.token).toString("hex");
        this.#pings.get(name)?.(this.#use.clock.monotonicMs());
        this.#pings.delete(name);
        break;
      }
      case inside.CLOSE:
        this.responder.sessions.end(index, "closed", out);
        break;
      case inside.SENDER_ACK:
        this.responder.acknowledged(index, message.sender);
        break;
      case inside.PATH_PROBE:
        this.#seal(entry.row, { type: inside.PATH_ACK, token: message.token, length: message.length });
        break;
    }
  }

  #carryOut(out: readonly NodeOutput[]): void {
    for (const output of out) this.#obey(output);
    this.#flush();
  }

  #obey(output: NodeOutput): void {
    switch (output.kind) {
      case "send":
        this.#post({ kind: "send", datagram: output.datagram, to: endpointOf(output.to as Source) });
        break;
      case "pending":
        this.#open(output.session);
        break;
      case "up":
        this.#up(output.session);
        break;
      case "close": {
        const row = this.#byIndex.find(output.index);
        if (row !== NO_ROW) this.#close(row, output.reason);
        break;
      }
      case "retire":
        this.#retire(output.index);
        break;
      case "takeover":
        this.#use.log.warning(
          "takeover",
          `Client ${output.after.clientName}: another machine, or a new start of it, came in with the same key; the newer one is served`,
          { client: output.after.clientName },
        );
        break;
    }
  }

  #open(session: NodeSession): void {
    const client = this.#clients.get(base64Of(session.clientKey));
    const row = client && this.#free.take();
    if (row === undefined) return;
    this.#byIndex.set(session.index, row);
    this.#indices[row - this.#firstRow] = session.index + 1;
    this.#sinceMs[row - this.#firstRow] = this.#use.clock.wallMs();
    if (this.#batch.full) this.#flush();
    this.#batch.add({
      ...{ index: row, owner: client!.owner, end: "node", sessionIndex: session.index, receiver: session.receiver },
      senderId: this.#sender.senderId,
      key: aeadKey(
        session.aead,
        groupKey(session.secret, session.aead, this.#sender),
        clientKey(session.secret, session.aead),
      ),
      ...{ window: WINDOW, keepaliveMs: 0, innerMtu: this.#spec.instance.device.mtuBytes },
      routes: prefixesOf(client!.record).map((text) => parsePrefix(text)!),
      endpoint: endpointOf(session.from as Source),
      pending: true,
    });
  }

  /** What was opened comes before what is done with it. */
  #post(message: ToShard): void {
    this.#flush();
    this.#shard.post(message);
  }

  #flush(): void {
    if (this.#batch.count > 0) this.#shard.post({ kind: "sessions", sessions: this.#batch.take() });
  }

  /** Session index of a row, or NO_ROW. */
  #indexOf(row: number): number {
    return (this.#indices[row - this.#firstRow] ?? 0) - 1;
  }

  #up(session: NodeSession): void {
    const row = this.#byIndex.find(session.index);
    if (row === NO_ROW) return;
    this.#post({ kind: "seal", index: row, type: -1, payload: new Uint8Array(0) });
    const how = session.resumed ? "resumed by ticket" : "up";
    this.#use.log.info("session_up", `Client ${session.clientName}: session ${how}, ${aeadNames[session.aead]}`, {
      client: session.clientName,
      peer: this.#endpoint(row),
    });
  }

  #retire(index: number): void {
    const row = this.#byIndex.find(index);
    if (row === NO_ROW) return;
    this.#byIndex.remove(index);
    this.#indices[row - this.#firstRow] = 0;
    this.#post({ kind: "remove", index: row, routes: [] });
    this.#free.give(row);
  }

  #close(row: number, reason: inside.CloseReason): void {
    this.#seal(row, { type: inside.CLOSE, reason });
  }

  #seal(row: number, message: inside.SessionControl): void {
    const payload = inside.encodeSessionControl(message);
    this.#post({ kind: "seal", index: row, type: message.type, payload });
  }

  #tick(): void {
    const out: NodeOutput[] = [];
    this.responder.tick(this.#now(), out);
    this.#carryOut(out);
    this.#writeStamps();
  }

  /** In one commit for all handshakes since the last one. */
  #writeStamps(): void {
    if (this.#stamps.size === 0) return;
    this.#use.store.raiseHighWater(new Map([...this.#stamps].map(([key, value]) => [`timestamp ${key}`, value])));
    this.#stamps.clear();
  }

  /** The store's newest two; a new one each day, so that a stolen one opens no old tickets. */
  #ticketKeys() {
    const { store, clock, entropy } = this.#use;
    const now = clock.wallMs();
    const kept = store.ticketKeys().filter((key) => key.notAfterMs > now);
    kept.sort((a, b) => a.notBeforeMs - b.notBeforeMs);
    const newest = kept.at(-1);
    if (newest === undefined || now - newest.notBeforeMs > TICKET_LIFETIME_MS) {
      const id = new DataView(entropy.bytes(4).slice().buffer).getUint32(0);
      const key: TicketKey = { id, key: entropy.bytes(32), notBeforeMs: now, notAfterMs: now + 2 * TICKET_LIFETIME_MS };
      kept.push(key);
      store.setTicketKeys(kept.slice(-2));
    }
    const previous = kept.at(-2);
    return previous === undefined ? { current: kept.at(-1)! } : { current: kept.at(-1)!, previous };
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
const base64Of = (hex: string): string => Buffer.from(hex, "hex").toString("base64");

/**
 * The sessions of a node: wires the responder's decisions to the shard and what the shard sees to the responder. Knows
 * who may come from the client book; keeps no packet.
 */

import type { Clock } from "../../base/clock.ts";
import { AnyhopError } from "../../base/errors.ts";
import { formatEndpoint, isMapped, type Remote } from "../../base/ip.ts";
import type { Logger } from "../../base/log.ts";
import * as kinds from "../../channel/kinds.ts";
import { type CloseReason, encodeUnnumbered, type Unnumbered } from "../../channel/unnumbered.ts";
import type { Holding } from "../../cluster/session_table.ts";
import { cookieTagKeyOf } from "../../crypto/cookie_tags.ts";
import type { Entropy } from "../../crypto/entropy.ts";
import type { SignedNotice } from "../../crypto/group_key_notice.ts";
import { expand } from "../../crypto/kdf.ts";
import { indexKeyOf } from "../../crypto/session_index.ts";
import type { KeyPair, PairOf } from "../../crypto/x25519.ts";
import {
  CONTROL_DATAGRAM,
  HELD,
  HELD_UNKNOWN,
  SESSION_CONTROL,
  UNKNOWN_SESSION,
} from "../../dataplane/control_ring.ts";
import type { Lease } from "../../dataplane/lease.ts";
import type { Now } from "../../handshake/clock.ts";
import { AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, clientKey, groupKey, type Sender } from "../../handshake/keys.ts";
import type { NodeOutput, NodeSession, RetireReason } from "../../handshake/node_sessions.ts";
import { AHEAD_MAX_MS, type NodeOutcome, nodeOutcomes, Responder } from "../../handshake/responder.ts";
import { identityOf } from "../../handshake/session_rows.ts";
import { TICKET_LIFETIME_MS } from "../../handshake/ticket.ts";
import type { ToShard, Yielded } from "../../shard/messages.ts";
import { SessionBatch } from "../../shard/session_batch.ts";
import { IndexMap } from "../../table/index_map.ts";
import type { EventHub } from "../asked/event_hub.ts";
import { aeadKey, aeadNames } from "../instance/session_cipher.ts";
import { type Handed, Rows, type SessionEnd, type ShardPort } from "../instance/session_end.ts";
import type { NodeSpec } from "../spec/instance.ts";
import type {
  ClientRecord,
  OutcomeCount,
  Pong,
  RefusedView,
  SessionState,
  Sessions,
  Store,
  TicketKey,
} from "../spec/ports.ts";
import { formatKey } from "../text/keys/key_text.ts";
import { prefixesOf } from "./client_book.ts";
import { Admitted, type ClientSettings, clientSettings, type SharedSettings, sharedSettings } from "./node_clients.ts";
import { NodeInside } from "./node_inside.ts";
import { PastSessions } from "./past_sessions.ts";
import { freshTicketKeys } from "./ticket_keys.ts";

const WINDOW = 2048;
const TICK_MS = 100;
/**
 * How long a session waits for its client's first packet. A client repeats it for up to 4.7 s after the answer came, and gives
 * up after 9.7 s at most (handshake/initiator.ts); the rest is for the way of answer and packet.
 */
const PENDING_MS = 15_000;
const OVERLAP_MS = 30_000;
const EXPIRE_AFTER_MS = 600_000;
/** Ticket keys are looked after so often. */
const TICKET_KEYS_MS = 60_000;
const UNCONFIRMED =
  "A session was granted, and its client was never heard in it: another pre-shared key (psk) there, or answers do not reach it.";
/** Outcomes of requests that got what they asked for. */
const DONE: ReadonlySet<string> = new Set<NodeOutcome>(["answered", "resumed"]);

const NO_ROW = -1;
/** Owners of sessions are numbers from here on, those of classic tunnels their rows. */
const FIRST_OWNER = 1_000_000;

export interface NodeEndPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly entropy: Entropy;
  readonly store: Store;
  /** Makes the group's key pair. */
  readonly pairOf: PairOf;
  readonly events: EventHub;
  /** Of a node that is one of several: makes its part in the group. */
  readonly join?: (node: NodeEnd) => NodeOthers;
}

/** The other nodes of the group, as `node_group.ts` knows them. */
export interface NodeOthers {
  readonly lease: Lease | undefined;
  start(shard: ShardPort, firstRow: number, rows: number): void;
  stop(): void;
  answered(session: NodeSession): void;
  confirmed(index: number): void;
  ended(index: number, timestamp: number, reason: RetireReason): void;
  /** `row` of the tunnel table: its client is at another endpoint. */
  moved(row: number): void;
  held(entry: Handed): void;
  yielded(answer: Yielded): void;
  senderAcked(index: number, sender: Sender): void;
  /** The client of this public key (base64) may come from now on. */
  admitted(publicKey: string): void;
  /** Which node has a session, since when, and how often that changed; undefined: the group has no such session. */
  holding(index: number): Holding | undefined;
  /** The session `index` takes the place of `before`, of the same client. */
  replaced(index: number, before: number): void;
  /** A control payload for another node that the client of a session sent to this one. False: there is no such node. */
  relay(index: number, node: number, payload: Uint8Array): boolean;
  /** A session has this index, or one that ended lately had it. */
  isTaken(index: number): boolean;
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
  readonly group: boolean;
  readonly cookieTagKey: Uint8Array;
  readonly serviceAddresses: readonly string[];
  readonly rows: number;
  /** This node as clients know it: its number, and which start. */
  readonly sender: Sender;
  readonly failed: Promise<AnyhopError>;
  fail!: (error: AnyhopError) => void;
  readonly responder: Responder;
  /** Answers the daemon's own self-test (control/routing/health.ts); undefined for any other datagram. */
  answerSelfTest: (datagram: Uint8Array) => Uint8Array | undefined = () => undefined;
  #spec: NodeSpec;
  readonly #use: NodeEndPorts;
  /** Undefined: this node is the whole group. */
  readonly #others: NodeOthers | undefined;
  /** By public key in base64, as it stands in the record. */
  readonly #clients = new Map<string, Admitted>();
  #indexKeys: readonly Uint8Array[];
  /** Public key of the group that is in force; undefined: that of the node file. */
  groupKey: Uint8Array | undefined;
  /** Sessions by index that wait for their client's first packet, and whose client asked under an earlier key of the group. */
  readonly #outdated = new Set<number>();
  readonly #expireAfterMs: number;
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
  /** Of each row from `#firstRow` on: 1 when something was sealed in its session, as far as this thread knows. */
  readonly #sealed: Uint8Array;
  readonly past = new PastSessions();
  /** Why the last write to the store failed. */
  #storeFault: string | undefined;
  /** Whether cookies were asked for at the last tick. */
  #loaded = false;
  #shard!: ShardPort;
  #inside!: NodeInside;
  #free!: Rows;
  #timer: NodeJS.Timeout | undefined;
  #ticketKeysAtMs = 0;

  constructor(spec: NodeSpec, ports: NodeEndPorts, timing: Partial<NodeTiming> = {}) {
    const { rekeyAfterMs = spec.rekeyMs, overlapMs = OVERLAP_MS, expireAfterMs = EXPIRE_AFTER_MS } = timing;
    this.#spec = spec;
    this.#shared = sharedSettings(spec);
    this.#expireAfterMs = expireAfterMs;
    this.#use = ports;
    this.rows = spec.sessionsMax;
    this.#byIndex = new IndexMap(2 ** Math.ceil(Math.log2(this.rows)));
    this.#indices = new Int32Array(this.rows);
    this.#sealed = new Uint8Array(this.rows);
    this.#sinceMs = new Float64Array(this.rows);
    this.sender = { senderId: spec.instance.senderId, bootId: ports.entropy.bytes(8) };
    this.group = ports.join !== undefined;
    this.serviceAddresses = spec.announce.addresses.map((text) => text.split("/")[0]);
    const cookieSecret = expand(spec.privateKey, "cookie");
    this.cookieTagKey = cookieTagKeyOf(cookieSecret);
    this.#indexKeys = [indexKeyOf(spec.cluster?.fleetKey ?? spec.privateKey)];
    this.failed = new Promise((resolve) => {
      this.fail = resolve;
    });
    this.responder = new Responder(
      {
        group: ports.pairOf(spec.privateKey),
        // The group is known by its key; its name is for people and stands in no client file.
        groupName: "",
        cookieSecret,
        // In a group the others may have keys, which this node learns before it makes one.
        ticketKeys: this.group ? [] : this.#freshTicketKeys(),
        ticketLifetimeMs: TICKET_LIFETIME_MS,
        creator: this.group ? spec.instance.senderId : 0,
        indexKeys: this.#indexKeys,
        aeads: [AES_256_GCM, AES_128_GCM, CHACHA20_POLY1305],
        senders: [this.sender],
        rekeyAfterMs,
        keepaliveMs: spec.keepaliveMs,
        sessions: { sessionsMax: this.rows, pendingMs: PENDING_MS, overlapMs, expireAfterMs },
        load: { enterPerSecond: 500, leavePerSecond: 250, calmMs: 5000 },
        requestsPerClient: { perSecond: 10, burst: 20 },
      },
      {
        find: (key) => this.#clients.get(base64Of(key)),
        settings: (client) => clientSettings((client as Admitted).record, this.#shared),
        isTaken: (index) => this.#others?.isTaken(index) ?? false,
      },
      {
        greatest: (key) => {
          const own = this.#stamps.get(key) ?? ports.store.highWater(`timestamp ${key}`) ?? -1n;
          // Another node may have answered since.
          const up = this.responder.sessions.get(this.responder.sessions.upOf(key));
          return Math.max(Number(own), up?.timestamp ?? -1, this.#pastOf(key));
        },
        advance: (key, timestamp) => void this.#stamps.set(key, BigInt(timestamp)),
      },
      ports.entropy,
    );
    this.#others = ports.join?.(this);
  }

  get lease(): Lease | undefined {
    return this.#others?.lease;
  }

  start(shard: ShardPort, firstRow: number): void {
    this.#shard = shard;
    this.#firstRow = firstRow;
    this.#free = new Rows(firstRow, this.rows);
    this.#inside = this.#makeInside(firstRow);
    if (this.#noteSettings()) this.#inside.settings.changed();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#others?.start(shard, firstRow, this.rows);
  }

  stop(): void {
    clearInterval(this.#timer);
    // In a group the sessions go on at other nodes.
    if (this.#others !== undefined) this.#others.stop();
    else for (let k = 0; k < this.rows; k++) if (this.#indices[k] !== 0) this.#close(this.#firstRow + k, "shutdown");
    this.#writeStamps();
  }

  handed(entry: Handed): void {
    const answer = entry.kind === CONTROL_DATAGRAM ? this.answerSelfTest(entry.bytes) : undefined;
    if (answer !== undefined) {
      this.#shard.post({ kind: "send", datagram: answer, to: entry.from });
      return;
    }
    if (entry.kind === HELD || entry.kind === HELD_UNKNOWN) {
      this.#others?.held(entry);
      return;
    }
    const out: NodeOutput[] = [];
    const now = this.#now();
    if (entry.kind === CONTROL_DATAGRAM) this.responder.receive(now, entry.bytes, entry.from, out);
    else if (entry.kind === UNKNOWN_SESSION) {
      const whole = entry.bytes.subarray(0, Math.min(entry.bytes.length, entry.detail));
      this.responder.unknownSession(now, whole, entry.from, out);
    } else if (entry.kind === SESSION_CONTROL && this.#indexOf(entry.row) !== NO_ROW)
      this.#inside.received(entry.row, entry.bytes, entry.detail & 0xffff);
    this.#carryOut(out);
  }

  #makeInside(firstRow: number): NodeInside {
    const { clock, entropy, log, events } = this.#use;
    return new NodeInside(this.sender, firstRow, this.rows, this.#expireAfterMs, {
      ...{ clock, entropy, log, events, isGroup: this.group },
      seal: (row, payload) => this.#post({ kind: "seal", index: row, payload }),
      relay: (row, node, payload) => this.#others?.relay(this.#indexOf(row), node, payload) ?? false,
      closed: (row) => this.respond((responder, _, out) => responder.sessions.end(this.#indexOf(row), "closed", out)),
      senderAcked: (row, sender) => {
        this.responder.acknowledged(this.#indexOf(row), sender);
        this.#others?.senderAcked(this.#indexOf(row), sender);
      },
      settingsOf: (row) => this.#settingsOf(row),
      owns: (row) => this.#shard.tunnels.foreign[row] === 0 && this.#shard.tunnels.pending[row] === 0,
      rowsEnd: () => this.rowsEnd,
      nameOf: (row) => this.nameOf(row),
    });
  }

  /** Remembers what clients are told. True: this node never told it before, so its file was changed while it was down. */
  #noteSettings(): boolean {
    const { store, clock } = this.#use;
    const name = `settings ${Buffer.from(this.#shared.digest).toString("hex")}`;
    if (store.highWater(name) !== undefined) return false;
    const isFirst = store.highWater("settings") === undefined;
    const now = BigInt(Math.max(0, Math.floor(clock.wallMs())));
    this.#keep(() => store.raiseHighWater(new Map([name, "settings"].map((one) => [one, now]))));
    return !isFirst;
  }

  /** What the client of a session that counts, or is about to, is to have. */
  #settingsOf(row: number): ClientSettings | undefined {
    const { sessions } = this.responder;
    const index = this.#indexOf(row);
    const phase = index === NO_ROW ? undefined : sessions.phase(index);
    if (phase !== "up" && phase !== "pending") return undefined;
    const client = this.#clients.get(base64Of(sessions.get(index)!.clientKey));
    return client && clientSettings(client.record, this.#shared);
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
    const before = this.#clients.get(record.publicKey);
    const client = new Admitted(record, psk, before?.owner ?? this.#nextOwner++);
    this.#clients.set(record.publicKey, client);
    if (before !== undefined && prefixesOf(before.record).join() !== prefixesOf(record).join()) this.#moveTo(client);
    this.#others?.admitted(record.publicKey);
  }

  /** The client has other prefixes than before: its sessions get them, and it is told its addresses. */
  #moveTo(client: Admitted): void {
    const routes = client.prefixes();
    for (const index of this.responder.sessions.indicesOf(hexOf(client.record.publicKey))) {
      const row = this.#byIndex.find(index);
      if (row === NO_ROW) continue;
      this.#post({ kind: "prefixes", index: row, routes });
      this.#inside.settings.changedOf(row);
    }
  }

  reconfigure(spec: NodeSpec): void {
    this.#spec = spec;
    const before = this.#shared;
    this.#shared = sharedSettings(spec);
    if (Buffer.compare(before.digest, this.#shared.digest) !== 0) {
      this.#noteSettings();
      this.#inside?.settings.changed();
    }
    this.responder.update({ rekeyAfterMs: spec.rekeyMs, keepaliveMs: spec.keepaliveMs });
  }

  // --- What the other nodes of the group do to sessions of this one (node_group.ts). `settle` ends each round. ---

  /** Above every row that a session ever had. */
  get rowsEnd(): number {
    return this.#free.end;
  }

  /** Row of a session, or undefined. */
  rowOf(index: number): number | undefined {
    const row = this.#byIndex.find(index);
    return row === NO_ROW ? undefined : row;
  }

  /** Who may come with this public key (base64). */
  client(publicKey: string): Admitted | undefined {
    return this.#clients.get(publicKey);
  }

  /**
   * A session that another node answered for; `isUp`: its client has confirmed it. False: there is no room, or this node had it
   * before.
   */
  takeIn(session: NodeSession, client: Admitted, isUp: boolean): boolean {
    const { sessions } = this.responder;
    if (sessions.full || session.timestamp <= this.past.greatest(session.clientKey)) return false;
    const out: NodeOutput[] = [];
    sessions.takeIn(this.#now(), session, isUp, out);
    for (const output of out) {
      if (output.kind === "pending") this.#enter(output.session, client, true, !isUp);
      else if (output.kind === "up") this.#replace(output);
      else if (output.kind === "retire") this.#retire(output);
    }
    return true;
  }

  /** Its client has confirmed a session at another node, which says what is to be said to clients. */
  confirmedElsewhere(index: number): void {
    const row = this.#byIndex.find(index);
    if (row === NO_ROW) return;
    const out: NodeOutput[] = [];
    this.responder.authentic(this.#now(), index, out);
    for (const output of out) {
      if (output.kind === "up") this.#replace(output);
      else if (output.kind === "retire") this.#retire(output);
    }
    this.#post({ kind: "activate", index: row });
  }

  #replace({ session, replaces }: Extract<NodeOutput, { kind: "up" }>): void {
    for (const before of replaces) this.#others?.replaced(session.index, before);
  }

  retireElsewhere(index: number, timestamp: number, reason: RetireReason): void {
    const { sessions } = this.responder;
    if (sessions.get(index)?.timestamp !== timestamp) return;
    const out: NodeOutput[] = [];
    sessions.end(index, reason, out);
    for (const output of out) if (output.kind === "retire") this.#retire(output);
  }

  /** Its client sends to this node from now on. */
  owned(index: number): void {
    const row = this.#byIndex.find(index);
    if (row !== NO_ROW) this.#inside.settings.owned(row);
  }

  /** A page or an acknowledgement for this node, which the client of a session sent to another one. */
  relayed(index: number, payload: Uint8Array): void {
    const row = this.#byIndex.find(index);
    if (row !== NO_ROW) this.#inside.relayed(row, payload);
  }

  /** Seals in a session, to its client or to `to`. */
  tell(index: number, message: Unnumbered, to?: Remote): void {
    const row = this.#byIndex.find(index);
    if (row !== NO_ROW) this.#seal(row, message, to);
  }

  /** What the responder decides on something that the group found out. */
  respond(ask: (responder: Responder, now: Now, out: NodeOutput[]) => void): void {
    const out: NodeOutput[] = [];
    ask(this.responder, this.#now(), out);
    this.#carryOut(out);
  }

  /** Ticket keys of the whole group. */
  useTicketKeys(ticketKeys: readonly TicketKey[]): void {
    this.responder.update({ ticketKeys });
    this.#keep(() => this.#use.store.setTicketKeys(ticketKeys));
  }

  get indexKeys(): readonly Uint8Array[] {
    return this.#indexKeys;
  }

  /** The secret that index keys come from has changed: the present key, and the one before for as long as it counts. */
  useIndexKeys(indexKeys: readonly Uint8Array[]): void {
    this.#indexKeys = indexKeys;
    this.responder.update({ indexKeys });
    this.#post({ kind: "index_keys", keys: indexKeys });
  }

  /** The group has another static key: the operator's notice of all, and pairs of those that the node file does not have. */
  useGroupKeys(notice: SignedNotice, pairs: readonly KeyPair[]): void {
    const own = this.#use.pairOf(this.#spec.privateKey);
    const [inForce, ...earlier] = [...pairs, own];
    this.responder.useGroupKeys(inForce!, earlier);
    const { publicKey } = inForce!;
    this.groupKey = publicKey;
    this.#inside.groupKeys.changed(notice.text);
    const message = `The group has another key: ${formatKey(publicKey)} (version ${notice.version}); clients are told`;
    this.#use.log.notice("group_key", message);
    this.#use.events.tell("group_key", message);
  }

  settle(): void {
    this.#flush();
  }

  moved(row: number): void {
    this.#others?.moved(row);
  }

  yielded(answer: Yielded): void {
    this.#others?.yielded(answer);
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

  faults(): readonly string[] {
    return this.#storeFault === undefined ? [] : [this.#storeFault];
  }

  handshakes(): readonly OutcomeCount[] {
    return Object.entries(nodeOutcomes).map(([name, help]) => ({
      ...{ name, help, done: DONE.has(name) },
      count: this.responder.counters.get(name as NodeOutcome) ?? 0,
    }));
  }

  controls(): readonly OutcomeCount[] {
    return this.#inside.counts();
  }

  refused(): readonly RefusedView[] {
    return this.responder.refusals.list().map(({ reason, detail, clientName, clientKey, from, ...rest }) => ({
      ...{ reason, detail: detail || null, client: clientName || null, ...rest },
      publicKey: clientKey === "" ? null : base64Of(clientKey),
      help: nodeOutcomes[reason as NodeOutcome] ?? UNCONFIRMED,
      endpoint: formatEndpoint(from.w0, from.w1, from.w2, from.w3, from.port),
    }));
  }

  count(): number {
    return this.responder.sessions.size;
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
    const heardMs = Math.round(clock.wallMs() - (clock.monotonicMs() - tunnels.lastRx[row]));
    const foreign = tunnels.foreign[row] === 1;
    const holding = this.#others?.holding(session.index);
    return {
      id: session.index,
      publicKey: base64Of(session.clientKey),
      endpoint: this.#endpoint(row),
      cipher: aeadNames[session.aead],
      sinceMs: this.#sinceMs[row - this.#firstRow],
      // Of a foreign row: when it was here last, which says nothing of the client.
      heardMs: foreign || tunnels.lastRx[row] === 0 ? null : heardMs,
      foreign,
      owner: holding?.node || null,
      ownerSinceMs: holding?.node ? holding.sinceMs : null,
      moves: holding?.moves ?? null,
      settings: this.#inside.settings.stateOf(row) ?? null,
      rx: { packets: tunnels.rxPackets[row], bytes: tunnels.rxBytes[row] },
      tx: { packets: tunnels.txPackets[row], bytes: tunnels.txBytes[row] },
    };
  }

  async ping(publicKey: string, timeoutMs: number): Promise<Pong> {
    const row = this.#byIndex.find(this.responder.sessions.upOf(hexOf(publicKey)));
    if (row === NO_ROW) throw new AnyhopError("no_session", "This client has no session.");
    return this.#inside.ping(row, timeoutMs);
  }

  #carryOut(out: readonly NodeOutput[]): void {
    for (const output of out) this.#obey(output);
    this.#flush();
  }

  #obey(output: NodeOutput): void {
    switch (output.kind) {
      case "send":
        this.#post({ kind: "send", datagram: output.datagram, to: output.to });
        break;
      case "pending":
        this.#open(output.session, output.told);
        this.#others?.answered(output.session);
        break;
      case "up":
        this.#up(output.session, output.replaces.length > 0);
        this.#replace(output);
        if (this.#outdated.delete(output.session.index))
          this.#inside.groupKeys.outdated(this.#byIndex.find(output.session.index));
        this.#others?.confirmed(output.session.index);
        break;
      case "close": {
        const row = this.#byIndex.find(output.index);
        if (row !== NO_ROW) this.#close(row, output.reason);
        break;
      }
      case "outdated_key":
        this.#outdated.add(output.index);
        break;
      case "retire":
        this.#outdated.delete(output.index);
        this.#retire(output);
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

  #open(session: NodeSession, told: number): void {
    const client = this.#clients.get(base64Of(session.clientKey));
    if (client === undefined) return;
    this.#enter(session, client, false, true);
    const row = this.#byIndex.find(session.index);
    if (row !== NO_ROW) this.#inside.settings.granted(row, told);
  }

  #enter(session: NodeSession, client: Admitted, foreign: boolean, pending: boolean): void {
    const row = this.#free.take();
    if (row === undefined) return;
    const { index, aead, secret } = session;
    this.#byIndex.set(index, row);
    this.#indices[row - this.#firstRow] = index + 1;
    this.#sealed[row - this.#firstRow] = 0;
    this.#sinceMs[row - this.#firstRow] = this.#use.clock.wallMs();
    if (this.#batch.full) this.#flush();
    this.#batch.add({
      index: row,
      owner: client.owner,
      end: "node",
      sessionIndex: index,
      receiver: session.receiver,
      senderId: this.sender.senderId,
      key: aeadKey(aead, groupKey(secret, aead, identityOf(session), this.sender), clientKey(secret, aead)),
      window: WINDOW,
      keepaliveMs: 0,
      innerMtu: this.#spec.instance.device.mtuBytes,
      routes: client.prefixes(),
      endpoint: session.from,
      pending,
      foreign,
    });
  }

  /** What was opened comes before what is done with it. */
  #post(message: ToShard): void {
    this.#flush();
    if (message.kind === "seal") this.#sealed[message.index - this.#firstRow] = 1;
    this.#shard.post(message);
  }

  #flush(): void {
    if (this.#batch.count > 0) this.#shard.post({ kind: "sessions", sessions: this.#batch.take() });
  }

  /** Session index of a row, or NO_ROW. */
  #indexOf(row: number): number {
    return (this.#indices[row - this.#firstRow] ?? 0) - 1;
  }

  #up(session: NodeSession, rekeyed: boolean): void {
    const row = this.#byIndex.find(session.index);
    if (row === NO_ROW) return;
    this.#post({ kind: "seal", index: row, payload: new Uint8Array(0) });
    // What it was granted may be out of date by now.
    this.#inside.settings.owned(row);
    const how = session.resumed ? "resumed by ticket" : "up";
    const peer = this.#endpoint(row);
    const message = `Client ${session.clientName}: session ${how}, ${aeadNames[session.aead]}`;
    this.#use.log.info("session_up", message, { client: session.clientName, peer });
    this.#use.events.tell(rekeyed ? "session_rekeyed" : "session_up", `${message}, at ${peer}`, session.clientName);
  }

  /** A node that lies may have told of a session so far ahead that no client may ask above it: it asks as if there were none. */
  #pastOf(clientKey: string): number {
    const greatest = this.past.greatest(clientKey);
    return greatest < this.#use.clock.wallMs() + AHEAD_MAX_MS ? greatest : -1;
  }

  #retire(retired: Extract<NodeOutput, { kind: "retire" }>): void {
    const { index, timestamp, clientName, reason } = retired;
    this.#others?.ended(index, timestamp, reason);
    const row = this.#byIndex.find(index);
    if (row === NO_ROW) return;
    // One that nobody has confirmed may come again as one that is up.
    const sealed = this.#sealed[row - this.#firstRow] === 1 || this.#shard.tunnels.seqNext[row] > 0;
    if (sealed || !retired.wasPending) this.past.ended(retired.clientKey, timestamp);
    if (reason === "unconfirmed" && this.#shard.tunnels.foreign[row] === 0) this.#noteUnconfirmed(row, clientName);
    // The others were never up, or a newer one has taken their place.
    if (reason === "expired" || reason === "removed" || reason === "closed")
      this.#use.events.tell("session_down", `Client ${clientName}: its session has ended (${reason})`, clientName);
    this.#inside.ended(row);
    this.#byIndex.remove(index);
    this.#indices[row - this.#firstRow] = 0;
    this.#post({ kind: "remove", index: row, routes: [] });
    this.#free.give(row);
  }

  #noteUnconfirmed(row: number, clientName: string): void {
    const { addr0, addr1, addr2, addr3, port } = this.#shard.tunnels;
    const [w0, w1, w2, w3] = [addr0[row], addr1[row], addr2[row], addr3[row]];
    const from = { family: isMapped(w0, w1, w2) ? (4 as const) : (6 as const), w0, w1, w2, w3, port: port[row] };
    this.responder.refusals.note(this.#now(), "unconfirmed", "", from, { clientName, clientKey: "" });
  }

  #close(row: number, reason: CloseReason): void {
    this.#seal(row, { kind: kinds.CLOSE, reason });
  }

  #seal(row: number, message: Unnumbered, to?: Remote): void {
    const seal = { kind: "seal", index: row, payload: encodeUnnumbered(message) } as const;
    this.#post(to === undefined ? seal : { ...seal, to });
  }

  #tick(): void {
    const out: NodeOutput[] = [];
    const now = this.#now();
    this.responder.tick(now, out);
    this.#carryOut(out);
    this.#inside.tick();
    this.#writeStamps();
    // In a group the book says when it is time for another key.
    if (this.#others === undefined && now.ms - this.#ticketKeysAtMs >= TICKET_KEYS_MS)
      this.#keep(() => this.responder.update({ ticketKeys: this.#freshTicketKeys() }));
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
    const stamps = new Map([...this.#stamps].map(([key, value]) => [`timestamp ${key}`, value]));
    // What could not be written is tried again, and counts meanwhile.
    if (this.#keep(() => this.#use.store.raiseHighWater(stamps))) this.#stamps.clear();
  }

  /** Sessions go on when the disk is full: what is lost then is memory over a restart. */
  #keep(write: () => void): boolean {
    const before = this.#storeFault;
    try {
      write();
      this.#storeFault = undefined;
    } catch (error) {
      if (!(error instanceof AnyhopError)) throw error;
      this.#storeFault = error.message;
    }
    const { log, events } = this.#use;
    if (before === undefined && this.#storeFault !== undefined) {
      log.error("state_full", `${this.#storeFault} Sessions go on; nothing is remembered over a restart.`);
      events.tell("state_full", this.#storeFault);
    } else if (before !== undefined && this.#storeFault === undefined) {
      log.notice("state_kept", "The state is on disk again");
      events.tell("state_kept", "The state is on disk again");
    }
    return this.#storeFault === undefined;
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

const hexOf = (base64: string): string => Buffer.from(base64, "base64").toString("hex");
const base64Of = (hex: string): string => Buffer.from(hex, "hex").toString("base64");

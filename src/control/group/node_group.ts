/**
 * Between a node's sessions (`node_end.ts`) and its part in the group (`group_end.ts`): turns sessions into records and
 * back, and opens held packets for the group to see whose they are.
 */

import { AnyhopError } from "../../base/errors.ts";
import { type Remote, remoteOf } from "../../base/ip.ts";
import type { Logger } from "../../base/log.ts";
import { PING } from "../../channel/kinds.ts";
import type { ClientEntry, Conflict } from "../../cluster/book.ts";
import type { Endpoint } from "../../cluster/endpoint.ts";
import type { EndReason, GroupSender, OpenedPacket } from "../../cluster/group_types.ts";
import type { LiveRecord } from "../../cluster/record.ts";
import type { SignedRoster } from "../../cluster/roster.ts";
import type { Holding } from "../../cluster/session_table.ts";
import { signingKeyFrom } from "../../crypto/ed25519.ts";
import type { Entropy } from "../../crypto/entropy.ts";
import { indexKeyOf } from "../../crypto/session_index.ts";
import type { Lease } from "../../dataplane/lease.ts";
import type { NodeSession, RetireReason } from "../../handshake/node_sessions.ts";
import { NO_SETTINGS } from "../../handshake/settings.ts";
import type { Yielded } from "../../shard/messages.ts";
import type { EventHub } from "../asked/event_hub.ts";
import type { BookReport, NodeGroupView } from "../asked/group_view.ts";
import type { Handed, ShardPort } from "../instance/session_end.ts";
import type { NodeEnd, NodeOthers } from "../node/node_end.ts";
import type { ClusterSpec, NodeSpec } from "../spec/instance.ts";
import type { Store, TicketKey } from "../spec/ports.ts";
import { GroupEnd, type GroupEndPorts, type GroupSessions } from "./group_end.ts";
import { openHeld } from "./held_packet.ts";
import { WaitingSessions } from "./waiting_sessions.ts";

/** Clients get a ticket under the new key with their next rekey, two minutes later; those that are away have some more. */
const TICKET_OVERLAP_MS = 900_000;
/** From the answer to the handshake until no node keeps the record: longer than any session lives. */
const SESSION_LIFE_MS = 900_000;

export interface NodeGroupPorts extends GroupEndPorts {
  readonly log: Logger;
  readonly events: EventHub;
  readonly entropy: Entropy;
  /** The peers' node links, resolved. */
  readonly peers: readonly { readonly node: number; readonly endpoint: Endpoint }[];
  /** Ticket keys that were on disk. */
  readonly ticketKeys: () => readonly TicketKey[];
  /** What the group agreed on before this start, and where to keep what it agrees on. */
  readonly agreed: Store["agreed"];
  readonly agree: Store["agree"];
}

/** The clients of the group's book, as bytes that only `SharedClients` can read. */
export interface ReplicatedClients {
  /** What a client's content claims, see `BookOptions`; undefined: it is none. */
  claimsOf(content: Uint8Array): readonly string[] | undefined;
  /** The book has something new of it. */
  learn(clientKey: string): void;
  conflict(conflict: Conflict): void;
  settle(clientKey: string): void;
  keep(clientKey: string, value: Uint8Array | undefined): void;
  report(): BookReport;
  /** Nothing is learnt any more. */
  stop(): void;
}

export class NodeGroup implements GroupSessions, NodeOthers {
  readonly #node: NodeEnd;
  readonly #use: NodeGroupPorts;
  readonly #end: GroupEnd;
  /** Sessions of clients that this node has not heard of yet: the book comes another way than records do. */
  readonly #waiting = new WaitingSessions();
  /** Of those, whose clients are to be told of this start. */
  readonly #unheard = new Set<number>();
  #shard!: ShardPort;
  /** Set by who keeps the client book, before packets flow. */
  clients: ReplicatedClients = {
    claimsOf: () => undefined,
    learn: () => {},
    conflict: () => {},
    settle: () => {},
    keep: () => {},
    report: () => ({ conflicts: [], settled: [], refused: [] }),
    stop: () => {},
  };

  constructor(node: NodeEnd, spec: NodeSpec, cluster: ClusterSpec, ports: NodeGroupPorts) {
    this.#node = node;
    this.#use = ports;
    const { fleetKey, holdMs, identity } = cluster;
    const roster = ports.agreed("roster");
    this.#end = new GroupEnd(
      {
        ...{ node: cluster.node, bootId: node.sender.bootId, fleetKey, groupPublicKey: spec.publicKey },
        ...{ peers: ports.peers, holdMs, sessionLifeMs: SESSION_LIFE_MS, sessionsMax: spec.sessionsMax },
        tellsOverLink: cluster.engine.kind === "embedded",
        fleetKeys: ports.agreed("fleet_keys"),
        groupKeys: ports.agreed("group_keys"),
        identity: identity && {
          ...{ group: spec.group, operator: identity.operator, signing: signingKeyFrom(identity.signingKey) },
          roster: roster && new TextDecoder().decode(roster),
        },
      },
      ports.entropy,
      ports,
      this,
    );
  }

  get lease(): Lease | undefined {
    return this.#use.lifeline.lease;
  }

  start(shard: ShardPort, firstRow: number, rows: number): void {
    this.#shard = shard;
    this.#end.start(shard, firstRow, rows);
    for (const key of this.#use.ticketKeys()) this.#end.putTicketKey(key);
    this.ticketKeys();
    this.fleetKeys(this.#end.fleetKeys());
    this.groupKeys();
    this.senders(this.#end.group.senders());
  }

  stop(): void {
    this.clients.stop();
    void this.#end.stop();
  }

  /** Resolves when this node knows what the group knows, or nobody has told it for so long. */
  async informed(maxMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      this.#end.informed,
      new Promise((resolve) => {
        timer = setTimeout(resolve, maxMs);
      }),
    ]);
    clearTimeout(timer);
  }

  /** Undefined before the start. */
  status(): NodeGroupView | undefined {
    const view = this.#end.status();
    return view && { ...view, book: this.clients.report() };
  }

  /**
   * A client was added or changed here; `content` undefined: removed. `keep`: see `Book.putClient`. Throws AnyhopError when
   * it can't be told, and what `keep` throws.
   */
  putClient(clientKey: string, content: Uint8Array | undefined, keep?: (value: Uint8Array) => void): void {
    this.#end.putClient(clientKey, content, keep);
  }

  /** A client without what it has lost. Throws AnyhopError when it can't be told. */
  rewriteClient(clientKey: string, content: Uint8Array): void {
    this.#end.rewriteClient(clientKey, content);
  }

  /** An entry of the book from this node's disk, before the start. False: it can't be read. */
  restoreClient(clientKey: string, value: Uint8Array): boolean {
    return this.#end.restoreClient(clientKey, value);
  }

  clientEntry(clientKey: string): ClientEntry | undefined {
    return this.#end.group.book.client(clientKey);
  }

  /** Of those that are not removed. */
  clientKeys(): string[] {
    return Array.from(this.#end.group.book.clients(), ({ clientKey }) => clientKey);
  }

  /** What a client claims and an older one has. */
  lostOf(clientKey: string): readonly string[] {
    return this.#end.group.book.lostOf(clientKey);
  }

  drain(state: "serving" | "draining" | "leaving"): void {
    this.#end.drain(state);
  }

  part(): number {
    return this.#end.part();
  }

  /** Hands over what clients left here and says that this node leaves. At most `maxMs`; returns how many stay. */
  leave(maxMs: number): Promise<number> {
    return this.#end.leave(maxMs);
  }

  resync(node: number | undefined): readonly number[] {
    return this.#end.resync(node);
  }

  holding(index: number): Holding | undefined {
    return this.#end.group.holding(index);
  }

  replaced(index: number, before: number): void {
    this.#end.group.replaced(index, before);
  }

  isTaken(index: number): boolean {
    return this.#end.group.isTaken(index);
  }

  /** The operator's roster, from a person. Throws AnyhopError when it is not taken. */
  learnRoster(text: string): void {
    const result = this.#end.learnRoster(text);
    if ("fault" in result) throw new AnyhopError("roster_refused", `The roster is not taken: ${result.fault}.`);
    if (result.result === "older")
      throw new AnyhopError(
        "roster_refused",
        `The roster is not taken: version ${this.roster()?.version ?? 0} is in force, and this one is older.`,
      );
  }

  /** Another static key of the group, from a person. Throws AnyhopError when it is not taken. */
  learnGroupKeys(encoded: Uint8Array): void {
    const result = this.#end.learnGroupKeys(encoded);
    if ("fault" in result)
      throw new AnyhopError("group_keys_refused", `The keys of the group are not taken: ${result.fault}.`);
    if (result.result === "older")
      throw new AnyhopError(
        "group_keys_refused",
        `The keys of the group are not taken: version ${this.#end.group.groupSecrets.notice?.version ?? 0} is in force, and these are older.`,
      );
  }

  /** Version of the operator's notice of group keys; 0: there is none. */
  groupKeyVersion(): number {
    return this.#end.group.groupSecrets.notice?.version ?? 0;
  }

  /** The operator's roster that is in force. */
  roster(): SignedRoster | undefined {
    return this.#end.group.roster;
  }

  /** False: there is no roster. */
  rotateFleetKey(): boolean {
    return this.#end.rotateFleetKey();
  }

  /** Makes another ticket key. `now`: those of before open nothing any more, instead of a while longer. */
  rotateTicketKey(now: boolean): void {
    this.#end.rotateTicketKey(now ? 0 : TICKET_OVERLAP_MS);
  }

  /** Keeps what the group agreed on, before it counts (GroupSessions). */
  agree(what: "roster" | "fleet_keys" | "group_keys", bytes: Uint8Array): void {
    this.#use.agree(what, bytes);
  }

  /** Other fleet keys are in use, the first one seals (GroupSessions). */
  fleetKeys(keys: readonly Uint8Array[]): void {
    this.#node.useIndexKeys(keys.map(indexKeyOf));
  }

  /** The group has another static key in force (GroupSessions). */
  groupKeys(): void {
    const { notice, pairs } = this.#end.group.groupSecrets;
    if (notice !== undefined) this.#node.useGroupKeys(notice, pairs);
  }

  // --- What this node tells ---

  answered(session: NodeSession): void {
    this.#waiting.delete(session.index);
    this.#end.answered(this.#recordOf(session));
  }

  confirmed(index: number): void {
    this.#end.confirmed(index);
  }

  ended(index: number, timestamp: number, reason: RetireReason): void {
    this.#end.ended(index, timestamp, reason);
  }

  moved(row: number): void {
    this.#end.moved(row);
  }

  held(entry: Handed): void {
    this.#end.held(entry);
  }

  yielded(answer: Yielded): void {
    this.#end.yielded(answer);
  }

  senderAcked(index: number, sender: GroupSender): void {
    this.#end.senderAcked(index, sender);
  }

  /** Somebody may come now: what was agreed with them at other nodes can be taken in. */
  admitted(publicKey: string): void {
    for (const index of this.#waiting.take(publicKey)) {
      const known = this.#end.group.known(index);
      const isUnheard = this.#unheard.delete(index);
      if (known === undefined) continue;
      this.install(known.record, known.endpoint);
      if (isUnheard) this.announceSender(index, undefined, false);
    }
  }

  relay(index: number, node: number, payload: Uint8Array): boolean {
    return this.#end.relay(index, node, payload);
  }

  // --- What the group tells (GroupSessions) ---

  owned(index: number): void {
    this.#node.owned(index);
  }

  inside(index: number, payload: Uint8Array): void {
    this.#node.relayed(index, payload);
  }

  open(record: LiveRecord, datagram: Uint8Array): OpenedPacket | undefined {
    return openHeld(record, datagram);
  }

  superseded(record: LiveRecord): boolean {
    const { responder, past } = this.#node;
    if (responder.sessions.upSince(record.clientKey) > record.created) return true;
    return record.created <= past.greatest(hex(record.clientKey));
  }

  claimsOf(content: Uint8Array): readonly string[] | undefined {
    return this.clients.claimsOf(content);
  }

  rowOf(index: number): number | undefined {
    return this.#node.rowOf(index);
  }

  rowsEnd(): number {
    return this.#node.rowsEnd;
  }

  install(record: LiveRecord, endpoint: Endpoint): void {
    const publicKey = base64(record.clientKey);
    const client = this.#node.client(publicKey);
    if (client === undefined) {
      this.#waiting.add(publicKey, record.index);
      return;
    }
    const key = hex(record.clientKey);
    const taken = this.#node.takeIn(this.#sessionOf(key, client.name, record, endpoint), client, record.phase === "up");
    if (!taken) this.#end.group.unserved();
  }

  up(index: number): void {
    this.#node.confirmedElsewhere(index);
  }

  retire(index: number, created: number, reason: EndReason): void {
    this.#unheard.delete(index);
    this.#waiting.delete(index);
    this.#node.retireElsewhere(index, created, reason);
  }

  challenge(index: number, token: Uint8Array, to: Endpoint): void {
    this.#node.tell(index, { kind: PING, token }, this.#source(to));
  }

  unknown(datagram: Uint8Array, from: Endpoint): void {
    this.#node.respond((responder, now, out) => responder.unknownSession(now, datagram, this.#source(from), out));
  }

  announceSender(index: number, to: Endpoint | undefined, once: boolean): void {
    const place = to === undefined ? this.#placeOf(index) : this.#source(to);
    if (place === undefined) {
      if (this.#waiting.has(index)) this.#unheard.add(index);
      return;
    }
    this.#node.respond((responder, at, out) => responder.announce(at, index, this.#node.sender, place, once, out));
  }

  acked(index: number, sender: GroupSender): void {
    this.#node.responder.acknowledged(index, sender);
  }

  senders(senders: readonly GroupSender[]): void {
    this.#node.responder.update({ senders });
  }

  ticketKeys(): void {
    this.#node.useTicketKeys(this.#end.group.book.ticketKeys(this.#use.clock.wallMs()));
  }

  client(clientKey: string): void {
    this.clients.learn(clientKey);
  }

  conflict(conflict: Conflict): void {
    this.clients.conflict(conflict);
  }

  settle(clientKey: string): void {
    this.clients.settle(clientKey);
  }

  keep(clientKey: string, value: Uint8Array | undefined): void {
    this.clients.keep(clientKey, value);
  }

  refuse(error: AnyhopError): void {
    this.#node.fail(error);
  }

  say(level: "notice" | "warning" | "error", event: string, message: string): void {
    this.#use.log[level](event, message);
    this.#use.events.tell(event, message);
  }

  settled(): void {
    this.#expire();
    this.#node.settle();
  }

  /** Clients that never come: what this node serves expires by itself, and what waits does not. */
  #expire(): void {
    for (let index = this.#waiting.first; index !== undefined; index = this.#waiting.first) {
      const known = this.#end.group.known(index);
      if (known !== undefined && known.record.expiryMs > this.#use.clock.wallMs()) return;
      this.#waiting.delete(index);
      if (known !== undefined) this.#end.ended(index, known.record.created, "expired");
    }
  }

  #recordOf(session: NodeSession): LiveRecord {
    const { index, timestamp, receiver, aead, modes, secret, settings, from } = session;
    return {
      ...{
        index,
        created: timestamp,
        phase: "pending",
        creator: this.#node.sender.senderId,
        receiver,
        aead,
        modes,
        secret,
      },
      clientKey: Buffer.from(session.clientKey, "hex"),
      instance: Buffer.from(session.instance, "hex"),
      expiryMs: this.#use.clock.wallMs() + SESSION_LIFE_MS,
      addresses: settings.addresses,
      endpoint: {
        ...{ family: from.family, w0: from.w0, w1: from.w1, w2: from.w2, w3: from.w3, port: from.port },
        asked: from.sock === undefined ? undefined : this.#shard.askedBy?.(from.sock),
      },
    };
  }

  #sessionOf(key: string, clientName: string, record: LiveRecord, endpoint: Endpoint): NodeSession {
    const { index, created, receiver, instance, aead, modes, secret } = record;
    // Without spread, which takes a third of this function: it runs for every session of the group when a node joins.
    return {
      index,
      receiver,
      clientKey: key,
      clientName,
      instance: hex(instance),
      aead,
      modes,
      secret,
      settings: NO_SETTINGS,
      from: this.#source(endpoint),
      timestamp: created,
      resumed: false,
    };
  }

  /** Where the client of a session is, as far as this node knows. */
  #placeOf(index: number): Remote | undefined {
    const row = this.#node.rowOf(index);
    if (row === undefined) return undefined;
    const { known, addr0, addr1, addr2, addr3, port, sock } = this.#shard.tunnels;
    const from = this.#node.responder.sessions.get(index)?.from;
    // The shard may not have opened the row yet.
    const [w0, w1, w2, w3] = [addr0[row], addr1[row], addr2[row], addr3[row]];
    const now = remoteOf([w0, w1, w2, w3], port[row], sock[row]);
    return known[row] === 1 ? now : from && { ...from, sock: from.sock ?? this.#shard.socketFor(from.family) };
  }

  #source(endpoint: Endpoint): Remote {
    const { family, w0, w1, w2, w3, port, asked } = endpoint;
    return { family, w0, w1, w2, w3, port, sock: this.#shard.socketFor(family, asked) };
  }
}

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");

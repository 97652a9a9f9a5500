/**
 * One node of a group, sans-IO: what this node, the bus, the node link and the shard tell goes in with the time; `flush`
 * gives what is to be done, in the order in which it must be done. Nothing here waits, reads a clock or touches a packet
 * that was not held. docs/PROTOCOL.md, "The group".
 *
 * Every input costs O(1) whatever the number of sessions. Call `flush` after each batch of inputs, so that what goes to one
 * node goes in few datagrams, and `tick` not later than `nextTimeout` says.
 */
import { Askings } from "./asking.ts";
import type { Book, BookRefusal } from "./book.ts";
import { isReachable } from "./client_numbers.ts";
import { Contacts } from "./contacts.ts";
import { Core } from "./core.ts";
import type { Endpoint } from "./endpoint.ts";
import { Envelope, type Opened } from "./envelope.ts";
import { GroupBook } from "./group_book.ts";
import { type GroupKeysResult, GroupSecrets } from "./group_secrets.ts";
import type {
  EndReason,
  GroupConfig,
  GroupOutput,
  GroupPorts,
  GroupSender,
  HeldPacket,
  Yielded,
} from "./group_types.ts";
import { Handover } from "./handover.ts";
import type { Heartbeat } from "./heartbeat.ts";
import { Introductions } from "./introductions.ts";
import { Joining } from "./joining.ts";
import type { LifelineEvent } from "./lifeline_types.ts";
import type { LinkOutput } from "./link.ts";
import { type LinkMessage, type Piece, type Told, unpackMessages } from "./link_message.ts";
import type { LinkPeer } from "./link_peer.ts";
import { decodeShouts } from "./location.ts";
import { type Advanced, Locations } from "./locations.ts";
import { Membership } from "./membership.ts";
import type { Now } from "./now.ts";
import { Ownership } from "./ownership.ts";
import { decodeRecord, indexOfKey, type LiveRecord, type SessionRecord } from "./record.ts";
import { Records } from "./records.ts";
import { Resync } from "./resync.ts";
import type { SignedRoster } from "./roster.ts";
import { type Holding, NOBODY, NONE } from "./session_table.ts";
import { Snapshot } from "./snapshot.ts";
import { type GroupStatus, statusOf } from "./status.ts";
import type { BookTicketKey } from "./ticket_keys.ts";
import { type RosterResult, Trust } from "./trust.ts";

const HEADER_LEN = 8;
/** What pages are made of. */
const FETCHED: ReadonlySet<LinkMessage["kind"]> = new Set(["record", "client", "ticket_key"] as const);

export class Group {
  readonly #core: Core;
  readonly #envelope: Envelope;
  readonly #trust: Trust;
  readonly groupSecrets: GroupSecrets;
  readonly #contacts: Contacts;
  readonly #records: Records;
  readonly #ownership: Ownership;
  readonly #handover: Handover;
  readonly #askings: Askings;
  readonly #locations: Locations;
  readonly #introductions: Introductions;
  readonly #resync: Resync;
  readonly #membership: Membership;
  readonly #joining: Joining;
  readonly #snapshot: Snapshot;
  readonly #book: GroupBook;

  constructor(now: Now, config: GroupConfig, ports: GroupPorts) {
    const { node, fleetKey, identity, fleetKeys: keptFleetKeys } = config;
    this.#trust = new Trust({ node, fleetKey, identity, keptFleetKeys });
    const { groupPublicKey: first, groupKeys: kept } = config;
    this.groupSecrets = new GroupSecrets({ operator: identity?.operator, first, kept });
    this.#envelope = new Envelope(this.#trust.fleetKeys, node, config.bootId, this.#trust.signatures);
    const core = new Core(now, config, ports, this.#envelope, this.#trust);
    this.#core = core;
    this.#contacts = new Contacts(core);
    this.#records = new Records(core, this.#contacts);
    this.#ownership = new Ownership(core);
    this.#handover = new Handover(
      core,
      (name) => this.#records.rowOf(name),
      (index) => this.#ownership.askedFor(index),
    );
    this.#askings = new Askings(core);
    this.#locations = new Locations(core, this.#records, this.#ownership, this.#handover);
    this.#introductions = new Introductions(core);
    this.#resync = new Resync(core, this.#records);
    this.#membership = new Membership(core, this.#resync);
    this.#book = new GroupBook(core);
    this.#joining = new Joining(core);
    this.#snapshot = new Snapshot(core, this.#book.book);
    // Where it was introduced before, the client may not have been.
    this.#locations.onLocated = (row) => this.#introductions.installed(row);
    this.#ownership.onOwned = (index) => this.#handover.owned(index);
    this.#ownership.gaveTo = (index) => this.#handover.gaveTo(index);
    this.#records.onEnd = (row) => this.#leaves(row);
    this.groupSecrets.begin(core, (bytes) => ports.agree?.("group_keys", bytes));
    this.#trust.begin(core, {
      agree: (what, bytes) => ports.agree?.(what, bytes),
      setPeers: (peers) => this.#setPeers(peers),
      rekeyed: () => this.#rekeyed(),
      evicted: (version) => this.#book.evicted(version),
    });
    this.book.evicted(now.wallMs, this.#trust.lastEviction, []);
  }

  // --- Facts of this node ---

  /** This node answered for a session: phase pending. */
  answered(now: Now, record: LiveRecord): void {
    this.#core.now = now;
    this.#records.answered(record);
  }

  /** The first authentic packet of a session was accepted here. */
  confirmed(now: Now, index: number): void {
    this.#core.now = now;
    this.#records.confirmed(index);
  }

  /** A session ended here; `created` says which of its index. */
  ended(now: Now, index: number, created: number, reason: EndReason): void {
    this.#core.now = now;
    this.#records.ended(index, created, reason);
  }

  /** The client of an own session came from another endpoint with packet `seq`. */
  moved(now: Now, index: number, endpoint: Endpoint, seq: number): void {
    this.#core.now = now;
    this.#locations.roamed(index, endpoint, seq);
  }

  /** Own sessions that advanced; every PROGRESS_MS. `seqHigh`: highest authentic number. */
  progress(now: Now, advanced: Iterable<Advanced>): void {
    this.#core.now = now;
    this.#locations.advanced(advanced);
  }

  /** A packet that the data plane did not take. */
  held(now: Now, packet: HeldPacket): void {
    this.#core.now = now;
    this.#held(packet);
  }

  yielded(now: Now, answer: Yielded): void {
    this.#core.now = now;
    this.#handover.yielded(answer);
  }

  /** A client acknowledged a sender of the group in a packet that arrived here. */
  senderAcked(now: Now, index: number, { senderId, bootId }: GroupSender): void {
    this.#core.now = now;
    if (senderId === this.#core.config.node) this.#introductions.acknowledged(index, bootId);
    else this.#core.say(senderId, { kind: "sender_acked", index, senderId, bootId });
  }

  /** A control payload for another node that the client of a session sent here. False: there is no such peer. */
  relay(now: Now, index: number, node: number, payload: Uint8Array): boolean {
    this.#core.now = now;
    if (!this.#core.living().includes(node)) return false;
    this.#core.say(node, { kind: "inside", index, payload });
    return true;
  }

  /** The configuration names other nodes now. Throws AnyhopError for a number that can't be a peer's. */
  setPeers(now: Now, peers: readonly LinkPeer[]): void {
    this.#core.now = now;
    this.#setPeers(peers);
  }

  /** The operator's roster, from a person. */
  learnRoster(now: Now, text: string): RosterResult {
    this.#core.now = now;
    return this.#trust.learnRoster(text);
  }

  /** Static keys of the group, from a person. */
  learnGroupKeys(now: Now, encoded: Uint8Array): GroupKeysResult {
    this.#core.now = now;
    return this.groupSecrets.learn(encoded);
  }

  /** Makes another fleet key, which all nodes of the roster get. False: there is no roster. */
  rotateFleetKey(now: Now): boolean {
    this.#core.now = now;
    return this.#trust.rotate();
  }

  /** What this node says of itself from now on. */
  drain(now: Now, drain: Heartbeat["drain"]): void {
    this.#core.now = now;
    this.#membership.drain = drain;
    this.#core.departing = drain === "leaving";
    for (const node of this.#core.living()) this.#core.say(node, this.#membership.heartbeat(node));
  }

  /** Hands these sessions to other nodes. Returns how many of them this node still owns and can hand over. */
  part(now: Now, indices: Iterable<number>): number {
    this.#core.now = now;
    let left = 0;
    for (const index of indices) {
      const row = this.#core.table.find(index);
      if (row !== NONE && this.#handover.part(row)) left++;
    }
    return left;
  }

  /** Asks a living node, or all, which sessions they know, and for what is missing here. Returns the nodes asked. */
  resync(now: Now, node?: number): number[] {
    this.#core.now = now;
    const nodes = node === undefined ? this.#core.living() : [node];
    return nodes.filter((one) => this.#resync.all(one) > 0);
  }

  /** Adds or changes a client on all nodes; `content` undefined removes it. `clientKey`: 64 hex digits. See `Book.putClient`. */
  putClient(
    now: Now,
    clientKey: string,
    content: Uint8Array | undefined,
    keep?: (value: Uint8Array) => void,
  ): BookRefusal | undefined {
    this.#core.now = now;
    return this.#book.putClient(clientKey, content, keep);
  }

  /** After `settle`: a client without what it has lost. */
  rewriteClient(now: Now, clientKey: string, content: Uint8Array): BookRefusal | undefined {
    this.#core.now = now;
    return this.#book.rewriteClient(clientKey, content);
  }

  /** An entry from this node's disk, before the group begins. False: it can't be read. */
  restoreClient(now: Now, clientKey: string, value: Uint8Array): boolean {
    this.#core.now = now;
    return this.#book.restore(clientKey, value);
  }

  /** Makes another ticket key; those of before open tickets for so long yet. */
  rotateTicketKey(now: Now, overlapMs: number): void {
    this.#core.now = now;
    this.#book.rotateTicketKey(overlapMs);
  }

  /** A ticket key that this node has made or kept. */
  putTicketKey(now: Now, key: BookTicketKey): BookRefusal | undefined {
    this.#core.now = now;
    return this.#book.putTicketKey(key);
  }

  // --- The bus ---

  busRecord(now: Now, node: number, key: string, value: Uint8Array | undefined): void {
    this.#core.now = now;
    const { outcomes, config } = this.#core;
    // Deleted: records of sessions end by tombstones, and the book has its own.
    if (value === undefined) return;
    const opened = this.#openBus(node, key, value);
    if (opened === undefined) return;
    if (!key.startsWith("s.")) {
      this.#book.received(node, key, opened.plain);
      return;
    }
    const encoded = opened.plain;
    const record = decodeRecord(encoded);
    if (record === undefined) {
      outcomes.add("record_malformed");
      return;
    }
    if (indexOfKey(key) !== record.index) {
      outcomes.add("record_misplaced");
      return;
    }
    // What an earlier start of this node put: nobody has its windows any more.
    const owner = node === config.node ? NOBODY : node;
    this.#learn(record, { encoded, owner, seq: NONE, endpoint: undefined });
  }

  busShout(now: Now, node: number, message: Uint8Array): void {
    this.#core.now = now;
    const opened = this.#openBus(node, "", message);
    if (opened === undefined) return;
    if (!this.#membership.busSays(opened)) {
      this.#membership.twin(opened);
      return;
    }
    this.#shouted(node, opened.plain, (heartbeat) => this.#membership.busBeat(opened, heartbeat));
  }

  busState(now: Now, connected: boolean): void {
    this.#core.now = now;
    this.#membership.connected = connected;
    this.#core.busAway = !connected;
    if (!connected) this.#membership.caughtUp = false;
  }

  caughtUp(now: Now): void {
    this.#core.now = now;
    this.#membership.caughtUp = true;
    this.#book.caughtUp();
  }

  // --- The node link ---

  linkDatagram(now: Now, from: Endpoint, bytes: Uint8Array): void {
    this.#core.now = now;
    const out: LinkOutput[] = [];
    this.#core.link.receive(now, from, bytes, out);
    this.#linkSays(out);
  }

  // --- The lifeline ---

  lifeline(now: Now, event: LifelineEvent): void {
    this.#core.now = now;
    const { dead, link } = this.#core;
    switch (event.kind) {
      case "alive":
        dead.delete(event.node);
        return;
      case "dead": {
        const out: LinkOutput[] = [];
        dead.add(event.node);
        this.#membership.died(event);
        if (event.bootId !== undefined) link.died(event.node, event.bootId, out);
        this.#linkSays(out);
        this.#ownership.died(event.node);
        return;
      }
      case "fenced":
        return;
      case "unfenced":
        this.#ownership.unfenced(event);
        return;
    }
  }

  // --- Time ---

  tick(now: Now): void {
    this.#core.now = now;
    const out: LinkOutput[] = [];
    this.#core.link.tick(now, out);
    this.#linkSays(out);
    this.#ownership.tick();
    this.#handover.tick();
    this.#askings.tick();
    this.#introductions.tick();
    this.#resync.tick();
    this.#records.tick();
    this.#membership.tick();
    this.#joining.tick();
    this.#book.tick();
    this.#trust.tick();
    this.groupSecrets.tick();
  }

  /** Monotonic time at which `tick` is due. */
  nextTimeout(): number {
    return Math.min(
      this.#core.nextTimeout(),
      this.#core.link.nextTimeout(),
      this.#ownership.nextTimeout(),
      this.#handover.nextTimeout(),
      this.#askings.nextTimeout(),
      this.#introductions.nextTimeout(),
      this.#resync.nextTimeout(),
      this.#membership.nextTimeout(),
      this.#joining.nextTimeout(),
      this.#book.nextTimeout(),
      this.#trust.nextTimeout(),
      this.groupSecrets.nextTimeout(),
    );
  }

  /** Appends what is to be done. */
  flush(now: Now, out: GroupOutput[]): void {
    this.#core.now = now;
    this.#core.flush(out);
  }

  // --- What is known ---

  /** Clients that were added while running, and ticket keys. */
  get book(): Book {
    return this.#book.book;
  }

  /** Something went wrong on this input, which is left out. */
  stumbled(now: Now, what: string): void {
    this.#core.now = now;
    this.#core.outcomes.add("callback_failed");
    this.#core.alarms.add(now, "callback_failed", what, `${what}. This is an error of anyhop: report it, with the log`);
  }

  /** Another node tells this one what the group knows. */
  get isJoining(): boolean {
    return !this.#joining.done;
  }

  /** Who can send to clients now, this node first. */
  senders(): GroupSender[] {
    return this.#membership.senders();
  }

  /** Which node has a session, since when, and how often that changed; undefined: this node knows no such session. */
  holding(index: number): Holding | undefined {
    const row = this.#core.table.find(index);
    return row === NONE ? undefined : this.#core.table.holding(row);
  }

  /** A session takes the place of an older one of the same client, whose moves are counted on. */
  replaced(index: number, before: number): void {
    const { table } = this.#core;
    const [row, old] = [table.find(index), table.find(before)];
    if (row !== NONE && old !== NONE) table.continueCount(row, old);
  }

  /** A session as it is known now: what was agreed, and where its client is. */
  known(index: number): { readonly record: LiveRecord; readonly endpoint: Endpoint } | undefined {
    const { table } = this.#core;
    const row = table.find(index);
    return row === NONE ? undefined : { record: table.record(row), endpoint: table.endpoint(row) };
  }

  /** Whether a session has this index, or one that ended lately had it. */
  isTaken(index: number): boolean {
    return this.#core.table.find(index) !== NONE || this.#records.tombstone(index) !== undefined;
  }

  /** A session of another node can't be served by this one: its data plane has no room. */
  unserved(): void {
    this.#core.outcomes.add("unserved");
  }

  /** The operator's roster that is in force; undefined: there is none. */
  get roster(): SignedRoster | undefined {
    return this.#trust.roster;
  }

  /** What opens now what nodes have sealed for all; the first one seals. */
  fleetKeys(now: Now): readonly Uint8Array[] {
    return this.#trust.fleetKeys.inUse(now.ms).map(({ key }) => key);
  }

  status(): GroupStatus {
    return statusOf(this.#core, this.#membership, this.#resync, {
      tombstones: this.#records.tombstones,
      moving: this.#ownership.flips,
      asking: this.#askings.size,
      askingPackets: this.#askings.packets,
      askingBytes: this.#askings.bytes,
      introductions: this.#introductions.waiting,
      book: this.book.size,
      identity: this.#trust.identity !== undefined,
      roster: this.#trust.version,
      fleetRotation: this.#trust.fleetKeys.newest.rotation,
    });
  }

  #held(packet: HeldPacket): void {
    const row = this.#core.table.find(packet.index);
    if (row === NONE) this.#askings.held(packet);
    else this.#ownership.held(row, packet);
  }

  #leaves(row: number): void {
    const index = this.#core.table.index[row];
    this.#ownership.ended(index);
    this.#handover.ended(index);
    this.#introductions.ended(index);
  }

  /** What another node says of a session. Its row, or NONE. */
  #learn(record: SessionRecord, { encoded, owner, seq, endpoint }: Omit<Told, "kind">, byOwner = false): number {
    const isNew = this.#records.learn(record, encoded, owner, endpoint);
    const row = this.#records.rowOf(record);
    if (row === NONE) return NONE;
    if (isNew) this.#introductions.installed(row);
    this.#locations.told(row, owner, seq, endpoint, byOwner);
    this.#ownership.release(row, this.#askings.learnt(record.index));
    return row;
  }

  #linkSays(outputs: readonly LinkOutput[]): void {
    const { now, heardMs, outcomes } = this.#core;
    for (const output of this.#core.send(outputs)) {
      if (output.kind !== "payload") {
        if (output.kind === "roster") {
          this.#heardRoster(output);
          continue;
        }
        if (output.kind === "agreed") {
          this.#core.emit(output);
          continue;
        }
        if (output.kind === "alive") {
          this.#trust.met(output.node);
          this.groupSecrets.met(output.node);
          this.#contacts.met(output.node);
          this.#book.heard(output.node);
        } else if (output.kind === "dead") {
          this.#contacts.lost(output.node);
          this.#book.silent(output.node);
        }
        this.#membership.linkSays(output);
        // It missed what was told before it came, and so did this node.
        if (output.kind === "alive" && this.#joining.done && this.#core.tellsOverLink(output.node))
          this.#resync.all(output.node);
        if (output.kind === "dead") this.#joining.lost(output.node);
        continue;
      }
      heardMs.set(output.node, now.ms);
      const messages = unpackMessages(output.payload);
      if (messages === undefined) outcomes.add("link_malformed");
      else for (const message of messages) this.#linkMessage(output.node, message);
    }
  }

  #linkMessage(node: number, message: LinkMessage): void {
    switch (message.kind) {
      case "heartbeat":
        this.#core.emit({ kind: "heard", node });
        this.#membership.linkBeat(node, message);
        this.#joining.heard(node, message.sessions);
        if (this.#contacts.takeFresh(node))
          for (const row of this.#records.unlisted(node)) this.#introductions.installed(row);
        return;
      case "take":
        this.#handover.take(node, message);
        return;
      case "taken":
        // A node that was handed a session says with "moved" that it has it.
        if (message.result === "moved" && message.owner === node && this.#handover.arrived(node, message.index)) return;
        this.#ownership.taken(node, message);
        return;
      case "ask":
        this.#asked(node, message.index);
        return;
      case "record":
        this.#told(node, message);
        return;
      case "absent":
        this.#absent(node, message.index);
        return;
      case "forward":
        this.#forwarded(message);
        return;
      case "sender_acked":
        this.#senderAcked(message);
        return;
      case "inside":
        this.#core.emit({ kind: "inside", index: message.index, payload: message.payload });
        return;
      case "part":
        this.#parted(node, message);
        return;
      case "list":
        this.#resync.list(node, message);
        return;
      case "listed":
        this.#resync.listed(node, message);
        return;
      case "fleet_keys":
        this.#trust.learnFleetKeys(message.value);
        return;
      case "group_keys":
        this.#heardGroupKeys(node, message.value);
        return;
      case "fetch":
        this.#snapshot.fetched(node, message);
        return;
      case "piece":
        this.#pieceOf(node, message);
        return;
      case "client":
      case "ticket_key":
      case "book_sums":
      case "book_list":
        this.#book.told(node, message);
        return;
      case "shout":
        this.#core.shoutMs.set(node, this.#core.now.ms);
        this.#shouted(node, message.plain, () => this.#core.outcomes.add("shout_malformed"));
        return;
    }
  }

  #shouted(node: number, plain: Uint8Array, beat: (heartbeat: Heartbeat) => void): void {
    const shouts = decodeShouts(plain);
    if (shouts === undefined) this.#core.outcomes.add("shout_malformed");
    for (const shout of shouts ?? []) {
      if (shout.kind === "progress") this.#locations.progress(node, shout.sessions);
      else if (shout.kind === "moved") this.#locations.moved(node, shout);
      else beat(shout);
    }
  }

  #asked(node: number, index: number): void {
    const { table } = this.#core;
    const row = table.find(index);
    if (row === NONE) this.#core.say(node, { kind: "absent", index });
    else if (!this.#ownership.defers(node, index)) this.#core.say(node, table.asTold(row));
  }

  #told(node: number, told: Told): void {
    // An earlier start of this node, perhaps: what that owned, nobody owns.
    const owner = told.owner === this.#core.config.node ? NOBODY : told.owner;
    const record = decodeRecord(told.encoded);
    if (record === undefined) this.#core.outcomes.add("record_malformed");
    else if (this.#learn(record, { ...told, owner }, owner === node) === NONE) this.#absent(node, record.index);
    else this.#ownership.consulted(node, record.index);
  }

  #pieceOf(node: number, piece: Piece): void {
    const { outcomes } = this.#core;
    const messages = piece.plain.length === 0 ? [] : unpackMessages(piece.plain);
    if (messages?.every(({ kind }) => FETCHED.has(kind)) !== true) outcomes.add("link_malformed");
    else if (this.#joining.piece(node, piece)) for (const message of messages) this.#linkMessage(node, message);
  }

  /** A node that was asked for a session knows nothing of it. */
  #absent(node: number, index: number): void {
    this.#askings.absent(node, index);
    this.#ownership.consulted(node, index);
  }

  #forwarded({ source: from, tos, datagram }: Extract<LinkMessage, { kind: "forward" }>): void {
    const { outcomes, table, config } = this.#core;
    if (datagram.length < HEADER_LEN) {
      outcomes.add("link_malformed");
      return;
    }
    const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
    const index = view.getUint16(4) * 2 ** 15 + (view.getUint16(6) & 0x7fff);
    const packet = { index, seq: view.getUint32(0), datagram, from, tos };
    outcomes.add("received");
    const row = table.find(index);
    if (row === NONE) this.#askings.unknown(packet);
    else if (table.owner[row] === config.node) this.#core.inject([packet]);
    else this.#ownership.forwarded(row, packet);
  }

  #senderAcked({ index, senderId, bootId }: Extract<LinkMessage, { kind: "sender_acked" }>): void {
    this.#introductions.acknowledged(index, bootId);
    this.#core.emit({ kind: "acked", index, senderId, bootId });
  }

  #parted(node: number, { index, created, window, endpoint }: Extract<LinkMessage, { kind: "part" }>): void {
    const { table, config } = this.#core;
    const row = this.#records.rowOf({ index, created });
    if (row === NONE) return;
    if (!isReachable(this.#core, row, window.highest)) {
      this.#core.outcomes.add("number_impossible");
      return;
    }
    // It would let in again what was told already.
    if (table.owner[row] !== config.node && window.highest < table.high[row]) {
      this.#core.outcomes.add("part_outdated");
      return;
    }
    const isNew = table.owner[row] !== config.node && !this.#handover.isRepeated(node, index, window);
    if (isNew) this.#ownership.parted(row, window, endpoint);
    this.#core.say(node, { kind: "taken", index, created, result: "moved", owner: config.node, window: undefined });
  }

  #openBus(node: number, key: string, sealed: Uint8Array): Opened | undefined {
    const { now, outcomes, alarms } = this.#core;
    if (!this.#trust.isHeard(node)) {
      outcomes.add("bus_not_member");
      return undefined;
    }
    const opened = this.#envelope.open(now.ms, node, key, sealed);
    if (typeof opened !== "string") return opened;
    if (opened === "wrong_signature") {
      outcomes.add("shout_forged");
      const said = `somebody who has the fleet key spoke through the engine as node ${node} and is not it: another node`;
      const next = "look there who put it, and put out the node that lies: anyhop group evict";
      alarms.add(now, "shout_forged", String(node), `${said}, or one that was put out within the last minute; ${next}`);
      return undefined;
    }
    outcomes.add(opened === "old_key" ? "bus_old_key" : "bus_refused");
    return undefined;
  }

  #heardRoster({ node, text }: Extract<LinkOutput, { kind: "roster" }>): void {
    const { now, outcomes, alarms } = this.#core;
    const result = this.#trust.learnRoster(text);
    if (!("fault" in result)) {
      if (result.result === "in_force") outcomes.add("roster_taken");
      return;
    }
    outcomes.add("roster_refused");
    const said = `node ${node}, or somebody who has the fleet key, told a roster that is none: ${result.fault}`;
    alarms.add(now, "roster_refused", String(node), said);
  }

  #heardGroupKeys(node: number, encoded: Uint8Array): void {
    const { now, outcomes, alarms } = this.#core;
    const result = this.groupSecrets.learn(encoded);
    if (!("fault" in result)) return;
    outcomes.add("group_keys_refused");
    alarms.add(
      now,
      "group_keys_refused",
      String(node),
      `node ${node} told keys of the group that are not taken: ${result.fault}`,
    );
  }

  /** Nodes that are not among these are as good as dead: others take their sessions over. */
  #setPeers(peers: readonly LinkPeer[]): void {
    const out = this.#core.config.peers
      .map(({ node }) => node)
      .filter((node) => {
        return !peers.some((peer) => peer.node === node) && this.#core.peers.has(node);
      });
    for (const node of out) {
      this.#contacts.lost(node);
      this.#joining.lost(node);
      this.#book.silent(node);
    }
    this.#membership.setPeers(peers);
    this.#core.emit({ kind: "peers", peers });
    for (const node of out) this.#ownership.died(node);
  }

  /** What lasts is sealed again under the key that is in use now, so that nodes that come later can open it. */
  #rekeyed(): void {
    this.#core.emit({ kind: "fleet_keys" });
    this.#book.rekeyed();
  }
}

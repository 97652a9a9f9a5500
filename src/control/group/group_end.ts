/**
 * This node's part in the group: carries what the group's state machine (cluster/group.ts) decides to the shard, the
 * node link, the engine and the sessions of this node, and what those tell back to it. Decides nothing and keeps no packet.
 */
import type { Clock } from "../../base/clock.ts";
import { AnyhopError } from "../../base/errors.ts";
import { isMapped } from "../../base/ip.ts";
import { type BookRefusal, bookRefusals, type Conflict } from "../../cluster/book.ts";
import type { Bus, BusListener, BusStatus } from "../../cluster/bus.ts";
import type { Endpoint } from "../../cluster/endpoint.ts";
import { Group } from "../../cluster/group.ts";
import type { GroupKeysResult } from "../../cluster/group_secrets.ts";
import type {
  EndReason,
  GroupConfig,
  GroupOutput,
  GroupPorts,
  GroupSender,
  HeldPacket,
} from "../../cluster/group_types.ts";
import { type LinkRefusal, linkRefusals } from "../../cluster/link_peer.ts";
import { outcomeNames, outcomes } from "../../cluster/outcomes.ts";
import type { LiveRecord } from "../../cluster/record.ts";
import type { GroupStatus } from "../../cluster/status.ts";
import type { RosterResult } from "../../cluster/trust.ts";
import type { Yielded } from "../../shard/messages.ts";
import type { GroupView } from "../asked/group_view.ts";
import type { Handed, ShardPort } from "../instance/session_end.ts";
import type { LifelinePort, LinkSocket, OutcomeCount, TicketKey } from "../spec/ports.ts";

/** How often the others hear how far the clients of this node's sessions are: what is lost of it can be replayed. */
const PROGRESS_MS = 250;
/** Stack traces in the log, each of something that must not happen. */
const STUMBLES_LOGGED = 20;
/** Packets and windows that are told before the group acts: about one datagram to another node. */
const INPUTS_MAX = 64;

export interface GroupEndPorts {
  readonly clock: Clock;
  /** What `openBus` opens. */
  readonly engine: BusStatus["kind"];
  openBus(listener: BusListener): Bus;
  readonly link: LinkSocket;
  readonly lifeline: LifelinePort;
}

/** What the group asks of this node's sessions. */
export interface GroupSessions extends Pick<GroupPorts, "open" | "superseded" | "claimsOf"> {
  /** Row of a session in the tunnel table, or undefined. */
  rowOf(index: number): number | undefined;
  /** Above every row that a session ever had. */
  rowsEnd(): number;
  install(record: LiveRecord, endpoint: Endpoint): void;
  /** The client confirmed it at another node. */
  up(index: number): void;
  retire(index: number, created: number, reason: EndReason): void;
  challenge(index: number, token: Uint8Array, to: Endpoint): void;
  unknown(datagram: Uint8Array, from: Endpoint): void;
  announceSender(index: number, to: Endpoint | undefined, once: boolean): void;
  acked(index: number, sender: GroupSender): void;
  /** Its client sends to this node from now on. */
  owned(index: number): void;
  /** A page or acknowledgement for this node, which the client of a session sent to another one. */
  inside(index: number, payload: Uint8Array): void;
  /** Who can send to clients now, this node first. */
  senders(senders: readonly GroupSender[]): void;
  ticketKeys(): void;
  /** The book has something new of this client. `clientKey` in hex. */
  client(clientKey: string): void;
  /** Several clients claim one thing, or do no more. */
  conflict(conflict: Conflict): void;
  /** It is on this node to write a client anew, without what it has lost. */
  settle(clientKey: string): void;
  /** An entry of the book for the disk; undefined: it is forgotten. */
  keep(clientKey: string, value: Uint8Array | undefined): void;
  /** Puts what the group agreed on to disk; throws when there is no room. */
  agree(what: "roster" | "fleet_keys" | "group_keys", bytes: Uint8Array): void;
  /** The fleet keys in use are others, the first one seals. */
  fleetKeys(keys: readonly Uint8Array[]): void;
  /** The group has another static key in force. */
  groupKeys(): void;
  /** This node must not go on. */
  refuse(error: AnyhopError): void;
  /** For log and events. */
  say(level: "notice" | "warning" | "error", event: string, message: string): void;
  /** The end of what is decided in one go. */
  settled(): void;
}

/** Between two looks at what is still to be handed over. */
const PART_POLL_MS = 20;

export class GroupEnd {
  readonly group: Group;
  readonly #use: GroupEndPorts;
  readonly #sessions: GroupSessions;
  #shard!: ShardPort;
  #bus: Bus | undefined;
  #first = 0;
  /** By row: the number that the group was told of last. */
  #told!: Float64Array;
  #progress: NodeJS.Timeout | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Monotonic ms. */
  #wakesAtMs = Number.POSITIVE_INFINITY;
  #flushing = false;
  #drain: GroupStatus["drain"] = "serving";
  #carrying = false;
  /** Since the last flush. */
  #inputs = 0;
  #started = false;
  #stumbles = 0;
  #stopped = false;
  #becomeInformed!: () => void;
  /** Resolves when another node or the engine has told all that it knows. */
  readonly informed = new Promise<void>((resolve) => {
    this.#becomeInformed = resolve;
  });

  constructor(config: GroupConfig, entropy: GroupPorts["entropy"], ports: GroupEndPorts, sessions: GroupSessions) {
    this.#use = ports;
    this.#sessions = sessions;
    const { open, superseded, claimsOf } = sessions;
    this.group = new Group(this.#now(), config, {
      entropy,
      open: open.bind(sessions),
      superseded: superseded.bind(sessions),
      claimsOf: claimsOf.bind(sessions),
      agree: sessions.agree.bind(sessions),
      fenced: () => ports.lifeline.fenced(),
    });
  }

  /** Rows [first, first + count) of the tunnel table are for sessions. */
  start(shard: ShardPort, first: number, count: number): void {
    this.#shard = shard;
    this.#first = first;
    this.#told = new Float64Array(first + count);
    this.#use.link.onDatagram((from, bytes) =>
      this.#hear("A datagram of a node", (group) => group.linkDatagram(this.#now(), from, bytes)),
    );
    this.#use.lifeline.onEvent((event) => {
      // How far this node was is known to all before anybody is asked whose a session is.
      if (event.kind === "unfenced" && event.condemned) this.#tellProgress();
      this.#hear("News of the lifeline", (group) => group.lifeline(this.#now(), event));
    });
    this.#started = true;
    this.#progress = setInterval(() => {
      this.#use.lifeline.ran();
      this.#tellProgress();
    }, PROGRESS_MS);
    this.#in((group) => group.tick(this.#now()));
  }

  /** When other nodes have told what they know, or nobody answers. */
  #follow(): void {
    this.#bus = this.#use.openBus({
      record: (node, key, value) =>
        this.#hear("A record of the engine", (group) => group.busRecord(this.#now(), node, key, value)),
      shout: (node, message) =>
        this.#hear("A message of the engine", (group) => group.busShout(this.#now(), node, message)),
      state: (connected) => this.#hear("The state of the engine", (group) => group.busState(this.#now(), connected)),
      caughtUp: () => {
        this.#hear("The end of the engine's snapshot", (group) => group.caughtUp(this.#now()));
        // After what the snapshot said of clients.
        this.#flush();
        this.#becomeInformed();
      },
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#progress);
    clearTimeout(this.#timer);
    this.#flush();
    this.#flushing = true;
    this.#use.link.close();
    this.#use.lifeline.close();
    await this.#bus?.close();
  }

  // --- What this node tells the group ---

  answered(record: LiveRecord): void {
    this.#in((group) => group.answered(this.#now(), record));
  }

  confirmed(index: number): void {
    this.#in((group) => group.confirmed(this.#now(), index));
  }

  ended(index: number, created: number, reason: EndReason): void {
    this.#in((group) => group.ended(this.#now(), index, created, reason));
  }

  /** The client of the session in `row` is at another endpoint. */
  moved(row: number): void {
    const { tunnels } = this.#shard;
    const [w0, w1, w2, w3] = [tunnels.addr0[row], tunnels.addr1[row], tunnels.addr2[row], tunnels.addr3[row]];
    const family = isMapped(w0, w1, w2) ? 4 : 6;
    const asked = this.#shard.askedBy?.(tunnels.sock[row]);
    const endpoint: Endpoint = { family, w0, w1, w2, w3, port: tunnels.port[row], asked };
    const seq = tunnels.seqHigh[row] - 1;
    this.#in((group) => group.moved(this.#now(), tunnels.index[row], endpoint, seq));
  }

  held(entry: Handed): void {
    this.#hold(entry);
    this.#soonOrNow();
  }

  #hold({ row, bytes, from, tos }: Handed): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const index = row < 0 ? view.getUint16(4) * 2 ** 15 + (view.getUint16(6) & 0x7fff) : this.#shard.tunnels.index[row];
    const { family, w0, w1, w2, w3, port, sock } = from;
    const endpoint: Endpoint = { family, w0, w1, w2, w3, port, asked: this.#shard.askedBy?.(sock) };
    const packet: HeldPacket = { index, seq: view.getUint32(0), datagram: bytes, from: endpoint, tos };
    this.#in((group) => group.held(this.#now(), packet));
  }

  yielded(answer: Yielded): void {
    const { token, result } = answer;
    const window = answer.result === "given" ? { highest: answer.highest, words: answer.words } : undefined;
    this.#in((group) => group.yielded(this.#now(), { token, result, window }));
    this.#soonOrNow();
  }

  /** In a storm the other nodes work on the first sessions while this one looks at the next. */
  #soonOrNow(): void {
    if (++this.#inputs >= INPUTS_MAX && !this.#carrying) this.#flush();
  }

  relay(index: number, node: number, payload: Uint8Array): boolean {
    let isThere = false;
    this.#in((group) => {
      // A copy, because a view would keep the whole batch that it was handed over in.
      isThere = group.relay(this.#now(), index, node, payload.slice());
    });
    return isThere;
  }

  senderAcked(index: number, sender: GroupSender): void {
    this.#in((group) => group.senderAcked(this.#now(), index, sender));
  }

  /** `content` undefined removes the client. Throws AnyhopError, and what `keep` throws. */
  putClient(clientKey: string, content: Uint8Array | undefined, keep?: (value: Uint8Array) => void): void {
    this.#in((group) => must(group.putClient(this.#now(), clientKey, content, keep)));
  }

  /** A client without what it has lost. Throws AnyhopError. */
  rewriteClient(clientKey: string, content: Uint8Array): void {
    this.#in((group) => must(group.rewriteClient(this.#now(), clientKey, content)));
  }

  /** Before the start. */
  restoreClient(clientKey: string, value: Uint8Array): boolean {
    return this.group.restoreClient(this.#now(), clientKey, value);
  }

  learnRoster(text: string): RosterResult {
    let result!: RosterResult;
    this.#in((group) => {
      result = group.learnRoster(this.#now(), text);
    });
    return result;
  }

  learnGroupKeys(encoded: Uint8Array): GroupKeysResult {
    let result!: GroupKeysResult;
    this.#in((group) => {
      result = group.learnGroupKeys(this.#now(), encoded);
    });
    return result;
  }

  rotateFleetKey(): boolean {
    let done = false;
    this.#in((group) => {
      done = group.rotateFleetKey(this.#now());
    });
    return done;
  }

  rotateTicketKey(overlapMs: number): void {
    this.#in((group) => group.rotateTicketKey(this.#now(), overlapMs));
  }

  /** What opens now what nodes seal for all; the first one seals. */
  fleetKeys(): readonly Uint8Array[] {
    return this.group.fleetKeys(this.#now());
  }

  putTicketKey(key: TicketKey): void {
    this.#in((group) => void group.putTicketKey(this.#now(), key));
  }

  drain(state: GroupStatus["drain"]): void {
    this.#drain = state;
    this.#in((group) => group.drain(this.#now(), state));
  }

  /**
   * Says that this node leaves, and hands the sessions that it still owns to other nodes; at most `maxMs`, and not beyond
   * another `drain`. Returns how many stay behind.
   */
  async leave(maxMs: number): Promise<number> {
    if (!this.#started) return 0;
    const end = this.#use.clock.monotonicMs() + maxMs;
    this.drain("leaving");
    while (this.part() > 0 && this.#drain === "leaving" && this.#use.clock.monotonicMs() < end)
      await new Promise((resolve) => setTimeout(resolve, PART_POLL_MS));
    return this.#own().length;
  }

  /** Asks a node, or all, which sessions they know. Returns the nodes that were asked. */
  resync(node: number | undefined): readonly number[] {
    let asked: readonly number[] = [];
    this.#in((group) => {
      asked = group.resync(this.#now(), node);
    });
    return asked;
  }

  /** Hands over the sessions that this node still owns. Returns how many are on their way to other nodes now. */
  part(): number {
    const left = this.group.part(this.#now(), this.#own());
    this.#soon();
    return left;
  }

  /** Indices of the sessions with their windows here. */
  #own(): number[] {
    const { used, foreign, pending, index } = this.#shard.tunnels;
    const own: number[] = [];
    for (let row = this.#first, end = this.#sessions.rowsEnd(); row < end; row++)
      if (used[row] === 1 && foreign[row] === 0 && pending[row] === 0) own.push(index[row]);
    return own;
  }

  /** Undefined before the start. */
  status(): GroupView | undefined {
    if (!this.#started) return undefined;
    const group = this.group.status();
    const { used, foreign, pending } = this.#shard.tunnels;
    let elsewhere = 0;
    for (let row = this.#first, end = this.#sessions.rowsEnd(); row < end; row++)
      if (used[row] === 1 && pending[row] === 0 && foreign[row] === 1) elsewhere++;
    const counters = [...outcomeCounts(group), ...refusalCounts(group.linkRefusals)];
    const nowMs = this.#now().ms;
    return {
      group,
      bus: this.#bus?.status() ?? this.#notYet(),
      lifelines: this.#use.lifeline.status(),
      nowMs,
      own: this.#own().length,
      foreign: elsewhere,
      counters,
    };
  }

  #notYet(): BusStatus {
    const why = "the other nodes are asked first what they know";
    const nothing = { connected: false, server: "", caughtUp: false, outbox: 0, peers: [], errors: [] };
    return { ...nothing, kind: this.#use.engine, why };
  }

  #tellProgress(): void {
    const { used, foreign, seqHigh, index } = this.#shard.tunnels;
    const told = this.#told;
    const advanced: { index: number; seqHigh: number }[] = [];
    for (let row = this.#first, end = this.#sessions.rowsEnd(); row < end; row++) {
      if (used[row] === 0 || foreign[row] === 1) continue;
      const high = seqHigh[row] >>> 0;
      if (high === told[row]) continue;
      told[row] = high;
      if (high > 0) advanced.push({ index: index[row], seqHigh: high - 1 });
    }
    if (advanced.length > 0) this.#in((group) => group.progress(this.#now(), advanced));
  }

  #in(tell: (group: Group) => void): void {
    tell(this.group);
    this.#soon();
  }

  /** What comes from outside: whatever it is, it does not end this node. */
  #hear(what: string, tell: (group: Group) => void): void {
    try {
      tell(this.group);
    } catch (error) {
      this.#stumbled(what, error as Error);
    }
    this.#soon();
  }

  #stumbled(what: string, { message, stack }: Error): void {
    this.group.stumbled(this.#now(), `${what} made this node stumble (${message})`);
    if (++this.#stumbles <= STUMBLES_LOGGED) this.#sessions.say("error", "callback_failed", `${what}: ${stack}`);
  }

  /** Once for all that is told in one go, so that what goes to one node goes in few datagrams. */
  #soon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    const flush = () => {
      this.#flushing = false;
      this.#flush();
    };
    // While this node reads what others know, all datagrams that have come are one go.
    if (this.group.isJoining) setImmediate(flush);
    else queueMicrotask(flush);
  }

  #flush(): void {
    const out: GroupOutput[] = [];
    this.#inputs = 0;
    this.#carrying = true;
    this.group.flush(this.#now(), out);
    for (const output of out) {
      // The shard must have the rows before it is told what to do with them.
      if (output.kind !== "install" && output.kind !== "client") this.#sessions.settled();
      try {
        this.#carryOut(output);
      } catch (error) {
        this.#stumbled(`What was decided (${output.kind})`, error as Error);
      }
    }
    this.#carrying = false;
    this.#sessions.settled();
    this.#wakeAt(this.group.nextTimeout());
  }

  /** A timer that is due sooner stays: set anew with each packet, it would never come to its end. */
  #wakeAt(dueMs: number): void {
    if (dueMs >= this.#wakesAtMs) return;
    this.#wakesAtMs = dueMs;
    clearTimeout(this.#timer);
    const wait = Math.max(0, Math.ceil(dueMs - this.#use.clock.monotonicMs()));
    this.#timer = setTimeout(() => this.#tickAfterReading(), Math.min(wait, 60_000));
  }

  /** After a busy spell timers come before sockets: what others have answered meanwhile must be read before it is missed. */
  #tickAfterReading(): void {
    this.#wakesAtMs = Number.POSITIVE_INFINITY;
    setImmediate(() => {
      if (!this.#stopped) this.#hear("A timer", (group) => group.tick(this.#now()));
    });
  }

  #carryOut(output: GroupOutput): void {
    switch (output.kind) {
      case "follow":
        if (output.informed) this.#becomeInformed();
        this.#follow();
        break;
      case "put":
        this.#bus?.put(output.entries);
        break;
      case "shout":
        this.#bus?.shout(output.message);
        break;
      case "link":
        this.#use.link.send(output.to, output.bytes);
        break;
      case "install":
        this.#sessions.install(output.record, output.endpoint);
        break;
      case "up":
        this.#sessions.up(output.index);
        break;
      case "retire":
        this.#sessions.retire(output.index, output.created, output.reason);
        break;
      case "yield":
        this.#yield(output.index, output.seq, output.token);
        break;
      case "own": {
        const index = this.#sessions.rowOf(output.index);
        if (index !== undefined) this.#shard.post({ kind: "own", index, ...output.window });
        this.#sessions.owned(output.index);
        break;
      }
      case "reclaim": {
        const index = this.#sessions.rowOf(output.index);
        if (index !== undefined) this.#shard.post({ kind: "reclaim", index, floor: output.floor });
        break;
      }
      case "fall":
        this.#shard.post(output);
        break;
      case "heard":
        this.#use.lifeline.heard(output.node, this.#now().ms);
        break;
      case "inject": {
        const datagrams = output.datagrams.map(({ datagram, from, tos }) => {
          // A copy, because a view would take the whole batch that it was held in along to the shard.
          return { bytes: new Uint8Array(datagram), from: this.#toShard(from), tos };
        });
        this.#shard.post({ kind: "inject", datagrams });
        break;
      }
      case "locate": {
        const index = this.#sessions.rowOf(output.index);
        const endpoint = this.#toShard(output.endpoint);
        if (index !== undefined && endpoint.sock >= 0) this.#shard.post({ kind: "endpoint", index, endpoint });
        break;
      }
      case "challenge":
        this.#sessions.challenge(output.index, output.token, output.to);
        break;
      case "unknown":
        this.#sessions.unknown(output.datagram, output.from);
        break;
      case "announceSender":
        this.#sessions.announceSender(output.index, output.to, output.once);
        break;
      case "inside":
        this.#sessions.inside(output.index, output.payload);
        break;
      case "acked":
        this.#sessions.acked(output.index, output);
        break;
      case "senders":
        this.#sessions.senders(this.group.senders());
        break;
      case "client":
        this.#sessions.client(output.client.clientKey);
        break;
      case "conflict":
        this.#sessions.conflict(output);
        break;
      case "settle":
        this.#sessions.settle(output.clientKey);
        break;
      case "keep":
        this.#sessions.keep(output.clientKey, output.value);
        break;
      case "peers":
        this.#use.lifeline.setPeers(output.peers);
        break;
      case "agreed":
        this.#use.lifeline.agreed(output.agreed);
        break;
      case "fleet_keys":
        this.#sessions.fleetKeys(this.fleetKeys());
        break;
      case "group_keys":
        this.#sessions.groupKeys();
        break;
      case "ticket_keys":
        this.#sessions.ticketKeys();
        break;
      case "refuse":
        this.#sessions.refuse(new AnyhopError(output.code, output.text));
        break;
      case "notice":
        this.#sessions.say(output.level, output.code, output.text);
        break;
    }
  }

  #yield(sessionIndex: number, seq: number, token: number): void {
    const index = this.#sessions.rowOf(sessionIndex);
    if (index === undefined)
      this.#in((group) => group.yielded(this.#now(), { token, result: "moved", window: undefined }));
    else this.#shard.post({ kind: "yield", index, seq, token });
  }

  #toShard(endpoint: Endpoint) {
    return { ...endpoint, sock: this.#shard.socketFor(endpoint.family, endpoint.asked) };
  }

  #now() {
    return { ms: this.#use.clock.monotonicMs(), wallMs: this.#use.clock.wallMs() };
  }
}

function must(refusal: BookRefusal | undefined): void {
  if (refusal !== undefined)
    throw new AnyhopError("group_refused", `The group can't have this client: ${bookRefusals[refusal]}`);
}

const outcomeCounts = ({ outcomes: counts, outcomesLastMs }: GroupStatus): OutcomeCount[] =>
  outcomeNames.map((name) => {
    const { kind, help } = outcomes[name];
    return { name: `group_${name}`, help, done: kind === "done", count: counts[name], lastMs: outcomesLastMs[name] };
  });

const refusalCounts = (counts: GroupStatus["linkRefusals"]): OutcomeCount[] =>
  Object.entries(linkRefusals).map(([name, help]) => {
    return { name: `link_${name}`, help, done: false, count: counts[name as LinkRefusal] ?? 0 };
  });

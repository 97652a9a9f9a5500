/**
 * One connection to the own island, from the first question to the end: streams, feeds, shouts, heartbeats, puts. When it
 * breaks, everything of it is thrown away and `nats_bus.ts` makes a new one, so no subscription outlives its connection.
 */
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { headers, type Msg, type MsgHdrs, type NatsConnection } from "@nats-io/transport-node";
import type { Clock } from "../base/clock.ts";
import type { BusListener } from "../cluster/bus.ts";
import { groupToken, inbox, kindOf, type StreamKind, shouts, subtree } from "../cluster/bus_subjects.ts";
import type { Outbox } from "./bus_outbox.ts";
import { Intake } from "./intake.ts";
import { readCopies } from "./nats_copies.ts";
import { nameOfCode } from "./nats_errors.ts";
import { Feed, resumeAt } from "./nats_feed.ts";
import { type Heartbeat, type PeerView, type PeerViews, parseHeartbeat, STALLED_MS } from "./nats_peers.ts";
import { addSource, hasSource, openStream, renewSource } from "./nats_streams.ts";

const KINDS = ["l", "b"] as const;
const API_TIMEOUT_MS = 5000;
const HEARTBEAT_MS = 1000;
/** The book is written rarely, and its heartbeat is a write. */
const BOOK_HEARTBEAT_MS = 30_000;
/** Peers answer the question within this, or are far away and come later. */
const ANSWER_MS = 1000;
/** Without any answer: the own leaf needs a second or two to find its hub after a start. */
const LONELY_MS = 2500;
/** The snapshot counts as whole after this even when a peer's copy is not. */
const SNAPSHOT_MS = 60_000;
const ACK_TIMEOUT_MS = 5000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 5000;
/** What a put that is taken shows to be over, and what copies that follow do. */
const PUT_ERRORS = ["store_full", "refused", "no_jetstream", "timeout"] as const;
const COPY_ERRORS = ["feed", "copy", "source", "stalled_source"] as const;
const EMPTY = new Uint8Array(0);
const OPERATION = "Anyhop-Operation";

/** What outlives a connection. */
export interface SessionContext {
  readonly group: string;
  readonly node: number;
  /** The other nodes of the group. */
  readonly others: readonly number[];
  readonly clock: Clock;
  readonly boot: string;
  /** For the names of streams that have to be made. */
  newLife(): string;
  readonly outbox: Outbox;
  readonly peers: PeerViews;
  readonly listener: BusListener;
  /** Number of the last record of each stream that the listener was given. */
  readonly given: Map<string, number>;
  /** Acknowledged puts and heartbeats of this process. */
  readonly counters: { puts: number; heartbeats: number };
  failed(name: string, error: unknown): void;
  /** What had these names is over. */
  over(...names: readonly string[]): void;
  /** The first snapshot was given: own records are not given back any more. */
  recovered: boolean;
}

interface OpenStream {
  readonly kind: StreamKind;
  readonly name: string;
  /** It was empty when the connection was made. */
  readonly made: boolean;
  /** Number of the last record when the connection was made. */
  readonly lastSeq: number;
  feed: Feed | undefined;
  delivered: boolean;
}

export class Session {
  readonly #nc: NatsConnection;
  readonly #context: SessionContext;
  readonly #jsm: JetStreamManager;
  readonly #domain: string;
  readonly #streams: Readonly<Record<StreamKind, OpenStream>>;
  readonly #timer: NodeJS.Timeout;
  readonly #answers: NodeJS.Timeout;
  readonly #acks: string;
  readonly #startedMs: number;
  readonly #deleted: MsgHdrs;
  #caughtUp = false;
  #bookBeatMs = Number.NEGATIVE_INFINITY;
  /** Changes of sources, one after the other. */
  #work: Promise<unknown> = Promise.resolve();
  readonly #adding = new Set<string>();
  #askedPeer = false;
  readonly #renewedMs = new Map<number, number>();
  /** Keys that were put before the snapshot was whole. */
  readonly #putNow = new Set<string>();
  /** What is read at a living peer. */
  readonly #copies = new Set<{ close(): void }>();
  readonly #intake = new Intake();
  #pauseMs = 0;
  #paused: NodeJS.Timeout | undefined;
  #closed = false;

  /** Asks the server for its streams, tells `opened`, and begins. Rejects with what the server says. */
  static async open(nc: NatsConnection, context: SessionContext, opened: (session: Session) => void): Promise<void> {
    const jsm = await jetstreamManager(nc, { timeout: API_TIMEOUT_MS, checkAPI: false });
    const account = await jsm.getAccountInfo();
    const open = async (kind: StreamKind): Promise<OpenStream> => {
      const { info, made } = await openStream(
        jsm,
        { group: context.group, node: context.node, kind },
        context.newLife(),
      );
      if (made && context.recovered)
        context.failed(
          "store_lost",
          new Error(
            `the server has no ${kind === "l" ? "live records" : "book"} of this node any more; a new stream was made`,
          ),
        );
      return { kind, made, name: info.config.name, lastSeq: info.state.last_seq, feed: undefined, delivered: false };
    };
    const session = new Session(nc, context, jsm, account.domain ?? "", { l: await open("l"), b: await open("b") });
    opened(session);
    await session.#begin();
  }

  private constructor(
    nc: NatsConnection,
    context: SessionContext,
    jsm: JetStreamManager,
    domain: string,
    streams: Readonly<Record<StreamKind, OpenStream>>,
  ) {
    this.#nc = nc;
    this.#context = context;
    this.#jsm = jsm;
    this.#domain = domain;
    this.#streams = streams;
    this.#acks = `${inbox(context.group, context.node)}.a.`;
    this.#startedMs = context.clock.monotonicMs();
    this.#deleted = headers();
    this.#deleted.set(OPERATION, "delete");
    this.#timer = setInterval(() => this.#tick(), HEARTBEAT_MS);
    this.#answers = setTimeout(() => this.#checkSnapshot(), ANSWER_MS);
  }

  async #begin(): Promise<void> {
    const { group, node, peers } = this.#context;
    peers.restart();
    this.#subscribe(`${this.#acks}*`, (msg) => this.#acknowledge(msg));
    const prefix = `sh.${groupToken(group)}.`;
    this.#subscribe(`${shouts(group, "*")}*`, (msg) => this.#heard(msg, prefix.length));
    for (const kind of KINDS) this.#feed(this.#streams[kind], await this.#jsm.streams.info(this.#streams[kind].name));
    this.#nc.publish(`${shouts(group, node)}q`, EMPTY);
    this.#beat(true);
    this.pump();
  }

  #subscribe(subject: string, receive: (msg: Msg) => void): void {
    this.#nc.subscribe(subject, {
      callback: (error, msg) => {
        if (error !== null) this.#context.failed("permission", error);
        else if (!this.#closed) receive(msg);
      },
    });
  }

  /** No call of the listener after this. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#paused);
    clearTimeout(this.#answers);
    for (const kind of KINDS) this.#streams[kind].feed?.close();
    for (const copies of this.#copies) copies.close();
    this.#intake.close();
  }

  shout(message: Uint8Array): void {
    this.#nc.publish(`${shouts(this.#context.group, this.#context.node)}s`, message);
  }

  get caughtUp(): boolean {
    return this.#caughtUp;
  }

  // ---- Puts

  /** Sends what waits, as far as the window allows. */
  pump(): void {
    const { outbox, group, node, clock } = this.#context;
    if (this.#paused !== undefined || this.#closed || this.#nc.isClosed()) return;
    for (;;) {
      const flight = outbox.take(clock.monotonicMs());
      if (flight === undefined) return;
      const { id, key, value } = flight;
      if (!this.#caughtUp) this.#putNow.add(key);
      const reply = `${this.#acks}${id}`;
      const subject = `${subtree(group, node, kindOf(key))}k.${key}`;
      if (value === undefined) this.#nc.publish(subject, EMPTY, { reply, headers: this.#deleted });
      else this.#nc.publish(subject, value, { reply });
    }
  }

  #acknowledge(msg: Msg): void {
    const { outbox, counters } = this.#context;
    const id = Number(msg.subject.slice(this.#acks.length));
    const text = msg.string();
    // {"stream":"...","seq":7}, or with an error in it; a status header says that no stream listens.
    const error = msg.headers?.code === 503 ? { err_code: 0, description: "no stream takes this" } : errorOf(text);
    if (error === undefined) {
      this.#pauseMs = 0;
      this.#context.over(...PUT_ERRORS);
      if (outbox.size <= 1) this.#context.over("outbox_full");
      if (outbox.acknowledged(id)) counters.puts += 1;
    } else {
      outbox.failed(id);
      const name = msg.headers?.code === 503 ? "no_jetstream" : nameOfCode(error.err_code, error.description);
      this.#context.failed(name, new Error(error.description));
      this.#pause();
    }
    this.pump();
  }

  /** The server refuses: the next attempt comes later and later. */
  #pause(): void {
    if (this.#paused !== undefined) return;
    this.#pauseMs = Math.min(RETRY_MAX_MS, Math.max(RETRY_MIN_MS, this.#pauseMs * 2));
    this.#paused = setTimeout(() => {
      this.#paused = undefined;
      this.pump();
    }, this.#pauseMs);
  }

  // ---- Records

  #feed(stream: OpenStream, info: Parameters<typeof resumeAt>[1]): void {
    const { given, node, listener, outbox, peers, clock } = this.#context;
    const prefix = `st.${groupToken(this.#context.group)}.`;
    const own = String(node);
    stream.feed = new Feed({
      ...{ nc: this.#nc, jsm: this.#jsm, stream: stream.name, filter: undefined },
      intake: this.#intake,
      inbox: `${inbox(this.#context.group, node)}.f`,
      from: resumeAt(given.get(stream.name) ?? 0, info),
      goal: info.state.last_seq,
      record: (msg, seq) => {
        if (this.#closed) return;
        given.set(stream.name, seq);
        const place = parseSubject(msg.subject, prefix);
        if (place === undefined) return;
        if (place.node === own) {
          // What is in the outbox is newer.
          if (place.key === undefined || this.#context.recovered || seq > stream.lastSeq || outbox.has(place.key))
            return;
        }
        const from = Number(place.node);
        if (place.key === undefined) {
          const heartbeat = parseHeartbeat(msg.data);
          if (heartbeat !== undefined) peers.heardCopy(from, stream.kind, heartbeat);
          this.#checkSnapshot();
          return;
        }
        if (place.node !== own) peers.get(from).heardMs = clock.monotonicMs();
        listener.record(from, place.key, isDeleted(msg) ? undefined : msg.data);
      },
      caughtUp: () => {
        stream.delivered = true;
        this.#checkSnapshot();
      },
      failed: (error) => this.#context.failed("feed", error),
    });
  }

  /** Whole when the own copies were given, and living peers had nothing before this connection that is not in them. */
  #checkSnapshot(): void {
    if (this.#caughtUp || this.#closed || !KINDS.every((kind) => this.#streams[kind].delivered)) return;
    const now = this.#context.clock.monotonicMs();
    const ageMs = now - this.#startedMs;
    if (ageMs < ANSWER_MS) return;
    if (this.#context.others.length > 0 && ageMs < LONELY_MS && this.#context.peers.alive(now).length === 0) return;
    if (!this.#askedPeer) this.#recover();
    if (ageMs < SNAPSHOT_MS && (this.#copies.size > 0 || !this.#context.peers.complete(now))) return;
    this.#caughtUp = true;
    this.#putNow.clear();
    this.#context.recovered = true;
    this.#context.listener.caughtUp();
  }

  /** A new stream has nothing of this node itself, nor of peers that are dead: a living one has copies. */
  #recover(): void {
    const { group, node, others, peers, clock, outbox, listener } = this.#context;
    const alive = peers.alive(clock.monotonicMs());
    const teller = alive[0]?.direct;
    if (teller === undefined) return;
    this.#askedPeer = true;
    const wanted = [node, ...others.filter((other) => !alive.some((peer) => peer.node === other))];
    const prefix = `st.${groupToken(group)}.`;
    const record = (_kind: StreamKind, msg: Msg): void => {
      const place = parseSubject(msg.subject, prefix);
      if (place?.key === undefined || this.#closed) return;
      const from = Number(place.node);
      const value = isDeleted(msg) ? undefined : new Uint8Array(msg.data);
      if (from === node) {
        // What was put since is newer.
        if (outbox.has(place.key) || this.#putNow.has(place.key)) return;
        outbox.put(place.key, value);
        if (!this.#context.recovered && value !== undefined) listener.record(node, place.key, value);
        this.pump();
      } else if (peers.get(from).goal === undefined) listener.record(from, place.key, value);
    };
    const failed = (error: unknown): void => this.#context.failed("copy", error);
    const reader = {
      nc: this.#nc,
      group,
      inbox: `${inbox(group, node)}.c`,
      timeoutMs: API_TIMEOUT_MS,
      intake: this.#intake,
      record,
      failed,
    };
    for (const kind of KINDS) {
      if (!this.#streams[kind].made) continue;
      const copies = readCopies(reader, teller, wanted, kind);
      this.#copies.add(copies);
      copies.done.catch(failed).finally(() => {
        this.#copies.delete(copies);
        this.#checkSnapshot();
      });
    }
  }

  // ---- Shouts and heartbeats

  #heard(msg: Msg, at: number): void {
    const { node, peers, listener, clock } = this.#context;
    const dot = msg.subject.indexOf(".", at);
    const from = Number(msg.subject.slice(at, dot));
    if (from === node || !Number.isInteger(from)) return;
    const what = msg.subject.slice(dot + 1);
    if (what === "s") {
      peers.get(from).heardMs = clock.monotonicMs();
      listener.shout(from, new Uint8Array(msg.data));
    } else if (what === "q") this.#beat(true);
    else if (what === "h") {
      const heartbeat = parseHeartbeat(msg.data);
      if (heartbeat === undefined) return;
      this.#follow(peers.heardDirect(from, heartbeat, clock.monotonicMs()));
      this.#checkSnapshot();
    }
  }

  /** First through the streams, then directly: who hears the direct one can wait for the other. */
  #beat(book: boolean): void {
    const { group, node, boot, counters, clock } = this.#context;
    if (this.#nc.isClosed()) return;
    counters.heartbeats += 1;
    const streams = { l: this.#streams.l.name, b: this.#streams.b.name };
    const heartbeat: Heartbeat = { boot, n: counters.heartbeats, puts: counters.puts, domain: this.#domain, streams };
    const bytes = new TextEncoder().encode(JSON.stringify(heartbeat));
    this.#nc.publish(`${subtree(group, node, "l")}h`, bytes);
    if (book) {
      this.#bookBeatMs = clock.monotonicMs();
      this.#nc.publish(`${subtree(group, node, "b")}h`, bytes);
    }
    this.#nc.publish(`${shouts(group, node)}h`, bytes);
  }

  #tick(): void {
    const { outbox, peers, clock } = this.#context;
    const now = clock.monotonicMs();
    this.#beat(now - this.#bookBeatMs >= BOOK_HEARTBEAT_MS);
    // The first question may have been asked before the leaf had found its hub.
    if (!this.#caughtUp) this.#nc.publish(`${shouts(this.#context.group, this.#context.node)}q`, EMPTY);
    else if (!this.#askedPeer) this.#recover();
    for (const id of outbox.overdue(now - ACK_TIMEOUT_MS)) {
      this.#context.failed("timeout", new Error("a put was not acknowledged in time"));
      outbox.failed(id);
    }
    this.pump();
    const stalled = peers.stalled(now);
    for (const peer of stalled) this.#renew(peer, now);
    if (this.#caughtUp && stalled.length === 0 && peers.complete(now)) this.#context.over(...COPY_ERRORS);
    this.#checkSnapshot();
  }

  // ---- Sources

  /** Copies the streams that a peer says it has. */
  #follow({ node, direct }: PeerView): void {
    for (const kind of KINDS) {
      const name = direct!.streams[kind];
      if (this.#adding.has(name)) continue;
      this.#adding.add(name);
      const peer = { node, domain: direct!.domain, name };
      this.#queue(
        async () => {
          const place = { group: this.#context.group, node: this.#context.node, kind };
          if (hasSource(await this.#jsm.streams.info(this.#streams[kind].name), peer)) return;
          await addSource(this.#jsm, place, this.#streams[kind].name, this.#domain, peer);
        },
        () => this.#adding.delete(name),
      );
    }
  }

  /** A source that does not follow though its peer lives: known defects of servers, and peers that lost their power. */
  #renew(peer: PeerView, now: number): void {
    if (now - (this.#renewedMs.get(peer.node) ?? this.#startedMs) < STALLED_MS) return;
    this.#renewedMs.set(peer.node, now);
    const purge = peer.renewals % 3 === 2;
    peer.renewals += 1;
    this.#context.failed(
      "stalled_source",
      new Error(`the copy of node ${peer.node} does not follow; it is asked for anew`),
    );
    for (const kind of KINDS) {
      const source = { node: peer.node, domain: peer.direct!.domain, name: peer.direct!.streams[kind] };
      const place = { group: this.#context.group, node: this.#context.node, kind };
      this.#queue(() => renewSource(this.#jsm, place, this.#streams[kind].name, this.#domain, source, purge));
    }
  }

  #queue(work: () => Promise<unknown>, undo: () => void = () => {}): void {
    this.#work = this.#work.then(async () => {
      if (this.#closed) return;
      try {
        await work();
      } catch (error) {
        undo();
        if (!this.#closed) this.#context.failed("source", error);
      }
    });
  }
}

const isDeleted = (msg: Msg): boolean => msg.data.length === 0 && msg.headers?.get(OPERATION) === "delete";

function errorOf(text: string): { err_code: number; description: string } | undefined {
  if (!text.includes('"error"')) return undefined;
  const { error } = JSON.parse(text);
  return error === undefined ? undefined : { err_code: Number(error.err_code), description: String(error.description) };
}

/** NODE.KIND.k.KEY or NODE.KIND.h behind the prefix; `key` undefined: a heartbeat. */
function parseSubject(subject: string, prefix: string): { node: string; key: string | undefined } | undefined {
  if (!subject.startsWith(prefix)) return undefined;
  const dot = subject.indexOf(".", prefix.length);
  const node = subject.slice(prefix.length, dot);
  const rest = subject.slice(dot + 3);
  if (rest === "h") return { node, key: undefined };
  return rest.startsWith("k.") ? { node, key: rest.slice(2) } : undefined;
}

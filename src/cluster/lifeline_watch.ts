/**
 * One node watches another: keeps a TCP connection to it, hears its beats, and decides whether it is dead. Dead is a node
 * whose connection ended and whose host then refused another one, that said that it leaves, or whose beats are missing for
 * longer than they ever come late. A cut connection that can be made again at once proves nothing. Sans-IO.
 */
import { equalBytes } from "../crypto/kdf.ts";
import {
  decodeWelcome,
  encodeHello,
  FRAME_LEN,
  type Frame,
  FrameKey,
  Inbox,
  NONCE_LEN,
  WELCOME_LEN,
} from "./lifeline_bytes.ts";
import {
  BEAT_MS,
  type ConnectionEnd,
  type DeathCause,
  type LifelineOptions,
  type LifelineOutput,
} from "./lifeline_types.ts";

/** The shortest patience with missing beats: TCP sends a lost segment again after 200 ms, the next time after 400. */
export const PATIENCE_MS = 700;
/** The longest, however late beats come: then a host that falls silent is noticed late. */
const PATIENCE_MAX_MS = 3000;
/** Beats come so many times later than the latest of late, before they count as missing. */
const LATENESS_FACTOR = 2;
/** What was late is forgotten by half in this time. */
const LATENESS_HALF_MS = 30_000;
/** Between two tries to connect. */
const RETRY_MS = 200;
/** After a connection ended, when the next one ended before it was answered: the other end may be just going. */
const SOON_MS = 5;
/** A connection that is not made and answered by then is given up for another one. */
const ANSWER_MS = 1000;

interface Connection {
  readonly id: number;
  readonly sinceMs: number;
  readonly inbox: Inbox;
  hello: Uint8Array | undefined;
  /** It stands. */
  isOpen: boolean;
  /** That hello and all after it are under. */
  secret: Uint8Array | undefined;
  keys: { readonly watcher: FrameKey; readonly watched: FrameKey } | undefined;
}

export interface WatchStatus {
  readonly node: number;
  /** unknown: this node has not been up for long enough to say. */
  readonly state: "unknown" | "alive" | "dead";
  /** An authenticated connection stands now. */
  readonly connected: boolean;
  /** Why it is dead, and since when, monotonic ms. */
  readonly cause: DeathCause | undefined;
  readonly sinceMs: number;
  /** How late a beat comes at worst, ms, and how long beats may be missing. */
  readonly lateMs: number;
  readonly patienceMs: number;
}

export class Watch {
  readonly node: number;
  readonly #options: LifelineOptions;
  /** Undefined: no link has stood with this node. */
  #secret: Uint8Array | undefined;
  readonly #newConnection: () => number;
  #connection: Connection | undefined;
  /** The start that was answered last. */
  #bootId: Uint8Array | undefined;
  #state: WatchStatus["state"] = "unknown";
  #sinceMs: number;
  #cause: DeathCause | undefined;
  /** A sign of life of the present start. */
  #heardMs: number;
  /** The last authenticated connection ended; undefined: it stands, or there was none. */
  #endedMs: number | undefined;
  #left = false;
  /** When the next try is due. */
  #tryMs: number;
  #lateMs = 0;
  #lateAtMs: number;
  #beatMs = Number.NEGATIVE_INFINITY;
  #condemned: { readonly bootId: Uint8Array; times: number } | undefined;

  constructor(nowMs: number, node: number, options: LifelineOptions, newConnection: () => number) {
    this.node = node;
    this.#options = options;
    this.#newConnection = newConnection;
    this.#sinceMs = nowMs;
    this.#heardMs = nowMs;
    this.#lateAtMs = nowMs;
    this.#tryMs = nowMs;
  }

  get connection(): number | undefined {
    return this.#connection?.id;
  }

  status(nowMs: number): WatchStatus {
    return {
      ...{ node: this.node, state: this.#state, connected: this.#connection?.keys !== undefined },
      ...{ cause: this.#cause, sinceMs: this.#sinceMs, lateMs: this.#lateness(nowMs) },
      patienceMs: this.#patience(nowMs),
    };
  }

  /** This node itself stood still for so long: nothing could be heard meanwhile. */
  pausedFor(pauseMs: number): void {
    this.#heardMs += pauseMs;
    this.#beatMs = Number.NEGATIVE_INFINITY;
  }

  /** An authentic datagram of the node's present start came over the node link at `ms`. */
  heard(ms: number): void {
    this.#heardMs = Math.max(this.#heardMs, ms);
  }

  /**
   * The link has agreed on `secret` with the start `bootId` of the node; undefined: as before. A connection that stands goes
   * on under the secret that it began with.
   */
  agreed(nowMs: number, bootId: Uint8Array | undefined, secret: Uint8Array, out: LifelineOutput[]): void {
    this.#secret = secret;
    const isOther = bootId !== undefined && this.#bootId !== undefined && !equalBytes(bootId, this.#bootId);
    const connection = this.#connection;
    // The link believes another start only when the one before is silent, or there is evidence that it is dead.
    if (isOther && this.#state === "alive") this.#die(nowMs, "restarted", out);
    if (connection === undefined) this.#tryMs = nowMs;
    else if (isOther && connection.hello !== undefined) {
      // It went to the start before.
      out.push({ kind: "close", connection: connection.id });
      this.#connection = undefined;
      this.#tryMs = nowMs;
    } else if (connection.isOpen && connection.hello === undefined) this.#greet(connection, out);
    this.tick(nowMs, out);
  }

  opened(nowMs: number, out: LifelineOutput[]): void {
    const connection = this.#connection!;
    connection.isOpen = true;
    this.#greet(connection, out);
    this.tick(nowMs, out);
  }

  #greet(connection: Connection, out: LifelineOutput[]): void {
    const secret = this.#secret;
    if (secret === undefined) return;
    const { node, bootId, entropy } = this.#options;
    connection.secret = secret;
    connection.hello = encodeHello(secret, {
      ...{ from: node, to: this.node, bootId, nonce: entropy.bytes(NONCE_LEN) },
      ...{ condemned: this.#condemned?.bootId ?? NO_BOOT_ID, times: this.#condemned?.times ?? 0 },
    });
    out.push({ kind: "write", connection: connection.id, bytes: connection.hello });
  }

  received(nowMs: number, bytes: Uint8Array, out: LifelineOutput[]): void {
    const connection = this.#connection!;
    connection.inbox.add(bytes);
    if (connection.keys === undefined && !this.#welcomed(nowMs, connection, out)) return;
    for (let part = connection.inbox.take(FRAME_LEN); part; part = connection.inbox.take(FRAME_LEN)) {
      const frame = connection.keys!.watched.open(part);
      if (frame === undefined || frame.kind === "ack") {
        out.push({ kind: "close", connection: connection.id });
        this.ended(nowMs, "closed", out);
        return;
      }
      this.#framed(nowMs, connection, frame, out);
    }
  }

  /** The present connection ended, or was not made. */
  ended(nowMs: number, how: ConnectionEnd, out: LifelineOutput[]): void {
    const wasOpen = this.#connection?.keys !== undefined;
    this.#connection = undefined;
    if (wasOpen) {
      this.#endedMs = nowMs;
      if (this.#left) this.#die(nowMs, "left", out);
      else {
        this.#connect(nowMs, out);
        return;
      }
    }
    // A datagram that came since then shows that only the listener is gone.
    const isGone = how === "refused" && (this.#endedMs === undefined || this.#heardMs <= this.#endedMs);
    if (isGone && this.#state !== "dead") this.#die(nowMs, "closed", out);
    const isQuestion = this.#state === "alive" && this.#endedMs !== undefined && how === "closed";
    this.#tryMs = nowMs + (isQuestion ? SOON_MS : RETRY_MS);
  }

  tick(nowMs: number, out: LifelineOutput[]): void {
    const connection = this.#connection;
    if (this.#state !== "dead" && nowMs - this.#heardMs >= this.#patience(nowMs)) {
      if (connection !== undefined) out.push({ kind: "close", connection: connection.id });
      this.#connection = undefined;
      this.#tryMs = nowMs;
      this.#die(nowMs, "silent", out);
    }
    if (this.#connection !== undefined) {
      if (this.#connection.keys !== undefined || nowMs - this.#connection.sinceMs < ANSWER_MS) return;
      out.push({ kind: "close", connection: this.#connection.id });
      this.#connection = undefined;
      this.#tryMs = nowMs;
    }
    if (nowMs >= this.#tryMs) this.#connect(nowMs, out);
  }

  nextTimeout(nowMs: number): number {
    const silentMs = this.#state === "dead" ? Number.POSITIVE_INFINITY : this.#heardMs + this.#patience(nowMs);
    if (this.#connection === undefined) return Math.min(silentMs, this.#tryMs);
    return this.#connection.keys === undefined ? Math.min(silentMs, this.#connection.sinceMs + ANSWER_MS) : silentMs;
  }

  #connect(nowMs: number, out: LifelineOutput[]): void {
    const id = this.#newConnection();
    const nothing = { hello: undefined, secret: undefined, keys: undefined, isOpen: false };
    this.#connection = { id, sinceMs: nowMs, inbox: new Inbox(), ...nothing };
    out.push({ kind: "connect", connection: id, node: this.node });
  }

  /** False: there is no authentic answer yet. */
  #welcomed(nowMs: number, connection: Connection, out: LifelineOutput[]): boolean {
    const bytes = connection.inbox.take(WELCOME_LEN);
    if (bytes === undefined) return false;
    const { hello, secret } = connection;
    const welcome = hello && secret && decodeWelcome(secret, hello, bytes);
    if (
      hello === undefined ||
      secret === undefined ||
      welcome?.from !== this.node ||
      welcome.to !== this.#options.node
    ) {
      out.push({ kind: "close", connection: connection.id });
      this.#connection = undefined;
      this.#tryMs = nowMs + RETRY_MS;
      return false;
    }
    connection.keys = {
      watcher: new FrameKey(secret, "watcher", hello, bytes),
      watched: new FrameKey(secret, "watched", hello, bytes),
    };
    const isSame = this.#bootId !== undefined && equalBytes(this.#bootId, welcome.bootId);
    if (!isSame && this.#state === "alive") this.#die(nowMs, "restarted", out);
    if (!isSame) this.#condemned = undefined;
    this.#bootId = welcome.bootId;
    this.#endedMs = undefined;
    this.#left = false;
    this.#heardMs = nowMs;
    this.#beatMs = Number.NEGATIVE_INFINITY;
    if (this.#state === "alive") return true;
    this.#state = "alive";
    this.#sinceMs = nowMs;
    this.#cause = undefined;
    out.push({ kind: "event", event: { kind: "alive", node: this.node, bootId: welcome.bootId } });
    return true;
  }

  #framed(nowMs: number, connection: Connection, { kind, value }: Frame, out: LifelineOutput[]): void {
    this.#heardMs = nowMs;
    if (kind === "leaving") {
      this.#left = true;
      return;
    }
    const late = Math.max(0, nowMs - this.#beatMs - BEAT_MS);
    if (Number.isFinite(this.#beatMs) && late > this.#lateness(nowMs)) {
      this.#lateMs = late;
      this.#lateAtMs = nowMs;
    }
    this.#beatMs = nowMs;
    const bytes = connection.keys!.watcher.seal({ kind: "ack", value });
    out.push({ kind: "write", connection: connection.id, bytes });
  }

  #lateness(nowMs: number): number {
    return this.#lateMs * 2 ** ((this.#lateAtMs - nowMs) / LATENESS_HALF_MS);
  }

  #patience(nowMs: number): number {
    const wanted = BEAT_MS + LATENESS_FACTOR * this.#lateness(nowMs);
    return Math.min(PATIENCE_MAX_MS, Math.max(PATIENCE_MS, wanted));
  }

  #die(nowMs: number, cause: DeathCause, out: LifelineOutput[]): void {
    this.#state = "dead";
    this.#cause = cause;
    this.#sinceMs = nowMs;
    const bootId = this.#bootId;
    if (bootId !== undefined) {
      const before = this.#condemned;
      if (before === undefined || !equalBytes(before.bootId, bootId)) this.#condemned = { bootId, times: 1 };
      else before.times++;
    }
    out.push({ kind: "event", event: { kind: "dead", node: this.node, bootId, cause } });
  }
}

const NO_BOOT_ID = new Uint8Array(8);

/**
 * The bus over NATS (docs/OPERATIONS.md, "The state engine"): each node has a server of its own, an island that always
 * takes its puts, and copies what the others' islands have. Connects for ever, with back-off; a connection that broke is
 * replaced by a new one with everything that belongs to it (`nats_session.ts`). Tunnels never wait for any of this.
 */
import { connect, type NatsConnection, type NodeConnectionOptions, nkeyAuthenticator } from "@nats-io/transport-node";
import type { Clock } from "../base/clock.ts";
import { type Logger, LogLimiter } from "../base/log.ts";
import { type Bus, type BusListener, SHOUT_LEN_MAX } from "../cluster/bus.ts";
import { inbox } from "../cluster/bus_subjects.ts";
import { BusErrors, entryFault } from "./bus_entries.ts";
import { Outbox } from "./bus_outbox.ts";
import { explain, nameOfError } from "./nats_errors.ts";
import { PeerViews } from "./nats_peers.ts";
import { Session, type SessionContext } from "./nats_session.ts";

/** 64 MiB of values are 250,000 sessions; a node that is away longer than it takes to change so many loses the rest. */
const OUTBOX = { keys: 262_144, bytes: 64 * 1024 * 1024, window: 512 };
const BACKOFF_MIN_MS = 200;
const BACKOFF_MAX_MS = 5000;
const NOTICE_MS = 10_000;
const LAST_WORDS_MS = 1000;

/** Why there is no connection: over when there is one. */
const CONNECTION_ERRORS = ["connection", "unreachable", "auth", "tls", "no_jetstream", "timeout"] as const;

export interface NatsBusOptions {
  /** "nats://127.0.0.1:4222" or "tls://..."; several lead to the same island. */
  readonly url: readonly string[];
  readonly group: string;
  readonly node: number;
  /** The other nodes, as the file says; copies of those that are dead are read at living ones. */
  readonly others: readonly number[];
  /** Seed of this node's nkey ("SU..."), or undefined: the server wants none. */
  readonly nkeySeed: Uint8Array | undefined;
  /** PEM texts. */
  readonly tls: { readonly ca?: string; readonly cert?: string; readonly key?: string } | undefined;
  /** Random characters for names. */
  randomName(): string;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function openNatsBus(options: NatsBusOptions, listener: BusListener): Bus {
  return new NatsBus(options, listener);
}

class NatsBus implements Bus {
  readonly #options: NatsBusOptions;
  readonly #listener: BusListener;
  readonly #outbox = new Outbox(OUTBOX);
  readonly #peers = new PeerViews();
  readonly #errors: BusErrors;
  readonly #limiter: LogLimiter;
  readonly #context: SessionContext;
  readonly #ended: Promise<void>;
  #nc: NatsConnection | undefined;
  #session: Session | undefined;
  #server = "";
  #why = "not connected yet";
  #refused = 0;
  #closing = false;
  #wake = () => {};

  constructor(options: NatsBusOptions, listener: BusListener) {
    this.#options = options;
    this.#listener = listener;
    this.#errors = new BusErrors(() => options.clock.wallMs());
    this.#limiter = new LogLimiter(options.clock, NOTICE_MS);
    this.#context = {
      ...{
        group: options.group,
        node: options.node,
        others: options.others,
        clock: options.clock,
        boot: options.randomName(),
        listener,
      },
      ...{ newLife: options.randomName, outbox: this.#outbox, peers: this.#peers, given: new Map() },
      ...{ counters: { puts: 0, heartbeats: 0 }, recovered: false },
      failed: (name, error) => this.#failed(name, error),
      over: (...names) => this.#errors.end(...names),
    };
    // Not from inside the constructor: the caller has no bus yet.
    this.#ended = Promise.resolve().then(() => this.#run());
  }

  put(entries: Parameters<Bus["put"]>[0]): void {
    if (this.#closing) return;
    for (const entry of entries) {
      const fault = entryFault(entry);
      if (fault !== undefined) this.#failed("bad_entry", new Error(fault));
      else this.#outbox.put(entry.key, entry.value && new Uint8Array(entry.value));
    }
    if (this.#outbox.refused > this.#refused) {
      this.#failed("outbox_full", new Error(`${this.#outbox.refused} put(s) found no room while the server is away`));
      this.#refused = this.#outbox.refused;
    }
    this.#session?.pump();
  }

  shout(message: Uint8Array): void {
    if (message.length > SHOUT_LEN_MAX) this.#failed("bad_entry", new Error(`a shout has ${message.length} bytes`));
    else if (!this.#closing && this.#nc?.isClosed() === false) this.#session?.shout(new Uint8Array(message));
  }

  status(): ReturnType<Bus["status"]> {
    return {
      kind: "nats",
      connected: this.#session !== undefined,
      why: this.#session === undefined ? this.#why : "",
      server: this.#server,
      caughtUp: this.#session?.caughtUp ?? false,
      outbox: this.#outbox.size,
      peers: this.#peers.status(),
      errors: this.#errors.list(),
    };
  }

  async close(): Promise<void> {
    if (!this.#closing) {
      const until = this.#options.clock.monotonicMs() + LAST_WORDS_MS;
      this.#closing = true;
      while (this.#session !== undefined && this.#outbox.size > 0 && this.#options.clock.monotonicMs() < until)
        await new Promise((resolve) => setTimeout(resolve, 5));
      this.#session?.close();
      this.#wake();
      if (this.#nc?.isClosed() === false) await this.#nc.close();
    }
    await this.#ended;
  }

  #failed(name: string, error: unknown): void {
    const text = explain(name, error);
    this.#errors.add(name, text);
    this.#limiter.log(name, (suffix) =>
      this.#options.logger.warning("bus_error", `State engine: ${text}${suffix}`, { name }),
    );
  }

  async #run(): Promise<void> {
    let pauseMs = BACKOFF_MIN_MS;
    let told = false;
    while (!this.#closing) {
      const startMs = this.#options.clock.monotonicMs();
      const why = await this.#connection();
      if (this.#closing) break;
      // Told once at the start, and then whenever a connection ends.
      if (this.#session !== undefined || !told) this.#tell(false, why);
      told = true;
      this.#session = undefined;
      this.#why = why;
      if (this.#options.clock.monotonicMs() - startMs > 2 * BACKOFF_MAX_MS) pauseMs = BACKOFF_MIN_MS;
      await this.#sleep(pauseMs);
      pauseMs = Math.min(BACKOFF_MAX_MS, pauseMs * 2);
    }
    this.#session = undefined;
  }

  /** One connection, to its end. Returns why it ended. */
  async #connection(): Promise<string> {
    try {
      const nc = await connect(this.#connectOptions());
      this.#nc = nc;
      if (this.#closing) {
        await nc.close();
        return "";
      }
      this.#watch(nc);
      this.#server = `${nc.info?.server_name ?? "nats-server"} ${nc.info?.version ?? ""}`.trim();
      const ended = nc.closed();
      const opening = Session.open(nc, this.#context, (session) => this.#opened(session));
      await Promise.race([opening, ended]);
      const error = await ended;
      if (this.#closing) return "";
      const name = error === undefined ? "connection" : nameOfError(error);
      const text = error ?? new Error("the connection to the server ended");
      this.#failed(name, text);
      return explain(name, text);
    } catch (error) {
      if (this.#closing) return "";
      const name = nameOfError(error);
      this.#failed(name, error);
      return explain(name, error);
    } finally {
      this.#session?.close();
      if (this.#nc?.isClosed() === false) await this.#nc.close();
      this.#outbox.failAll();
    }
  }

  #opened(session: Session): void {
    if (this.#closing) {
      session.close();
      return;
    }
    this.#session = session;
    this.#errors.end(...CONNECTION_ERRORS);
    this.#tell(true, "");
  }

  #connectOptions(): NodeConnectionOptions {
    const { url, nkeySeed, tls, group, node } = this.#options;
    return {
      servers: [...url],
      name: `anyhop node ${node} of ${group}`,
      inboxPrefix: `${inbox(group, node)}.r`,
      reconnect: false,
      timeout: 3000,
      pingInterval: 2000,
      maxPingOut: 2,
      // Only the servers of the file: others of the mesh are other islands.
      ignoreClusterUpdates: true,
      ...(nkeySeed === undefined ? {} : { authenticator: nkeyAuthenticator(nkeySeed) }),
      ...(tls === undefined ? {} : { tls }),
    };
  }

  /** Errors that do not end the connection, as a publish that is not allowed. */
  async #watch(nc: NatsConnection): Promise<void> {
    for await (const status of nc.status())
      if (status.type === "error") this.#failed(nameOfError(status.error), status.error);
  }

  #tell(connected: boolean, why: string): void {
    if (connected) this.#options.logger.notice("bus_connected", `State engine: connected to ${this.#server}.`);
    this.#listener.state(connected, why);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

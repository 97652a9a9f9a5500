/**
 * All records of one stream, in its order, from a given number on. An ephemeral push consumer with heartbeats: silence is
 * never trusted. A gap, a missing heartbeat or a consumer that is gone make a new one from the last number that came; the
 * old subscription is stopped first. Belongs to one connection and ends with it.
 */
import {
  AckPolicy,
  type ConsumerConfig,
  DeliverPolicy,
  type JetStreamManager,
  type StreamInfo,
} from "@nats-io/jetstream";
import { createInbox, type Msg, type NatsConnection, nanos, type Subscription } from "@nats-io/transport-node";
import type { Intake } from "./intake.ts";

const HEARTBEAT_MS = 500;
/** Two heartbeats may be late, as on a machine that is busy; the third is missing. */
const SILENCE_MS = 3 * HEARTBEAT_MS;
const IDLE_HEARTBEAT = 100;

export interface FeedOptions {
  readonly nc: NatsConnection;
  readonly jsm: JetStreamManager;
  readonly stream: string;
  /** Prefix of inboxes. */
  readonly inbox: string;
  /** First number that is wanted; 1 is all. */
  readonly from: number;
  /** Number of the last record that belongs to the snapshot. */
  readonly goal: number;
  /** Takes records in when there is time; the server waits for its flow control meanwhile. */
  readonly intake: Intake;
  /** Only these subjects. */
  readonly filter: string | undefined;
  /** `seq`: its number in the stream. */
  record(msg: Msg, seq: number): void;
  /** Everything that was in the stream at the start was delivered. Once. */
  caughtUp(): void;
  /** A consumer could not be made, or fell silent. It is made again; this is for counters. */
  failed(error: Error): void;
}

export class Feed {
  readonly #options: FeedOptions;
  readonly #timer: NodeJS.Timeout;
  #subscription: Subscription | undefined;
  #next: number;
  #delivered = 0;
  #heardMs = 0;
  #caughtUp = false;
  #starting = false;
  #closed = false;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#next = options.from;
    this.#timer = setInterval(() => this.#watch(), HEARTBEAT_MS);
    this.#start();
  }

  /** Number of the last record that was delivered. */
  get last(): number {
    return this.#next - 1;
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#stop();
  }

  #stop(): void {
    if (!this.#options.nc.isClosed()) this.#subscription?.unsubscribe();
    this.#subscription = undefined;
  }

  #watch(): void {
    if (this.#starting || performance.now() - this.#heardMs < SILENCE_MS) return;
    if (this.#subscription !== undefined)
      this.#options.failed(new Error(`the stream ${this.#options.stream} fell silent`));
    this.#start();
  }

  #start(): void {
    this.#stop();
    this.#starting = true;
    this.#create()
      .catch((error: Error) => {
        this.#stop();
        if (!this.#closed) this.#options.failed(error);
      })
      .finally(() => {
        this.#starting = false;
        this.#heardMs = performance.now();
      });
  }

  async #create(): Promise<void> {
    const { nc, jsm, stream, inbox, filter } = this.#options;
    const deliver = createInbox(inbox);
    this.#delivered = 0;
    const subscription = nc.subscribe(deliver, {
      callback: (error, msg) => {
        if (error !== null || subscription !== this.#subscription) return;
        this.#heardMs = performance.now();
        this.#options.intake.push(() => {
          if (subscription === this.#subscription) this.#receive(msg);
        });
      },
    });
    this.#subscription = subscription;
    const config: Partial<ConsumerConfig> = {
      deliver_subject: deliver,
      ack_policy: AckPolicy.None,
      idle_heartbeat: nanos(HEARTBEAT_MS),
      flow_control: true,
      mem_storage: true,
      num_replicas: 1,
      // The server forgets the consumer by itself when the subscription is gone.
      inactive_threshold: nanos(10_000),
      ...(filter === undefined ? {} : { filter_subject: filter }),
      ...(this.#next > 1
        ? { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: this.#next }
        : { deliver_policy: DeliverPolicy.All }),
    };
    const made = await jsm.consumers.add(stream, config);
    if (made.num_pending === 0 || this.#next > this.#options.goal) this.#reached();
  }

  #receive(msg: Msg): void {
    const place = parsePlace(msg.reply);
    if (place === undefined) {
      this.#control(msg);
      return;
    }
    // A number of this consumer is missing: something was lost on the way.
    if (place.delivered !== this.#delivered + 1) {
      this.#options.failed(
        new Error(`${place.delivered - this.#delivered - 1} record(s) of ${this.#options.stream} are missing`),
      );
      this.#start();
      return;
    }
    this.#delivered = place.delivered;
    this.#next = place.seq + 1;
    this.#options.record(msg, place.seq);
    if (place.pending === 0 || place.seq >= this.#options.goal) this.#reached();
  }

  /** Heartbeats and requests for flow control are messages without a place. */
  #control(msg: Msg): void {
    const headers = msg.headers;
    if (headers === undefined || headers.code !== IDLE_HEARTBEAT) return;
    if (msg.reply !== undefined && msg.reply !== "") msg.respond();
    const stalled = headers.get("Nats-Consumer-Stalled");
    if (stalled !== "") this.#options.nc.publish(stalled);
    const sent = headers.get("Nats-Last-Consumer");
    if (sent === "" || msg.reply) return;
    // The server is idle: it has nothing more. Its count of what is pending can be wrong when values are replaced.
    if (Number(sent) === this.#delivered && stalled === "") this.#reached();
    else if (Number(sent) !== this.#delivered) {
      this.#options.failed(new Error(`the end of ${this.#options.stream} was lost`));
      this.#start();
    }
  }

  #reached(): void {
    if (this.#caughtUp) return;
    this.#caughtUp = true;
    this.#options.caughtUp();
  }
}

/**
 * The reply subject of a record: $JS.ACK.STREAM.CONSUMER.TRIES.SEQ.DELIVERED.TIME.PENDING, with a domain and an account
 * before the stream from server 2.10 on where they are known.
 */
function parsePlace(reply: string | undefined): { seq: number; delivered: number; pending: number } | undefined {
  if (reply === undefined || !reply.startsWith("$JS.ACK.")) return undefined;
  const parts = reply.split(".");
  const at = parts.length > 9 ? 7 : 5;
  return { seq: Number(parts[at]), delivered: Number(parts[at + 1]), pending: Number(parts[at + 3]) };
}

/** Where to go on in a stream of which `last` was delivered: at the start when the stream is shorter, for it lost its end. */
export const resumeAt = (last: number, info: StreamInfo): number => (last > info.state.last_seq ? 1 : last + 1);

/**
 * What a capture at the router says: which node the packets of each client go to, when the first packet of a client came
 * to a node and when the first came out of it, and when every packet of the inner streams came out of a node towards the
 * server. All times are the kernel's, so a busy process of the lab changes none of them. Pure: fed with captured packets.
 */
import type { Captured } from "./pcap.ts";
import { Seen, STREAM_PORT, seqOf, streamOf } from "./stream_format.ts";
import { PORT } from "./topology.ts";

/** One change of the node that a client's packets go to. Wall clock in milliseconds. */
export interface Arrival {
  readonly client: string;
  /** undefined: the first node ever. */
  readonly from: string | undefined;
  readonly to: string;
  /** The first packet went to the new node. */
  readonly atMs: number;
  /** The first inner packet of this client came out of the new node; undefined: none yet. */
  throughMs: number | undefined;
}

/** Packets of one stream as they came out of a node. */
export class Trace {
  readonly seen = new Seen();
  #times = new Float64Array(1 << 12);
  #length = 0;

  add(atMs: number, seq: number): void {
    if (!this.seen.add(seq)) return;
    if (this.#length === this.#times.length) {
      const grown = new Float64Array(this.#times.length * 2);
      grown.set(this.#times);
      this.#times = grown;
    }
    this.#times[this.#length++] = atMs;
  }

  /** The longest silence that touches [fromMs, toMs); one that never ended counts until `toMs`. */
  longestGap(fromMs: number, toMs: number): number {
    let longest = 0;
    let i = Math.max(1, this.#firstFrom(fromMs));
    for (; i < this.#length && this.#times[i - 1]! < toMs; i++)
      longest = Math.max(longest, this.#times[i]! - this.#times[i - 1]!);
    if (i >= this.#length && this.#length > 0) longest = Math.max(longest, toMs - this.#times[this.#length - 1]!);
    return longest;
  }

  /** Time of the first packet at `ms` or later, undefined when there is none. */
  firstFrom(ms: number): number | undefined {
    const i = this.#firstFrom(ms);
    return i < this.#length ? this.#times[i] : undefined;
  }

  /** Binary search: the capture is in order of time. */
  #firstFrom(ms: number): number {
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#times[middle]! < ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export interface WireNames {
  /** Name of the link with this number at the router. */
  readonly links: ReadonlyMap<number, string>;
  /** Client by its outer address in hexadecimal. */
  readonly clients: ReadonlyMap<string, string>;
  /** Client that sends a stream; streams of others are traced and no more. */
  readonly senders: ReadonlyMap<number, string>;
}

export class Wire {
  readonly arrivals: Arrival[] = [];
  /** While true it does not look where clients' packets go: somebody plays a client. */
  paused = false;
  readonly #names: WireNames;
  /** Names of their links. */
  readonly #clients: ReadonlySet<string>;
  readonly #carriers = new Map<string, Arrival>();
  readonly #traces = new Map<number, Trace>();
  #onArrival: (arrival: Arrival) => void = () => {};

  constructor(names: WireNames) {
    this.#names = names;
    this.#clients = new Set(names.clients.values());
  }

  /** Called when the first packet came out of a new node. */
  onArrival(call: (arrival: Arrival) => void): void {
    this.#onArrival = call;
  }

  /** The node that gets this client's packets. */
  carrier(client: string): string | undefined {
    return this.#carriers.get(client)?.to;
  }

  trace(stream: number): Trace {
    const known = this.#traces.get(stream);
    if (known !== undefined) return known;
    const made = new Trace();
    this.#traces.set(stream, made);
    return made;
  }

  take(captured: Captured): void {
    const { bytes, atMs, outgoing, destinationPort, payloadAt, payloadEnd } = captured;
    const link = this.#names.links.get(captured.ifindex);
    if (link === undefined) return;
    if (outgoing && destinationPort === PORT && !this.paused) this.#outer(captured, link);
    // A client whose daemon is gone sends without the tunnel, and that reaches nobody.
    if (!outgoing && destinationPort === STREAM_PORT && !this.#clients.has(link)) {
      const stream = streamOf(bytes, payloadAt, payloadEnd);
      if (stream >= 0) this.#inner(stream, seqOf(bytes, payloadAt), atMs, link);
    }
  }

  #outer({ bytes, sourceAt, family, atMs }: Captured, to: string): void {
    const client = this.#names.clients.get(bytes.toString("hex", sourceAt, sourceAt + (family === 4 ? 4 : 16)));
    if (client === undefined) return;
    const last = this.#carriers.get(client);
    if (last?.to === to) return;
    const arrival: Arrival = { client, from: last?.to, to, atMs, throughMs: undefined };
    this.#carriers.set(client, arrival);
    this.arrivals.push(arrival);
  }

  #inner(stream: number, seq: number, atMs: number, from: string): void {
    this.trace(stream).add(atMs, seq);
    const client = this.#names.senders.get(stream);
    const arrival = client === undefined ? undefined : this.#carriers.get(client);
    if (arrival === undefined || arrival.throughMs !== undefined || arrival.to !== from) return;
    arrival.throughMs = atMs;
    this.#onArrival(arrival);
  }
}

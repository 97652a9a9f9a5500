/**
 * The book in the group: what this node writes goes to the bus and, where no bus takes it, over the link; what others say is
 * judged and merged; nodes compare their books, settle what two clients claim, and make ticket keys in time.
 */
import { SIGNATURE_LEN } from "../crypto/ed25519.ts";
import { Book, type BookOutput, type BookRefusal, bookRefusals } from "./book.ts";
import { BookSync } from "./book_sync.ts";
import type { Core } from "./core.ts";
import { Cuts } from "./cuts.ts";
import { CLIENT_VALUE_MAX, type LinkMessage } from "./link_message.ts";
import type { OutcomeName } from "./outcomes.ts";
import { Settling } from "./settling.ts";
import { type BookTicketKey, KEY_LIFE_MS } from "./ticket_keys.ts";
import { Vouching } from "./vouching.ts";

const SWEEP_MS = 60_000;
/** How long a node that begins waits for the ticket keys of the others before it makes one. */
const FIRST_KEY_MS = 3000;
/** A ticket key that is not the first seals only when all nodes have heard of it. */
const SPREAD_MS = 10_000;
const KEY_LEN = 32;

/** How a refusal is counted; undefined: it is harmless. */
const counted: Readonly<Record<BookRefusal, OutcomeName | undefined>> = {
  ...{ malformed: "record_malformed", too_long: "book_too_long", future: "book_future", clients_full: "book_full" },
  ...{ unsigned: "book_unsigned", forged: "book_forged" },
  ...{ key_unsigned: "ticket_key_unsigned", key_forged: "ticket_key_forged" },
  ...{ keys_full: "ticket_keys_full", key_life: "ticket_key_life", key_future: "ticket_key_future" },
  ...{ expired: undefined, address_taken: undefined },
};

export class GroupBook {
  readonly book: Book;
  readonly #core: Core;
  readonly #sync: BookSync;
  readonly #settling: Settling;
  readonly #vouching: Vouching;
  readonly #cuts: Cuts;
  #sweepMs: number;
  #firstKeyMs: number;

  constructor(core: Core) {
    this.#core = core;
    const { signatures } = core.trust;
    this.book = new Book({ node: core.config.node, claimsOf: core.ports.claimsOf, signatures });
    this.#sync = new BookSync(core, this.book);
    this.#settling = new Settling(core, this.book);
    this.#vouching = new Vouching(core, this.book, (act) => this.#with(act));
    this.#cuts = new Cuts(core.alarms);
    this.#sweepMs = core.now.ms;
    this.#firstKeyMs = core.now.ms + FIRST_KEY_MS;
  }

  /** See `Book.putClient`. */
  putClient(
    clientKey: string,
    content: Uint8Array | undefined,
    keep?: (value: Uint8Array) => void,
  ): BookRefusal | undefined {
    const { now, config } = this.#core;
    // No other node would hear of it.
    if (config.tellsOverLink && (content?.length ?? 0) > CLIENT_VALUE_MAX - VALUE_HEAD) return "too_long";
    const refusal = this.#with((out) => this.book.putClient(now.wallMs, clientKey, content, out, keep));
    if (refusal === undefined) this.#cuts.wrote();
    return refusal;
  }

  /** See `Book.rewriteClient`. */
  rewriteClient(clientKey: string, content: Uint8Array): BookRefusal | undefined {
    return this.#with((out) => this.book.rewriteClient(this.#core.now.wallMs, clientKey, content, out));
  }

  /** Makes another ticket key; those of before open tickets for `overlapMs` more, 0 = they are over. */
  rotateTicketKey(overlapMs: number): void {
    const { wallMs, ms } = this.#core.now;
    const notBeforeMs = Math.floor(wallMs) + (overlapMs === 0 ? 0 : SPREAD_MS);
    this.#with((out) => {
      this.#makeTicketKey(notBeforeMs, notBeforeMs + overlapMs, out);
      this.book.sweep(wallMs, out);
    });
    this.#sweepMs = Math.min(this.#sweepMs, ms + SPREAD_MS + overlapMs);
  }

  /** A node was put out by the roster of this version: its ticket keys open nothing any more, and there is another at once. */
  evicted(version: number): void {
    const { wallMs } = this.#core.now;
    this.#with((out) => {
      this.book.evicted(wallMs, version, out);
      this.#makeTicketKey(Math.floor(wallMs), 0, out);
    });
  }

  /** Puts what lasts again: it is sealed under another fleet key now. */
  rekeyed(): void {
    this.#with((out) => this.book.reseal(out));
  }

  putTicketKey(key: BookTicketKey): BookRefusal | undefined {
    return this.#with((out) => this.book.putTicketKey(this.#core.now.wallMs, key, out));
  }

  restore(clientKey: string, value: Uint8Array): boolean {
    return this.#with((out) => this.book.restore(this.#core.now.wallMs, clientKey, value, out));
  }

  /** From the bus, under a name that is not a session's. */
  received(node: number, key: string, plain: Uint8Array): void {
    this.#judge(node, (wallMs, out) => this.book.receive(wallMs, node, key, plain, out));
  }

  /** What a node says over the link. */
  told(
    node: number,
    message: Extract<LinkMessage, { kind: "client" | "ticket_key" | "book_sums" | "book_list" }>,
  ): void {
    if (message.kind === "client")
      this.#judge(node, (wallMs, out) => this.book.told(wallMs, message.clientKey, message.value, out));
    else if (message.kind === "ticket_key")
      this.#judge(node, (wallMs, out) => this.book.toldKey(wallMs, message.value, out));
    else if (!this.#core.busBegun) return;
    else if (message.kind === "book_sums") this.#sync.sums(node, message);
    else this.#sync.list(node, message);
  }

  /** A node is heard again, or for the first time: each tells the other what it may have missed. */
  heard(node: number): void {
    this.#cuts.heard(this.#core.now, node);
    if (this.#core.busBegun) this.#sync.compare(node);
  }

  silent(node: number): void {
    this.#cuts.silent(this.#core.now, node);
  }

  /** The engine has told all that it knows. */
  caughtUp(): void {
    this.#firstKeyMs = this.#core.now.ms;
    this.#with((out) => this.book.republish(out));
  }

  tick(): void {
    const { ms } = this.#core.now;
    if (this.#core.busBegun) this.#sync.tick();
    this.#settling.tick();
    this.#vouching.tick();
    if (ms >= this.#tendMs()) this.#tend();
  }

  nextTimeout(): number {
    const sync = this.#core.busBegun ? this.#sync.nextTimeout() : Number.POSITIVE_INFINITY;
    return Math.min(sync, this.#settling.nextTimeout(), this.#vouching.nextTimeout(), this.#tendMs());
  }

  #tendMs(): number {
    return Math.max(this.#sweepMs, this.#firstKeyMs);
  }

  /** Once a minute: old entries out, and a ticket key when the group has none that is fresh. */
  #tend(): void {
    const { now } = this.#core;
    this.#sweepMs = now.ms + SWEEP_MS;
    this.#with((out) => {
      this.book.sweep(now.wallMs, out);
      if (!this.book.wantsTicketKey(now.wallMs)) return;
      const isFirst = this.book.sealingKey(now.wallMs) === undefined;
      const notBeforeMs = isFirst ? now.wallMs : now.wallMs + SPREAD_MS;
      this.#makeTicketKey(notBeforeMs, 0, out);
    });
  }

  /** `endsOthersMs`: when those of before are over; 0 = in their own time. */
  #makeTicketKey(notBeforeMs: number, endsOthersMs: number, out: BookOutput[]): void {
    const { now, ports, trust } = this.#core;
    const id = new DataView(ports.entropy.bytes(4).slice().buffer).getUint32(0);
    const made = { id, key: ports.entropy.bytes(KEY_LEN), roster: trust.version, endsOthersMs };
    this.book.putTicketKey(now.wallMs, { ...made, notBeforeMs, notAfterMs: notBeforeMs + KEY_LIFE_MS }, out);
  }

  #judge(node: number, merge: (wallMs: number, out: BookOutput[]) => BookRefusal | undefined): void {
    const { now, outcomes, alarms } = this.#core;
    const refusal = this.#with((out) => {
      const result = merge(now.wallMs, out);
      for (const output of out)
        if (output.kind === "client" && output.client.version.node === node)
          this.#cuts.learnt(now, node, output.client.version.stamp);
      return result;
    });
    const name = refusal && counted[refusal];
    if (refusal === undefined || name === undefined) return;
    outcomes.add(name);
    // Who passes on what it took before its writer was put out says nothing wrong.
    if (refusal === "unsigned" || refusal === "key_unsigned") return;
    const text =
      `node ${node} told what no node should, and it was not taken: ${bookRefusals[refusal]} Are clocks right, and does ` +
      "every node run one version? If so, somebody else speaks as a node of this group";
    alarms.add(now, "book_refused", `${node} ${refusal}`, text);
  }

  #with<T>(act: (out: BookOutput[]) => T): T {
    const out: BookOutput[] = [];
    const result = act(out);
    for (const output of out) {
      if (output.kind === "conflict") this.#settling.changed();
      if (output.kind !== "put") {
        this.#core.emit(output);
        continue;
      }
      const { key, value } = output.entry;
      this.#core.put(key, value);
      if (value === undefined) continue;
      const message: LinkMessage = key.startsWith("t.")
        ? { kind: "ticket_key", value }
        : { kind: "client", clientKey: key.slice(2), value };
      for (const node of this.#core.toldOverLink()) this.#core.say(node, message);
    }
    return result;
  }
}

/** Of an entry around its content, at most: 20 bytes before it and the signature behind it. */
const VALUE_HEAD = 20 + SIGNATURE_LEN;

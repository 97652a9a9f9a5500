/**
 * What lasts without age, replicated: clients that were added while running, and ticket keys. The last writer of a client
 * wins, by wall clock and then node; what was removed leaves a tombstone, so that it does not come back from a node that
 * was away. Contents of clients are opaque here but for their inner addresses: two nodes may have given one address
 * away while they could not hear each other; then the older claim keeps it. Sans-IO. docs/PROTOCOL.md, "The book".
 */
import { compareVersions, decodeClient, encodeClient, type StoredClient, type Version } from "./book_record.ts";
import type { Entry } from "./bus.ts";
import { compareBytes } from "./bytes.ts";
import { type Claim, Claims } from "./claims.ts";
import { type BookTicketKey, TicketKeyRing, ticketKeyName } from "./ticket_keys.ts";

export const CONTENT_LEN_MAX = 2048;
export const CLIENTS_MAX = 200_000;
export const TOMBSTONES_MAX = 20_000;
export const TOMBSTONE_MS = 30 * 86_400_000;

export const bookRefusals = {
  malformed: "Not a record of the book, or under the name of another node.",
  too_long: "The record of a client is longer than 2048 bytes.",
  address_taken: "Another client has this inner address.",
  clients_full: "200,000 clients are there.",
  keys_full: "More ticket keys than a group ever has at a time.",
  expired: "A ticket key whose time is over.",
} as const;
export type BookRefusal = keyof typeof bookRefusals;

export interface ClientEntry {
  /** 64 hex digits: the client's static key. */
  readonly clientKey: string;
  readonly version: Version;
  /** As it was put; undefined = removed. */
  readonly content: Uint8Array | undefined;
}

/** Several clients say that they have one address. `others` is empty when that is over. */
export interface Conflict {
  readonly address: string;
  /** Client key of the oldest claim: it keeps the address. */
  readonly keeper: string;
  readonly others: readonly string[];
}

export type BookOutput =
  /** To the bus, sealed. */
  | { readonly kind: "put"; readonly entry: Entry }
  | { readonly kind: "client"; readonly client: ClientEntry }
  | ({ readonly kind: "conflict" } & Conflict)
  /** `ticketKeys` changed. */
  | { readonly kind: "ticket_keys" };

export interface BookOptions {
  readonly node: number;
  /** Inner addresses of a content as canonical text ("10.9.0.2/32"), or undefined when it is not one. Must not throw. */
  readonly addressesOf: (content: Uint8Array) => readonly string[] | undefined;
}

interface Held extends StoredClient {
  readonly addresses: readonly string[];
  /** The bus has this client in this node's own subtree. */
  own: boolean;
  /** In `#places`. */
  readonly place: number;
}

const CLIENT_KEY = /^[0-9a-f]{64}$/;
const keyOf = (clientKey: string): string => `c.${clientKey}`;

export class Book {
  readonly #options: BookOptions;
  readonly #clients = new Map<string, Held>();
  /** Client keys, each where it stays: what a node that begins fetches in pages. Free places are undefined. */
  readonly #places: (string | undefined)[] = [];
  readonly #freePlaces: number[] = [];
  /** Client keys of tombstones, in the order in which they came. */
  readonly #tombstones = new Set<string>();
  readonly #claims = new Claims();
  readonly #ring = new TicketKeyRing();

  constructor(options: BookOptions) {
    this.#options = options;
  }

  /** Opened value of a bus key that begins with "c." or "t.". Undefined: it counts, or is known, or is older. */
  receive(
    wallMs: number,
    node: number,
    key: string,
    value: Uint8Array | undefined,
    out: BookOutput[],
  ): BookRefusal | undefined {
    // A node that cleans its subtree up takes nothing back.
    if (value === undefined) return undefined;
    const own = node === this.#options.node;
    if (key.startsWith("t.")) {
      const ticketKey = this.#ring.decode(value);
      if (ticketKey === undefined || ticketKeyName(ticketKey.id) !== key) return "malformed";
      return this.#addKey(wallMs, ticketKey, own, out);
    }
    const clientKey = key.slice(2);
    const client = decodeClient(value);
    if (!key.startsWith("c.") || !CLIENT_KEY.test(clientKey) || client?.version.node !== node) return "malformed";
    return this.#merge(wallMs, clientKey, client, own, out);
  }

  /** A client as another node has it, whoever wrote it. */
  told(wallMs: number, clientKey: string, value: Uint8Array, out: BookOutput[]): BookRefusal | undefined {
    const client = decodeClient(value);
    return client === undefined ? "malformed" : this.#merge(wallMs, clientKey, client, false, out);
  }

  /** A ticket key as another node has it, whoever made it. */
  toldKey(wallMs: number, value: Uint8Array, out: BookOutput[]): BookRefusal | undefined {
    const key = this.#ring.decode(value);
    return key === undefined ? "malformed" : this.#addKey(wallMs, key, false, out);
  }

  #merge(
    wallMs: number,
    clientKey: string,
    client: StoredClient,
    own: boolean,
    out: BookOutput[],
  ): BookRefusal | undefined {
    if (client.content !== undefined && client.content.length > CONTENT_LEN_MAX) return "too_long";
    const known = this.#clients.get(clientKey);
    const order = known === undefined ? 1 : compareClients(client, known);
    if (known !== undefined && order <= 0) {
      if (order === 0) known.own ||= own;
      // Left over from before another node wrote: it must not come back when that node is gone.
      else if (own && !known.own) out.push({ kind: "put", entry: { key: keyOf(clientKey), value: undefined } });
      return undefined;
    }
    const addresses = client.content === undefined ? [] : this.#options.addressesOf(client.content);
    if (addresses === undefined) return "malformed";
    if (known?.content === undefined && client.content !== undefined && this.#isFull()) return "clients_full";
    if (known?.own && !own) out.push({ kind: "put", entry: { key: keyOf(clientKey), value: undefined } });
    this.#set(wallMs, clientKey, { ...client, addresses, own }, out);
    return undefined;
  }

  /** Adds or changes a client; content undefined removes it. A refusal changes nothing. */
  putClient(
    wallMs: number,
    clientKey: string,
    content: Uint8Array | undefined,
    out: BookOutput[],
  ): BookRefusal | undefined {
    const known = this.#clients.get(clientKey);
    if (content === undefined && known?.content === undefined) return undefined;
    if (content !== undefined && content.length > CONTENT_LEN_MAX) return "too_long";
    const addresses = content === undefined ? [] : this.#options.addressesOf(content);
    if (addresses === undefined || !CLIENT_KEY.test(clientKey)) return "malformed";
    if (known?.content === undefined && content !== undefined && this.#isFull()) return "clients_full";
    const takes = (address: string) => !known?.addresses.includes(address) && this.keeperOf(address) !== undefined;
    if (addresses.some(takes)) return "address_taken";
    const stamp = Math.max(Math.floor(wallMs) * 256, (known?.version.stamp ?? 0) + 1);
    const version = { stamp, node: this.#options.node };
    // A client that keeps its addresses keeps the age of its claim.
    const same = known?.content !== undefined && sameAddresses(known.addresses, addresses);
    const client = { version, claimed: same ? known.claimed : version, content: content?.slice() };
    out.push({ kind: "put", entry: { key: keyOf(clientKey), value: encodeClient(client) } });
    this.#set(wallMs, clientKey, { ...client, addresses, own: true }, out);
    return undefined;
  }

  client(clientKey: string): ClientEntry | undefined {
    const held = this.#clients.get(clientKey);
    return held && { clientKey, version: held.version, content: held.content };
  }

  /** Those that are not removed. */
  *clients(): IterableIterator<ClientEntry> {
    for (const [clientKey, { version, content }] of this.#clients)
      if (content !== undefined) yield { clientKey, version, content };
  }

  /** Clients and tombstones in `count` places from `first` on, as `told` takes them. */
  *page(first: number, count: number): IterableIterator<{ readonly clientKey: string; readonly value: Uint8Array }> {
    for (const clientKey of this.#places.slice(first, first + count))
      if (clientKey !== undefined) yield { clientKey, value: encodeClient(this.#clients.get(clientKey)!) };
  }

  /** Places of `page`. */
  get places(): number {
    return this.#places.length;
  }

  /** All ticket keys, as `toldKey` takes them. */
  encodedTicketKeys(wallMs: number): Uint8Array[] {
    return this.ticketKeys(wallMs).map((key) => this.#ring.encode(key));
  }

  /** Client key of the oldest claim of an address. */
  keeperOf(address: string): string | undefined {
    return this.#claims.keeperOf(address);
  }

  /** All there are now. */
  conflicts(): Conflict[] {
    return this.#claims.conflicts();
  }

  /** A ticket key that this node made. */
  putTicketKey(wallMs: number, key: BookTicketKey, out: BookOutput[]): BookRefusal | undefined {
    const result = this.#ring.add(wallMs, key, true);
    if (result === "known") return undefined;
    if (result !== "added") return result;
    out.push({ kind: "put", entry: { key: ticketKeyName(key.id), value: this.#ring.encode(key) } });
    out.push({ kind: "ticket_keys" });
    return undefined;
  }

  /** Open with any of these. */
  ticketKeys(wallMs: number): BookTicketKey[] {
    return this.#ring.usable(wallMs);
  }

  /** Seal with this one: all nodes that know the same keys choose the same. */
  sealingKey(wallMs: number): BookTicketKey | undefined {
    return this.#ring.sealing(wallMs);
  }

  /** A new ticket key is wanted: none is usable, or the newest is a day old. */
  wantsTicketKey(wallMs: number): boolean {
    return this.#ring.wantsKey(wallMs);
  }

  /** Forgets tombstones and ticket keys whose time is over. Once a minute is enough. */
  sweep(wallMs: number, out: BookOutput[]): void {
    for (const clientKey of this.#tombstones) this.#dropOldTombstone(wallMs, clientKey, out);
    const { gone, own } = this.#ring.sweep(wallMs);
    for (const id of own) out.push({ kind: "put", entry: { key: ticketKeyName(id), value: undefined } });
    if (gone > 0) out.push({ kind: "ticket_keys" });
  }

  #addKey(wallMs: number, key: BookTicketKey, own: boolean, out: BookOutput[]): BookRefusal | undefined {
    const result = this.#ring.add(wallMs, key, own);
    if (result === "expired" && own) out.push({ kind: "put", entry: { key: ticketKeyName(key.id), value: undefined } });
    if (result === "added") out.push({ kind: "ticket_keys" });
    return result === "added" || result === "known" ? undefined : result;
  }

  #isFull(): boolean {
    return this.#clients.size - this.#tombstones.size >= CLIENTS_MAX;
  }

  #set(wallMs: number, clientKey: string, changed: Omit<Held, "place">, out: BookOutput[]): void {
    const before = this.#clients.get(clientKey);
    const { version, claimed, content, addresses, own } = changed;
    const place = before?.place ?? this.#freePlaces.pop() ?? this.#places.length;
    const held = { version, claimed, content, addresses, own, place };
    this.#places[place] = clientKey;
    this.#clients.set(clientKey, held);
    this.#tombstones.delete(clientKey);
    out.push({ kind: "client", client: { clientKey, version: held.version, content: held.content } });
    const claim: Claim = { clientKey, since: held.claimed };
    for (const conflict of this.#claims.replace(claim, before?.addresses ?? [], held.addresses))
      out.push({ kind: "conflict", ...conflict });
    if (held.content !== undefined) return;
    this.#tombstones.add(clientKey);
    this.#dropOldTombstone(wallMs, clientKey, out);
    if (this.#tombstones.size > TOMBSTONES_MAX) this.#dropTombstone(this.#tombstones.values().next().value!, out);
  }

  #dropOldTombstone(wallMs: number, clientKey: string, out: BookOutput[]): void {
    const { stamp } = this.#clients.get(clientKey)!.version;
    if (wallMs - stamp / 256 > TOMBSTONE_MS) this.#dropTombstone(clientKey, out);
  }

  #dropTombstone(clientKey: string, out: BookOutput[]): void {
    const { own, place } = this.#clients.get(clientKey)!;
    if (own) out.push({ kind: "put", entry: { key: keyOf(clientKey), value: undefined } });
    this.#places[place] = undefined;
    this.#freePlaces.push(place);
    this.#clients.delete(clientKey);
    this.#tombstones.delete(clientKey);
  }
}

/**
 * Which of two is newer, as of numbers: by version; of equal ones, when no node that works makes two that differ, by bytes,
 * so that all nodes decide alike.
 */
const compareClients = (a: StoredClient, b: StoredClient): number =>
  compareVersions(a.version, b.version) || compareBytes(encodeClient(a), encodeClient(b));

function sameAddresses(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((address) => b.includes(address));
}

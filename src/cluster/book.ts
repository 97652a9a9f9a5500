/**
 * What lasts without age, replicated: clients that were added while running, and ticket keys. The last writer of a client
 * wins, by wall clock and then node; what was removed leaves a tombstone, so that it does not come back from a node that
 * was away. Contents of clients are opaque here but for what they claim (inner addresses, networks, the name): two nodes
 * may have given one of these away at the same time; then the older claim keeps it, and the loser is written anew
 * (`settling.ts`). Everything that changes is said as "keep", for the disk of this node. In a group with a roster each entry is
 * signed by its writer, and others are taken from nobody. Sans-IO.
 * docs/PROTOCOL.md, "The book".
 */
import {
  clientToSign,
  compareVersions,
  decodeClient,
  encodeClient,
  type StoredClient,
  type Version,
} from "./book_record.ts";
import { BookSums, hashOf } from "./book_sums.ts";
import type { Entry } from "./bus.ts";
import { bytesOfHex, compareBytes } from "./bytes.ts";
import { type Claim, Claims } from "./claims.ts";
import type { SignatureFault, Signatures } from "./signatures.ts";
import { type BookTicketKey, keyRefusals, TicketKeyRing, ticketKeyName } from "./ticket_keys.ts";

export const CONTENT_LEN_MAX = 2048;
export const CLIENTS_MAX = 200_000;
export const TOMBSTONES_MAX = 20_000;
export const TOMBSTONE_MS = 30 * 86_400_000;
/**
 * Clocks of nodes are at most 5 s apart or are complained about. An entry from further ahead than this could not be
 * outdone by anybody whose clock is right, so it is not taken.
 */
export const FUTURE_MS = 300_000;
/**
 * Added to the stamp when a client is removed that this node has never heard of. The node that added it may have a clock that is
 * ahead of this one's, and the removal must be newer all the same.
 */
const UNHEARD_MS = 60_000;

export const bookRefusals = {
  malformed: "Not a record of the book, or under the name of another node.",
  too_long: "The record of a client is longer than 2048 bytes.",
  future: "A client of the book that was written more than 5 minutes from now.",
  address_taken: "Another client has this inner address, network or name.",
  clients_full: "200,000 clients are there.",
  unsigned: "A client of the book that no member of the roster has signed.",
  forged: "A client of the book in the name of a node that has not signed it.",
  ...keyRefusals,
} as const;
export type BookRefusal = keyof typeof bookRefusals;

export interface ClientEntry {
  /** 64 hex digits: the client's static key. */
  readonly clientKey: string;
  readonly version: Version;
  /** When it got the addresses that it has. */
  readonly claimed: Version;
  /** As it was put; undefined = removed. */
  readonly content: Uint8Array | undefined;
}

/** Several clients say that they have one thing. `others` is empty when that is over. */
export interface Conflict {
  /** An inner prefix, or a name behind "=". */
  readonly address: string;
  /** Client key of the oldest claim: it keeps the address. */
  readonly keeper: string;
  readonly others: readonly string[];
}

export type BookOutput =
  /** To the bus, sealed. */
  | { readonly kind: "put"; readonly entry: Entry }
  /** To the disk of this node, as `restore` takes it back; undefined: it is forgotten. */
  | { readonly kind: "keep"; readonly clientKey: string; readonly value: Uint8Array | undefined }
  | { readonly kind: "client"; readonly client: ClientEntry }
  | ({ readonly kind: "conflict" } & Conflict)
  /** `ticketKeys` changed. */
  | { readonly kind: "ticket_keys" };

export interface BookOptions {
  readonly node: number;
  /**
   * What a content claims: inner prefixes as canonical text ("10.9.0.2/32") and the name behind "=". Undefined when it is
   * none. Must not throw.
   */
  readonly claimsOf: (content: Uint8Array) => readonly string[] | undefined;
  /** Left out, or not on: the group has no roster. */
  readonly signatures?: Signatures | undefined;
}

interface Held extends StoredClient {
  readonly claims: readonly string[];
  /** Of the bytes of the entry, for comparison with other nodes. */
  readonly hash: number;
  /** The bus has this client in this node's own subtree. */
  own: boolean;
  /** In `#places`. */
  readonly place: number;
}

const STAMPS_PER_MS = 256;
const NOTHING: readonly string[] = [];
const CLIENT_KEY = /^[0-9a-f]{64}$/;
const keyOf = (clientKey: string): string => `c.${clientKey}`;

export class Book {
  readonly #options: BookOptions;
  readonly #clients = new Map<string, Held>();
  /** Client keys, each where it stays: what a node that begins fetches in pages. Free places are undefined. */
  readonly #places: (string | undefined)[] = [];
  readonly #freePlaces: number[] = [];
  /** Client keys of tombstones. */
  readonly #tombstones = new Set<string>();
  readonly #claims = new Claims();
  readonly #signatures: Signatures | undefined;
  readonly #ring: TicketKeyRing;
  /** Client keys of entries from this node's disk, or of a node that has another key now: `check` looks at their signatures. */
  readonly #unchecked = new Set<string>();
  /** Client keys of entries that were checked, and no member has signed them. */
  readonly #orphans = new Set<string>();
  /** For comparison with the books of other nodes. */
  readonly sums = new BookSums();

  constructor(options: BookOptions) {
    this.#options = options;
    this.#signatures = options.signatures?.areOn ? options.signatures : undefined;
    this.#ring = new TicketKeyRing(this.#signatures);
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
    if (client.version.stamp > (wallMs + FUTURE_MS) * STAMPS_PER_MS) return "future";
    const claims = client.content === undefined ? [] : this.#options.claimsOf(client.content);
    if (claims === undefined) return "malformed";
    if (known?.content === undefined && client.content !== undefined && this.#isFull()) return "clients_full";
    // Last: it costs most, and what is known or older costs nothing.
    const fault = this.#faultOf(clientKey, client);
    if (fault !== undefined) return fault;
    const value = encodeClient(client);
    // This node wrote it, and has lost its disk since.
    const isHome = client.version.node === this.#options.node;
    if (isHome && !own) out.push({ kind: "put", entry: { key: keyOf(clientKey), value } });
    else if (known?.own && !own) out.push({ kind: "put", entry: { key: keyOf(clientKey), value: undefined } });
    out.push({ kind: "keep", clientKey, value });
    this.#set(wallMs, clientKey, { ...client, claims, own: own || isHome }, value, out);
    return undefined;
  }

  /** An entry from this node's own disk, before anything else is told. It counts before `check`. False: it can't be read. */
  restore(wallMs: number, clientKey: string, value: Uint8Array, out: BookOutput[]): boolean {
    const client = decodeClient(value);
    const claims = client?.content === undefined ? [] : this.#options.claimsOf(client.content);
    if (client === undefined || claims === undefined || !CLIENT_KEY.test(clientKey)) return false;
    // Own ones are `own` again when the bus says so, or when it is told of them.
    this.#set(wallMs, clientKey, { ...client, claims, own: false }, value, out);
    if (this.#signatures !== undefined && this.#clients.has(clientKey)) this.#unchecked.add(clientKey);
    return true;
  }

  /** What `check` has still to look at, and what `adopt` would sign. */
  get unsigned(): { readonly unchecked: number; readonly orphans: number } {
    return { unchecked: this.#unchecked.size, orphans: this.#orphans.size };
  }

  /** These nodes are no members any more, or have another key: what they wrote is to be checked again. */
  doubt(nodes: ReadonlySet<number>): void {
    for (const [clientKey, { version }] of this.#clients)
      if (nodes.has(version.node)) {
        this.#orphans.delete(clientKey);
        this.#unchecked.add(clientKey);
      }
  }

  /** Looks at the signatures of some entries that this node has taken already. Its own that have none get one. */
  check(wallMs: number, max: number, out: BookOutput[]): void {
    let left = max;
    for (const clientKey of this.#unchecked) {
      if (left-- === 0) return;
      this.#unchecked.delete(clientKey);
      const held = this.#clients.get(clientKey)!;
      if (this.#faultOf(clientKey, held) === undefined) continue;
      if (held.version.node === this.#options.node) this.#sign(wallMs, clientKey, held, out);
      else this.#orphans.add(clientKey);
    }
  }

  /**
   * Signs some entries that no member has signed: those of a node that was put out, or that has not been here since there is a
   * roster. As little newer as can be: what anybody writes counts. Returns how many.
   */
  adopt(wallMs: number, max: number, out: BookOutput[]): number {
    let done = 0;
    for (const clientKey of this.#orphans) {
      if (done === max) break;
      done++;
      const held = this.#clients.get(clientKey)!;
      const version = { stamp: held.version.stamp + 1, node: this.#options.node };
      const claimed = held.content === undefined ? version : held.claimed;
      this.#sign(wallMs, clientKey, { ...held, version, claimed }, out);
    }
    return done;
  }

  /** An entry in this node's name, for bus and disk. */
  #sign(wallMs: number, clientKey: string, held: Held, out: BookOutput[]): void {
    const client = this.#signed(clientKey, held);
    const value = encodeClient(client);
    out.push({ kind: "keep", clientKey, value }, { kind: "put", entry: { key: keyOf(clientKey), value } });
    this.#set(wallMs, clientKey, { ...client, claims: held.claims, own: true }, value, out);
  }

  #signed(clientKey: string, client: StoredClient): StoredClient {
    const signature = this.#signatures?.sign("client", bytesOfHex(clientKey), clientToSign(client));
    return { ...client, signature };
  }

  #faultOf(clientKey: string, client: StoredClient): SignatureFault | undefined {
    const { version, signature } = client;
    return this.#signatures?.faultOf(version.node, signature, "client", bytesOfHex(clientKey), clientToSign(client));
  }

  /** Puts what this node wrote and the bus does not have: it has told all that it knows. */
  republish(out: BookOutput[]): void {
    for (const [clientKey, held] of this.#clients) {
      if (held.own || held.version.node !== this.#options.node) continue;
      held.own = true;
      out.push({ kind: "put", entry: { key: keyOf(clientKey), value: encodeClient(held) } });
    }
  }

  /**
   * Adds or changes a client; content undefined removes it, also one that was never heard of. A refusal changes nothing, and
   * so does `keep` when it throws: it is handed what this node's disk must have before the change counts. Without `keep`
   * the disk is told by and by, as of what others say.
   */
  putClient(
    wallMs: number,
    clientKey: string,
    content: Uint8Array | undefined,
    out: BookOutput[],
    keep?: (value: Uint8Array) => void,
  ): BookRefusal | undefined {
    const known = this.#clients.get(clientKey);
    if (content === undefined && known !== undefined && known.content === undefined) return undefined;
    if (content !== undefined && content.length > CONTENT_LEN_MAX) return "too_long";
    const claims = content === undefined ? [] : this.#options.claimsOf(content);
    if (claims === undefined || !CLIENT_KEY.test(clientKey)) return "malformed";
    if (known?.content === undefined && content !== undefined && this.#isFull()) return "clients_full";
    const takes = (claim: string) => !known?.claims.includes(claim) && this.keeperOf(claim) !== undefined;
    if (claims.some(takes)) return "address_taken";
    const isUnheard = content === undefined && known === undefined;
    const nowMs = Math.floor(wallMs) + (isUnheard ? UNHEARD_MS : 0);
    const stamp = Math.max(nowMs * STAMPS_PER_MS, known === undefined ? 0 : known.version.stamp + STAMPS_PER_MS);
    this.#write(wallMs, clientKey, { stamp, content, claims }, out, keep);
    return undefined;
  }

  /**
   * Writes a client anew that has lost something: as little newer as can be, so that whoever changes or removes it, also
   * without having heard of this, wins. Known to the disk by and by. Refusals as of `putClient`.
   */
  rewriteClient(wallMs: number, clientKey: string, content: Uint8Array, out: BookOutput[]): BookRefusal | undefined {
    const known = this.#clients.get(clientKey);
    const claims = this.#options.claimsOf(content);
    if (known?.content === undefined || claims === undefined) return "malformed";
    if (content.length > CONTENT_LEN_MAX) return "too_long";
    if (claims.some((claim) => (this.keeperOf(claim) ?? clientKey) !== clientKey)) return "address_taken";
    this.#write(wallMs, clientKey, { stamp: known.version.stamp + 1, content, claims }, out);
    return undefined;
  }

  #write(
    wallMs: number,
    clientKey: string,
    { stamp, content, claims }: { stamp: number; content: Uint8Array | undefined; claims: readonly string[] },
    out: BookOutput[],
    keep?: (value: Uint8Array) => void,
  ): void {
    const known = this.#clients.get(clientKey);
    const version = { stamp, node: this.#options.node };
    // A client that keeps its addresses keeps the age of its claim.
    const same = known?.content !== undefined && sameClaims(known.claims, claims);
    const claimed = same ? known.claimed : version;
    const client = this.#signed(clientKey, { version, claimed, content: content?.slice() });
    const value = encodeClient(client);
    if (keep === undefined) out.push({ kind: "keep", clientKey, value });
    else keep(value);
    out.push({ kind: "put", entry: { key: keyOf(clientKey), value } });
    this.#set(wallMs, clientKey, { ...client, claims, own: true }, value, out);
  }

  /** Puts everything again that the bus has in this node's own subtree. */
  reseal(out: BookOutput[]): void {
    for (const [clientKey, held] of this.#clients)
      if (held.own) out.push({ kind: "put", entry: { key: keyOf(clientKey), value: encodeClient(held) } });
    for (const key of this.#ring.ownKeys())
      out.push({ kind: "put", entry: { key: ticketKeyName(key.id), value: this.#ring.encode(key) } });
  }

  client(clientKey: string): ClientEntry | undefined {
    const held = this.#clients.get(clientKey);
    return held && entryOf(clientKey, held);
  }

  /** An entry as `told` takes it, removed ones included. */
  encoded(clientKey: string): Uint8Array | undefined {
    const held = this.#clients.get(clientKey);
    return held && encodeClient(held);
  }

  /** Hash of an entry, as `sums` has it. */
  hashOf(clientKey: string): number | undefined {
    return this.#clients.get(clientKey)?.hash;
  }

  /** Those that are not removed. */
  *clients(): IterableIterator<ClientEntry> {
    for (const [clientKey, held] of this.#clients) if (held.content !== undefined) yield entryOf(clientKey, held);
  }

  /** Clients that are not removed, and tombstones. */
  get size(): { readonly clients: number; readonly tombstones: number } {
    const tombstones = this.#tombstones.size;
    return { clients: this.#clients.size - tombstones, tombstones };
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

  /** Of all ticket keys, to compare them with those of another node. */
  ticketKeySum(wallMs: number): number {
    return this.encodedTicketKeys(wallMs).reduce((sum, value) => (sum + hashOf(value)) >>> 0, 0);
  }

  /** All ticket keys, as `toldKey` takes them. */
  encodedTicketKeys(wallMs: number): Uint8Array[] {
    return this.ticketKeys(wallMs).map((key) => this.#ring.encode(key));
  }

  /** Client key of the oldest claim of an address. */
  keeperOf(address: string): string | undefined {
    return this.#claims.keeperOf(address);
  }

  /** What a client claims and an older client keeps. */
  lostOf(clientKey: string): readonly string[] {
    if (!this.#claims.areContested) return NOTHING;
    const claims = this.#clients.get(clientKey)?.claims ?? NOTHING;
    return claims.filter((claim) => this.#claims.keeperOf(claim) !== clientKey);
  }

  /** All there are now. */
  conflicts(): Conflict[] {
    return this.#claims.conflicts();
  }

  /** A ticket key that this node made, or kept, and vouches for. */
  putTicketKey(wallMs: number, unsigned: BookTicketKey, out: BookOutput[]): BookRefusal | undefined {
    const key = this.#ring.signed(this.#options.node, unsigned);
    const result = this.#ring.add(wallMs, key, true, true);
    if (result === "known") return undefined;
    if (result !== "added") return result;
    out.push({ kind: "put", entry: { key: ticketKeyName(key.id), value: this.#ring.encode(key) } });
    out.push({ kind: "ticket_keys" });
    return undefined;
  }

  /** A node was put out by the roster of this version: ticket keys of before are over. */
  evicted(wallMs: number, roster: number, out: BookOutput[]): void {
    this.#ring.evicted(roster);
    this.sweep(wallMs, out);
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
    const result = this.#ring.add(wallMs, key, own, false);
    if (result === "expired" && own) out.push({ kind: "put", entry: { key: ticketKeyName(key.id), value: undefined } });
    if (result === "added") out.push({ kind: "ticket_keys" });
    return result === "added" || result === "known" ? undefined : result;
  }

  #isFull(): boolean {
    return this.#clients.size - this.#tombstones.size >= CLIENTS_MAX;
  }

  #set(
    wallMs: number,
    clientKey: string,
    changed: Omit<Held, "place" | "hash">,
    value: Uint8Array,
    out: BookOutput[],
  ): void {
    const before = this.#clients.get(clientKey);
    const { version, claimed, content, signature, claims, own } = changed;
    const place = before?.place ?? this.#freePlaces.pop() ?? this.#places.length;
    const hash = this.sums.replace(clientKey, before?.hash, value);
    const held = { version, claimed, content, signature, claims, hash, own, place };
    this.#places[place] = clientKey;
    this.#clients.set(clientKey, held);
    this.#tombstones.delete(clientKey);
    this.#unchecked.delete(clientKey);
    this.#orphans.delete(clientKey);
    // Who loses an address is told before who has it now.
    const claim: Claim = { clientKey, since: held.claimed };
    for (const conflict of this.#claims.replace(claim, before?.claims ?? [], held.claims))
      out.push({ kind: "conflict", ...conflict });
    out.push({ kind: "client", client: entryOf(clientKey, held) });
    if (held.content !== undefined) return;
    this.#tombstones.add(clientKey);
    this.#dropOldTombstone(wallMs, clientKey, out);
    if (this.#tombstones.size > TOMBSTONES_MAX) this.#dropTombstone(this.#oldestTombstone(), out);
  }

  /** The same one at every node, or nodes would tell each other of theirs for ever. */
  #oldestTombstone(): string {
    let [oldest] = this.#tombstones;
    for (const clientKey of this.#tombstones)
      if (compareClients(this.#clients.get(clientKey)!, this.#clients.get(oldest)!) < 0) oldest = clientKey;
    return oldest;
  }

  #dropOldTombstone(wallMs: number, clientKey: string, out: BookOutput[]): void {
    const { stamp } = this.#clients.get(clientKey)!.version;
    if (wallMs - stamp / STAMPS_PER_MS > TOMBSTONE_MS) this.#dropTombstone(clientKey, out);
  }

  #dropTombstone(clientKey: string, out: BookOutput[]): void {
    const { own, place, hash } = this.#clients.get(clientKey)!;
    this.sums.remove(clientKey, hash);
    out.push({ kind: "keep", clientKey, value: undefined });
    if (own) out.push({ kind: "put", entry: { key: keyOf(clientKey), value: undefined } });
    this.#places[place] = undefined;
    this.#freePlaces.push(place);
    this.#clients.delete(clientKey);
    this.#tombstones.delete(clientKey);
    this.#unchecked.delete(clientKey);
    this.#orphans.delete(clientKey);
  }
}

/**
 * Which of two is newer, as of numbers: by version; of equal ones, when no node that works makes two that differ, by bytes,
 * so that all nodes decide alike.
 */
const compareClients = (a: StoredClient, b: StoredClient): number =>
  compareVersions(a.version, b.version) || compareBytes(encodeClient(a), encodeClient(b));

const entryOf = (clientKey: string, { version, claimed, content }: Held): ClientEntry => {
  return { clientKey, version, claimed, content };
};

function sameClaims(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((claim) => b.includes(claim));
}

/**
 * Clients that were added over the API, on all nodes of a group: the group's book (cluster/book.ts) has them, with who wrote
 * what when, and this node's disk has all of the book. Here they are judged and made clients of this node. What a client
 * has lost to an older one (an address that both were given while their nodes could not hear each other) it does not have
 * here either; and when it is on this node to settle that, the client is written anew with an address of this node's part
 * of the pool. Clients of the file are the file's, on each node, and come before those of the book.
 */
import type { Clock } from "../../base/clock.ts";
import { AnyhopError } from "../../base/errors.ts";
import { formatAddress, parseAddress } from "../../base/ip.ts";
import type { Logger } from "../../base/log.ts";
import type { Conflict } from "../../cluster/book.ts";
import { decodeClient, encodeClient } from "../../cluster/book_record.ts";
import type { NewClient } from "../asked/control_port.ts";
import type { BookReport } from "../asked/group_view.ts";
import { type ClientBook, prefixesOf } from "../node/client_book.ts";
import {
  type Content,
  claimsOf,
  decodeContent,
  encodeContent,
  LOST_MAX,
  type Lost,
  nameClaim,
} from "../node/client_content.ts";
import type { ClientRecord, Store } from "../spec/ports.ts";
import { explainKey, parseKey } from "../text/keys/key_text.ts";
import { isSoundPublicKey } from "../text/keys/x25519.ts";
import type { NodeGroup, ReplicatedClients } from "./node_group.ts";

export interface SharedClientsPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly book: ClientBook;
  readonly store: Pick<Store, "book" | "changeBook" | "clients" | "changeClients">;
  /** Number of this node. */
  readonly node: number;
  readonly group: Pick<
    NodeGroup,
    "putClient" | "rewriteClient" | "restoreClient" | "clientEntry" | "clientKeys" | "lostOf"
  >;
  admit(client: ClientRecord): void;
  expel(publicKey: string): void;
  /** For log and events. */
  tell(event: string, message: string, subject: string): void;
}

/** In one commit; those of a pause at a time, so that packets and beats are not kept waiting. */
const WRITE_CLIENTS = 512;
const WRITE_PAUSE_MS = 250;
/** Ten seconds. */
const PAUSES_MAX = 40;
/** How long a settled conflict is shown, and how many. */
const SETTLED_MS = 86_400_000;
const SETTLED_MAX = 64;
/** Before this node writes a client anew that somebody of its file is in the way of. */
const FILE_WAIT_MS = 5000;
const FILE_STEP_MS = 500;
/** Refused ones that are shown. */
const REFUSED_SHOWN = 16;
const STAMPS_PER_MS = 256;
const FAMILIES = [4, 6] as const;
const NOTHING: readonly string[] = [];

interface Refused {
  readonly client: string;
  readonly why: string;
  readonly sinceMs: number;
}

export class SharedClients implements ReplicatedClients {
  readonly #use: SharedClientsPorts;
  /** Of the next write. */
  #timer: NodeJS.Timeout | undefined;
  /** Entries that other nodes wrote, not on disk yet. */
  readonly #unkept = new Map<string, Uint8Array | undefined>();
  /** Something was heard since the last pause. */
  #heard = false;
  #pauses = 0;
  /** The disk took no more the last time. */
  #full = false;
  /** Read for what they claim; until they are learnt. */
  readonly #read = new WeakMap<Uint8Array, Content>();
  /** By client key, those that can't come in here. */
  readonly #refused = new Map<string, Refused>();
  /** By client key, those that lost something lately, the oldest first. */
  readonly #settled = new Map<string, readonly Lost[]>();
  /** Whose turn it is in `learn`, which makes way for a client first. */
  readonly #learning = new Set<string>();
  /** Of clients that somebody of this node's file is in the way of: when they are written anew. */
  readonly #waits = new Map<string, NodeJS.Timeout>();
  /** What is claimed twice, since when. */
  readonly #contested = new Map<
    string,
    { readonly keeper: string; readonly others: readonly string[]; sinceMs: number }
  >();

  constructor(ports: SharedClientsPorts) {
    this.#use = ports;
  }

  /** Before the node serves: what was on disk counts. */
  start(): void {
    const { group, log, store } = this.#use;
    this.#adopt();
    for (const [clientKey, value] of store.book())
      if (!group.restoreClient(clientKey, value))
        log.error("book_unreadable", `An entry of the group's book can't be read and is left out: ${clientKey}.`);
    for (const clientKey of group.clientKeys()) this.learn(clientKey);
  }

  stop(): void {
    clearTimeout(this.#timer);
    for (const wait of this.#waits.values()) clearTimeout(wait);
    this.#keep(Number.POSITIVE_INFINITY);
  }

  /** On disk when it returns. Throws what `ClientBook.enter` throws, "outside", "group_refused" and "state_full". */
  add(wish: NewClient): ClientRecord {
    const { book, admit } = this.#use;
    const outside = book.outside(wish);
    if (outside !== undefined) throw new AnyhopError("bad_client", `${outside} ${OUTSIDE}.`);
    const client = book.enter(wish);
    try {
      this.#put(client.publicKey, encodeContent({ ...client, lost: [] }));
    } catch (error) {
      book.leave(client);
      throw error;
    }
    admit(client);
    return client;
  }

  /** On disk when it returns. Throws "unknown_client", "client_in_file" and "state_full". Returns who it was. */
  remove(name: string): ClientRecord {
    const { book, expel } = this.#use;
    const client = book.removable(name);
    this.#put(client.publicKey, undefined);
    book.leave(client);
    expel(client.publicKey);
    return client;
  }

  /**
   * Removes somebody with this key who is no client of this node: it has never heard of it, or can't let it in. Returns its
   * name in the book, or undefined. On disk when it returns. Throws "bad_client", "state_full".
   */
  removeKey(text: string): string | undefined {
    const key = parseKey(text);
    if (key === undefined || !isSoundPublicKey(key))
      throw new AnyhopError("bad_client", `The public key is none: ${explainKey(text)}.`);
    const publicKey = text.trim();
    const known = this.#use.group.clientEntry(hexOf(publicKey))?.content;
    this.#put(publicKey, undefined);
    this.#refused.delete(hexOf(publicKey));
    return known === undefined ? undefined : decodeContent(known)?.name;
  }

  /** The file was read again, and these have no room beside its clients. Those that had none before may have now. */
  reloaded(dropped: readonly string[]): void {
    for (const publicKey of dropped) {
      this.#use.expel(publicKey);
      this.learn(hexOf(publicKey));
    }
    for (const clientKey of [...this.#refused.keys()]) this.learn(clientKey);
  }

  report(): BookReport {
    const { clock } = this.#use;
    const now = clock.wallMs();
    const conflicts = [...this.#contested].map(([what, { keeper, others, sinceMs }]) => {
      return { what, keeper: this.#nameOf(keeper), losers: others.map((key) => this.#nameOf(key)), sinceMs };
    });
    const settled = [...this.#settled].flatMap(([clientKey, lost]) => {
      const loser = this.#nameOf(clientKey);
      const { addresses = NOTHING } = this.#use.book.byPublicKey(base64Of(clientKey)) ?? {};
      const lately = lost.filter(({ atMs }) => Math.abs(now - atMs) < SETTLED_MS);
      return lately.map(({ what, to, atMs }) => ({ what, keeper: to, loser, addresses, atMs }));
    });
    return { conflicts, settled, refused: [...this.#refused.values()].slice(0, REFUSED_SHOWN) };
  }

  // --- What the group tells (ReplicatedClients) ---

  claimsOf(content: Uint8Array): readonly string[] | undefined {
    const client = this.#decoded(content);
    return client && claimsOf(client);
  }

  /** Makes the client what the book says now, less what an older one has. */
  learn(clientKey: string): void {
    const { book, group, admit, expel } = this.#use;
    const entry = group.clientEntry(clientKey);
    const publicKey = base64Of(clientKey);
    const before = book.byPublicKey(publicKey);
    if (before?.origin === "file") return;
    const content = entry?.content === undefined ? undefined : this.#decoded(entry.content);
    if (entry?.content !== undefined) this.#read.delete(entry.content);
    this.#noteSettled(clientKey, content?.lost ?? []);
    const wanted = content && without(content, group.lostOf(clientKey), clientKey);
    if (before !== undefined && wanted !== undefined && isSame(before, wanted)) return;
    if (before !== undefined) book.leave(before);
    const client = wanted && this.#enter(clientKey, { publicKey, ...wanted }, entry!.claimed.stamp / STAMPS_PER_MS);
    if (wanted === undefined) this.#refused.delete(clientKey);
    // It has lost its only address and gets another one soon: until then its session goes on, and asking is of no use.
    if (before !== undefined && client?.addresses.length === 0) return;
    // Its session has the old addresses: it ends, and the client begins anew with the new ones.
    const goesOn =
      client !== undefined && before?.addresses.join() === client.addresses.join() && before.psk === client.psk;
    if (before !== undefined && !goesOn) expel(publicKey);
    if (client !== undefined) admit(client);
  }

  /** Losers first, so that who keeps it finds it free. */
  conflict({ address, keeper, others }: Conflict): void {
    const { log, clock } = this.#use;
    for (const clientKey of others) this.learn(clientKey);
    this.learn(keeper);
    const before = this.#contested.get(address);
    this.#contested.delete(address);
    if (others.length === 0) return;
    this.#contested.set(address, { keeper, others, sinceMs: before?.sinceMs ?? clock.wallMs() });
    if (before !== undefined) return;
    const names = others.map((clientKey) => this.#nameOf(clientKey)).join(", ");
    const text = `${textOf(address)} was given to several clients at different nodes: ${this.#nameOf(keeper)} keeps it`;
    log.warning("client_conflict", `${text}, ${names} will be given another one.`);
  }

  /** It is on this node to write the client anew, without what it has lost. */
  settle(clientKey: string): void {
    const { group, book, log, clock } = this.#use;
    const atMs = Math.floor(clock.wallMs());
    const entry = group.clientEntry(clientKey);
    const content = entry?.content && decodeContent(entry.content);
    if (content === undefined) return;
    const keepers = group.lostOf(clientKey).map((what): Lost => ({ what, to: this.#keeperOf(what), atMs }));
    for (const [what, { name, added }] of book.obstacles({ publicKey: base64Of(clientKey), ...content }))
      if (added === undefined) keepers.push({ what, to: name, atMs });
    const lost = keepers.map(({ what }) => what);
    if (lost.length === 0) return;
    try {
      const kept = without(content, lost, clientKey);
      const families = FAMILIES.filter((family) =>
        content.addresses.some((text) => !kept.addresses.includes(text) && parseAddress(text)!.family === family),
      );
      const fresh = families.length === 0 ? [] : book.takeAddresses(families);
      const addresses = [...kept.addresses, ...fresh];
      const next = { ...kept, addresses, lost: [...content.lost, ...keepers].slice(-LOST_MAX) };
      // Not waited for: should it be lost, it is decided again.
      group.rewriteClient(clientKey, encodeContent(next));
      const gone = keepers.map(({ what, to }) => `${textOf(what)} belongs to ${to}`).join(", ");
      this.#use.tell("client_conflict", `Client ${next.name} has ${addresses.join(", ")} now: ${gone}`, next.name);
    } catch (error) {
      if (!(error instanceof AnyhopError)) throw error;
      log.error("client_conflict", `The client ${content.name} can't be given another address: ${error.message}`);
    }
  }

  /** For the disk, by and by. */
  keep(clientKey: string, value: Uint8Array | undefined): void {
    this.#unkept.set(clientKey, value);
    this.#heard = true;
    this.#timer ??= setTimeout(() => this.#write(), WRITE_PAUSE_MS);
  }

  // --- Parts of these ---

  /** What was added when this node was on its own. */
  #adopt(): void {
    const { store, node } = this.#use;
    const alone = store.clients().filter(({ origin }) => origin === "api");
    if (alone.length === 0) return;
    const known = new Set(store.book().map(([clientKey]) => clientKey));
    const entries = alone.map((client): [string, Uint8Array] => {
      const version = { stamp: Math.floor(client.createdMs) * STAMPS_PER_MS, node };
      const content = encodeContent({ ...client, lost: [] });
      return [hexOf(client.publicKey), encodeClient({ version, claimed: version, content })];
    });
    store.changeBook(new Map(entries.filter(([clientKey]) => !known.has(clientKey))));
    store.changeClients(
      [],
      alone.map(({ name }) => name),
    );
  }

  /** Durable when it returns. */
  #put(publicKey: string, content: Uint8Array | undefined): void {
    const { group, store } = this.#use;
    const clientKey = hexOf(publicKey);
    group.putClient(clientKey, content, (value) => {
      store.changeBook(new Map([[clientKey, value]]));
      this.#unkept.delete(clientKey);
    });
  }

  /** Undefined: it can't come in here, which is said. */
  #enter(clientKey: string, wish: Content & { publicKey: string }, createdMs: number): ClientRecord | undefined {
    const { book } = this.#use;
    this.#makeWay(clientKey, wish);
    try {
      const outside = book.outside(wish);
      if (outside !== undefined) throw new AnyhopError("bad_client", `${outside} ${OUTSIDE}.`);
      // Who has lost its address gets one from the node that settles that, not by chance from each node another.
      const client = book.enter(wish, Math.floor(createdMs), false);
      this.#refused.delete(clientKey);
      return client;
    } catch (error) {
      if (!(error instanceof AnyhopError)) throw error;
      this.#refuse(clientKey, wish.name, error.message);
      return undefined;
    }
  }

  /** Others may have here still what the book says is this client's; for those of the file it is written anew. */
  #makeWay(clientKey: string, wish: Content & { publicKey: string }): void {
    const { book, group, node } = this.#use;
    this.#learning.add(clientKey);
    for (const { added } of book.obstacles(wish).values()) {
      const other = added && hexOf(added.publicKey);
      if (other !== undefined && !this.#learning.has(other)) this.learn(other);
      if (other !== undefined || this.#waits.has(clientKey)) continue;
      // Its writer first, if it has the same file; then one node after the other.
      const isOwn = group.clientEntry(clientKey)?.version.node === node;
      const settle = () => {
        this.#waits.delete(clientKey);
        this.settle(clientKey);
      };
      this.#waits.set(clientKey, setTimeout(settle, isOwn ? 0 : FILE_WAIT_MS + node * FILE_STEP_MS));
    }
    this.#learning.delete(clientKey);
  }

  #refuse(clientKey: string, client: string, why: string): void {
    const before = this.#refused.get(clientKey);
    this.#refused.set(clientKey, { client, why, sinceMs: before?.sinceMs ?? this.#use.clock.wallMs() });
    if (before?.why === why) return;
    this.#use.log.error("client_refused", `The client ${client} of the group can't come in here: ${why}`);
  }

  #noteSettled(clientKey: string, lost: readonly Lost[]): void {
    if (lost.length === 0 && !this.#settled.has(clientKey)) return;
    this.#settled.delete(clientKey);
    if (lost.length === 0) return;
    if (this.#settled.size >= SETTLED_MAX) this.#settled.delete(this.#settled.keys().next().value!);
    this.#settled.set(clientKey, lost);
  }

  /** The book asks for its claims first, and then says that it counts. */
  #decoded(content: Uint8Array): Content | undefined {
    const known = this.#read.get(content);
    if (known !== undefined) return known;
    const client = decodeContent(content);
    if (client !== undefined) this.#read.set(content, client);
    return client;
  }

  #nameOf(clientKey: string): string {
    const publicKey = base64Of(clientKey);
    const known = this.#use.book.byPublicKey(publicKey)?.name;
    if (known !== undefined) return known;
    const content = this.#use.group.clientEntry(clientKey)?.content;
    return (content && decodeContent(content)?.name) ?? publicKey;
  }

  #keeperOf(what: string): string {
    const contested = this.#contested.get(what);
    return contested === undefined ? "another" : this.#nameOf(contested.keeper);
  }

  /** When no more have come for a while, or it goes on for long: not while a snapshot keeps this node busy. */
  #write(): void {
    const wait = this.#heard && this.#pauses < PAUSES_MAX;
    this.#heard = false;
    this.#pauses = wait ? this.#pauses + 1 : 0;
    const again = wait || this.#keep(WRITE_CLIENTS);
    this.#timer = again ? setTimeout(() => this.#write(), WRITE_PAUSE_MS) : undefined;
  }

  /** Writes at most so many. True: there are more. */
  #keep(max: number): boolean {
    const entries = new Map<string, Uint8Array | undefined>();
    for (const [clientKey, value] of this.#unkept) {
      if (entries.size === max) break;
      entries.set(clientKey, value);
    }
    try {
      if (entries.size > 0) this.#use.store.changeBook(entries);
      for (const clientKey of entries.keys()) this.#unkept.delete(clientKey);
      this.#full = false;
      return this.#unkept.size > 0;
    } catch (error) {
      if (!(error instanceof AnyhopError)) throw error;
      if (!this.#full)
        this.#use.log.error("state_full", `${error.message} Clients of other nodes are not remembered over a restart.`);
      this.#full = true;
      return true;
    }
  }
}

const OUTSIDE = "lies neither in pool nor in networks of [node]";

/** Prefixes of the clients in the book of a disk: nobody new in the file is given one of them. */
export function prefixesOfBook(store: Pick<Store, "book">): string[] {
  return store.book().flatMap(([, value]) => {
    const bytes = decodeClient(value)?.content;
    const content = bytes && decodeContent(bytes);
    return content === undefined ? [] : prefixesOf(content);
  });
}

/** The node is on its own from now on: clients of the group stay its clients. */
export function leaveGroup(store: Pick<Store, "book" | "changeBook" | "clients" | "changeClients">): void {
  const entries = store.book();
  if (entries.length === 0) return;
  const names = new Set(store.clients().map(({ name }) => name));
  const clients = entries.flatMap(([clientKey, value]): ClientRecord[] => {
    const client = decodeClient(value);
    const content = client?.content && decodeContent(client.content);
    if (content === undefined || names.has(content.name)) return [];
    names.add(content.name);
    const { name, psk, addresses, prefixes, modes } = content;
    const createdMs = Math.floor(client!.claimed.stamp / STAMPS_PER_MS);
    return [{ name, publicKey: base64Of(clientKey), psk, addresses, prefixes, modes, origin: "api", createdMs }];
  });
  store.changeClients(clients, []);
  store.changeBook(new Map(entries.map(([clientKey]) => [clientKey, undefined])));
}

const hexOf = (base64: string): string => Buffer.from(base64, "base64").toString("hex");
const base64Of = (hex: string): string => Buffer.from(hex, "hex").toString("base64");

/** For people: "10.9.0.3/32", or "the name anna". */
const textOf = (claim: string): string => (claim.startsWith("=") ? `the name ${claim.slice(1)}` : claim);

/** A client less what it has lost. Without its name it has another one that stands for its key, the same at each node. */
function without(content: Content, lost: readonly string[], clientKey: string): Content {
  if (lost.length === 0) return content;
  const gone = new Set(lost);
  const addresses = content.addresses.filter((text) => {
    const { w0, w1, w2, w3, family } = parseAddress(text)!;
    return !gone.has(`${formatAddress(w0, w1, w2, w3)}/${family === 4 ? 32 : 128}`);
  });
  const prefixes = content.prefixes.filter((prefix) => !gone.has(prefix));
  const isNamed = !gone.has(nameClaim(content.name));
  return { ...content, addresses, prefixes, name: isNamed ? content.name : aliasOf(content.name, clientKey) };
}

const NAME_MAX = 64;
function aliasOf(name: string, clientKey: string): string {
  const mark = `-${clientKey.slice(0, 8)}`;
  return `${name.slice(0, NAME_MAX - mark.length)}${mark}`;
}

const isSame = (a: ClientRecord, b: Content): boolean =>
  a.name === b.name &&
  a.psk === b.psk &&
  a.addresses.join() === b.addresses.join() &&
  a.prefixes.join() === b.prefixes.join() &&
  a.modes.join() === b.modes.join();

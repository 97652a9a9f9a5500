/**
 * Clients that were added over the API, on all nodes of a group: what is added or removed here goes to the others, and
 * what they say goes into the client book of this node. Clients of the file are the file's, on each node.
 */
import { AnyhopError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { type ClientBook, prefixesOf } from "./client_book.ts";
import type { Mode } from "./instance.ts";
import type { NodeGroup, ReplicatedClients } from "./node_group.ts";
import type { ClientRecord } from "./ports.ts";

export interface SharedClientsPorts {
  readonly log: Logger;
  readonly book: ClientBook;
  readonly group: Pick<NodeGroup, "putClient" | "hasClient">;
  admit(client: ClientRecord): void;
  expel(publicKey: string): void;
}

/** In one commit; those of a pause at a time, so that packets and beats are not kept waiting. */
const WRITE_CLIENTS = 512;
const WRITE_PAUSE_MS = 250;
/** Ten seconds. */
const PAUSES_MAX = 40;

/** The key stands in the name of the entry. */
type Content = Pick<ClientRecord, "name" | "psk" | "addresses" | "prefixes"> & { readonly modes: readonly Mode[] };

export class SharedClients implements ReplicatedClients {
  readonly #use: SharedClientsPorts;
  /** Of the next write. */
  #timer: NodeJS.Timeout | undefined;
  /** A client was learnt since the last pause. */
  #heard = false;
  #pauses = 0;
  /** The disk took no more the last time. */
  #full = false;
  /** Read for their addresses; until they are learnt. */
  readonly #read = new WeakMap<Uint8Array, Content>();

  constructor(ports: SharedClientsPorts) {
    this.#use = ports;
  }

  /** Throws AnyhopError "group_refused". */
  added(client: ClientRecord): void {
    this.#use.group.putClient(hexOf(client.publicKey), encode(client));
  }

  removed(client: ClientRecord): void {
    this.#use.group.putClient(hexOf(client.publicKey), undefined);
  }

  addressesOf(content: Uint8Array): readonly string[] | undefined {
    const client = this.#decoded(content);
    return client && prefixesOf(client);
  }

  learn(clientKey: string, content: Uint8Array | undefined): void {
    const { book, log, admit } = this.#use;
    const publicKey = Buffer.from(clientKey, "hex").toString("base64");
    if (content === undefined) {
      this.#forget(publicKey);
      return;
    }
    const client = this.#decoded(content);
    this.#read.delete(content);
    if (client === undefined) return;
    const before = book.byPublicKey(publicKey);
    if (before?.origin === "file" || (before !== undefined && sameContent(before, client))) return;
    if (before !== undefined) this.#forget(publicKey);
    try {
      admit(book.learn({ publicKey, ...client }));
    } catch (error) {
      // Refused here, for a reason that a person must see: a name or an address that this node's file gives to another.
      log.error(
        "client_conflict",
        `The client ${client.name} of another node can't come in here: ${(error as Error).message}`,
      );
      return;
    }
    this.#heard = true;
    this.#timer ??= setTimeout(() => this.#write(), WRITE_PAUSE_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#keep(Number.POSITIVE_INFINITY);
  }

  /** The snapshot of the engine is here: what only this node knows is told to the others. */
  caughtUp(): void {
    const { book, group } = this.#use;
    for (const client of book.list())
      if (client.origin === "api" && !group.hasClient(hexOf(client.publicKey))) this.added(client);
  }

  /** The book asks for its addresses first, and then says that it counts. */
  #decoded(content: Uint8Array): Content | undefined {
    const known = this.#read.get(content);
    if (known !== undefined) return known;
    const client = decode(content);
    if (client !== undefined) this.#read.set(content, client);
    return client;
  }

  /** When no more have come for a while, or it goes on for long: not while a snapshot keeps this node busy. */
  #write(): void {
    const wait = this.#heard && this.#pauses < PAUSES_MAX;
    this.#heard = false;
    this.#pauses = wait ? this.#pauses + 1 : 0;
    const again = wait || this.#keep(WRITE_CLIENTS);
    this.#timer = again ? setTimeout(() => this.#write(), WRITE_PAUSE_MS) : undefined;
  }

  /** True: there is more to write. */
  #keep(max: number): boolean {
    try {
      const more = this.#use.book.writeLearnt(max);
      this.#full = false;
      return more;
    } catch (error) {
      if (!(error instanceof AnyhopError)) throw error;
      if (!this.#full)
        this.#use.log.error("state_full", `${error.message} Clients of other nodes are not remembered over a restart.`);
      this.#full = true;
      return true;
    }
  }

  #forget(publicKey: string): void {
    const client = this.#use.book.byPublicKey(publicKey);
    if (client?.origin !== "api") return;
    this.#use.book.remove(client.name);
    this.#use.expel(publicKey);
  }
}

const hexOf = (base64: string): string => Buffer.from(base64, "base64").toString("hex");

const contentOf = ({ name, psk, addresses, prefixes, modes }: Content): Content => {
  return { name, psk, addresses, prefixes, modes };
};

const sameContent = (a: Content, b: Content) => JSON.stringify(contentOf(a)) === JSON.stringify(contentOf(b));

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const encode = (client: ClientRecord) => encoder.encode(JSON.stringify(contentOf(client)));

/** Undefined: not what `encode` makes. The book judges the values. */
function decode(bytes: Uint8Array): Content | undefined {
  try {
    const { name, psk, addresses, prefixes, modes } = JSON.parse(decoder.decode(bytes));
    const isText = (value: unknown) => typeof value === "string";
    const isList = (value: unknown) => Array.isArray(value) && value.every(isText);
    const isPsk = psk === undefined || isText(psk);
    if (!isText(name) || !isPsk || ![addresses, prefixes, modes].every(isList)) return undefined;
    return { name, psk, addresses, prefixes, modes };
  } catch {
    return undefined;
  }
}

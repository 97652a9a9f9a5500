/**
 * Clients that were added over the API, on all nodes of a group: what is added or removed here goes to the others, and
 * what they say goes into the client book of this node. Clients of the file are the file's, on each node.
 */
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

type Content = Pick<ClientRecord, "name" | "publicKey" | "psk" | "addresses" | "prefixes" | "modes">;

export class SharedClients implements ReplicatedClients {
  readonly #use: SharedClientsPorts;

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
    const client = decode(content);
    return client && prefixesOf(client);
  }

  learn(clientKey: string, content: Uint8Array | undefined): void {
    const { book, log } = this.#use;
    if (content === undefined) {
      this.#forget(Buffer.from(clientKey, "hex").toString("base64"));
      return;
    }
    const client = decode(content);
    if (client === undefined) return;
    const before = book.byPublicKey(client.publicKey);
    if (before?.origin === "file" || (before !== undefined && sameContent(before, client))) return;
    if (before !== undefined) this.#forget(client.publicKey);
    try {
      this.#use.admit(book.add(client));
    } catch (error) {
      // Refused here, for a reason that a person must see: a name or an address that this node's file gives to another.
      log.error(
        "client_conflict",
        `The client ${client.name} of another node can't come in here: ${(error as Error).message}`,
      );
    }
  }

  /** The snapshot of the engine is here: what only this node knows is told to the others. */
  caughtUp(): void {
    const { book, group } = this.#use;
    for (const client of book.list())
      if (client.origin === "api" && !group.hasClient(hexOf(client.publicKey))) this.added(client);
  }

  #forget(publicKey: string): void {
    const client = this.#use.book.byPublicKey(publicKey);
    if (client?.origin !== "api") return;
    this.#use.book.remove(client.name);
    this.#use.expel(publicKey);
  }
}

const hexOf = (base64: string): string => Buffer.from(base64, "base64").toString("hex");

const contentOf = ({ name, publicKey, psk, addresses, prefixes, modes }: Content): Content => {
  return { name, publicKey, psk, addresses, prefixes, modes };
};

const sameContent = (a: Content, b: Content) => JSON.stringify(contentOf(a)) === JSON.stringify(contentOf(b));

const encode = (client: ClientRecord) => new TextEncoder().encode(JSON.stringify(contentOf(client)));

/** Undefined: not what `encode` makes. The book judges the values. */
function decode(bytes: Uint8Array): (Content & { readonly modes: readonly Mode[] }) | undefined {
  try {
    const { name, publicKey, psk, addresses, prefixes, modes } = JSON.parse(new TextDecoder().decode(bytes));
    const isText = (value: unknown) => typeof value === "string";
    const isList = (value: unknown) => Array.isArray(value) && value.every(isText);
    const isPsk = psk === undefined || isText(psk);
    if (!isText(name) || !isText(publicKey) || !isPsk || ![addresses, prefixes, modes].every(isList)) return undefined;
    return { name, publicKey, psk, addresses, prefixes, modes };
  } catch {
    return undefined;
  }
}

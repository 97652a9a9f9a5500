/**
 * Who may come: the clients of the file and those that were added while running, in the store, with their inner
 * addresses. Decides names, keys and addresses that are taken; knows nothing of sessions. Every change of this
 * node is on disk before it counts.
 */
import type { Clock } from "../base/clock.ts";
import { AnyhopError } from "../base/errors.ts";
import { formatAddress, parseAddress } from "../base/ip.ts";
import { isName, NAME_RULE } from "../base/names.ts";
import { overlap, parsePrefix } from "../base/prefix.ts";
import { AddressPool } from "./address_pool.ts";
import { readPrefix } from "./address_text.ts";
import type { NewClient } from "./control_port.ts";
import type { NodeSpec } from "./instance.ts";
import { explainKey, formatKey, parseKey } from "./keys/key_text.ts";
import { isSoundPublicKey } from "./keys/x25519.ts";
import type { ClientRecord, Store } from "./ports.ts";

/** Clients of one node; a record takes about 300 bytes of memory. */
const CLIENTS_MAX = 200_000;

/** "10.9.0.2" to "10.9.0.2/32"; canonical text in, canonical text out, without parsing. */
const hostPrefix = (address: string): string => `${address}/${address.includes(":") ? 128 : 32}`;

/** Parts that most records have in common, once for all of them. */
const NO_PREFIXES: readonly string[] = [];
const TUNNEL_ONLY: ClientRecord["modes"] = ["tunnel"];
function slim(record: ClientRecord): ClientRecord {
  const modes = record.modes.length === 1 && record.modes[0] === "tunnel" ? TUNNEL_ONLY : record.modes;
  const { name, publicKey, psk, addresses, origin, createdMs } = record;
  const prefixes = record.prefixes.length === 0 ? NO_PREFIXES : record.prefixes;
  // All named, because V8 keeps what is spread in two objects.
  return { name, publicKey, psk, addresses, prefixes, modes, origin, createdMs };
}

/**
 * What a client has, as names in `#owners`: addresses as the very texts of its record, which cost nothing there, and
 * prefixes, those of a single address without their length.
 */
const ownedBy = ({ addresses, prefixes }: Pick<ClientRecord, "addresses" | "prefixes">): Iterable<string> =>
  prefixes.length === 0 ? addresses : new Set([...addresses, ...prefixes.map(ownedName)]);
const ownedName = (prefix: string): string => {
  const [address] = prefix.split("/");
  return hostPrefix(address) === prefix ? address : prefix;
};

/** Who has a prefix: a client, or what is not one. */
type Owner = ClientRecord | { readonly tunnel: string } | "device";
const nameOwner = (owner: Owner): string => {
  if (owner === "device") return "the device";
  return "tunnel" in owner ? `tunnel ${owner.tunnel}` : `client ${owner.name}`;
};

export class ClientBook {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #byName = new Map<string, ClientRecord>();
  readonly #byKey = new Map<string, ClientRecord>();
  readonly #owners = new Map<string, Owner>();
  #pool = new AddressPool([]);
  #filePsks = new Map<string, Uint8Array | undefined>();
  #sorted: ClientRecord[] | undefined;
  /** Learnt and not on disk yet, by name. */
  readonly #unwritten = new Map<string, ClientRecord>();
  #groupKey = "";

  /** Throws AnyhopError when file and store contradict each other. */
  constructor(spec: NodeSpec, store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
    this.load(spec);
  }

  /** In the order of names. */
  list(): readonly ClientRecord[] {
    this.#sorted ??= [...this.#byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    return this.#sorted;
  }

  /** Of `list`, the first `limit` with names behind `after`. */
  page(after: string, limit: number): readonly ClientRecord[] {
    const all = this.list();
    let low = 0;
    for (let high = all.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (all[middle].name > after) high = middle;
      else low = middle + 1;
    }
    return all.slice(low, low + limit);
  }

  get(name: string): ClientRecord | undefined {
    return this.#byName.get(name);
  }

  byPublicKey(publicKey: string): ClientRecord | undefined {
    return this.#byKey.get(publicKey);
  }

  /** The pre-shared key of a client, from the file or the store. */
  pskOf(client: ClientRecord): Uint8Array | undefined {
    if (client.psk !== undefined) return parseKey(client.psk);
    return this.#filePsks.get(client.name);
  }

  /**
   * Takes the clients of a file: those that are new get addresses, those that are gone are forgotten, and so is who was
   * added by hand under the same name. Throws and changes nothing when a key or an address is taken.
   */
  load(spec: NodeSpec): void {
    this.writeLearnt(Number.POSITIVE_INFINITY);
    const stored = this.#store.clients().map(slim);
    const inFile = new Map(spec.clients.map((client) => [client.name, client]));
    const kept = stored.filter(({ origin, name }) => origin === "api" && !inFile.has(name));
    const earlier = new Map(stored.map((client) => [client.name, client]));
    const pool = new AddressPool(spec.pool);
    for (const { routes } of spec.instance.tunnels) for (const route of routes ?? []) pool.reserve(route);
    const owners = new Map<string, Owner>();
    for (const text of spec.instance.device.addresses) {
      const own = hostPrefix(text.split("/")[0]);
      pool.reserve(own);
      owners.set(ownedName(own), "device");
    }
    for (const { name, routes } of spec.instance.tunnels)
      for (const route of routes ?? []) owners.set(ownedName(route), { tunnel: name });
    // What was given before is taken first, so that nobody new gets it.
    const settled: ClientRecord[] = [...kept];
    const waiting: ClientRecord[] = [];
    for (const client of spec.clients) {
      const before = earlier.get(client.name);
      const record: ClientRecord = {
        name: client.name,
        publicKey: client.publicKey,
        psk: undefined,
        addresses: client.addresses.length > 0 ? client.addresses : stillInPool(before, spec.pool),
        prefixes: client.prefixes,
        modes: client.modes,
        origin: "file",
        createdMs: before?.createdMs ?? this.#clock.wallMs(),
      };
      (record.addresses.length > 0 ? settled : waiting).push(record);
    }
    const keys = new Map<string, ClientRecord>();
    for (const client of settled) this.#claim(client, pool, owners, keys);
    const records = [...settled];
    for (const client of waiting) {
      const record = { ...client, addresses: pool.take() };
      this.#claim(record, pool, owners, keys);
      records.push(record);
    }
    const present = new Set(records.map(({ name }) => name));
    const gone = stored.filter(({ name }) => !present.has(name));
    const changed = records.filter((record) => JSON.stringify(record) !== JSON.stringify(earlier.get(record.name)));
    if (gone.length + changed.length > 0)
      this.#store.changeClients(
        changed,
        gone.map(({ name }) => name),
      );
    this.#groupKey = formatKey(spec.publicKey);
    this.#filePsks = new Map(spec.clients.map(({ name, psk }) => [name, psk]));
    this.#sorted = undefined;
    this.#pool = pool;
    replace(
      this.#byName,
      records.map((record) => [record.name, record]),
    );
    replace(this.#byKey, keys);
    replace(this.#owners, owners);
  }

  /** Throws AnyhopError "bad_client", "client_exists", "key_taken", "address_taken", "pool_exhausted", "no_pool". */
  add(wish: NewClient): ClientRecord {
    const client = this.#enter(wish);
    try {
      this.#store.changeClients([client], []);
    } catch (error) {
      this.#leave(client);
      throw error;
    }
    return client;
  }

  /**
   * A client that another node has added: it is on the disk of that node and with the engine, so it counts here before
   * `writeLearnt` has it on this node's disk. A joining node hears of 100,000, and a commit takes 5 to 30 ms. Throws what
   * `add` throws.
   */
  learn(wish: NewClient): ClientRecord {
    const client = this.#enter(wish);
    this.#unwritten.set(client.name, client);
    return client;
  }

  /** Writes at most so many learnt clients. True: there are more. Throws AnyhopError "state_full" and keeps them. */
  writeLearnt(max: number): boolean {
    const clients: ClientRecord[] = [];
    for (const client of this.#unwritten.values()) {
      if (clients.length === max) break;
      clients.push(client);
    }
    if (clients.length > 0) this.#store.changeClients(clients, []);
    for (const { name } of clients) this.#unwritten.delete(name);
    return this.#unwritten.size > 0;
  }

  /** Throws AnyhopError "unknown_client" or "client_in_file". Returns who it was. */
  remove(name: string): ClientRecord {
    const client = this.#byName.get(name);
    if (client === undefined) throw new AnyhopError("unknown_client", `There is no client ${name}.`);
    if (client.origin === "file")
      throw new AnyhopError(
        "client_in_file",
        `The client ${name} is in the configuration file: remove its [[client]] there, then run anyhop reload.`,
      );
    this.#store.changeClients([], [name]);
    this.#leave(client);
    return client;
  }

  /** In memory only. Throws what `add` throws, and changes nothing then. */
  #enter(wish: NewClient): ClientRecord {
    const publicKey = this.#judge(wish);
    const record: ClientRecord = {
      name: wish.name,
      publicKey,
      psk: wish.psk === undefined ? undefined : wish.psk.trim(),
      addresses: readAddresses(wish.addresses),
      prefixes: readPrefixes(wish.prefixes),
      modes: [...wish.modes],
      origin: "api",
      createdMs: this.#clock.wallMs(),
    };
    for (const name of ownedBy(record)) refuseOwned(name, this.#owners);
    const whole = slim(record.addresses.length > 0 ? record : { ...record, addresses: this.#pool.take() });
    this.#claim(whole, this.#pool, this.#owners, this.#byKey);
    this.#byName.set(whole.name, whole);
    this.#sorted = undefined;
    return whole;
  }

  #leave(client: ClientRecord): void {
    this.#byName.delete(client.name);
    this.#unwritten.delete(client.name);
    this.#sorted = undefined;
    this.#byKey.delete(client.publicKey);
    for (const name of ownedBy(client)) this.#owners.delete(name);
    for (const prefix of prefixesOf(client)) this.#pool.release(prefix);
  }

  /** The canonical public key; throws what is wrong with name and keys. */
  #judge({ name, publicKey, psk }: NewClient): string {
    if (!isName(name)) throw new AnyhopError("bad_client", `The name of a client ${NAME_RULE}.`);
    if (this.#byName.has(name))
      throw new AnyhopError(
        "client_exists",
        `There is already a client ${name}; remove it first, or take another name.`,
      );
    if (this.#byName.size >= CLIENTS_MAX)
      throw new AnyhopError("too_many", `There are already ${CLIENTS_MAX} clients, which is the most.`);
    const key = parseKey(publicKey);
    if (key === undefined) throw new AnyhopError("bad_client", `The public key is none: ${explainKey(publicKey)}.`);
    if (!isSoundPublicKey(key)) throw new AnyhopError("bad_client", "The public key is a point of small order.");
    if (psk !== undefined && parseKey(psk) === undefined)
      throw new AnyhopError("bad_client", `The pre-shared key is none: ${explainKey(psk)}.`);
    const text = publicKey.trim();
    if (text === this.#groupKey) throw new AnyhopError("key_taken", "This public key is the key of the group itself.");
    const other = this.#byKey.get(text);
    if (other !== undefined)
      throw new AnyhopError("key_taken", `The client ${other.name} already has this public key.`);
    return text;
  }

  #claim(client: ClientRecord, pool: AddressPool, owners: Map<string, Owner>, keys: Map<string, ClientRecord>): void {
    const other = keys.get(client.publicKey);
    if (other !== undefined)
      throw new AnyhopError("key_taken", `The clients ${other.name} and ${client.name} have the same public key.`);
    for (const name of ownedBy(client)) {
      refuseOwned(name, owners);
      owners.set(name, client);
    }
    for (const prefix of prefixesOf(client)) pool.reserve(prefix);
    keys.set(client.publicKey, client);
  }
}

/** Inner addresses and networks of a client, as prefixes. */
export function prefixesOf({ addresses, prefixes }: Pick<ClientRecord, "addresses" | "prefixes">): string[] {
  const hosts = addresses.map(hostPrefix);
  return hosts.length < 2 && prefixes.length === 0 ? hosts : [...new Set([...hosts, ...prefixes])];
}

function refuseOwned(name: string, owners: ReadonlyMap<string, Owner>): void {
  const owner = owners.get(name);
  const prefix = name.includes("/") ? name : hostPrefix(name);
  if (owner !== undefined) throw new AnyhopError("address_taken", `${prefix} already belongs to ${nameOwner(owner)}.`);
}

/** What a client was given before, unless the pool is another one now. */
function stillInPool(before: ClientRecord | undefined, pool: readonly string[]): readonly string[] {
  const prefixes = pool.map((text) => parsePrefix(text)!);
  const families = new Set(prefixes.map(({ family }) => family));
  const addresses = before?.addresses ?? [];
  const inside = addresses.filter((address) => prefixes.some((p) => overlap(p, parsePrefix(address)!)));
  return inside.length === addresses.length && inside.length === families.size ? addresses : [];
}

function readAddresses(list: readonly string[]): string[] {
  const addresses = list.map((text) => {
    const address = parseAddress(text.replace(/\/(32|128)$/, ""));
    if (address === undefined) throw new AnyhopError("bad_client", `"${text}" is not an IPv4 or IPv6 address.`);
    return formatAddress(address.w0, address.w1, address.w2, address.w3);
  });
  return addresses.length < 2 ? addresses : [...new Set(addresses)];
}

function readPrefixes(list: readonly string[]): string[] {
  const prefixes = list.map((text) => {
    const prefix = readPrefix(text);
    if (typeof prefix === "string") throw new AnyhopError("bad_client", `${prefix}.`);
    if (prefix.hostBits)
      throw new AnyhopError("bad_client", `${text} has bits set behind its length; did you mean ${prefix.network}?`);
    return prefix.network;
  });
  return [...new Set(prefixes)];
}

function replace<K, V>(map: Map<K, V>, entries: Iterable<readonly [K, V]>): void {
  map.clear();
  for (const [key, value] of entries) map.set(key, value);
}

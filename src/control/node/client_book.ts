/**
 * Who may come: the clients of the file and those that were added while running, with their inner addresses. Decides names,
 * keys and addresses that are taken; knows nothing of sessions. On a node on its own every change is on disk before it
 * counts. In a group those that were added while running lie in the group's book (`shared_clients.ts`), and are in here in
 * memory only, as they count at this node.
 */
import type { Clock } from "../../base/clock.ts";
import { AnyhopError } from "../../base/errors.ts";
import { formatAddress, parseAddress } from "../../base/ip.ts";
import { isName, NAME_RULE } from "../../base/names.ts";
import { contains, overlap, parsePrefix, specialIn } from "../../base/prefix.ts";
import type { NewClient } from "../asked/control_port.ts";
import type { NodeSpec } from "../spec/instance.ts";
import type { ClientRecord, Store } from "../spec/ports.ts";
import { AddressPool, type PoolPart } from "../text/address_pool.ts";
import { readPrefix } from "../text/address_text.ts";
import { explainKey, formatKey, parseKey } from "../text/keys/key_text.ts";
import { isSoundPublicKey } from "../text/keys/x25519.ts";

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

type Wish = Pick<ClientRecord, "publicKey" | "name" | "addresses" | "prefixes">;

/** Who is in the way of a client. */
export interface Obstacle {
  readonly name: string;
  /** A client that was added while running; undefined: somebody of the file. */
  readonly added: ClientRecord | undefined;
}

export class ClientBook {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #byName = new Map<string, ClientRecord>();
  readonly #byKey = new Map<string, ClientRecord>();
  readonly #owners = new Map<string, Owner>();
  readonly #shared: boolean;
  #pool = new AddressPool([]);
  /** Where inner addresses and networks of clients that are added in a group may lie. */
  #allowed: readonly string[] = [];
  #filePsks = new Map<string, Uint8Array | undefined>();
  #sorted: ClientRecord[] | undefined;
  #groupKey = "";

  /**
   * `shared`: of a running node of a group, which enters the clients of the group's book by and by. `reserved`: what those
   * have. Throws AnyhopError when file and store contradict each other.
   */
  constructor(spec: NodeSpec, store: Store, clock: Clock, shared = false, reserved: readonly string[] = []) {
    this.#store = store;
    this.#clock = clock;
    this.#shared = shared;
    this.load(spec, reserved);
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
   * Takes the clients of a file: those that are new get addresses, those that are gone are forgotten. On a node on its own
   * so is who was added by hand under the same name; throws and changes nothing when a key or an address is taken. In a
   * group the file is first, and who was added and has no room beside it is left out: their public keys are returned.
   * `reserved`: prefixes that nobody new gets, because clients have them that are entered later, or not here.
   */
  load(spec: NodeSpec, reserved: readonly string[] = []): readonly string[] {
    const inFile = new Map(spec.clients.map((client) => [client.name, client]));
    const stored = this.#store.clients().map(slim);
    const earlier = new Map(stored.map((client) => [client.name, client]));
    const added = this.#shared ? [...this.#byName.values()] : stored.filter(({ name }) => !inFile.has(name));
    const kept = added.filter(({ origin }) => origin === "api");
    const pool = new AddressPool(spec.pool, partOf(spec));
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
    const settled: ClientRecord[] = this.#shared ? [] : [...kept];
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
    const dropped: string[] = [];
    for (const client of this.#shared ? kept : []) {
      const fits = !inFile.has(client.name) && isFree(client, owners) && !keys.has(client.publicKey);
      if (!fits) dropped.push(client.publicKey);
      else {
        this.#claim(client, pool, owners, keys);
        records.push(client);
      }
    }
    const free = reserved.filter((prefix) => !owners.has(ownedName(prefix)));
    for (const prefix of free) pool.reserve(prefix);
    for (const client of waiting) {
      // The same at each node: its file is the same.
      const record = { ...client, addresses: pool.take(true) };
      this.#claim(record, pool, owners, keys);
      records.push(record);
    }
    if (this.#shared) for (const prefix of free) pool.release(prefix);
    const own = this.#shared ? records.filter(({ origin }) => origin === "file") : records;
    const changed = own.filter((record) => JSON.stringify(record) !== JSON.stringify(earlier.get(record.name)));
    const present = new Set(own.map(({ name }) => name));
    // In a group `shared_clients.ts` takes those that were added when this node was on its own.
    const gone = stored.filter(({ name, origin }) => !present.has(name) && (origin === "file" || !this.#shared));
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
    this.#allowed = [...spec.pool, ...spec.networks];
    return dropped;
  }

  /** On disk when it returns. Throws what `enter` throws, and "state_full". */
  add(wish: NewClient): ClientRecord {
    const client = this.enter(wish);
    try {
      this.#store.changeClients([client], []);
    } catch (error) {
      this.leave(client);
      throw error;
    }
    return client;
  }

  /** Throws AnyhopError "unknown_client" or "client_in_file". Returns who it was. */
  removable(name: string): ClientRecord {
    const client = this.#byName.get(name);
    if (client === undefined) throw new AnyhopError("unknown_client", `There is no client ${name}.`);
    if (client.origin === "file")
      throw new AnyhopError(
        "client_in_file",
        `The client ${name} is in the configuration file: remove its [[client]] there, then run anyhop reload.`,
      );
    return client;
  }

  /** On disk when it returns. Throws what `removable` throws, and "state_full". */
  remove(name: string): ClientRecord {
    const client = this.removable(name);
    this.#store.changeClients([], [name]);
    this.leave(client);
    return client;
  }

  /**
   * In memory only. Throws AnyhopError "bad_client", "client_exists", "key_taken", "address_taken", "pool_exhausted",
   * "no_pool", and changes nothing then. `fromPool`: who has no address gets one.
   */
  enter(wish: NewClient, createdMs = this.#clock.wallMs(), fromPool = true): ClientRecord {
    const publicKey = this.#judge(wish);
    const record: ClientRecord = {
      name: wish.name,
      publicKey,
      psk: wish.psk === undefined ? undefined : wish.psk.trim(),
      addresses: readAddresses(wish.addresses),
      prefixes: readPrefixes(wish.prefixes),
      modes: [...wish.modes],
      origin: "api",
      createdMs,
    };
    for (const name of ownedBy(record)) refuseOwned(name, this.#owners);
    const isWhole = record.addresses.length > 0 || !fromPool;
    const whole = slim(isWhole ? record : { ...record, addresses: this.#pool.take() });
    this.#claim(whole, this.#pool, this.#owners, this.#byKey);
    this.#byName.set(whole.name, whole);
    this.#sorted = undefined;
    return whole;
  }

  /** In memory only. */
  leave(client: ClientRecord): void {
    this.#byName.delete(client.name);
    this.#sorted = undefined;
    this.#byKey.delete(client.publicKey);
    for (const name of ownedBy(client)) this.#owners.delete(name);
    for (const prefix of prefixesOf(client)) this.#pool.release(prefix);
  }

  /** Who else has, at this node, what this client wants: by prefix, or by name behind "=". */
  obstacles({ publicKey, name, addresses, prefixes }: Wish): Map<string, Obstacle> {
    const found = new Map<string, Obstacle>();
    const add = (claim: string, owner: Owner | undefined) => {
      if (owner === undefined) return;
      if (owner === "device") found.set(claim, { name: "device", added: undefined });
      else if ("tunnel" in owner) found.set(claim, { name: owner.tunnel, added: undefined });
      else if (owner.publicKey !== publicKey)
        found.set(claim, { name: owner.name, added: owner.origin === "api" ? owner : undefined });
    };
    add(`=${name}`, this.#byName.get(name));
    for (const prefix of prefixesOf({ addresses, prefixes })) add(prefix, this.#owners.get(ownedName(prefix)));
    return found;
  }

  /** In a group: the first of these that lies where no client of it may be, or undefined. */
  outside(client: Pick<ClientRecord, "addresses" | "prefixes">): string | undefined {
    const allowed = this.#allowed.map((text) => parsePrefix(text)!);
    return prefixesOf(client).find((text) => {
      const inner = parsePrefix(text)!;
      return !allowed.some(
        (one) => one.length <= inner.length && contains(one, inner.w0, inner.w1, inner.w2, inner.w3),
      );
    });
  }

  /** Free addresses of these families, of this node's part of the pool. They are taken until the client is entered. */
  takeAddresses(families: readonly (4 | 6)[]): string[] {
    return this.#pool.take(false, families);
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

/** This node's part of the pool, by the numbers of the group's nodes in their order. */
function partOf({ cluster }: NodeSpec): PoolPart | undefined {
  if (cluster === undefined) return undefined;
  const nodes = [cluster.node, ...cluster.peers.map(({ node }) => node)].sort((a, b) => a - b);
  return { rank: nodes.indexOf(cluster.node), nodes: nodes.length };
}

/** Nobody has what this client has. */
function isFree(client: ClientRecord, owners: ReadonlyMap<string, Owner>): boolean {
  for (const name of ownedBy(client)) if (owners.has(name)) return false;
  return true;
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
    const canonical = formatAddress(address.w0, address.w1, address.w2, address.w3);
    const special = specialIn(parsePrefix(canonical)!);
    if (special !== undefined)
      throw new AnyhopError("bad_client", `${canonical} can't be an inner address: ${special}.`);
    return canonical;
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

/**
 * The control of a node: clients in the book, sessions in the data plane, and the file behind both. Keeps the three in
 * step: what is added may come at once, what is removed is cut off at once.
 */
import type { Clock } from "../../base/clock.ts";
import { AnyhopError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { parsePrefix } from "../../base/prefix.ts";
import { encodeGroupKeys } from "../../cluster/group_secrets.ts";
import type {
  ClientView,
  Control,
  NewClient,
  ReloadView,
  RosterView,
  RouteView,
  ServiceView,
  SessionView,
} from "../asked/control_port.ts";
import type { EventHub, InstanceEvent } from "../asked/event_hub.ts";
import type { NodeGroupView } from "../asked/group_view.ts";
import type { LevelName, LogLevel } from "../asked/log_level.ts";
import type { ParsedFile } from "../config/config_file.ts";
import { type Change, describeChange, diffNode } from "../config/reload.ts";
import type { NodeGroup } from "../group/node_group.ts";
import { leaveGroup, prefixesOfBook, SharedClients } from "../group/shared_clients.ts";
import { ClientBook, prefixesOf } from "../node/client_book.ts";
import type { AnnounceView, Announcing } from "../routing/announcing.ts";
import { formatFault } from "../spec/faults.ts";
import type { NodeSpec } from "../spec/instance.ts";
import type { ClientRecord, OutcomeCount, Pong, RefusedView, Sessions, Store } from "../spec/ports.ts";
import { formatKey } from "../text/keys/key_text.ts";

export interface NodeControlPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly level: LogLevel;
  readonly store: Store;
  readonly sessions: Sessions;
  readonly announcing: Pick<Announcing, "drain" | "undrain" | "view">;
  /** Of a node that is one of several. */
  readonly group?: NodeGroup | undefined;
  /** Sessions tell theirs, too. */
  readonly events: EventHub;
  /** Reads and judges the configuration file again. */
  readonly readFile: () => Promise<ParsedFile>;
  /** Name of the device once it is up. */
  readonly deviceName: () => string;
}

export class NodeControl implements Control {
  readonly #use: NodeControlPorts;
  readonly #book: ClientBook;
  readonly #shared: SharedClients | undefined;
  #spec: NodeSpec;
  #reloading: Promise<unknown> = Promise.resolve();

  /** Admits every client of file and store. Throws AnyhopError when they contradict each other. */
  constructor(spec: NodeSpec, ports: NodeControlPorts) {
    this.#spec = spec;
    this.#use = ports;
    const { group, log, sessions, store, clock } = ports;
    if (group === undefined) leaveGroup(store);
    this.#book = new ClientBook(spec, store, clock, group !== undefined, prefixesOfBook(store));
    for (const client of this.#book.list()) this.#admit(client);
    if (group === undefined) return;
    this.#shared = new SharedClients({
      ...{ clock, log, group, store, node: spec.instance.senderId, book: this.#book },
      admit: (client) => this.#admit(client),
      expel: (publicKey) => sessions.expel(publicKey),
      tell: (event, message, subject) => this.tell(event, message, subject),
    });
    group.clients = this.#shared;
    this.#shared.start();
  }

  service(): ServiceView {
    return serviceView(this.#spec, this.#use.sessions.groupKey);
  }

  clients(after = "", limit = Number.POSITIVE_INFINITY): readonly ClientView[] {
    return this.#book.page(after, limit).map((client) => this.#view(client));
  }

  client(name: string): ClientView {
    return this.#view(this.#clientOf(name));
  }

  addClient(wish: NewClient): ClientView {
    const client = this.#shared === undefined ? this.#book.add(wish) : this.#shared.add(wish);
    if (this.#shared === undefined) this.#admit(client);
    this.tell("client_added", `Client ${client.name} was added with ${client.addresses.join(", ")}`, client.name);
    return this.#view(client);
  }

  removeClient(name: string): void {
    if (this.#shared === undefined) this.#use.sessions.expel(this.#book.remove(name).publicKey);
    else this.#shared.remove(name);
    this.tell("client_removed", `Client ${name} was removed`, name);
  }

  removeKey(publicKey: string): string | null {
    const client = this.#book.byPublicKey(publicKey.trim());
    if (client !== undefined) this.removeClient(client.name);
    else if (this.#shared === undefined)
      throw new AnyhopError("unknown_client", "There is no client with this public key.");
    else {
      const name = this.#shared.removeKey(publicKey);
      this.tell(
        "client_removed",
        `Client ${name ?? publicKey.trim()} was removed, which this node did not let in`,
        name,
      );
      return name ?? null;
    }
    return client.name;
  }

  sessions(after?: number, limit?: number): readonly SessionView[] {
    return this.#use.sessions
      .list(after, limit)
      .map((session) => ({ ...session, client: this.#nameOf(session.publicKey) }));
  }

  endSession(id: number): void {
    const session = this.#use.sessions.get(id);
    if (session === undefined || !this.#use.sessions.end(id))
      throw new AnyhopError("unknown_session", `There is no session ${id}.`);
    const client = this.#nameOf(session.publicKey);
    this.tell("session_ended", `The session of client ${client} was ended on request`, client);
  }

  handshakes(): readonly OutcomeCount[] {
    return this.#use.sessions.handshakes();
  }

  controls(): readonly OutcomeCount[] {
    return this.#use.sessions.controls();
  }

  refused(): readonly RefusedView[] {
    return this.#use.sessions.refused();
  }

  sessionCount(): number {
    return this.#use.sessions.count();
  }

  /** Longest prefixes first, as the data plane chooses. */
  routes(): readonly RouteView[] {
    const routes: RouteView[] = [];
    for (const client of this.#book.list())
      for (const prefix of prefixesOf(client)) routes.push({ prefix, kind: "client", via: client.name });
    for (const { name, routes: prefixes } of this.#spec.instance.tunnels)
      for (const prefix of prefixes ?? []) routes.push({ prefix, kind: "tunnel", via: name });
    for (const address of this.#spec.instance.device.addresses) {
      const prefix = `${address.split("/")[0]}/${address.includes(":") ? 128 : 32}`;
      routes.push({ prefix, kind: "device", via: this.#use.deviceName() });
    }
    const order = new Map(routes.map(({ prefix }) => [prefix, parsePrefix(prefix)!]));
    return routes.sort((a, b) => {
      const [x, y] = [order.get(a.prefix)!, order.get(b.prefix)!];
      return x.family - y.family || y.length - x.length || (a.prefix < b.prefix ? -1 : 1);
    });
  }

  reload(): Promise<ReloadView> {
    // One after the other: two at once would compare with the same old file.
    const reloading = this.#reloading.then(() => this.#reload());
    this.#reloading = reloading.catch(() => {});
    return reloading;
  }

  async #reload(): Promise<ReloadView> {
    const parsed = await this.#use.readFile().catch((cause: Error) => {
      if (!(cause instanceof AnyhopError)) throw cause;
      throw new AnyhopError("config_faults", `Nothing was changed: ${cause.message}`, { cause });
    });
    const faults = parsed.faults.map(formatFault);
    if (parsed.spec === undefined)
      throw new AnyhopError("config_faults", `Nothing was changed, because the file is wrong:\n${faults.join("\n")}`);
    if (parsed.kind !== "node")
      throw new AnyhopError("config_faults", "Nothing was changed: the file no longer describes a node ([node]).");
    // Pool and clients come from the new file, everything that needs a restart from the old one.
    const wanted = parsed.spec;
    const { instance, group, privateKey, publicKey, announce, cluster } = this.#spec;
    const changes = diffNode(this.#spec, wanted);
    const next: NodeSpec = { ...wanted, instance, group, privateKey, publicKey, announce, cluster };
    const before = new Map(this.#book.list().map((client) => [client.name, client]));
    const dropped = this.#book.load(next);
    this.#spec = next;
    this.#use.sessions.reconfigure(next);
    this.#apply(before, changes);
    this.#shared?.reloaded(dropped);
    for (const change of changes) this.tell("reloaded", describeChange(change), change.subject);
    return { changes, warnings: faults };
  }

  logLevel(): LevelName {
    return this.#use.level.get();
  }

  setLogLevel(level: LevelName): void {
    this.#use.level.set(level);
    this.tell("log_level", `The log level is now ${level}`);
  }

  async ping(name: string, timeoutMs: number): Promise<Pong> {
    return this.#use.sessions.ping(this.#clientOf(name).publicKey, timeoutMs);
  }

  #clientOf(name: string): ClientRecord {
    const client = this.#book.get(name);
    if (client === undefined) throw new AnyhopError("unknown_client", `There is no client ${name}.`);
    return client;
  }

  #nameOf(publicKey: string): string {
    return this.#book.byPublicKey(publicKey)?.name ?? "";
  }

  faults(): readonly string[] {
    return this.#use.sessions.faults();
  }

  groupStatus(): NodeGroupView | undefined {
    return this.#use.group?.status();
  }

  resync(node: number | undefined): readonly number[] {
    const { group } = this.#use;
    if (group === undefined)
      throw new AnyhopError("no_group", "This node is on its own: its file has no [group], so there is nobody to ask.");
    const asked = group.resync(node);
    if (node !== undefined && asked.length === 0)
      throw new AnyhopError("peer_away", `Node ${node} is no peer of this node, or is silent; see anyhop sync.`);
    this.tell(
      "resync",
      `Asked for their sessions: ${asked.map((one) => `node ${one}`).join(", ") || "nobody is there"}`,
    );
    return asked;
  }

  roster(): RosterView {
    const roster = this.#use.group?.roster();
    const numbers = (isOut: boolean) =>
      (roster?.nodes ?? []).filter(({ evictedIn }) => (evictedIn !== undefined) === isOut).map(({ node }) => node);
    return { version: roster?.version ?? 0, members: numbers(false), evicted: numbers(true), text: roster?.text ?? "" };
  }

  applyRoster(text: string): void {
    this.#group().learnRoster(text);
  }

  applyGroupKeys(notice: string, privateKeys: readonly Uint8Array[]): number {
    const group = this.#group();
    group.learnGroupKeys(encodeGroupKeys(notice, privateKeys));
    return group.groupKeyVersion();
  }

  rotate(what: "tickets" | "fleet", now: boolean): void {
    const group = this.#group();
    if (what === "tickets") group.rotateTicketKey(now);
    else if (!group.rotateFleetKey())
      throw new AnyhopError(
        "no_roster",
        "There is no roster, so the nodes can't tell each other a fleet key that a stolen node would not hear, too: " +
          "see docs/OPERATIONS.md, Node identity.",
      );
    this.tell("rotated", what === "tickets" ? "There is another ticket key" : "There is another fleet key");
  }

  #group(): NodeGroup {
    const { group } = this.#use;
    if (group !== undefined) return group;
    throw new AnyhopError("no_group", "This node is on its own: its file has no [group].");
  }

  announcement(): AnnounceView {
    return this.#use.announcing.view();
  }

  drain(maxMs: number, exit: boolean): AnnounceView {
    return this.#use.announcing.drain(maxMs, exit);
  }

  undrain(): AnnounceView {
    return this.#use.announcing.undrain();
  }

  follow(listener: (event: InstanceEvent) => void): () => void {
    return this.#use.events.listen(listener);
  }

  /** Cuts off who is gone or is somebody else now, admits who is new or may go elsewhere; the rest is not touched. */
  #apply(before: ReadonlyMap<string, ClientRecord>, changes: readonly Change[]): void {
    const ended = new Set(
      changes.filter((c) => c.what === "client" && c.effect === "ends_session").map((c) => c.subject),
    );
    const changed = new Set(changes.filter((c) => c.what === "client").map((c) => c.subject));
    const after = new Map(this.#book.list().map((client) => [client.name, client]));
    const same = (a: ClientRecord | undefined, b: ClientRecord | undefined): boolean =>
      a?.publicKey === b?.publicKey && a?.origin === b?.origin;
    for (const [name, client] of before)
      if (ended.has(name) || !same(client, after.get(name))) this.#use.sessions.expel(client.publicKey);
    for (const [name, client] of after) {
      const earlier = before.get(name);
      const isMoved = earlier?.addresses.join() !== client.addresses.join();
      if (changed.has(name) || isMoved || !same(client, earlier)) this.#admit(client);
    }
  }

  #admit(client: ClientRecord): void {
    this.#use.sessions.admit(client, this.#book.pskOf(client));
  }

  #view(client: ClientRecord): ClientView {
    const { psk: _, ...open } = client;
    const session = this.#use.sessions.sessionOf(client.publicKey) ?? null;
    return { ...open, psk: this.#book.pskOf(client) !== undefined, session };
  }

  /** A notice for log and events. */
  tell(event: string, message: string, subject?: string): void {
    this.#use.log.notice(event, message, subject === undefined ? {} : { subject });
    this.#use.events.tell(event, message, subject);
  }
}

/** What clients are told of a node. */
export function serviceView(spec: NodeSpec, groupKey = spec.publicKey): ServiceView {
  const operator = spec.cluster?.identity?.operator;
  return {
    group: spec.group,
    publicKey: formatKey(groupKey),
    operator: operator === undefined ? null : formatKey(operator),
    address: spec.addresses,
    routes: [...new Set([...spec.pool, ...spec.networks])],
    dns: spec.dns,
    mtu: spec.instance.device.mtuBytes,
    keepaliveS: spec.keepaliveMs / 1000,
    inner: spec.instance.device.addresses.map((address) => address.split("/")[0]),
  };
}

/**
 * What is different between two versions of a file, and what each difference does to a running instance. Pure. A
 * session ends only when its own settings changed in a way that its keys or addresses depend on; everything that is
 * not named here goes on untouched.
 */
import type { ClientSpec, InstanceSpec, NodeClient, NodeSpec, ServiceSpec, TunnelSpec } from "../spec/instance.ts";

export type Effect =
  /** Applied while everything goes on. */
  | "live"
  /** Applied; the sessions or the tunnel of this subject start anew. */
  | "ends_session"
  /** Not applied before the daemon is started again. */
  | "needs_restart";

export interface Change {
  readonly what:
    | "client"
    | "tunnel"
    | "service"
    | "node"
    | "group"
    | "identity"
    | "device"
    | "listen"
    | "paths"
    | "instance"
    | "announce";
  /** Name of the client, tunnel or service; "" for the instance as a whole. */
  readonly subject: string;
  readonly kind: "added" | "removed" | "changed";
  /** Names of what changed, for "changed". */
  readonly fields: readonly string[];
  readonly effect: Effect;
}

/** Fields of a client that change without its session: where packets may go, not who it is. It is told its addresses. */
const CLIENT_LIVE = new Set(["addresses", "prefixes", "modes"]);
/** What connected clients are told at once (networks, dns, pool), or those that come later (the others). */
const NODE_LIVE = ["addresses", "networks", "dns", "keepaliveMs", "rekeyMs", "pool"] as const;
/** Hooks are only run later; keepalive and kill switch change in place. */
const SERVICE_LIVE = new Set(["keepaliveMs", "hooks", "killSwitch", "routes"]);

export function diffNode(old: NodeSpec, next: NodeSpec): Change[] {
  const changes = diffInstance(old.instance, next.instance);
  const identity = changedFields(old, next, ["group", "privateKey"]);
  if (identity.length > 0) changes.push(whole("identity", identity, "needs_restart"));
  const announce = changedFields(
    old.announce,
    next.announce,
    Object.keys(next.announce) as (keyof NodeSpec["announce"])[],
  );
  if (announce.length > 0) changes.push(whole("announce", announce, "needs_restart"));
  if (changedFields(old, next, ["cluster"]).length > 0) changes.push(whole("group", ["group"], "needs_restart"));
  const told = changedFields(old, next, NODE_LIVE);
  if (told.length > 0) changes.push(whole("node", told, "live"));
  const room = changedFields(old, next, ["sessionsMax"]);
  if (room.length > 0) changes.push(whole("node", room, "needs_restart"));
  const fields = ["publicKey", "psk", "addresses", "prefixes", "modes"] as const;
  changes.push(
    ...diffNamed<NodeClient>("client", old.clients, next.clients, (a, b) => changedFields(a, b, fields), CLIENT_LIVE),
  );
  return changes;
}

export function diffClient(old: ClientSpec, next: ClientSpec): Change[] {
  const changes: Change[] = [];
  const identity = changedFields(old, next, ["privateKey", "port"]);
  if (identity.length > 0) changes.push(whole("identity", identity, "needs_restart"));
  const paths = changedFields(old, next, ["name", "stateDir", "socketPath"]);
  if (paths.length > 0) changes.push(whole("paths", paths, "needs_restart"));
  const fields = [
    ...(["remotes", "publicKey", "psk", "routes", "addresses"] as const),
    ...(["device", "mtuBytes", "keepaliveMs", "killSwitch", "hooks"] as const),
  ];
  changes.push(
    ...diffNamed<ServiceSpec>(
      "service",
      old.services,
      next.services,
      (a, b) => changedFields(a, b, fields),
      SERVICE_LIVE,
    ),
  );
  return changes;
}

/** The part that node files and files with static keys have in common. */
export function diffInstance(old: InstanceSpec, next: InstanceSpec): Change[] {
  const changes: Change[] = [];
  const device = changedFields(old.device, next.device, [
    ...(["type", "name", "mtuBytes", "addresses"] as const),
    ...(["hostRoutes", "postUp"] as const),
  ]);
  if (device.length > 0) changes.push(whole("device", device, "needs_restart"));
  const listen = changedFields(old, next, ["listen", "senderId"]);
  if (listen.length > 0) changes.push(whole("listen", listen, "needs_restart"));
  const paths = changedFields(old, next, ["name", "stateDir", "socketPath"]);
  if (paths.length > 0) changes.push(whole("paths", paths, "needs_restart"));
  const other = changedFields(old, next, ["fanoutMax", "floodPps", "dscp"]);
  if (other.length > 0) changes.push(whole("instance", other, "needs_restart"));
  const fields = [
    ...(["mux", "role", "cipherLen", "tagLen", "kdLen", "masterKey", "masterSalt"] as const),
    ...(["remote", "window", "routes", "keepaliveMs"] as const),
  ];
  const tunnels = diffNamed<TunnelSpec>(
    "tunnel",
    old.tunnels,
    next.tunnels,
    (a, b) => changedFields(a, b, fields),
    new Set(),
  );
  // The tables of a shard are made for the tunnels that it starts with.
  changes.push(...tunnels.map((change): Change => ({ ...change, effect: "needs_restart" })));
  return changes;
}

/** "client anna: prefixes changed; its session goes on" */
export function describeChange({ what, subject, kind, fields, effect }: Change): string {
  const which = subject === "" ? what : `${what} ${subject}`;
  const how = kind === "changed" ? `${fields.join(", ")} changed` : kind;
  if (effect === "needs_restart") return `${which}: ${how}; start the daemon again to apply it`;
  if (effect === "ends_session" && kind !== "added") return `${which}: ${how}; its session ends`;
  return `${which}: ${how}`;
}

function whole(what: Change["what"], fields: readonly string[], effect: Effect): Change {
  return { what, subject: "", kind: "changed", fields, effect };
}

function diffNamed<T extends { readonly name: string }>(
  what: Change["what"],
  old: readonly T[],
  next: readonly T[],
  compare: (a: T, b: T) => string[],
  live: ReadonlySet<string>,
): Change[] {
  const before = new Map(old.map((one) => [one.name, one]));
  const after = new Map(next.map((one) => [one.name, one]));
  const changes: Change[] = [];
  for (const subject of before.keys())
    if (!after.has(subject)) changes.push({ what, subject, kind: "removed", fields: [], effect: "ends_session" });
  for (const [subject, one] of after) {
    const earlier = before.get(subject);
    if (earlier === undefined) {
      changes.push({ what, subject, kind: "added", fields: [], effect: "live" });
      continue;
    }
    const fields = compare(earlier, one);
    if (fields.length === 0) continue;
    const effect = fields.every((field) => live.has(field)) ? "live" : "ends_session";
    changes.push({ what, subject, kind: "changed", fields, effect });
  }
  return changes;
}

function changedFields<T, K extends keyof T & string>(a: T, b: T, keys: readonly K[]): string[] {
  return keys.filter((key) => !same(a[key], b[key]));
}

/** Deep equality of what specifications are made of: plain values, bytes, lists, objects. */
function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => Object.hasOwn(b, key) && same((a as never)[key], (b as never)[key]));
}

/** Answers of the control commands as tables for people. Pure: `nowMs` is an argument. */
import type { ApiClient, ApiSession } from "../api/contract/control.ts";
import type { Answer } from "../api/contract/operations.ts";
import { align, bytes, duration } from "./text.ts";

export function renderClients(clients: readonly ApiClient[]): string {
  if (clients.length === 0) return "Nobody may come yet: anyhop invite NAME makes a client.\n";
  const rows = clients.map((client) => [
    client.name,
    client.addresses.join(" "),
    client.prefixes.join(" ") || "-",
    client.modes.join(","),
    client.origin === "file" ? "file" : "added",
    client.session === null ? "no" : String(client.session),
  ]);
  return lines(align([["CLIENT", "ADDRESSES", "NETWORKS", "MODES", "FROM", "SESSION"], ...rows]));
}

export function renderSessions(sessions: readonly ApiSession[], nowMs: number): string {
  if (sessions.length === 0) return "Nobody is connected.\n";
  const inGroup = sessions.some(({ owner, foreign }) => foreign || owner !== null);
  const rows = sessions.map((session) => [
    String(session.id),
    session.client,
    session.endpoint,
    heard(session, nowMs),
    ...(inGroup ? holder(session, nowMs) : []),
    `${duration(Math.max(0, nowMs - session.sinceMs))} ago`,
    `${session.rx.packets} (${bytes(session.rx.bytes)})`,
    `${session.tx.packets} (${bytes(session.tx.bytes)})`,
  ]);
  const head = [
    "SESSION",
    "CLIENT",
    "PEER",
    "HEARD",
    ...(inGroup ? ["NODE", "MOVES"] : []),
    "HANDSHAKE",
    "RECEIVED",
    "SENT",
  ];
  return lines(align([head, ...rows]));
}

/** Which node has the client since when, and how often it came to another one. */
function holder({ owner, ownerSinceMs, moves }: ApiSession, nowMs: number): string[] {
  const since = ownerSinceMs === null ? "" : ` for ${duration(Math.max(0, nowMs - ownerSinceMs))}`;
  return [owner === null ? "not known" : `${owner}${since}`, String(moves ?? 0)];
}

/** Of a session at another node this one hears nothing. */
function heard({ foreign, heardMs }: ApiSession, nowMs: number): string {
  if (foreign) return "elsewhere";
  return heardMs === null ? "not here yet" : `${duration(Math.max(0, nowMs - heardMs))} ago`;
}

export function renderRoutes(routes: Answer<"routes">["routes"]): string {
  if (routes.length === 0) return "There are no routes.\n";
  return lines(align([["PREFIX", "TO", "NAME"], ...routes.map(({ prefix, kind, via }) => [prefix, kind, via])]));
}

export function renderChanges({ changes, warnings }: Answer<"reload">): string {
  const effects = {
    live: "applied",
    ends_session: "applied, its session starts anew",
    needs_restart: "not applied: needs anyhop down and up",
  };
  const rows = changes.map(({ what, subject, kind, fields, effect }) => [
    subject === "" ? what : `${what} ${subject}`,
    kind === "changed" ? `${fields.join(", ")} changed` : kind,
    kind === "removed" && effect === "ends_session" ? "applied, it is cut off" : effects[effect],
  ]);
  const table = rows.length === 0 ? ["Nothing has changed."] : align([["WHAT", "CHANGE", "EFFECT"], ...rows]);
  return lines([...table, ...warnings]);
}

export function renderClient(client: ApiClient, session: ApiSession | undefined, nowMs: number): string {
  const rows = [
    ["public key", client.publicKey],
    ["pre-shared key", client.psk ? "yes" : "no"],
    ["addresses", client.addresses.join(", ")],
    ["networks", client.prefixes.join(", ") || "none"],
    ["modes", client.modes.join(", ")],
    ["from", client.origin === "file" ? "the configuration file" : "clients add or invite"],
    ["since", new Date(client.createdMs).toISOString()],
  ];
  const connected = session === undefined ? "Not connected.\n" : renderSessions([session], nowMs);
  return `${lines([client.name, ...align(rows).map((row) => `  ${row}`)])}\n${connected}`;
}

const lines = (list: readonly string[]): string => `${list.map((line) => line.trimEnd()).join("\n")}\n`;

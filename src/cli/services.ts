/** The services of a client for people: what each is connected to, and with what. Pure: `nowMs` is an argument. */
import type { ServiceStatus, Status } from "../api/contract.ts";
import { align, bytes, duration } from "./text.ts";

type Session = ServiceStatus["sessions"][number];

/** Milliseconds since 1970 at which the daemon answered. */
export const answeredMs = ({ startedAt, uptimeS }: Status): number => Date.parse(startedAt) + uptimeS * 1000;

export function serviceLines(services: readonly ServiceStatus[], nowMs: number): string[] {
  return services.flatMap((service, k) => [...(k > 0 ? [""] : []), ...oneService(service, nowMs)]);
}

function oneService(service: ServiceStatus, nowMs: number): string[] {
  const { name, state, remote, device, addresses, routes, dns, mtu, sessions } = service;
  const lines = [`service ${name}: ${STATES[state]}, node ${remote ?? "not found yet"}`];
  if (addresses.length > 0) lines.push(`  ${device} (MTU ${mtu})   ${addresses.join(", ")}`);
  if (routes.length > 0) lines.push(`  routes ${routes.join(", ")}`);
  if (dns.length > 0) lines.push(`  name servers ${dns.join(", ")}`);
  if (sessions.length === 0) return lines;
  const head = ["  SESSION", "NODE", "USE", "HEARD", "AGE", "REKEY", "BY", "CIPHER", "SENDERS", "RECEIVED", "SENT"];
  return [...lines, ...align([head, ...sessions.map((session) => row(session, nowMs))])];
}

const STATES: Readonly<Record<ServiceStatus["state"], string>> = {
  connecting: "asking for a session",
  confirming: "session made, the node was not heard in it yet",
  up: "up",
  replaced: "stopped, because another machine uses this key",
};

function row(session: Session, nowMs: number): string[] {
  const ago = (ms: number) => duration(Math.max(0, nowMs - ms));
  return [
    `  ${session.id}`,
    session.endpoint,
    session.current ? "current" : "old",
    session.heardMs === null ? "never" : `${ago(session.heardMs)} ago`,
    ago(session.sinceMs),
    session.rekeyInMs === null ? "-" : `in ${duration(session.rekeyInMs)}`,
    session.resumed ? "ticket" : "handshake",
    session.cipher,
    String(session.senders),
    `${session.rx.packets} (${bytes(session.rx.bytes)})`,
    `${session.tx.packets} (${bytes(session.tx.bytes)})`,
  ];
}

/** The services of a client for people: what each is connected to, and with what. Pure: `nowMs` is an argument. */
import type { ServiceStatus, Status } from "../api/contract.ts";
import { align, bytes, duration } from "./text.ts";

type Session = ServiceStatus["sessions"][number];

/** Milliseconds since 1970 at which the daemon answered. */
export const answeredMs = ({ startedAt, uptimeS }: Status): number => Date.parse(startedAt) + uptimeS * 1000;

export function serviceLines(services: readonly ServiceStatus[], nowMs: number): string[] {
  return services.flatMap((service, k) => [...(k > 0 ? [""] : []), ...oneService(service, nowMs)]);
}

/** Of the addresses and routes that file and node ask for, those that this machine has. */
export function present({ device, addresses, routes, host }: ServiceStatus): {
  readonly addresses: readonly string[];
  readonly routes: readonly string[];
} {
  const absent = new Set(
    host.filter(({ state }) => state === "missing" || state === "left_out").map(({ what }) => what),
  );
  return {
    addresses: addresses.filter((address) => !absent.has(`address ${address} on ${device}`)),
    routes: routes.filter((route) => !absent.has(`route ${route} via ${device}`)),
  };
}

/** What this machine can't have, because a whole family is off: one line for each reason. */
export function leftOut({ host }: ServiceStatus): string[] {
  const reasons = new Map<string, string[]>();
  for (const { what, state, why } of host) {
    if (state !== "left_out") continue;
    reasons.set(why ?? "", [...(reasons.get(why ?? "") ?? []), what]);
  }
  return [...reasons].map(([why, what]) => `left out: ${what.join(", ")}; ${why}`);
}

function oneService(service: ServiceStatus, nowMs: number): string[] {
  const { name, state, remote, device, dns, mtu, sessions, upSinceMs } = service;
  const { addresses, routes } = present(service);
  const ago = (ms: number) => duration(Math.max(0, nowMs - ms));
  const how = state === "up" && upSinceMs !== null ? `up for ${ago(upSinceMs)}` : STATES[state];
  const lines = [`service ${name}: ${how}, node ${remote ?? "not found yet"}`, ...contact(service, nowMs)];
  if (addresses.length > 0) lines.push(`  ${device} (MTU ${mtu})   ${addresses.join(", ")}`);
  if (routes.length > 0) lines.push(`  routes ${routes.join(", ")}`);
  if (dns.length > 0) lines.push(`  name servers ${dns.join(", ")}`);
  lines.push(...leftOut(service).map((line) => `  ${line}`));
  lines.push(...protection(service, nowMs));
  if (sessions.length === 0) return lines;
  const head = ["  SESSION", "NODE", "USE", "HEARD", "AGE", "REKEY", "BY", "CIPHER", "SENDERS", "RECEIVED", "SENT"];
  return [...lines, ...align([head, ...sessions.map((session) => row(session, nowMs))])];
}

/** Which node answers, the last handshake, and what stands in the way or did. */
function contact(service: ServiceStatus, nowMs: number): string[] {
  const { node, nodeSinceMs, moves, handshakeMs, asking, problem } = service;
  const ago = (ms: number) => duration(Math.max(0, nowMs - ms));
  const lines: string[] = [];
  const moved = moves === 0 ? "" : `, ${moves} ${moves === 1 ? "move" : "moves"} so far`;
  const answers =
    node === null || nodeSinceMs === null ? [] : [`node ${node} answers, for ${ago(nodeSinceMs)}${moved}`];
  const agreed = handshakeMs === null ? [] : [`last handshake ${ago(handshakeMs)} ago`];
  if (answers.length + agreed.length > 0) lines.push(`  ${[...answers, ...agreed].join("; ")}`);
  if (asking !== null) lines.push(`  ${asking.tries} requests without an answer in ${ago(asking.sinceMs)}`);
  if (problem !== null) {
    const { reason, message, count, firstMs, lastMs, over } = problem;
    const when = `${count === 1 ? "once" : `${count} times since ${ago(firstMs)}`}, last ${ago(lastMs)} ago`;
    lines.push(over ? `  it was ${reason} (${when}): ${message}` : `! ${reason} (${when}): ${message}`);
  }
  return lines;
}

/** Whether something leaves in clear, since when, and what is wrong. */
function protection(
  { protected: isProtected, state, hostProblems: problems, beside }: ServiceStatus,
  nowMs: number,
): string[] {
  const since = Math.min(...problems.filter(({ leaks }) => leaks).map(({ sinceMs }) => sinceMs));
  const lines = problems.map(({ text, sinceMs }) => `  ! ${text} (since ${when(sinceMs, nowMs)})`);
  if (Number.isFinite(since)) lines.unshift(`  NOT protected since ${when(since, nowMs)}`);
  else if (isProtected) lines.unshift("  protected: what belongs into the tunnel goes there, or nowhere");
  else if (state !== "replaced") lines.unshift("  not protected yet: there was no session so far, and no kill switch");
  if (beside.length > 0) lines.push(`  beside the tunnel, as networks of this machine: ${beside.join(", ")}`);
  return lines;
}

const when = (ms: number, nowMs: number): string =>
  `${new Date(ms).toISOString()}, ${duration(Math.max(0, nowMs - ms))} ago`;

export const STATES: Readonly<Record<ServiceStatus["state"], string>> = {
  connecting: "asking for a session",
  confirming: "session made, the node was not heard in it yet or this machine is not set up",
  up: "up",
  silent: "NOT up: there is a session, but the node is silent",
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

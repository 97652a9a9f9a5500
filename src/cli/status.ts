/** `anyhop status` for people: the daemon's answer as lines of text. Pure. Only drops that happened are shown. */

import type { ApiSession } from "../api/contract/control.ts";
import type { Status, TunnelStatus } from "../api/contract.ts";
import { progress } from "./drain.ts";
import { groupCounters, groupLines } from "./group.ts";
import { renderSessions } from "./render.ts";
import { answeredMs, serviceLines } from "./services.ts";
import { align, bytes, duration } from "./text.ts";

const SMALL_TABLE_MAX = 4;

/** Several lines with a newline at the end. `sessions`: the first ones of a node. */
export function renderStatus(status: Status, sessions: readonly ApiSession[] = []): string {
  const { device } = status;
  const lines = [
    `${status.name}: anyhop ${status.version}, pid ${status.pid}, up ${duration(status.uptimeS * 1000)}`,
    `listen   ${status.listen.map(({ address, port }) => join(address, port)).join(", ")}   sender id ${status.senderId}, ${status.shards} ${plural("shard", status.shards)}`,
    `device   ${device.name} (${device.type}, MTU ${device.mtu})   ${device.addresses.join(", ") || "no address set here"}`,
  ];
  if ((device.queueDropped ?? 0) > 0)
    lines.push(`         ${device.queueDropped} packets found its queue full: the shard had no time on the processor`);
  lines.push(...shardLines(status), ...offloadLines(status), ...bufferLines(status));
  lines.push(...hostLines(status));
  lines.push(...status.faults.map((fault) => `       ! ${fault}`));
  lines.push(...announceLines(status));
  if (status.group !== null) lines.push(...groupLines(status.group));
  if (status.services.length > 0) lines.push("", ...serviceLines(status.services, answeredMs(status)));
  if (status.node !== null) lines.push("", ...nodeLines(status.node, sessions, answeredMs(status)));
  if (status.tunnels.length > 0 || (status.node === null && status.services.length === 0))
    lines.push("", ...tunnelTable(status.tunnels));
  for (const tunnel of status.tunnels) lines.push(...tunnelProblem(tunnel));
  if (status.tunnels.length <= SMALL_TABLE_MAX)
    for (const tunnel of status.tunnels) lines.push("", ...tunnelDetails(tunnel));
  lines.push("", ...dropTable(status));
  const between = status.group === null ? [] : groupCounters(status.group);
  if (between.length > 0) lines.push("", ...between);
  return `${lines.map((line) => line.trimEnd()).join("\n")}\n`;
}

/** Who is connected, as far as there is room, and who was refused. */
function nodeLines(
  { sessions: known, refused }: NonNullable<Status["node"]>,
  sessions: readonly ApiSession[],
  nowMs: number,
): string[] {
  const more = known - sessions.length;
  const lines = renderSessions(sessions, nowMs).trimEnd().split("\n");
  if (sessions.length > 0 && more > 0)
    lines.push(`${more} more, some of them old or not confirmed: anyhop sessions list`);
  if (refused.length === 0) return lines;
  const rows = refused.map(({ client, publicKey, endpoint, count, lastMs, reason, detail, help }) => [
    client ?? (publicKey === null ? "a stranger" : `key ${publicKey}`),
    endpoint,
    String(count),
    `${duration(Math.max(0, nowMs - lastMs))} ago`,
    `${reason}${detail === null ? "" : ` (${detail})`}: ${help}`,
  ]);
  return [...lines, "", ...align([["REFUSED", "FROM", "TIMES", "LAST", "REASON"], ...rows])];
}

/** What was changed on this machine, and what somebody had removed. */
function hostLines({ host, changes, ...status }: Status): string[] {
  if (host.length === 0) return [];
  const lines = host.map((what) => {
    const change = changes.find((one) => one.what === what);
    if (change === undefined || change.restoredMs === null) return what;
    const ago = duration(Math.max(0, answeredMs({ host, changes, ...status }) - change.restoredMs));
    return `${what} (removed by somebody and set again ${change.restored} ${plural("time", change.restored)}, last ${ago} ago)`;
  });
  return [`host     ${lines.join("\n         ")}`];
}

/** Which offloads are on, and the reason for each that is off. */
function offloadLines({ offloads }: Status): string[] {
  if (offloads.length === 0) return [];
  const on = offloads.filter((offload) => offload.on).map(({ name }) => name);
  const off = offloads.filter((offload) => !offload.on).map(({ name, why }) => `         ${name} is off: ${why}`);
  return [`offloads ${on.join(", ") || "none"}`, ...off];
}

/** What routers are told, and everything that is wrong with that. */
function announceLines({ announce }: Status): string[] {
  if (announce === null || (announce.kind === "none" && announce.wish === "serve")) return [];
  const { kind, prefixes, phase, inForce, selfTest, problem, healthy } = announce;
  const state = kind === "none" || inForce === phase ? phase : `to be ${phase}, ${inForce ?? "nothing"} in force`;
  const lines = [`announce ${state}${kind === "none" ? "" : ` by ${kind}`}: ${prefixes.join(", ") || "no addresses"}`];
  if (announce.wish !== "serve") lines.push(`         ${progress(announce)}; anyhop undrain ends it`);
  if (problem !== null) lines.push(`       ! ${problem}`);
  if (selfTest === null) return lines;
  const targets = selfTest.targets.map(({ address, rttMs }) => `${address} ${rttMs === null ? "lost" : `${rttMs} ms`}`);
  const counts = `${selfTest.good} good, ${selfTest.bad} bad, ${selfTest.crowded} crowded`;
  lines.push(
    `         self-test ${healthy ? "healthy" : "not healthy"} (${counts}): ${targets.join(", ") || "none yet"}`,
  );
  return [...lines, ...selfTest.faults.map((fault) => `       ! ${fault}`)];
}

/** Room for datagrams while a shard is busy; the kernel counts its own overhead against it. */
function bufferLines({ listen }: Status): string[] {
  const sizes = [...new Set(listen.map(({ receiveBuffer }) => receiveBuffer))];
  return sizes.length === 0 ? [] : [`buffers  ${sizes.map(bytes).join(", ")} for each socket to receive into`];
}

/** What each of several shards did. */
function shardLines({ perShard }: Status): string[] {
  if (perShard.length < 2) return [];
  const rows = perShard.map((shard, i) => [
    i === 0 ? "shards" : "",
    `${i}: sender id ${shard.senderId}`,
    `received ${traffic(shard.rx)}`,
    `sent ${traffic(shard.tx)}`,
    `dropped ${shard.dropped}`,
  ]);
  return align(rows.map(([first, ...rest]) => [first.padEnd(7), ...rest]));
}

function tunnelTable(tunnels: readonly TunnelStatus[]): string[] {
  const head = ["TUNNEL", "MUX", "PEER", "HEARD", "RECEIVED", "SENT", "DROPPED"];
  const rows = tunnels.map((tunnel) => [
    tunnel.name,
    String(tunnel.mux),
    tunnel.endpoint ?? "not known yet",
    tunnel.lastReceivedMs === null ? "never" : `${duration(tunnel.lastReceivedMs)} ago`,
    traffic(tunnel.rx),
    traffic(tunnel.tx),
    String(sum(tunnel.drops)),
  ]);
  return align([head, ...rows]);
}

function tunnelDetails(tunnel: TunnelStatus): string[] {
  const routes = tunnel.routes === null ? "everything" : tunnel.routes.join(", ");
  const lines = [
    `${tunnel.name}: ${tunnel.role}, ${tunnel.transforms}, replay window ${tunnel.window === 0 ? "off" : tunnel.window}`,
    `  routes ${routes}   ${sequences(tunnel)}, ${tunnel.senders} ${plural("sender id", tunnel.senders)} seen`,
  ];
  const drops = Object.entries(tunnel.drops).filter(([, count]) => count > 0);
  if (drops.length > 0) lines.push(`  dropped ${drops.map(([name, count]) => `${count} ${name}`).join(", ")}`);
  return lines;
}

/** Of one shard: "next seq 7 (reserved to 64)"; of several: the next of each. */
function sequences({ seq, sequences }: TunnelStatus): string {
  if (sequences.length < 2) return `next seq ${seq.next} (reserved to ${seq.reserved})`;
  return `next seq ${sequences.map(({ senderId, next }) => `${next} of sender ${senderId}`).join(", ")}`;
}

function tunnelProblem(tunnel: TunnelStatus): string[] {
  const { problem } = tunnel;
  if (problem === null) return [];
  const when = `${duration(problem.agoMs)} ago, ${problem.count} ${plural("time", problem.count)}`;
  return ["", `! ${tunnel.name}: ${problem.reason} from ${problem.peer} (${when})`, `  ${problem.hint}`];
}

function dropTable(status: Status): string[] {
  const happened = status.drops.filter(({ count }) => count > 0).toSorted((a, b) => b.count - a.count);
  const refused = (status.node?.requests ?? []).filter((request) => request.refused && request.count > 0);
  const drops = happened.map(({ name, count, help }) => [String(count), name, help]);
  // In the same table: a request that was refused is a packet that came to nothing.
  const requests = refused.map(({ name, count, help }) => [String(count), `handshake_${name}`, help]);
  if (drops.length + requests.length === 0) return ["No packet was dropped."];
  return align([["DROPPED", "REASON", ""], ...drops, ...requests]);
}

const plural = (word: string, count: number): string => (count === 1 ? word : `${word}s`);
const join = (address: string, port: number): string =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
const sum = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0);
const traffic = (of: TunnelStatus["rx"]): string => `${of.packets} (${bytes(of.bytes)})`;

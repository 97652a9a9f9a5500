/**
 * The group as its operator sees it: who is there, how far each lags behind, and loudly what is wrong with what to do about
 * it. Pure. A line that begins with "!" wants somebody to act.
 */
import type { GroupStatus, PeerStatus } from "../api/contract/group.ts";
import { align, bytes, duration } from "./text.ts";

const NAME_WIDTH = 9;
const INDENT = " ".repeat(NAME_WIDTH);
const ALARM = `${" ".repeat(NAME_WIDTH - 2)}! `;

/** Group, peers, engine and everything that is wrong; counters are `groupCounters`. */
export function groupLines(group: GroupStatus): string[] {
  const { node, drain, bootId, sessions, version, introductions } = group;
  const lines = [
    `group    node ${node}, ${drain}, start ${bootId}, ${group.peers.length + 1} nodes`,
    `${INDENT}${sessions.own} sessions here, ${sessions.foreign} at other nodes; ${version} records told`,
  ];
  const waiting = [
    ...(group.moving > 0 ? [`${group.moving} sessions on their way here`] : []),
    ...(group.asking > 0 ? [`${group.asking} asked about`] : []),
    ...(group.held.packets > 0 ? [`${group.held.packets} packets held (${bytes(group.held.bytes)})`] : []),
    ...(introductions > 0 ? [`${introductions} clients still to be told of this start`] : []),
  ];
  if (waiting.length > 0) lines.push(`${INDENT}${waiting.join(", ")}`);
  lines.push(
    ...identityLines(group),
    ...engineLines(group),
    ...bookLines(group),
    ...peerTable(group.peers),
    ...lifelines(group.peers),
  );
  for (const peer of group.peers)
    lines.push(...refusals(peer), ...alarms(peer, group).map((text) => `${ALARM}${text}`));
  lines.push(...[...refusedOfAll(group), ...group.alarms.map(alarmText)].map((text) => `${ALARM}${text}`));
  return lines;
}

/** What became of packets and messages between nodes; nothing that is zero. */
export function groupCounters({ counters }: GroupStatus): string[] {
  const happened = counters.filter(({ count }) => count > 0);
  if (happened.length === 0) return [];
  const rows = happened.map(({ name, count, help, refused }) => [String(count), name, refused ? "refused" : "", help]);
  return align([["BETWEEN NODES", "WHAT", "", ""], ...rows]);
}

function identityLines({ identity, roster, fleetRotation }: GroupStatus): string[] {
  const times = fleetRotation === 0 ? "that of the files" : `rotated ${fleetRotation} times`;
  if (identity && roster !== null) return [`roster   version ${roster}, fleet key ${times}`];
  if (identity)
    return [`${ALARM}there is no roster here yet, so no other node is believed: anyhop group apply group.roster`];
  // The file wants it so, and the log says it at each start: it is no alarm.
  return [
    "roster   node identity is off: whoever has the fleet key can speak as any node, and none can be put out;",
    `${INDENT}to turn it on see docs/OPERATIONS.md, Node identity`,
  ];
}

function engineLines({ engine, peers }: GroupStatus): string[] {
  const { kind, connected, server, caughtUp, outbox, errors } = engine;
  const lines: string[] = [];
  if (kind === "embedded") lines.push("engine   none beside the node link: sessions are told over it");
  else if (connected)
    lines.push(`engine   ${kind}, connected${server === "" ? "" : ` to ${server}`}, outbox ${outbox}`);
  else lines.push(`engine   ${kind}, not connected, outbox ${outbox}`, `${ALARM}${engine.why}`);
  if (connected && !caughtUp) lines.push(`${INDENT}still reading what the others have told`);
  for (const { node, behind } of peers)
    if ((behind ?? 0) > 0) lines.push(`${INDENT}${behind} records of node ${node} not here yet`);
  for (const { name, count, last, sinceMs, endedMs } of errors) {
    const head = `${name} (${times(count)}, since ${clock(sinceMs)})`;
    lines.push(endedMs === null ? `${ALARM}${head}: ${last}` : `${INDENT}over at ${clock(endedMs)}: ${head}`);
  }
  return lines;
}

/** Who was given something twice, and what came of it. */
function bookLines({ book }: GroupStatus): string[] {
  const lines: string[] = [];
  for (const { what, keeper, losers, sinceMs } of book.conflicts)
    lines.push(
      `${ALARM}conflict since ${clock(sinceMs)}: ${claim(what)} was given to clients ${[keeper, ...losers].join(", ")}; ` +
        `${keeper} keeps it, and a node that has an address left gives ${losers.join(", ")} another`,
    );
  for (const { what, keeper, loser, addresses, atMs } of book.settled)
    lines.push(
      `${ALARM}conflict settled at ${clock(atMs)}: client ${loser} had to leave ${claim(what)} to ${keeper} and has ` +
        `${addresses.join(", ") || "no address"} now: tell who counts on it`,
    );
  for (const { client, why, sinceMs } of book.refused)
    lines.push(`${ALARM}client ${client} can't come in here since ${clock(sinceMs)}: ${why}`);
  return lines;
}

function peerTable(peers: readonly PeerStatus[]): string[] {
  if (peers.length === 0) return [`${ALARM}there is no [[group.peer]] in the file: this node knows of no other`];
  const head = ["NODE", "STATE", "LINK", "RTT", "CLOCK", "ENGINE", "RECORD", "SESSIONS", "TABLES"];
  const rows = peers.map((peer) => [
    String(peer.node),
    peer.alive ? (peer.drain ?? "there") : "silent",
    peer.link,
    peer.rttMs === null ? "-" : `${peer.rttMs.toFixed(1)} ms`,
    peer.clockOffsetMs === null ? "-" : signed(peer.clockOffsetMs),
    peer.syncLagMs === null ? "-" : `${duration(peer.syncLagMs)} ago`,
    peer.version === null ? "-" : String(peer.version),
    peer.sessions === null ? "-" : String(peer.sessions),
    peer.agrees === null ? "-" : peer.agrees ? "agree" : "DIFFER",
  ]);
  return align([head, ...rows]).map((row, k) => `${k === 0 ? "peers    " : INDENT}${row}`);
}

/** Who lives, as the TCP connections between nodes show, and how long this node waits for each. */
function lifelines(peers: readonly PeerStatus[]): string[] {
  const rows = peers.flatMap(({ node, lifeline }) => {
    if (lifeline === null) return [];
    const { state, sinceAgoMs, cause, lateMs, patienceMs } = lifeline;
    const why = cause === null ? "" : causes[cause];
    return [[String(node), state, duration(sinceAgoMs), `${lateMs.toFixed(1)} ms`, `${patienceMs} ms`, why]];
  });
  if (rows.length === 0) return [];
  const table = align([
    ["NODE", "LIFE", "FOR", "LATE", "PATIENCE", rows.some(([, state]) => state === "dead") ? "WHY" : ""],
    ...rows,
  ]);
  return table.map((row, k) => `${k === 0 ? "lifeline " : INDENT}${row}`);
}

const causes = {
  closed: "its daemon has ended",
  left: "it has left",
  silent: "nothing was heard of it for so long",
  restarted: "another start of it has come",
} as const;

/** Everything that is wrong with one peer, a sentence each, with what to do. */
function alarms(peer: PeerStatus, group: GroupStatus): string[] {
  const { node, refused } = peer;
  const found: string[] = [];
  for (const { creator, forMs, ours, theirs } of peer.disagreements)
    found.push(
      `node ${node} and this node have disagreed for ${duration(forMs)} about the sessions of node ${creator} ` +
        `(${ours.count} here, ${theirs.count} there): anyhop sync resync ${node}`,
    );
  if (!peer.alive) {
    const since = peer.heardAgoMs === null ? "was never heard" : `is silent for ${duration(peer.heardAgoMs)}`;
    found.push(`node ${node} ${since}: is it up, and does UDP reach ${peer.link} and come back?`);
  }
  if (!peer.alive && (peer.refusedBy === "other_group" || (refused["other_group"] ?? 0) > 0))
    found.push(`node ${node} has another group key: private_key must be the same on every node`);
  if (!peer.alive && (peer.refusedBy === "not_member" || (refused["not_member"] ?? 0) > 0))
    found.push(`node ${node} or this node is not in the other's roster: anyhop group add, then anyhop group apply`);
  if ((refused["wrong_signature"] ?? 0) > 0)
    found.push(
      `somebody who has the fleet key said ${times(refused["wrong_signature"])} that it is node ${node}, and is not: ` +
        "see docs/STOLEN-NODE.md",
    );
  if (peer.refusedBy === "duplicate_node")
    found.push(`node ${node} knows another node ${group.node}: give each its own number in [group] node`);
  if (!peer.alive && (refused["wrong_key"] ?? 0) > 0)
    found.push(
      `node ${node} has another fleet key (${times(refused["wrong_key"])}): copy one fleet_key_file to every node`,
    );
  const twice = (refused["duplicate_node"] ?? 0) + (refused["wrong_address"] ?? 0);
  if (peer.alive && twice > RESTART_REFUSALS)
    found.push(
      `somebody else says that it is node ${node} (${times(twice)}): give each its own number in [group] node`,
    );
  if (!peer.alive && (refused["wrong_address"] ?? 0) > 0)
    found.push(`node ${node} does not send from ${peer.link}: correct the link of its [[group.peer]] here`);
  if (peer.clockApart)
    found.push(
      `the clock of node ${node} is ${signed(peer.clockOffsetMs ?? 0)} from this one: set both by NTP, records may count as expired`,
    );
  return found;
}

/** What was refused lately without knowing of which node it was; the counts are since the start of this node. */
function refusedOfAll({ counters }: GroupStatus): string[] {
  const sum = (...names: readonly string[]): number =>
    counters
      .filter(({ name, lastAgoMs }) => names.includes(name) && (lastAgoMs ?? LATELY_MS) < LATELY_MS)
      .reduce((total, { count }) => total + count, 0);
  const sealed = sum("group_bus_refused");
  const unread = sum(
    "group_record_malformed",
    "group_record_misplaced",
    "group_shout_malformed",
    "group_link_malformed",
  );
  const full = sum("group_table_full");
  const found: string[] = [];
  if (sealed > 0)
    found.push(
      `what the engine brought was refused ${times(sealed)}, its seal is wrong: a node with another fleet key, or ` +
        "somebody who is no node has its nkey; tunnels go on",
    );
  if (unread > 0)
    found.push(
      `what a node told was refused ${times(unread)}, it can't be read: run one version of anyhop on all nodes`,
    );
  if (full > 0)
    found.push(
      `the group's table of sessions was full ${times(full)}: raise sessions in [node] on all nodes, or a node tells of sessions that nobody has`,
    );
  return found;
}

/** What of it was refused; some of that comes with every start. */
function refusals({ node, refused }: PeerStatus): string[] {
  const all = Object.entries(refused).filter(([, count]) => count > 0);
  if (all.length === 0) return [];
  return [`${INDENT}refused of node ${node}: ${all.map(([name, count]) => `${count} ${name}`).join(", ")}`];
}

/** A node that starts anew at once is refused until the one before it counts as dead. */
const RESTART_REFUSALS = 10;

/** After so long without another one it is history: the counter stays. */
const LATELY_MS = 600_000;

const alarmText = ({ text, count, sinceMs }: GroupStatus["alarms"][number]): string =>
  `${text} (${count > 1 ? `${times(count)}, ` : ""}since ${clock(sinceMs)})`;
/** "2026-11-30 23:04:05Z": the same on every machine. */
const clock = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")}Z`;
const claim = (what: string): string => (what.startsWith("=") ? `the name ${what.slice(1)}` : what);
const times = (count: number): string => (count === 1 ? "once" : `${count} times`);
const signed = (ms: number): string => `${ms < 0 ? "-" : "+"}${duration(Math.abs(ms))}`;

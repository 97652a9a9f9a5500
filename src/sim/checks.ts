/** What must hold in every run, by name. */
import { NODE_INNER } from "./members.ts";
import type { SimNode, World } from "./world.ts";

/** What a check found; `check` is its name. */
export interface Failure {
  readonly check: CheckName;
  readonly text: string;
}

export const checks = {
  error: "Nothing throws, and time goes on.",
  nonce: "No number is sealed twice under one key and sender.",
  replay: "No window accepts a packet twice, whoever has had it.",
  exposure: "No window accepts a packet from below where it began.",
  outdone: "Of two owners, the one that hears of a newer number than all it has gives up.",
  floor: "A window that is made anew begins at or above what was told.",
  despite_owner: "No node makes a window while one that has all that is known lives and can be reached.",
  doubled: "No packet of a node comes out twice at a client.",
  refused: "No node stops because it takes another for itself.",
  verdicts: "Every packet that a node took ends in one counter.",
  outcomes: "Every packet that was held ends in one counter.",
  bounded: "Queues stay within their limits.",
  alive: "While a stranger floods and nothing else happens, no node takes another for dead.",
  kept: "While a stranger floods and nothing else happens, each client has its session.",
  settled: "When all is calm, nothing waits.",
  owner: "When all is calm, each client's session has one owner.",
  tables: "When all is calm, all nodes know the same sessions.",
  digests: "When all is calm, digests agree.",
  settings: "When all is calm, the owner of each session knows that its client has the settings that the file says.",
  stuck: "When all is calm, packets arrive: from each client, and from each node to each client.",
} as const;
export type CheckName = keyof typeof checks;

const WAITING_MAX = 16_384;
const WAITING_BYTES_MAX = 32 << 20;
const ASKING_MAX = 4096;
/** Packets of one session that may wait. */
const PER_SESSION = 1024;

/** At any time. */
export function whileRunning(world: World): Failure[] {
  const found: Failure[] = [];
  for (const { node, group, bus } of world.nodes.values()) {
    const { waitingPackets, waitingBytes, moving, asking, sessions } = group.status()!.group;
    const most = Math.min(WAITING_MAX, PER_SESSION * (moving + asking));
    const outbox = bus?.status().outbox ?? 0;
    const isGood =
      waitingPackets <= most && waitingBytes <= WAITING_BYTES_MAX && asking <= ASKING_MAX && moving <= sessions;
    if (!isGood || outbox > 1000)
      found.push({
        check: "bounded",
        text: `node ${node}: ${waitingPackets} packets, ${waitingBytes} B wait; ${moving} move, ${asking} asked; outbox ${outbox}`,
      });
  }
  if (world.plan.strangerEveryMs > 0 && nothingElse(world)) found.push(...underFlood(world));
  return found;
}

/** Machines find each other, and clients their session, within this time. */
const BEGIN_MS = 3000;

/** Whether a stranger is all that could trouble anybody. */
function nothingElse({ plan, time }: World): boolean {
  const { access, link } = plan.weather;
  const fair = access.loss + link.loss + access.doubled === 0 && link.maxMs < 20 && access.maxMs < 20;
  return fair && plan.incidents.length === 0 && time.nowMs < plan.forMs;
}

function underFlood({ nodes, clients, time, plan }: World): Failure[] {
  const found: Failure[] = [];
  const since = Math.max(...plan.nodes.map(({ startMs }) => startMs)) + BEGIN_MS;
  if (time.nowMs < since) return found;
  for (const { node, group } of nodes.values())
    for (const peer of group.status()!.group.peers)
      if (!peer.alive) found.push({ check: "alive", text: `node ${node} takes node ${peer.node} for dead` });
  for (const { client, end } of clients.values())
    if (!end.status().sessions.some(({ current }) => current))
      found.push({ check: "kept", text: `client ${client} has no session` });
  return found;
}

/** At the end of a run. */
export function ofTheRun(world: World): Failure[] {
  const { ledger, takeovers, refused } = world;
  const found: Failure[] = [
    ...ledger.repeatedNonces.map((text): Failure => ({ check: "nonce", text })),
    ...takeovers.wrong.map(({ check, text }) => ({ check: check as CheckName, text })),
    ...refused.map((text): Failure => ({ check: "refused", text })),
  ];
  for (const { id, client, received } of ledger.packets)
    if (client === undefined && received.length > 1)
      found.push({ check: "doubled", text: `packet ${id} came out ${received.length} times at client ${received[0]}` });
  for (const node of world.nodes.values()) found.push(...accounts(node));
  return found;
}

/** When everything has ended, what went in is what is counted. */
function accounts({ node, machine, group }: SimNode): Failure[] {
  const found: Failure[] = [];
  const { arrived, injected, hostSent, sealedRows, controlSent, plane } = machine;
  const counted = plane.verdicts.reduce((sum, n) => sum + n, 0);
  const went = arrived + injected + hostSent + sealedRows + controlSent;
  if (counted !== went)
    found.push({ check: "verdicts", text: `node ${node}: ${went} rows and datagrams, ${counted} counted` });
  const { outcomes: o, waitingPackets } = group.status()!.group;
  const held = machine.held + o.received;
  const ended =
    injected + o.forwarded + o.forward_too_long + o.unknown + o.unknown_forwarded + o.forged + o.challenge_failed;
  const all = ended + o.hold_full + o.hold_ended + o.flips_full + o.row_missing + o.held_impossible + waitingPackets;
  if (held !== all) found.push({ check: "outcomes", text: `node ${node}: ${held} packets held, ${all} ended` });
  return found;
}

/** Sends a packet on each way. What it returns says, once time has passed, what does not hold yet. */
export function probe(world: World): () => Failure[] {
  const nodes = [...world.nodes.values()];
  const clients = [...world.clients.values()];
  const up = clients.map(({ client }) => ({ client, packet: world.sendFromClient(client, NODE_INNER) }));
  const down = nodes.flatMap(({ node }) =>
    clients.map(({ client }) => ({ node, client, packet: world.sendFromNode(node, client) })),
  );
  return () => {
    const found: Failure[] = [];
    const add = (check: CheckName, text: string) => void found.push({ check, text });
    for (const { client, packet } of up)
      if (packet?.accepted.length !== 1) add("stuck", `client ${client}'s packet did not arrive`);
    for (const { node, client, packet } of down)
      if (packet?.received.length !== 1) add("stuck", `node ${node}'s packet did not come out at client ${client}`);
    for (const { client, end } of clients) {
      const session = end.status().sessions.find(({ current }) => current)?.id;
      if (session === undefined) {
        add("owner", `client ${client} has no session`);
        continue;
      }
      const owners = world.takeovers.ownersOf(session);
      if (owners.length !== 1)
        add("owner", `session ${session.toString(16)} of client ${client} has owners ${owners.join(", ") || "none"}`);
    }
    for (const { node, end } of nodes)
      for (const { id, foreign, settings } of end.list())
        if (!foreign && settings?.current !== true)
          add("settings", `session ${id.toString(16)} at node ${node} has ${JSON.stringify(settings)}`);
    const lists = nodes.map(({ node, end }) => {
      const ids = end.list().map(({ id }) => id.toString(16));
      return { node, text: ids.sort().join(" ") };
    });
    for (const { node, text } of lists)
      if (text !== lists[0].text) add("tables", `node ${node} has ${text}, node ${lists[0].node} ${lists[0].text}`);
    for (const { node, group, bus } of nodes) {
      const { waitingPackets, moving, asking, introductions, peers } = group.status()!.group;
      const outbox = bus?.status().outbox ?? 0;
      if (waitingPackets + moving + asking + introductions + outbox > 0)
        add(
          "settled",
          `node ${node}: ${waitingPackets} packets, ${moving} moves, ${asking} questions, ${introductions} introductions, ${outbox} puts wait`,
        );
      for (const peer of peers)
        if (peer.disagreements.length > 0) add("digests", `node ${node} and ${peer.node} disagree`);
    }
    return found;
  };
}

/**
 * What the daemon tells about itself over its control socket: one schema for server, client and people's scripts. The
 * other questions and commands are in `contract/`; `contract/operations.ts` lists all paths. Fields are only ever added.
 * No secrets.
 */
import { z } from "zod";
import { groupSchema } from "./contract/group.ts";

const counts = z.object({ packets: z.int(), bytes: z.int() });

/** The last thing that went wrong in a tunnel and what it probably means. */
const problem = z.object({
  reason: z.string().describe("A drop reason, as in `drops`."),
  peer: z.string().describe("Address and port that it came from."),
  hint: z.string().describe("What it probably means, a sentence."),
  count: z.int(),
  agoMs: z.number(),
});

const sequence = z.object({
  next: z.int().describe("Next sequence number to send."),
  reserved: z.int().describe("Numbers below this one are written to disk as used."),
});

const shard = z.object({
  senderId: z.int().describe("Sender id of what it sends."),
  rx: counts,
  tx: counts,
  dropped: z.int().describe("Packets with any drop reason."),
});

const tunnel = z.object({
  name: z.string(),
  mux: z.int(),
  role: z.enum(["left", "right"]),
  transforms: z.string().describe("Cipher, authentication and tag length, key derivation."),
  endpoint: z.string().nullable().describe("Address and port of the peer; null: not known yet."),
  window: z.int().describe("Replay window in packets, 0 = off."),
  routes: z.array(z.string()).nullable().describe("Inner prefixes of the peer; null: everything."),
  rx: counts.describe("Authentic packets received; bytes of inner packets."),
  tx: counts.describe("Packets sent; bytes of inner packets."),
  lastReceivedMs: z.number().nullable().describe("Milliseconds since the last authentic packet; null: none yet."),
  seq: sequence.describe("Of the first shard."),
  sequences: z
    .array(sequence.extend({ senderId: z.int() }))
    .describe("Of each shard, with the sender id that it uses."),
  senders: z.int().describe("Sender ids seen: nodes behind the peer's address."),
  drops: z.record(z.string(), z.int()).describe("Dropped packets of this tunnel by reason."),
  problem: problem.nullable(),
});

const phase = z.enum(["withdrawn", "announced", "draining"]);

/** What routers are told of the service addresses. */
export const announceSchema = z.object({
  kind: z.enum(["none", "bird", "exabgp", "command"]),
  prefixes: z.array(z.string()),
  device: z.string().nullable().describe("Device that holds the service addresses."),
  phase: phase.describe("What the node wants."),
  inForce: phase.nullable().describe("What the routing daemon has confirmed; null: nothing."),
  problem: z.string().nullable().describe("Why what is wanted is not in force."),
  wish: z.enum(["serve", "drain", "drained"]).describe("What the operator wants."),
  healthy: z.boolean().describe("By the self-tests of late."),
  selfTest: z
    .object({
      good: z.int().describe("Rounds with every answer, since the start."),
      bad: z.int().describe("Rounds with a lost answer or a fault."),
      crowded: z.int().describe("Rounds that were lost in a flood and say nothing."),
      targets: z.array(z.object({ address: z.string(), rttMs: z.number().nullable() })),
      faults: z.array(z.string()).describe("What is wrong beside the path."),
    })
    .nullable()
    .describe("Of the data path; null: there is no service address to ask."),
  drain: z
    .object({
      forMs: z.int(),
      quietMs: z.int().describe("Since the last authentic packet of a client."),
      leftMs: z.int().describe("Until it is over, clients or not."),
    })
    .nullable()
    .describe("The drain that is under way."),
});

const session = z.object({
  id: z.int().describe("Session index, as the node shows it."),
  current: z.boolean().describe("The one that packets are sent in; others are only opened, until they end."),
  resumed: z.boolean().describe("Made by ticket, not by a full handshake."),
  endpoint: z.string().describe("Outer address and port of the node."),
  cipher: z.string(),
  sinceMs: z.number().describe("Milliseconds since 1970."),
  heardMs: z.number().nullable().describe("Last authentic packet, milliseconds since 1970; null: none yet."),
  rekeyInMs: z.number().nullable().describe("Until another key is asked for; null: it is not the current one."),
  senders: z.int().describe("Senders of the group that are known: nodes and their shards."),
  rx: counts,
  tx: counts,
});

const hostChange = z.object({
  what: z.string(),
  state: z
    .enum(["ok", "restored", "missing", "left_out"])
    .describe("restored: it is there, somebody had removed it; left_out: this host has nothing of this family."),
  sinceMs: z.number().describe("Milliseconds since 1970 at which this state began."),
  why: z.string().nullable().describe("Why it is missing or left out."),
  restored: z.int().describe("How often it was removed and set again."),
  restoredMs: z.number().nullable().describe("When last, milliseconds since 1970."),
});

const hostProblem = z.object({
  text: z.string(),
  sinceMs: z.number().describe("Milliseconds since 1970."),
  leaks: z.boolean().describe("Packets that belong into the tunnel leave this host in clear."),
});

const service = z.object({
  name: z.string(),
  state: z
    .enum(["connecting", "confirming", "up", "silent", "replaced"])
    .describe(
      "confirming: the node has not been heard in the session yet; silent: it is not heard any more and does not answer; replaced: another machine has the key.",
    ),
  device: z.string(),
  remote: z.string().nullable().describe("Where requests go; null: no address was found yet."),
  node: z.int().nullable().describe("Number of the node that was heard last; null: none yet, or it has no number."),
  nodeSinceMs: z.number().nullable().describe("Since when it is this one, milliseconds since 1970."),
  moves: z.int().describe("How often another node of the group began to answer."),
  upSinceMs: z
    .number()
    .nullable()
    .describe("Since when packets pass both ways, milliseconds since 1970; null: they don't."),
  handshakeMs: z.number().nullable().describe("When a session was granted last, milliseconds since 1970; null: never."),
  asking: z
    .object({ sinceMs: z.number().describe("Milliseconds since 1970."), tries: z.int() })
    .nullable()
    .describe("Requests for a session that were not answered with one; null: none is under way."),
  problem: z
    .object({
      reason: z.string().describe("Stable name, as port_closed; docs/OPERATIONS.md lists them."),
      message: z.string().describe("A sentence: what is wrong, where, what to do."),
      count: z.int(),
      firstMs: z.number().describe("Milliseconds since 1970."),
      lastMs: z.number(),
      over: z.boolean().describe("The service came up afterwards."),
    })
    .nullable()
    .describe("Why the service is not up, or was not when it asked last; null: there was nothing."),
  addresses: z.array(z.string()).describe("Inner addresses with prefix length, from the file or from the node."),
  routes: z.array(z.string()).describe("What goes into the tunnel."),
  dns: z.array(z.string()),
  mtu: z.int().nullable().describe("Largest inner packet; null: not known before the first session."),
  sessions: z.array(session).describe("The current one first."),
  host: z.array(hostChange).describe("What was changed on this machine for it, as the kernel has it now."),
  hooks: z.array(z.string()).describe("What hooks did."),
  beside: z.array(z.string()).describe("Networks of this machine inside of the routes, which stay beside the tunnel."),
  protected: z
    .boolean()
    .describe("All that belongs into the tunnel goes there, or nowhere; false before the first session."),
  hostProblems: z.array(hostProblem).describe("What is not as the file and the node ask for it."),
});

/** Of a node: requests for sessions. */
const node = z.object({
  sessions: z.int().describe("Sessions that it knows, those that are not confirmed yet or end soon included."),
  refused: z
    .array(
      z.object({
        reason: z.string().describe("As a counter handshake_*, or unconfirmed."),
        detail: z.string().nullable().describe("With refused: which reason the client was told."),
        help: z.string(),
        client: z.string().nullable().describe("Name, when the request proved a client's key; null: a stranger."),
        publicKey: z.string().nullable().describe("A stranger only claims it; null: the request did not say it."),
        endpoint: z.string().describe("Of the last one; of a stranger it may be forged."),
        count: z.int(),
        firstMs: z.number().describe("Milliseconds since 1970."),
        lastMs: z.number(),
      }),
    )
    .describe("Who asked lately and got no session, the latest first; at most 64 of clients and 64 of strangers."),
  requests: z
    .array(z.object({ name: z.string(), count: z.int(), refused: z.boolean(), help: z.string() }))
    .describe("What became of requests for sessions since the start, zeros included."),
});

export const statusSchema = z.object({
  name: z.string(),
  version: z.string(),
  pid: z.int(),
  startedAt: z.iso.datetime(),
  uptimeS: z.number(),
  listen: z.array(
    z.object({
      address: z.string(),
      port: z.int(),
      receiveBuffer: z.int().describe("Bytes that the kernel keeps for the shard while it is busy (SO_RCVBUF)."),
    }),
  ),
  senderId: z.int(),
  shards: z.int(),
  perShard: z.array(shard).describe("What each shard did; everything else is their sum."),
  device: z.object({
    name: z.string(),
    type: z.enum(["tun", "tap"]),
    mtu: z.int(),
    addresses: z.array(z.string()),
    queueDropped: z
      .int()
      .nullable()
      .describe("Packets that the kernel dropped before a shard took them, the queue was full; null: not known."),
  }),
  offloads: z
    .array(z.object({ name: z.string(), on: z.boolean(), why: z.string() }))
    .describe("What the kernel takes off the packet path, and why not."),
  tunnels: z.array(tunnel),
  services: z.array(service).describe("Of a client; else empty."),
  verdicts: z.record(z.string(), z.int()).describe("Packets by what became of them; every name, zeros included."),
  drops: z
    .array(z.object({ name: z.string(), count: z.int(), help: z.string() }))
    .describe("Every drop reason with its meaning, zeros included."),
  node: node.nullable().describe("Of a node with sessions; else null."),
  host: z.array(z.string()).describe("What was changed on this machine and is there."),
  changes: z.array(hostChange).describe("The same and what is missing, as the kernel has it now."),
  faults: z.array(z.string()).describe("What is wrong now and wants a person, a sentence each."),
  announce: announceSchema.nullable().describe("Of a node: what routers are told of it."),
  group: groupSchema.nullable().describe("Of a node that is one of several: the others, and how well they agree."),
});

export type AnnounceStatus = z.output<typeof announceSchema>;
export type Status = z.output<typeof statusSchema>;
export type ShardStatus = Status["perShard"][number];
export type ServiceStatus = Status["services"][number];
export type HostChange = Status["changes"][number];
export type TunnelStatus = Status["tunnels"][number];

export const healthSchema = z.object({
  name: z.string(),
  pid: z.int(),
  ok: z.boolean().describe("Everything that was asked of this machine is there, and nothing leaves it unprotected."),
  problems: z.array(z.string()).describe("Why not."),
});
export type Health = z.output<typeof healthSchema>;

export const STATUS_PATH = "/v1/status";
export const HEALTH_PATH = "/v1/health";
/** Where sockets are when nobody says otherwise: SOCKET_DIR/NAME.sock. */
export const SOCKET_DIR = "/run/anyhop";

/** What is not on the machine as it was asked for, a sentence each; `GET /v1/health` and the exit code of status tell of it. */
export function problemsOfHost({ services, changes }: Pick<Status, "services" | "changes">): string[] {
  if (services.length > 0) return services.flatMap(({ hostProblems }) => hostProblems.map(({ text }) => text));
  return changes.filter(({ state }) => state === "missing").map(({ what, why }) => `${what}: missing; ${why}`);
}

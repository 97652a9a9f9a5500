/**
 * What a node says of its group: the other nodes, the state engine between them, and where they do not agree. Counts,
 * numbers of nodes and addresses of their links only: nothing of what clients are, and no key.
 */
import { z } from "zod";

const drain = z.enum(["serving", "draining", "leaving"]);
const digest = z.object({ count: z.int(), sum: z.string().describe("16 hex digits.") });

const lifeline = z.object({
  state: z
    .enum(["unknown", "up", "cut", "dead"])
    .describe(
      "up: its beats come over a connection. cut: the connection ended, and nothing says that the node is dead. dead: there " +
        "is evidence of it. unknown: not met yet.",
    ),
  sinceAgoMs: z.number().describe("Since when it is taken for living or dead."),
  cause: z
    .enum(["closed", "left", "silent", "restarted"])
    .nullable()
    .describe("What shows that it is dead; null: it is not."),
  lateMs: z.number().describe("By how much its beats came late at worst; forgotten by half in 30 s."),
  patienceMs: z.number().describe("So long nothing may be heard of it before it counts as dead; follows from lateMs."),
});

const peer = z.object({
  node: z.int(),
  link: z.string().describe("Address and port of its node link."),
  alive: z.boolean().describe("Heard on the node link within the last second."),
  bootId: z.string().nullable().describe("Which start of it, 16 hex digits; null: it never answered."),
  heardAgoMs: z.number().nullable().describe("Since its last authentic datagram; null: none yet."),
  rttMs: z.number().nullable(),
  clockOffsetMs: z.number().nullable().describe("Its wall clock minus the one of this node."),
  clockApart: z.boolean().describe("The clocks are more than 5 s apart."),
  drain: drain.nullable().describe("What it says of itself; null: nothing yet."),
  sessions: z.int().nullable().describe("Sessions that it knows."),
  version: z.int().nullable().describe("Number of the last record that its present start has put."),
  syncLagMs: z.number().nullable().describe("Since something of it came through the engine; null: nothing yet."),
  behind: z.int().nullable().describe("Records of it that the engine has and this node has not; null: not known."),
  agrees: z.boolean().nullable().describe("Both know the same sessions; null: they have not compared yet."),
  disagreements: z
    .array(z.object({ creator: z.int(), forMs: z.number(), ours: digest, theirs: digest }))
    .describe("By the node that made the sessions: what the two have disagreed about for more than 3 s."),
  lifeline: lifeline.nullable().describe("Whether it lives, as its TCP connection shows; null: not told yet."),
  refusedBy: z.enum(["other_group", "duplicate_node", "not_member"]).nullable().describe("Why it refuses this node."),
  refused: z.record(z.string(), z.int()).describe("Datagrams of it that were refused, by reason."),
});

const wallMs = z.number().describe("Milliseconds since 1970.");

const book = z.object({
  clients: z.int().describe("Clients that were added while running, on any node."),
  tombstones: z.int().describe("Removed ones that are remembered, so that none comes back from a node that was away."),
  conflicts: z
    .array(z.object({ what: z.string(), keeper: z.string(), losers: z.array(z.string()), sinceMs: wallMs }))
    .describe(
      "An inner prefix, or a name behind =, that several clients were given: keeper has it, losers get another.",
    ),
  settled: z
    .array(
      z.object({
        ...{ what: z.string(), keeper: z.string(), loser: z.string() },
        ...{ addresses: z.array(z.string()), atMs: wallMs },
      }),
    )
    .describe("Conflicts of the last day: what loser had to leave to keeper, and the addresses that it has now."),
  refused: z
    .array(z.object({ client: z.string(), why: z.string(), sinceMs: wallMs }))
    .describe("Clients of the group that can't come in at this node."),
});

export const groupSchema = z.object({
  node: z.int(),
  bootId: z.string().describe("Which start of this node, 16 hex digits."),
  drain,
  version: z.int().describe("Records that this start has put."),
  sessions: z.object({
    known: z.int().describe("Of the whole group, as far as this node knows."),
    own: z.int().describe("With their replay windows here: their clients send here."),
    foreign: z.int().describe("With their windows at other nodes."),
  }),
  tombstones: z.int().describe("Ended sessions that are remembered, so that no late record brings one back."),
  moving: z.int().describe("Sessions on their way to this node."),
  asking: z.int().describe("Unknown sessions that the others are being asked about."),
  held: z.object({ packets: z.int(), bytes: z.int() }).describe("Packets that wait for their session."),
  introductions: z.int().describe("Clients that do not know this start of the node yet."),
  engine: z.object({
    kind: z.enum(["memory", "embedded", "nats"]),
    connected: z.boolean(),
    why: z.string().describe('Why it is not connected; "" when it is.'),
    server: z.string().describe('Name and version; "" when there is none.'),
    caughtUp: z.boolean().describe("Everything that it knew at the start has been read."),
    outbox: z.int().describe("Records that it has not taken yet."),
    errors: z.array(
      z.object({
        ...{ name: z.string(), count: z.int(), last: z.string(), sinceMs: wallMs, lastMs: wallMs },
        endedMs: wallMs.nullable().describe("Its cause is over since then; null: it may last."),
      }),
    ),
  }),
  book,
  alarms: z
    .array(z.object({ code: z.string(), text: z.string(), count: z.int(), sinceMs: wallMs, lastMs: wallMs }))
    .describe("What happened within the last ten minutes that somebody should look at."),
  identity: z.boolean().describe("Nodes are known by keys of their own, and can be put out."),
  roster: z.int().nullable().describe("Version of the operator's roster that is in force; null: there is none."),
  fleetRotation: z.int().describe("How often the fleet key was rotated, 0 = it is that of the file."),
  peers: z.array(peer),
  counters: z
    .array(
      z.object({
        ...{ name: z.string(), count: z.int(), refused: z.boolean(), help: z.string() },
        lastAgoMs: z.number().nullable().describe("Since the last one; null: not known."),
      }),
    )
    .describe("What became of packets and messages between nodes, zeros included."),
});

export type GroupStatus = z.output<typeof groupSchema>;
export type PeerStatus = GroupStatus["peers"][number];

export const rosterSchema = z.object({
  version: z.int().describe("Of the roster that is in force; 0: there is none."),
  members: z.array(z.int()).describe("Nodes that belong to the group."),
  evicted: z.array(z.int()).describe("Nodes that were put out."),
  text: z.string().describe('As the operator signed it; "" when there is none. No secret.'),
});
export const applyRosterSchema = z.strictObject({
  text: z.string().max(8192).describe("A roster that the operator signed."),
});
export const applyGroupKeysSchema = z.strictObject({
  notice: z.string().max(1024).describe("The keys of the group, as the operator signed them."),
  privateKeys: z
    .array(z.string().max(64))
    .min(1)
    .max(8)
    .describe("The private key of the one in force, in base64; those of earlier ones may follow. Secret."),
});
export const groupKeysSchema = z.object({ version: z.int().describe("Of the keys that are in force.") });
export const rotateRequestSchema = z.strictObject({
  what: z.enum(["tickets", "fleet"]).describe("Which keys."),
  now: z.boolean().default(false).describe("Tickets of before count no more, instead of 15 minutes."),
});

export const resyncRequestSchema = z.strictObject({
  node: z.int().min(1).max(63).optional().describe("Only this one; left out: every living one."),
});
export const resyncSchema = z.object({ nodes: z.array(z.int()).describe("Who was asked.") });

/**
 * Clients, sessions, routes, reload, log level, ping, events: what goes over the control socket beside status. Requests
 * may hold a pre-shared key; no answer ever does.
 */
import { z } from "zod";
import { NAME_LEN_MAX } from "../../base/names.ts";

/** Answer of everything that fails. */
export const errorSchema = z.object({
  error: z.string().describe("Stable code for programs."),
  message: z.string().describe("A sentence for people: what is wrong and what to do."),
});

const count = z.object({ packets: z.int(), bytes: z.int() });
const mode = z.enum(["tunnel", "open", "relay"]);
export const levelName = z.enum(["error", "warning", "notice", "info", "debug"]);
/** 44 characters of base64. */
const keyText = z.string().max(64);
const name = z.string().min(1).max(NAME_LEN_MAX);
const NAMES_MAX = 64;

/** How many rows one answer holds, and where it goes on. */
export const PAGE_MAX = 10_000;
const limit = z.coerce.number().int().min(1).max(PAGE_MAX).default(1000).describe("Rows in one answer.");

export const clientSchema = z.object({
  name,
  publicKey: keyText,
  psk: z.boolean().describe("Whether there is a pre-shared key."),
  addresses: z.array(z.string()).describe("Inner addresses."),
  prefixes: z.array(z.string()).describe("Networks behind the client."),
  modes: z.array(mode),
  origin: z.enum(["file", "api"]).describe("Who speaks of it: the configuration file, or this interface."),
  createdMs: z.number().describe("Milliseconds since 1970."),
  session: z.int().nullable().describe("Index of its session; null: it is not connected."),
});

export const newClientSchema = z.strictObject({
  name,
  publicKey: keyText.describe("X25519, 44 characters of base64."),
  psk: keyText.optional().describe("Pre-shared key, 44 characters of base64. Never answered."),
  addresses: z.array(z.string().max(64)).max(NAMES_MAX).default([]).describe("Inner addresses; empty: from the pool."),
  prefixes: z.array(z.string().max(64)).max(NAMES_MAX).default([]),
  modes: z.array(mode).min(1).default(["tunnel"]),
});

export const serviceSchema = z.object({
  group: z.string(),
  publicKey: keyText,
  operator: keyText.nullable().describe("Public key of the group's operator; null: it has none."),
  address: z.array(z.string()).describe("Where clients find the group."),
  routes: z.array(z.string()).describe("Pool and networks."),
  dns: z.array(z.string()),
  mtu: z.int(),
  keepaliveS: z.number(),
  inner: z.array(z.string()).describe("Inner addresses of the node."),
});

export const clientAddedSchema = z.object({ client: clientSchema, service: serviceSchema });

export const removedKeySchema = z.object({
  name: z.string().nullable().describe("Who it was; null: nobody that this node knew. It can't come in any more."),
});

export const clientPageSchema = z.object({
  clients: z.array(clientSchema),
  next: z.string().nullable().describe("Give this as `after` for the next page; null: there is none."),
});
export const clientQuery = z.object({ after: z.string().default("").describe("Name before the first row."), limit });

export const sessionSchema = z.object({
  id: z.int(),
  client: z.string(),
  publicKey: keyText,
  endpoint: z.string().describe("Outer address and port."),
  cipher: z.string(),
  sinceMs: z.number(),
  heardMs: z
    .number()
    .nullable()
    .describe("Last authentic packet at this node; null: none, or the client sends to another node."),
  foreign: z.boolean().describe("Another node of the group has its replay window."),
  owner: z.int().nullable().describe("Node that has it; null: not known, or this node is on its own."),
  ownerSinceMs: z
    .number()
    .nullable()
    .describe(
      "Milliseconds since 1970, since when that node has it, as far as this node has seen; null where owner is.",
    ),
  moves: z
    .int()
    .nullable()
    .describe("How often another node took the client over, as far as this node has seen; null: it is on its own."),
  settings: z
    .object({
      version: z.int().describe("Of the addresses, networks, name servers and MTU that the client has."),
      current: z.boolean().describe("Whether it is what this node says now."),
    })
    .nullable()
    .describe("What the client has of what it is told; null: not known at this node."),
  rx: count,
  tx: count,
});
export const sessionPageSchema = z.object({ sessions: z.array(sessionSchema), next: z.int().nullable() });
export const sessionQuery = z.object({
  after: z.coerce.number().int().min(-1).default(-1).describe("Index before the first row."),
  limit,
});

export const routesSchema = z.object({
  routes: z.array(
    z.object({
      prefix: z.string(),
      kind: z.enum(["client", "tunnel", "device"]),
      via: z.string().describe("Name of the client, the tunnel or the device."),
    }),
  ),
});

export const countersSchema = z.object({
  counters: z.array(z.object({ name: z.string(), count: z.int(), kind: z.enum(["done", "drop"]), help: z.string() })),
});

export const reloadSchema = z.object({
  changes: z.array(
    z.object({
      what: z.enum([
        "client",
        "tunnel",
        "service",
        "node",
        "group",
        "identity",
        "device",
        "listen",
        "paths",
        "instance",
        "announce",
      ]),
      subject: z.string(),
      kind: z.enum(["added", "removed", "changed"]),
      fields: z.array(z.string()),
      effect: z
        .enum(["live", "ends_session", "needs_restart"])
        .describe("live: everything goes on; needs_restart: not applied yet."),
    }),
  ),
  warnings: z.array(z.string()),
});

export const logLevelSchema = z.strictObject({ level: levelName });

export const pingRequestSchema = z.strictObject({
  client: name,
  timeoutMs: z.int().min(1).max(60_000).default(2000),
});
export const pingSchema = z.object({
  client: z.string(),
  rttMs: z.number(),
  node: z
    .int()
    .nullable()
    .describe("Node of the group that the answer came through; null: nodes have no numbers here."),
});

export const drainRequestSchema = z.strictObject({
  maxS: z.int().min(0).max(86_400).default(60).describe("Seconds after which it is over, whether clients left or not."),
  exit: z.boolean().default(false).describe("Whether the daemon ends afterwards."),
});

/** One line of GET /v1/events. */
export const eventSchema = z.object({
  timeMs: z.number(),
  event: z.string().describe('Stable name. "lost": `message` says how many lines this reader missed.'),
  message: z.string(),
  subject: z.string().optional(),
});

export const emptySchema = z.object({});

export type ApiClient = z.output<typeof clientSchema>;
export type ApiSession = z.output<typeof sessionSchema>;
export type ApiEvent = z.output<typeof eventSchema>;

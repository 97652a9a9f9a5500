/** Every key of a node file: those of a file with static keys, the group, and who may come. */
import { z } from "zod";
import { KEY_SLOTS } from "../../dataplane/layout.ts";
import { integer, oneOf, TABLE, text, textList } from "../text/schema_words.ts";
import { announce } from "./announce_schema.ts";
import { engine, group, peer } from "./cluster_schema.ts";
import type { FileKind } from "./config_read.ts";
import { instanceKeys, TUNNELS_MAX, tables } from "./config_schema.ts";
import { INLINE_SECRETS, privateKeyKeys, pskKeys } from "./key_sources.ts";

/** Files are written by people; others are added while the node runs. */
const CLIENTS_MAX = 16384;
/** With the rows of classic tunnels these are the key slots of a shard. */
const SESSIONS_MAX = KEY_SLOTS - TUNNELS_MAX;
/** 190 kB of IPv6 prefixes; a message to clients may have 256 KiB. */
const NETWORKS_MAX = 10_000;
const DNS_MAX = 16;
export const MODES = ["tunnel", "open", "relay"] as const;

const node = z.strictObject(
  {
    group: text("a name").optional().describe("Name of the service. Must be given; the same on each of its nodes."),
    ...privateKeyKeys,
    address: textList("host:port", "host:port")
      .default([])
      .describe("Where clients find the group; `anyhop invite` writes it into their files."),
    pool: textList("a prefix", "prefixes")
      .default([])
      .describe("Prefixes that inner addresses of clients are taken from, one of each family."),
    networks: textList("a prefix", "prefixes")
      .max(NETWORKS_MAX, `must have no more than ${NETWORKS_MAX} prefixes, which is what clients can be told`)
      .default([])
      .describe("Networks behind the node that clients are told to reach through the tunnel; up to 10,000."),
    dns: textList("an address", "addresses")
      .max(DNS_MAX, `must have no more than ${DNS_MAX} addresses`)
      .default([])
      .describe("Name servers that clients are told."),
    keepalive: integer(0, 65535)
      .default(25)
      .describe("Seconds without sending after which clients are told to send an empty packet; 0 is never."),
    rekey: integer(5, 300).default(120).describe("Seconds after which clients are told to agree new keys."),
    sessions: integer(16, SESSIONS_MAX)
      .default(SESSIONS_MAX)
      .describe(
        "Sessions at a time; a client that goes over to a new one has two for half a minute. In a group an eighth is kept for those that this node answers itself.",
      ),
  },
  { error: TABLE },
);

const client = z.strictObject(
  {
    name: text("a name").optional().describe("For status and logs. Must be given; different for each client."),
    public_key: text("a key").optional().describe("Public key of the client. Must be given."),
    ...pskKeys,
    addresses: textList("an address", "addresses")
      .default([])
      .describe("Inner addresses of the client. Without them they are taken from the pool and kept."),
    prefixes: textList("a prefix", "prefixes").default([]).describe("Networks behind the client."),
    modes: z
      .array(oneOf(MODES), { error: "must be a list of modes, each in quotes" })
      .min(1, 'must not be empty; the default is ["tunnel"]')
      .default(["tunnel"])
      .describe("What the client may use: tunnel, open, relay."),
  },
  { error: TABLE },
);

const nodeSchema = z.strictObject({
  ...instanceKeys,
  node: node.prefault({}),
  announce: announce.prefault({}),
  client: z
    .array(client, { error: "must be written as [[client]], once for each client" })
    .max(CLIENTS_MAX, `must not occur more than ${CLIENTS_MAX} times; add the others with anyhop clients add`)
    .default([]),
  group: group.optional(),
  engine: engine.prefault({}),
});

export type NodeConfig = z.output<typeof nodeSchema>;

export const nodeKind: FileKind<NodeConfig> = {
  schema: nodeSchema,
  tables: { ...tables, "": nodeSchema, node, announce, client, group, "group.peer": peer, engine },
  lists: new Set(["tunnel", "client", "group.peer"]),
  secrets: INLINE_SECRETS,
};

/** The tables of a node file that make it one of several: [group] with its [[group.peer]], and [engine]. */
import { z } from "zod";
import { NODE_MAX } from "../../crypto/session_index.ts";
import { integer, oneOf, TABLE, text, textList } from "../text/schema_words.ts";
import { fleetKeyKeys, signingKeyKeys } from "./key_sources.ts";

/** A grant lists every node of the group. */
const PEERS_MAX = 31;
const ENGINES = ["embedded", "nats"] as const;

const node = () => integer(1, NODE_MAX).optional();
const link = () => text("an address with port").optional();

export const peer = z.strictObject(
  {
    node: node().describe("Number of the other node. Must be given."),
    link: link().describe("Where its node link is, host:port. Must be given. Default port 4445."),
  },
  { error: TABLE },
);

export const group = z.strictObject(
  {
    node: node().describe(
      "Number of this node, 1 to 63, different on each node of the group; its sender id, too. Must be given.",
    ),
    ...fleetKeyKeys,
    operator: text("a key")
      .optional()
      .describe("Public key of the operator, who signs which nodes belong to the group. With `signing_key`."),
    ...signingKeyKeys,
    link: link().describe(
      "Own unicast address and port, UDP and TCP, for the node link; never the service address. Must be given. Default port 4445.",
    ),
    hold: integer(1, 100)
      .default(10)
      .describe(
        "Milliseconds that a packet of a session that is not known here waits for an answer of the other nodes.",
      ),
    peer: z
      .array(peer, { error: "must be written as [[group.peer]], once for each other node" })
      .max(PEERS_MAX, `must not occur more than ${PEERS_MAX} times`)
      .default([])
      .describe("The other nodes, each in a [[group.peer]] of its own."),
  },
  { error: TABLE },
);

export const engine = z.strictObject(
  {
    kind: oneOf(ENGINES)
      .default("embedded")
      .describe("nats: a NATS server beside each node. embedded: nothing beside the node link."),
    url: textList("a URL", "URLs")
      .default([])
      .describe("Where this node's own NATS server is, nats://127.0.0.1:4222. Several lead to the same server."),
    nkey_file: text("a path")
      .optional()
      .describe("File with the nkey of this node (mode 0600), from `anyhop init engine`."),
    ca_file: text("a path").optional().describe("Certificates of the authority that the server's must come from."),
    cert_file: text("a path").optional().describe("Own certificate, for a server that wants one."),
    key_file: text("a path").optional().describe("Private key of the own certificate (mode 0600)."),
  },
  { error: TABLE },
);

export interface ClusterTables {
  readonly group?: z.output<typeof group> | undefined;
  readonly engine: z.output<typeof engine>;
}

/** Every key of a client file: one identity, and the services that it connects to. */
import { z } from "zod";
import { integer, TABLE, text, textList, yesNo } from "../text/schema_words.ts";
import type { FileKind } from "./config_read.ts";
import { MTU_MAX, MTU_MIN } from "./config_schema.ts";
import { INLINE_SECRETS, privateKeyKeys, pskKeys } from "./key_sources.ts";

const SERVICES_MAX = 64;

const client = z.strictObject(
  {
    ...privateKeyKeys,
    port: integer(0, 65535).default(0).describe("Local UDP port; 0 lets the kernel pick one."),
  },
  { error: TABLE },
);

const paths = z.strictObject(
  {
    state: text("a path").default("/var/lib/anyhop").describe("Folder of tickets and sequence numbers."),
    socket: text("a path").optional().describe("Unix control socket. Default: /run/anyhop/NAME.sock."),
  },
  { error: TABLE },
);

const service = z.strictObject(
  {
    name: text("a name").optional().describe("For status and logs. Must be given; different for each service."),
    address: textList("host:port", "host:port")
      .default([])
      .describe("Where the service is; tried in this order. At least one. Default port 4444."),
    public_key: text("a key").optional().describe("Public key of the group. Must be given."),
    operator: text("a key")
      .optional()
      .describe("Public key of the group's operator: what it has signed is taken for another key of the group."),
    ...pskKeys,
    routes: textList("a prefix", "prefixes")
      .optional()
      .describe(
        'What goes into the tunnel: prefixes, or ["default"] for everything. Default: what the node announces.',
      ),
    addresses: textList("an address with prefix length", "addresses with prefix length")
      .optional()
      .describe("Inner addresses with prefix length. Default: the node gives them."),
    device: text("a name").optional().describe("Interface name. Without it the kernel picks one."),
    mtu: integer(MTU_MIN, MTU_MAX).optional().describe("Largest inner packet in bytes. Default: what the node says."),
    keepalive: integer(0, 65535)
      .default(25)
      .describe("Seconds without sending after which an empty packet is sent; 0 is never."),
    kill_switch: yesNo()
      .default(false)
      .describe("Packets for the routes never leave outside the tunnel, also while it is down."),
    dns_hook: text("a path").optional().describe("Program that sets the name servers, run before post_up."),
    post_up: text("a path").optional().describe("Program run when the service is up."),
    post_down: text("a path").optional().describe("Program run when the service is down."),
  },
  { error: TABLE },
);

const clientSchema = z.strictObject({
  name: text("a name").optional().describe("Name of this instance. Default: the file's name without .toml."),
  client: client.prefault({}),
  paths: paths.prefault({}),
  service: z
    .array(service, { error: "must be written as [[service]], once for each service" })
    .max(SERVICES_MAX, `must not occur more than ${SERVICES_MAX} times`)
    .default([]),
});

export type ClientConfig = z.output<typeof clientSchema>;
export type ServiceConfig = ClientConfig["service"][number];

export const clientKind: FileKind<ClientConfig> = {
  schema: clientSchema,
  tables: { "": clientSchema, client, paths, service },
  lists: new Set(["service"]),
  secrets: INLINE_SECRETS,
};

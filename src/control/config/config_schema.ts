/**
 * Every key of the configuration file: type, range, default and what it means. One schema gives validation, the types
 * of `config.ts` and the reference table of docs/OPERATIONS.md (a test compares them). Each error text is the end of a
 * sentence that begins with the key. What needs two keys to judge is in `config_rules.ts`.
 */
import { z } from "zod";
import { OUT_ROWS, SLOT_BYTES } from "../../dataplane/layout.ts";
import { SENDER_ID_END, SHARDS_MAX } from "../../dataplane/shared.ts";
import { MTU_DEFAULT } from "../spec/instance.ts";
import { integer, oneOf, TABLE, text, textList } from "../text/schema_words.ts";
import {
  authAlgorithms,
  keyLens,
  roles,
  TAG_LEN_DEFAULT,
  TAG_LEN_MAX,
  WINDOW_DEFAULT,
  WINDOW_MAX,
} from "../text/transforms.ts";
import type { FileKind } from "./config_read.ts";

/** IPv4 minimum that every host takes (RFC 791 section 3.1), and what a slot holds beside the largest overhead. */
export const MTU_MIN = 576;
export const MTU_MAX = 1900;
/** RFC 8200 section 5: a link with IPv6 must carry this. */
export const MTU_MIN_IPV6 = 1280;
/** Rows of the tunnel table above these are for sessions. */
export const TUNNELS_MAX = 16384;

const listen = z.strictObject(
  {
    addresses: textList("an address", "addresses")
      .default(["0.0.0.0", "::"])
      .describe("Local addresses to receive on. On an anycast node: the service address."),
    port: integer(1, 65535).default(4444).describe("UDP port."),
    sender_id: integer(0, 65535)
      .default(0)
      .describe("Number of this node. Nodes that share keys must have different ones, or they repeat key streams."),
  },
  { error: TABLE },
);

const device = z.strictObject(
  {
    type: oneOf(["tun", "tap"]).default("tun").describe("tun carries IP packets, tap carries Ethernet frames."),
    name: text("a name").optional().describe("Interface name. Without it the kernel picks one."),
    mtu: integer(MTU_MIN, MTU_MAX)
      .default(MTU_DEFAULT)
      .describe("Largest inner packet in bytes. At least 1280 with IPv6."),
    addresses: textList("an address with prefix length", "addresses with prefix length")
      .default([])
      .describe("Addresses of the device with prefix length."),
    host_routes: textList("a prefix", "prefixes")
      .default([])
      .describe("Prefixes that the host routes into the device."),
    post_up: text("a path").optional().describe("Program that is run when the device is up: NAME /dev/net/tun."),
  },
  { error: TABLE },
);

const shardsError = `must be "auto" or a whole number from 1 to ${SHARDS_MAX}`;

const limits = z.strictObject(
  {
    fanout: integer(1, OUT_ROWS).default(256).describe("Receivers of one multicast, broadcast or unknown-MAC packet."),
    shards: z
      .union(
        [
          z.literal("auto", { error: shardsError }),
          z.int({ error: shardsError }).min(1, shardsError).max(SHARDS_MAX, shardsError),
        ],
        { error: shardsError },
      )
      .default("auto")
      .describe(
        `Threads that move packets, up to ${SHARDS_MAX}; "auto" by the number of cores. With several, sender_id is below ${SENDER_ID_END}.`,
      ),
    flood_pps: integer(1, 10_000_000)
      .default(10_000)
      .describe("Copies of such packets per second that one tunnel may cause, all receivers together."),
  },
  { error: TABLE },
);

const paths = z.strictObject(
  {
    state: text("a path")
      .default("/var/lib/anyhop")
      .describe("Folder of the sequence numbers. Losing it repeats key streams: keep it on a disk."),
    socket: text("a path").optional().describe("Unix control socket. Default: /run/anyhop/NAME.sock."),
  },
  { error: TABLE },
);

const cipherNames = Object.keys(keyLens) as ["null", "aes-ctr", "aes-ctr-128", "aes-ctr-192", "aes-ctr-256"];

const tunnel = z.strictObject(
  {
    name: text("a name").optional().describe("For status and logs. Must be given; different for each tunnel."),
    mux: integer(0, 65535).default(0).describe("Number of the tunnel in every packet; the same at both ends."),
    role: oneOf(Object.keys(roles) as ["left", "alice", "server", "right", "bob", "client"])
      .default("left")
      .describe("One end is left (alice, server), the other right (bob, client)."),
    cipher: oneOf(cipherNames).default("aes-ctr").describe("Cipher; the same at both ends."),
    auth: oneOf(authAlgorithms).default("sha1").describe("Authentication; the same at both ends."),
    tag_length: integer(0, TAG_LEN_MAX)
      .default(TAG_LEN_DEFAULT)
      .describe("Bytes of the authentication tag; the same at both ends."),
    kd_prf: oneOf(cipherNames).default("aes-ctr").describe("Key derivation; the same at both ends."),
    passphrase: text("a passphrase")
      .optional()
      .describe("Secret, here in the file. Better: one of the next three. Exactly one is needed."),
    passphrase_file: text("a path").optional().describe("File with the passphrase; one newline at its end is cut."),
    passphrase_env: text("a name").optional().describe("Environment variable with the passphrase."),
    key_file: text("a path")
      .optional()
      .describe("File with the master key in hex, and optionally the salt in hex after a space."),
    salt_file: text("a path").optional().describe("File with the 14 byte master salt in hex. Only with key_file."),
    remote: text("host:port")
      .optional()
      .describe("Where the peer is. Without it the first authentic packet tells. Default port 4444."),
    window: integer(0, WINDOW_MAX).default(WINDOW_DEFAULT).describe("Replay window in packets; 0 turns it off."),
    routes: textList("a prefix", "prefixes")
      .optional()
      .describe("Inner prefixes of the peer. Needed when a tun device has several tunnels; not for tap."),
    keepalive: integer(0, 65535)
      .default(0)
      .describe("Seconds without sending after which an empty packet is sent; 0 is never."),
  },
  { error: TABLE },
);

const dscpError = 'must be "copy" or a whole number from 0 to 63';

/** The keys of a file that are the same whether it has sessions or not. */
export const instanceKeys = {
  name: text("a name").optional().describe("Name of this instance. Default: the file's name without .toml."),
  dscp: z
    .union(
      [z.literal("copy", { error: dscpError }), z.int({ error: dscpError }).min(0, dscpError).max(63, dscpError)],
      {
        error: dscpError,
      },
    )
    .default("copy")
    .describe('DSCP of outer packets: "copy" from the inner packet, or always this value.'),
  listen: listen.prefault({}),
  device: device.prefault({}),
  limits: limits.prefault({}),
  paths: paths.prefault({}),
  tunnel: z
    .array(tunnel, { error: "must be written as [[tunnel]], once for each tunnel" })
    .max(TUNNELS_MAX, `must not occur more than ${TUNNELS_MAX} times`)
    .default([]),
};

export const configSchema = z.strictObject(instanceKeys);

export type Config = z.output<typeof configSchema>;
export type TunnelConfig = Config["tunnel"][number];

/** Tables with their schemas, for key lists and the reference; "" is the top of the file. */
export const tables: Readonly<Record<string, z.ZodObject>> = {
  "": configSchema,
  listen,
  device,
  limits,
  paths,
  tunnel,
};

/** A file with static keys only. */
export const classicKind: FileKind<Config> = {
  schema: configSchema,
  tables,
  lists: new Set(["tunnel"]),
  secrets: new Set(["passphrase"]),
};

if (MTU_MAX + 100 > SLOT_BYTES) throw new Error("MTU_MAX leaves no room for the overhead in a slot.");

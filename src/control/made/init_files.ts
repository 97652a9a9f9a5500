/**
 * The texts of the files that `anyhop init` makes: complete, commented, and good for `anyhop check` as they are. Pure;
 * `drivers/new_files.ts` writes them.
 */
import { formatPrefix, type Prefix } from "../../base/prefix.ts";
import { line, quote, quoteList } from "../text/toml_text.ts";
import { type GroupWishes, groupTables } from "./init_group.ts";

export interface NodeWishes {
  readonly group: string;
  /** Name of the key file, relative to the folder of the file. */
  readonly keyFile: string;
  /** "host:port"; empty: not known yet. */
  readonly address: readonly string[];
  readonly port: number;
  readonly pool: readonly string[];
  /** One of several nodes; undefined: on its own. */
  readonly member?: GroupWishes;
}

/**
 * An IPv6 prefix of one's own (RFC 4193 section 3.2.2): fd, 40 random bits, a subnet of zero. `random`: 5 bytes.
 */
export function uniqueLocalPrefix(random: Uint8Array): string {
  const w0 = (0xfd << 24) | (random[0] << 16) | (random[1] << 8) | random[2];
  const prefix: Prefix = {
    family: 6,
    w0,
    w1: (random[3] << 24) | (random[4] << 16),
    w2: 0,
    w3: 0,
    length: 64,
    hostBits: false,
  };
  return formatPrefix(prefix);
}

export function nodeFile(wishes: NodeWishes): string {
  const { group, keyFile, address, port, pool, member } = wishes;
  const service = member !== undefined && member.service.length > 0 ? quoteList(member.service) : undefined;
  return `# A node of the group ${group}. anyhop check FILE judges this file, anyhop run FILE or anyhop up FILE starts it,
# anyhop reload applies changes. Every key is in docs/OPERATIONS.md.

[node]
# The same on each node of the group.
group = ${quote(group)}
# Whoever has this key is the group: keep it at mode 0600. Each node of the group has the same.
private_key_file = ${quote(keyFile)}
# Where clients find the group; anyhop invite writes it into their files.
${line("address", address.length > 0 ? quoteList(address) : undefined, '["vpn.example.net:4444"]')}
# Inner addresses of clients are taken from here; the first of each prefix is this node's own.
pool = ${quoteList(pool)}
# Networks behind this node that clients are to reach through the tunnel.
# networks = ["203.0.113.0/24"]
# Name servers that clients are to use.
# dns = ["203.0.113.53"]
# Seconds of silence after which clients send an empty packet, so that a NAT before them stays open.
keepalive = 25

[listen]
# All addresses; on a node of an anycast group the service address alone keeps strangers away from its own ones.
${line("addresses", service, '["192.0.2.1", "2001:db8::1"]')}
port = ${port}
${member === undefined ? "# Another number on each node of the group.\nsender_id = 1\n" : ""}
[device]
# The kernel picks a name when there is none.
# name = "anyhop0"
# Largest inner packet in bytes.
mtu = 1400

${groupTables(member)}
# Clients can be written here, or be added while the node runs (anyhop invite NAME, anyhop clients add NAME).
# [[client]]
# name = "anna"
# public_key = "..."                   # anyhop pubkey < anna.key
# psk_file = "anna.psk"                # anyhop genpsk; the same at both ends
# addresses = ["10.9.0.2"]             # from the pool when left out
# prefixes = ["198.51.100.0/24"]       # networks behind the client

# Peers that speak anytun's protocol with a static key may use the same port, with a mux below 32768.
# [[tunnel]]
# name = "old"
# mux = 1
# passphrase_file = "old.phrase"
# routes = ["10.20.0.0/16"]
`;
}

export interface ClientWishes {
  readonly service: string;
  /** Name of the key file, relative to the folder of the file. */
  readonly keyFile: string;
  /** "host:port", at least one. */
  readonly address: readonly string[];
  /** Of the group, 44 characters of base64. */
  readonly groupKey: string;
  /** Prefixes or "default"; empty: what the node announces. */
  readonly routes: readonly string[];
}

export function clientFile(wishes: ClientWishes): string {
  const { service, keyFile, address, groupKey, routes } = wishes;
  return `# A client. anyhop check FILE judges this file, anyhop run FILE or anyhop up FILE starts it. Every key is in
# docs/OPERATIONS.md.

[client]
# Whoever has this key is this client: keep it at mode 0600.
private_key_file = ${quote(keyFile)}

# Once for each service.
[[service]]
name = ${quote(service)}
# Tried in this order.
address = ${quoteList(address)}
public_key = ${quote(groupKey)}
# Pre-shared key beside the key pairs; the same at the node.
# psk_file = "service.psk"
${serviceTail(routes)}`;
}

/** The rest of a [[service]], with its comments. */
function serviceTail(routes: readonly string[]): string {
  return `# What goes into the tunnel; ["default"] is everything. Without it: what the node announces.
${line("routes", routes.length > 0 ? quoteList(routes) : undefined, '["default"]')}
# Inner addresses are given by the node unless they stand here.
# addresses = ["10.9.0.2/24"]
# The kernel picks a name when there is none.
# device = "anyhop0"
# Seconds of silence after which an empty packet is sent, so that a NAT stays open; 0 is never.
keepalive = 25
# true: packets for the routes never leave outside the tunnel, also while it is down.
kill_switch = false
# Programs with the variables of docs/OPERATIONS.md in their environment.
# dns_hook = "/etc/anyhop/dns"
# post_up = "/etc/anyhop/up"
# post_down = "/etc/anyhop/down"
`;
}

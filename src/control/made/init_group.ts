/**
 * The tables of a node file that make it one of several: [group], [engine], [announce]. In force with `GroupWishes`, else
 * as comments. Pure.
 */
import { quote, quoteList } from "../text/toml_text.ts";

export interface GroupWishes {
  readonly node: number;
  /** "address:port". */
  readonly link: string;
  readonly peers: readonly { readonly node: number; readonly link: string }[];
  readonly fleetKeyFile: string;
  /** Public key of the operator; undefined: nodes are known by the fleet key alone. */
  readonly operator?: string | undefined;
  /** Addresses that all nodes share; empty: none is known. */
  readonly service: readonly string[];
}

const EXAMPLE: GroupWishes = {
  ...{ node: 1, link: "198.51.100.1:4445", peers: [{ node: 2, link: "198.51.100.2:4445" }] },
  ...{ fleetKeyFile: "fleet.key", service: [] },
};
const SERVICE_EXAMPLE = ["192.0.2.1", "2001:db8::1"];

export function groupTables(wishes: GroupWishes | undefined): string {
  const { node, link, peers, fleetKeyFile, service, operator } = wishes ?? EXAMPLE;
  const mark = wishes === undefined ? "# " : "";
  const announced = service.length > 0 ? "" : "# ";
  return `# One of several nodes that share the service address: docs/OPERATIONS.md, "Several nodes".
${mark}[group]
# Another number on each node of the group.
${mark}node = ${node}
# Seals everything between the nodes; the same file on each.
${mark}fleet_key_file = ${quote(fleetKeyFile)}
# Who belongs to the group is signed by the operator, and each node has a key of its own: anyhop init operator.
${operator === undefined ? "" : `${mark}operator = ${quote(operator)}\n${mark}signing_key_file = "signing.key"\n`}# This node's own address for the others, never the service address.
${mark}link = ${quote(link)}
${peers.map((peer) => `${mark}[[group.peer]]\n${mark}node = ${peer.node}\n${mark}link = ${quote(peer.link)}\n`).join("")}
# The state engine beside the node; anyhop init engine makes it. Without it the node link alone carries sessions and
# clients, from node to node.
# [engine]
# kind = "nats"
# url = ["nats://127.0.0.1:4222"]
# nkey_file = "engine/engine.nk"

# The service addresses are on a device of the daemon's own; routers are told by BIRD with kind = "bird".
${announced}[announce]
# kind = "bird"
${announced}device = "anyc0"
${announced}addresses = ${quoteList(service.length > 0 ? service : SERVICE_EXAMPLE)}
`;
}

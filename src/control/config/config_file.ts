/**
 * The front door of `run` and `check` for every kind of file: a [node] table makes a node, [client] or [[service]] a
 * client, anything else is an instance with static keys.
 */

import type { ConfigEnv } from "../spec/config_env.ts";
import type { Fault } from "../spec/faults.ts";
import type { ClientSpec, InstanceSpec, NodeSpec } from "../spec/instance.ts";
import { parseClient } from "./client_config.ts";
import { parseConfig } from "./config.ts";
import { readToml } from "./config_read.ts";
import { parseNode } from "./node_config.ts";

/** The specification is only there when no fault is an error; faults are in the order of the file. */
export type ParsedFile =
  | { readonly kind: "classic"; readonly spec: InstanceSpec | undefined; readonly faults: readonly Fault[] }
  | { readonly kind: "node"; readonly spec: NodeSpec | undefined; readonly faults: readonly Fault[] }
  | { readonly kind: "client"; readonly spec: ClientSpec | undefined; readonly faults: readonly Fault[] };

/** Judges a whole file. `file` is its path: for messages, the default name, and relative secret files. */
export function parseFile(text: string, file: string, env: ConfigEnv): ParsedFile {
  const toml = readToml(text, file);
  if ("severity" in toml) return { kind: "classic", spec: undefined, faults: [toml] };
  const { value } = toml;
  // A [[client]] without [node] is a node file whose first table was forgotten; the fault says so.
  if ("node" in value || Array.isArray(value["client"])) return { kind: "node", ...parseNode(toml, env) };
  if ("client" in value || "service" in value) return { kind: "client", ...parseClient(toml, env) };
  return { kind: "classic", ...parseConfig(text, file, env) };
}

/** "node, group example, 3 client(s) and 1 classic tunnel(s)": what a good file is, for `anyhop check`. */
/** A group without a roster works, and is not safe from its own nodes. */
export const NO_IDENTITY =
  "node identity is off: whoever has the fleet key can speak as any node, and none can be put out; " +
  "to turn it on see docs/OPERATIONS.md, Node identity";

export function describeFile(parsed: ParsedFile): string {
  if (parsed.spec === undefined) return "faulty";
  switch (parsed.kind) {
    case "classic":
      return `${parsed.spec.tunnels.length} tunnel(s) on ${parsed.spec.device.type} device`;
    case "node": {
      const { group, clients, instance, cluster } = parsed.spec;
      const counts = `${clients.length} client(s) in the file, ${instance.tunnels.length} classic tunnel(s)`;
      const open = cluster !== undefined && cluster.identity === undefined ? `; ${NO_IDENTITY}` : "";
      return `node of group ${group}, ${counts}${open}`;
    }
    case "client":
      return `client of ${parsed.spec.services.map((service) => service.name).join(", ")}`;
  }
}

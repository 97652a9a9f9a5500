/**
 * The texts of the files that `anyhop init engine` makes: two nats-servers of one node. The leaf is the node's own island
 * (JetStream, reached by the daemon); the hub carries between islands and stores nothing. Two processes, because all
 * JetStream servers of one route mesh share one domain, and a domain ends only at a leafnode link. Pure.
 */
import { busRights, groupToken } from "../../cluster/bus_subjects.ts";

export interface EngineWishes {
  readonly group: string;
  readonly node: number;
  /** Where the other hubs find this one. */
  readonly address: { readonly host: string; readonly port: number };
  readonly peers: readonly { readonly node: number; readonly host: string; readonly port: number }[];
  /** Absolute; the files are here. */
  readonly dir: string;
  /** Absolute; the records are here. */
  readonly store: string;
  /** On loopback: the daemon's, the one between leaf and hub, and the hub's own, which nobody uses. */
  readonly ports: { readonly client: number; readonly leaf: number; readonly hub: number };
  /** Public nkey of the daemon, "U...". */
  readonly nkey: string;
  /** Random words between leaf and hub. */
  readonly passwords: { readonly leaf: string; readonly hub: string };
}

const bracketed = (host: string): string => (host.includes(":") ? `[${host}]` : host);
const list = (words: readonly string[]): string => words.map((word) => JSON.stringify(word)).join(", ");

/** The certificates of one block; both ends prove themselves to the fleet's own authority. */
const tls = (dir: string, indent: string): string =>
  [
    `${indent}tls {`,
    `${indent}  cert_file: ${JSON.stringify(`${dir}/node.pem`)}`,
    `${indent}  key_file: ${JSON.stringify(`${dir}/node.key`)}`,
    `${indent}  ca_file: ${JSON.stringify(`${dir}/ca.pem`)}`,
    `${indent}  verify: true`,
    `${indent}  timeout: 5`,
    `${indent}}`,
  ].join("\n");

export function hubConf(wishes: EngineWishes): string {
  const { group, node, address, peers, dir, ports, passwords } = wishes;
  const routes = peers.map(({ host, port }) => `    ${JSON.stringify(`nats-route://${bracketed(host)}:${port}`)}`);
  return `# Hub of node ${node} of the group ${group}: carries between the islands of the nodes, stores nothing.
# nats-server -t -c hub.conf judges this file, nats-server -c hub.conf runs it. Written by anyhop init engine.
server_name: ${JSON.stringify(`${groupToken(group)}-hub-${node}`)}

# Notices a dead neighbour within seconds.
ping_interval: "2s"
ping_max: 2

# The mesh of hubs. Each end shows a certificate of the fleet's authority (ca.pem).
cluster {
  name: ${JSON.stringify(groupToken(group))}
  listen: ${JSON.stringify(`${address.host.includes(":") ? "[::]" : "0.0.0.0"}:${address.port}`)}
  # For ever: a neighbour may be away for weeks.
  connect_retries: 1000000000
  no_advertise: true
${tls(dir, "  ")}
  routes: [
${routes.join("\n")}
  ]
}

# This node's own leaf comes in here, over loopback.
leafnodes {
  listen: "127.0.0.1:${ports.leaf}"
  no_advertise: true
  authorization { user: "leaf", password: ${JSON.stringify(passwords.leaf)}, timeout: 5 }
${tls(dir, "  ")}
}

# nats-server always listens for clients. Nobody needs this port, and who came in could do nothing.
listen: "127.0.0.1:${ports.hub}"
authorization {
  users: [
    {
      user: "nobody", password: ${JSON.stringify(passwords.hub)}
      permissions: { publish: { deny: [">"] }, subscribe: { deny: [">"] } }
    }
  ]
}
`;
}

export function leafConf(wishes: EngineWishes): string {
  const { group, node, dir, store, ports, nkey, passwords } = wishes;
  const { publish, subscribe } = busRights(group, node);
  return `# Island of node ${node} of the group ${group}: takes what this node puts, and copies what the others have.
# nats-server -t -c leaf.conf judges this file, nats-server -c leaf.conf runs it. Written by anyhop init engine.
server_name: ${JSON.stringify(`${groupToken(group)}-leaf-${node}`)}
# Only the daemon of this machine.
listen: "127.0.0.1:${ports.client}"

jetstream {
  # Another one at each node: that makes it an island.
  domain: ${JSON.stringify(`${groupToken(group)}-n${node}`)}
  store_dir: ${JSON.stringify(store)}
  max_mem: 64M
  # A session takes about 500 bytes at each node.
  max_file: 4G
}

leafnodes {
  reconnect: 1
  remotes: [
    {
      url: ${JSON.stringify(`tls://leaf:${passwords.leaf}@127.0.0.1:${ports.leaf}`)}
${tls(dir, "      ").replace(/\n +verify: true/, "")}
    }
  ]
}

ping_interval: "2s"
ping_max: 2

# The daemon of node ${node}, by the nkey in engine.nk. It writes below its own number and nowhere else.
authorization {
  timeout: 5
  users: [
    {
      nkey: ${JSON.stringify(nkey)}
      permissions: {
        publish: [${list(publish)}]
        subscribe: [${list(subscribe)}]
      }
    }
  ]
}
`;
}

/** A unit of systemd for one of the two; an example that works. */
export function engineUnit(wishes: EngineWishes, what: "hub" | "leaf"): string {
  const { node, group, dir, store } = wishes;
  const before = what === "leaf" ? `ExecStartPre=/bin/mkdir -p -m 0700 ${store}\n` : "";
  return `# cp ${dir}/anyhop-${what}.service /etc/systemd/system/ && systemctl enable --now anyhop-${what}
# Debian's package starts a server of its own: systemctl disable --now nats-server
[Unit]
Description=State engine of anyhop, ${what} of node ${node} of ${group}
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=/usr/sbin/nats-server -c ${dir}/${what}.conf
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
# A server whose disk was full hears no other signal.
TimeoutStopSec=5
LimitNOFILE=65536
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=full
${before}
[Install]
WantedBy=multi-user.target
`;
}

/** What node.toml needs. */
export function engineTable(wishes: EngineWishes): string {
  return `[engine]
kind = "nats"
url = ["nats://127.0.0.1:${wishes.ports.client}"]
nkey_file = ${JSON.stringify(`${wishes.dir}/engine.nk`)}
`;
}

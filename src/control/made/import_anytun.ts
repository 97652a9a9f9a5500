/**
 * An /etc/anytun/NAME folder as a file of anyhop: what `classic --config` understands, written down. Keys go into files
 * of their own, because a passphrase in a folder of anytun was readable to many. Pure.
 */
import { isName } from "../../base/names.ts";
import { parseClassic } from "../classic/classic.ts";
import type { ClassicEnv } from "../spec/config_env.ts";
import type { InstanceSpec, TunnelSpec } from "../spec/instance.ts";
import { quote, quoteList } from "../text/toml_text.ts";

export interface Imported {
  readonly name: string;
  /** File name -> content; the first is the configuration, the others are secrets. All for mode 0600. */
  readonly files: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
}

/** Returns sentences when the folder cannot be used. */
export function importAnytun(folder: string, env: ClassicEnv): Imported | readonly string[] {
  const parsed = parseClassic(["--config", folder], env);
  if (parsed.kind === "error") return parsed.errors;
  if (parsed.kind !== "run") return [`${folder}/config asks for help or the version, not for a tunnel`];
  const spec = { ...parsed.spec, tunnels: withNames(parsed.spec.tunnels) };
  const files = new Map([[`${spec.name}.toml`, classicFile(spec, folder)]]);
  for (const tunnel of spec.tunnels)
    if (tunnel.kdLen > 0) files.set(keyFileOf(spec, tunnel), `${hex(tunnel.masterKey)} ${hex(tunnel.masterSalt)}\n`);
  const warnings = [...parsed.warnings];
  const { username, groupname, chroot, writePid } = parsed.process;
  if (username ?? groupname ?? chroot ?? writePid)
    warnings.push("username, groupname, chroot and write-pid have no place in the file: use the unit of the service");
  return { name: spec.name, files, warnings };
}

/** Names of conf.d files as names of tunnels: other characters become _, and two that meet get numbers. */
function withNames(tunnels: readonly TunnelSpec[]): TunnelSpec[] {
  const taken = new Set<string>();
  return tunnels.map((tunnel, i) => {
    const plain = tunnel.name
      .replace(/[^A-Za-z0-9_.-]/g, "_")
      .replace(/^[_.-]+/, "")
      .slice(0, 56);
    const name = taken.has(plain) || !isName(plain) ? `${plain || "tunnel"}_${i}` : plain;
    taken.add(name);
    return { ...tunnel, name };
  });
}

const keyFileOf = (spec: InstanceSpec, tunnel: TunnelSpec): string => `${spec.name}-${tunnel.name}.key`;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const cipherName = (len: TunnelSpec["cipherLen"]): string => (len === 0 ? "null" : `aes-ctr-${len * 8}`);

/** The text of the configuration file. */
function classicFile(spec: InstanceSpec, folder: string): string {
  const { device, listen } = spec;
  const optional = (key: string, value: string | undefined): string =>
    value === undefined ? "" : `${key} = ${quote(value)}\n`;
  return `# Made from ${folder} by anyhop import. Every key is in docs/OPERATIONS.md.
name = ${quote(spec.name)}
# anytun leaves the TOS byte of outer packets alone.
dscp = ${quoteDscp(spec.dscp)}

[listen]
addresses = ${quoteList(listen.map(({ address }) => address))}
port = ${listen[0].port}
sender_id = ${spec.senderId}

[device]
type = ${quote(device.type)}
${optional("name", device.name)}mtu = ${device.mtuBytes}
addresses = ${quoteList(device.addresses)}
${optional("post_up", device.postUp)}
[paths]
state = ${quote(spec.stateDir)}
socket = ${quote(spec.socketPath)}
${spec.tunnels.map((tunnel) => tunnelTable(spec, tunnel)).join("")}`;
}

const quoteDscp = (dscp: InstanceSpec["dscp"]): string => (dscp === "copy" ? quote(dscp) : String(dscp));

function tunnelTable(spec: InstanceSpec, tunnel: TunnelSpec): string {
  const { remote } = tunnel;
  const host = remote?.host.includes(":") ? `[${remote.host}]` : remote?.host;
  const lines = [
    "",
    "[[tunnel]]",
    `name = ${quote(tunnel.name)}`,
    `mux = ${tunnel.mux}`,
    `role = ${quote(tunnel.role)}`,
    `cipher = ${quote(cipherName(tunnel.cipherLen))}`,
    tunnel.tagLen < 0 ? 'auth = "null"' : `auth = "sha1"\ntag_length = ${tunnel.tagLen}`,
    `kd_prf = ${quote(cipherName(tunnel.kdLen))}`,
    ...(tunnel.kdLen === 0 ? [] : [`key_file = ${quote(keyFileOf(spec, tunnel))}`]),
    ...(remote === undefined ? [] : [`remote = ${quote(`${host}:${remote.port}`)}`]),
    `window = ${tunnel.window}`,
    ...(tunnel.routes === undefined ? [] : [`routes = ${quoteList(tunnel.routes)}`]),
    `keepalive = ${tunnel.keepaliveMs / 1000}`,
  ];
  return `${lines.join("\n")}\n`;
}

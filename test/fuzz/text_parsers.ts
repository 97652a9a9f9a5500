/** What people and programs write: configuration files, command lines, keys, bodies of the API, answers of other programs. */
import { protocolStates, ReplyReader } from "../../src/announce/bird_reply.ts";
import { type Operation, operations } from "../../src/api/contract/operations.ts";
import { statusSchema } from "../../src/api/contract.ts";
import { AnyhopError } from "../../src/base/errors.ts";
import { parseAddress } from "../../src/base/ip.ts";
import { parseLogTarget } from "../../src/base/log.ts";
import { parsePrefix } from "../../src/base/prefix.ts";
import { indexOfKey } from "../../src/cluster/record.ts";
import type { NewClient } from "../../src/control/asked/control_port.ts";
import { parseClassic } from "../../src/control/classic/classic.ts";
import { parseFile } from "../../src/control/config/config_file.ts";
import { importAnytun } from "../../src/control/made/import_anytun.ts";
import { decodeContent, encodeContent } from "../../src/control/node/client_content.ts";
import type { ClassicEnv } from "../../src/control/spec/config_env.ts";
import { readEndpoint, readPrefix } from "../../src/control/text/address_text.ts";
import { parseKey } from "../../src/control/text/keys/key_text.ts";
import { openKey, sealKey } from "../../src/control/text/keys/sealed.ts";
import { parseHex, parseKeyFile } from "../../src/control/text/keys.ts";
import { createNode } from "../api/node.ts";
import { sampleStatus } from "../api/sample.ts";
import { ANNA_PUBLIC, BELA_PUBLIC, CLIENT, envWith, GROUP_PUBLIC, NODE, PSK } from "../control/session_files.ts";
import type { Input, Parser } from "./run.ts";

const texts = (
  name: string,
  valid: readonly string[],
  decode: (text: string) => unknown,
  more: Pick<Parser, "declared" | "weight" | "sealed" | "takesAll"> = {},
): Parser => ({ name, valid, decode: (input: Input) => decode(input as string), ...more });

const FILE = "/etc/anyhop/node.toml";
const env = envWith(0o600);
const NODE_WITH_ALL = `${NODE}address = ["vpn.example.net:4444"]
networks = ["203.0.113.0/24"]
dns = ["203.0.113.53"]
keepalive = 20
[listen]
addresses = ["192.0.2.1", "2001:db8::1"]
[device]
addresses = ["10.9.0.1/24"]
mtu = 1400
[limits]
shards = 1
[announce]
kind = "bird"
device = "anyc0"
addresses = ["192.0.2.1", "2001:db8::1"]
[[client]]
name = "anna"
public_key = "${ANNA_PUBLIC}"
psk_file = "anna.psk"
[[client]]
name = "bela"
public_key = "${BELA_PUBLIC}"
addresses = ["10.9.0.9"]
prefixes = ["198.51.100.0/24"]
`;
const GROUP = `${NODE}[group]
node = 3
fleet_key_file = "fleet.key"
link = "198.51.100.1"
[[group.peer]]
node = 4
link = "[2001:db8::4]:4446"
[engine]
kind = "nats"
url = ["nats://127.0.0.1:4222"]
nkey_file = "engine.nk"
ca_file = "ca.pem"
`;
const CLASSIC = `[listen]
addresses = ["192.0.2.1"]
sender_id = 1
[device]
addresses = ["10.9.0.1/24"]
[[tunnel]]
name = "anna"
mux = 1
passphrase_file = "phrase"
routes = ["10.9.0.2/32"]
remote = "192.0.2.7:4444"
[[tunnel]]
name = "bela"
mux = 2
passphrase_file = "phrase"
routes = ["10.9.0.3/32", "2001:db8:9::/64"]
`;

const office = "interface 192.0.2.1\nport 4445\ndev tun7\nifconfig 10.9.0.1/24\nsender-id 3\ncipher aes-ctr-256\n";
const lone = [
  "dev tap0\nauth-algo null\ncipher null\nkd-prf null\nremote-host gate.example.net\n",
  "remote-host 192.0.2.2 # a comment\nifconfig 10.9.0.1/24\ndev tun0\ntype tun\npassphrase documentation\nrole left\n",
];
/** A folder of anytun with these files, where any secret can be read. */
const folder = (files: Readonly<Record<string, string>>): ClassicEnv => ({
  ...env,
  readSecret: () => "documentation",
  readText: (path) => files[path.slice(path.lastIndexOf("/") + 1)],
  listFiles: () => Object.keys(files).filter((file) => file !== "config"),
});
const imported = (files: Readonly<Record<string, string>>): unknown => {
  const made = importAnytun("/etc/anytun/office", folder(files));
  return "files" in made ? made : undefined;
};
const words = [
  ["-r", "192.0.2.2", "-d", "tun0", "-n", "10.9.0.2/24", "-e", "right", "-E", "documentation"],
  [
    "--interface",
    "192.0.2.1",
    "--port",
    "4444",
    "--cipher",
    "aes-ctr-256",
    "--kd-prf",
    "aes-ctr-256",
    "-E",
    "documentation",
  ],
  ["-K", "db963f0fe106f483d9afa73bd4e39a8a", "-A", "36dbe526aa231abde2d0eef74d42", "-L", "syslog:3,anyhop,daemon"],
  ["--shards=1", "-s", "65535", "-w", "0", "-m", "7", "-4", "--nodaemonize", "-E", "documentation", "-D"],
];

const bodies = Object.entries(operations as Readonly<Record<string, Operation>>).filter(
  ([, { body }]) => Object.keys(body.shape).length > 0,
);
const newClient = JSON.stringify({
  ...{ name: "cora", publicKey: BELA_PUBLIC, psk: PSK, addresses: ["10.9.0.9"], prefixes: ["198.51.100.0/24"] },
  modes: ["tunnel", "open"],
});
const { control } = createNode();

/** As the server reads a body: JSON, judged by each schema, and what fits goes into the book. */
function readBody(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  let fits = false;
  for (const [name, { body }] of bodies) {
    const result = body.safeParse(value);
    fits ||= result.success;
    if (!result.success || name !== "addClient") continue;
    const { name: added } = control.addClient(result.data as unknown as NewClient);
    control.removeClient(added);
  }
  return fits ? value : undefined;
}

const encoder = new TextEncoder();
const content = new TextDecoder().decode(
  encodeContent({
    ...{ name: "cora", psk: undefined, addresses: ["10.9.0.9"], prefixes: ["198.51.100.0/24"], modes: ["tunnel"] },
    lost: [],
  }),
);

const sealed = sealKey(new Uint8Array(32).fill(1), "documentation", new Uint8Array(28).fill(9), 10);
const addresses = ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "[2001:db8::1]:4444", "vpn.example.net:4444"];
const bird =
  "0001 BIRD 2.0.12 ready.\n2002-Name       Proto      Table\n1002-any4 Static master4 up 10:00\n0000 \n0009 Disabled\n";

export const textParsers: readonly Parser[] = [
  texts(
    "configuration file",
    [NODE, NODE_WITH_ALL, CLIENT, GROUP, CLASSIC],
    (text) => parseFile(text, FILE, env).spec,
    { weight: 0.6 },
  ),
  texts("folder of anytun", lone, (config) => imported({ config })),
  texts("client of anytun", ["mux 9\nroute 10.9.0.2/32\npassphrase documentation\n"], (anna) =>
    imported({ config: office, anna }),
  ),
  texts(
    "classic command line",
    words.map((list) => list.join("\n")),
    (text) => {
      const parsed = parseClassic(text.split("\n"), folder({}));
      return parsed.kind === "error" ? undefined : parsed;
    },
  ),
  texts(
    "body of the API",
    [newClient, '{"client":"anna","timeoutMs":5}', '{"level":"debug"}', '{"maxS":5,"exit":true}'],
    readBody,
    {
      declared: (error) => error instanceof AnyhopError,
    },
  ),
  texts(
    "answer of a daemon",
    [JSON.stringify(sampleStatus())],
    (text) => {
      try {
        return statusSchema.safeParse(JSON.parse(text)).data;
      } catch (error) {
        if (error instanceof SyntaxError) return undefined;
        throw error;
      }
    },
    { weight: 0.3 },
  ),
  texts("client that another node added", [content], (text) => decodeContent(encoder.encode(text))),
  texts("sealed key", [sealed], (text) => openKey(text, "documentation"), { weight: 0.1, sealed: true }),
  texts("key", [ANNA_PUBLIC, GROUP_PUBLIC, `${PSK}\n`], parseKey),
  texts("key file", ["db963f0fe106f483d9afa73bd4e39a8a 36dbe526aa231abde2d0eef74d42\n"], parseKeyFile),
  texts("hexadecimal", ["db963f0fe106f483"], parseHex),
  texts("address", addresses.slice(0, 3), parseAddress),
  texts("prefix", ["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"], (text) => parsePrefix(text) && readPrefix(text)),
  texts("endpoint", addresses, (text) => readEndpoint(text, 4444)),
  texts("log target", ["stderr:3", "file:4,/tmp/x", "syslog:3,anyhop,daemon"], parseLogTarget),
  texts("key of a record", ["s.1.0a.00ff12", "s.2.12345678"], (text) => indexOfKey(text) + 1, { takesAll: true }),
  texts("reply of BIRD", [bird], (text) => new ReplyReader().push(text).map(protocolStates), {
    declared: (error) => error instanceof Error && error.message.startsWith('it says "'),
  }),
];

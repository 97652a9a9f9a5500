/** Node files: a whole one becomes a NodeSpec, and each way to be wrong is reported at its line, without its secrets. */
import { describe, expect, test } from "vitest";
import { describeFile, parseFile } from "../../src/control/config/config_file.ts";
import { formatFault } from "../../src/control/spec/faults.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import {
  ANNA_PRIVATE,
  ANNA_PUBLIC,
  BELA_PUBLIC,
  envWith,
  GROUP_PRIVATE,
  GROUP_PUBLIC,
  NODE,
  PSK,
  SECRETS,
} from "./session_files.ts";

const FILE = "/etc/anyhop/node.toml";
function node(text: string, env = envWith(0o600)) {
  const parsed = parseFile(text, FILE, env);
  if (parsed.kind !== "node") throw new Error(`it is a ${parsed.kind} file`);
  return { ...parsed, lines: parsed.faults.map(formatFault) };
}
const CLIENT = `[[client]]\nname = "anna"\npublic_key = "${ANNA_PUBLIC}"\n`;

describe("a file without faults", () => {
  test("everything written", () => {
    const { spec, faults } = node(`
name = "vienna"
[node]
group = "example"
private_key_file = "node.key"
address = ["vpn.example.net", "[2001:db8::1]:4445"]
pool = ["10.9.0.0/24", "2001:DB8:9::/64"]
networks = ["203.0.113.0/24"]
dns = ["203.0.113.53", "2001:db8::53"]
keepalive = 0
[listen]
addresses = ["192.0.2.1"]
sender_id = 3
[device]
mtu = 1380
[[client]]
name = "anna"
public_key = "${ANNA_PUBLIC}"
psk_file = "/etc/anyhop/anna.psk"
addresses = ["10.9.0.7", "2001:DB8:9::7"]
prefixes = ["198.51.100.0/24"]
modes = ["tunnel", "relay"]
[[client]]
name = "bela"
public_key = "${BELA_PUBLIC}"
[[tunnel]]
name = "old"
mux = 32767
passphrase_file = "phrase"
routes = ["10.20.0.0/16"]
`);
    expect(faults).toEqual([]);
    expect(spec).toMatchObject({
      group: "example",
      addresses: ["vpn.example.net:4444", "[2001:db8::1]:4445"],
      pool: ["10.9.0.0/24", "2001:db8:9::/64"],
      networks: ["203.0.113.0/24"],
      dns: ["203.0.113.53", "2001:db8::53"],
      keepaliveMs: 0,
      instance: {
        name: "vienna",
        senderId: 3,
        listen: [{ address: "192.0.2.1", port: 4444 }],
        socketPath: "/run/anyhop/vienna.sock",
        device: { mtuBytes: 1380, addresses: ["10.9.0.1/24", "2001:db8:9::1/64"] },
        tunnels: [{ name: "old", mux: 32767, routes: ["10.20.0.0/16"] }],
      },
    });
    expect([formatKey(spec!.privateKey), formatKey(spec!.publicKey)]).toEqual([GROUP_PRIVATE, GROUP_PUBLIC]);
    expect(spec!.clients.map((client) => ({ ...client, psk: client.psk && formatKey(client.psk) }))).toEqual([
      {
        name: "anna",
        publicKey: ANNA_PUBLIC,
        psk: PSK,
        addresses: ["10.9.0.7", "2001:db8:9::7"],
        prefixes: ["198.51.100.0/24"],
        modes: ["tunnel", "relay"],
      },
      { name: "bela", publicKey: BELA_PUBLIC, psk: undefined, addresses: [], prefixes: [], modes: ["tunnel"] },
    ]);
  });

  test("without classic tunnels and clients; the device takes the first address of the pool", () => {
    const parsed = node(NODE);
    expect(parsed.faults).toEqual([]);
    expect(parsed.spec).toMatchObject({
      keepaliveMs: 25_000,
      rekeyMs: 120_000,
      clients: [],
      instance: { name: "node", tunnels: [] },
    });
    expect(parsed.spec!.instance.device.addresses).toEqual(["10.9.0.1/24"]);
    expect(describeFile(parsed)).toBe("node of group example, 0 client(s) in the file, 0 classic tunnel(s)");
    expect(node(`${NODE}[device]\naddresses = ["10.9.0.9/24"]\n`).spec!.instance.device.addresses).toEqual([
      "10.9.0.9/24",
    ]);
  });

  test.each([
    ["inline", `private_key = "${GROUP_PRIVATE}"`],
    ["an environment variable", 'private_key_env = "KEY"'],
    ["a credential", 'private_key_credential = "group"'],
    ["sealed, passphrase in a file", 'private_key_file = "sealed.key"\npassphrase_file = "phrase"'],
    ["sealed, passphrase in the environment", 'private_key_file = "sealed.key"\npassphrase_env = "PHRASE"'],
  ])("private key: %s", (_what, lines) => {
    const { spec, faults } = node(NODE.replace('private_key_file = "node.key"', lines));
    expect(faults).toEqual([]);
    expect(formatKey(spec!.publicKey)).toBe(GROUP_PUBLIC);
  });
});

/** What is changed in the good file, the line of the fault, and what it says. */
const withKey = (lines: string) => NODE.replace('private_key_file = "node.key"', lines);
describe("faults", () => {
  test.each<[string, string, number, string]>([
    ["no group", NODE.replace('group = "example"\n', ""), 1, "node has no group"],
    ["a bad group", NODE.replace("example", "a b"), 2, "node.group must be 1 to 64"],
    ["no key", withKey(""), 1, "node has no private key"],
    ["no file", withKey('private_key_file = "none"'), 3, "the file /etc/anyhop/none cannot be read: no such file"],
    ["an open file", withKey('private_key_file = "open.key"'), 3, "run chmod 600 /etc/anyhop/open.key"],
    ["a short key", withKey('private_key_file = "short.key"'), 3, "44 characters of base64, and this has 40"],
    ["no variable", withKey('private_key_env = "NONE"'), 3, "variable NONE is not set"],
    ["no credential", withKey('private_key_credential = "none"'), 3, "/run/credentials/anyhop/none cannot be read"],
    ["a credential elsewhere", withKey('private_key_credential = "../x"'), 3, "its name has a slash"],
    [
      "two keys",
      withKey('private_key_file = "node.key"\nprivate_key_env = "KEY"'),
      4,
      "both private_key_file and private_key_env",
    ],
    ["sealed without passphrase", withKey('private_key_file = "sealed.key"'), 3, "sealed with a passphrase"],
    [
      "sealed, wrong passphrase",
      withKey('private_key_file = "sealed.key"\npassphrase_file = "wrong"'),
      3,
      "passphrase is wrong",
    ],
    ["sealed, damaged", withKey('private_key_file = "damaged.key"\npassphrase_file = "phrase"'), 3, "cannot be opened"],
    [
      "a passphrase for nothing",
      withKey('private_key_file = "node.key"\npassphrase_file = "phrase"'),
      4,
      "warning: the passphrase is not needed",
    ],
    ["a key as path", withKey(`private_key_file = "${GROUP_PRIVATE}"`), 3, "looks like a key itself"],
    ["a key as name", withKey(`private_key_env = "${GROUP_PRIVATE}"`), 3, "looks like a key itself"],
    ["a number as key", withKey("private_key = 7"), 3, "must be a key in quotes"],
    ["pool: no prefix", NODE.replace("10.9.0.0/24", "10.9.0.0"), 4, "has no prefix length"],
    ["pool: host bits", NODE.replace("10.9.0.0/24", "10.9.0.1/24"), 4, "did you mean 10.9.0.0/24?"],
    ["pool: too small", NODE.replace("10.9.0.0/24", "10.9.0.0/31"), 4, "no room for a node and a client"],
    ["pool: twice", NODE.replace('"10.9.0.0/24"', '"10.9.0.0/24", "10.9.0.0/24"'), 4, "listed twice"],
    ["pool: loopback", NODE.replace('"10.9.0.0/24"', '"127.0.0.0/16"'), 4, "127.0.0.0/8 is for loopback"],
    ["pool: everything", NODE.replace('"10.9.0.0/24"', '"0.0.0.0/0"'), 4, "holds what no client can have"],
    ["pool: overlap", NODE.replace('"10.9.0.0/24"', '"10.9.0.0/24", "10.9.0.0/16"'), 4, "overlaps 10.9.0.0/24"],
    ["pool: a text", NODE.replace('["10.9.0.0/24"]', '"10.9.0.0/24"'), 4, "must be a list of prefixes"],
    ["networks", `${NODE}networks = ["198.51.100.1/24"]\n`, 5, "did you mean 198.51.100.0/24?"],
    ["address", `${NODE}address = ["192.0.2.1:x"]\n`, 5, 'port "x"'],
    ["dns", `${NODE}dns = ["ns.example.net"]\n`, 5, "is not an IPv4 or IPv6 address"],
    ["rekey", `${NODE}rekey = 4\n`, 5, "must be a whole number from 5 to 300, not 4"],
    ["keepalive", `${NODE}keepalive = -1\n`, 5, "must be a whole number from 0 to 65535, not -1"],
    ["an unknown key", `${NODE}pol = []\n`, 5, "there is no key pol in [node]; did you mean pool?"],
    ["a key of another table", `${NODE}sender_id = 1\n`, 5, "sender_id belongs in [listen]"],
    ["a tap device", `${NODE}[device]\ntype = "tap"\n`, 6, "the device is tun"],
    ["mtu", `${NODE.replace("10.9.0.0/24", "2001:db8:9::/64")}[device]\nmtu = 1000\n`, 6, "IPv6 needs an MTU"],
    ["client: no name", `${NODE}${CLIENT.replace('name = "anna"\n', "")}`, 5, "client[0] has no name"],
    ["client: bad name", `${NODE}${CLIENT.replace("anna", "an na")}`, 6, "client[0].name must be"],
    ["client: no key", `${NODE}[[client]]\nname = "anna"\n`, 5, "client[0] has no public_key"],
    ["client: bad key", `${NODE}${CLIENT.replace(ANNA_PUBLIC, ANNA_PRIVATE.slice(1))}`, 7, "this has 43"],
    ["client: zero key", `${NODE}${CLIENT.replace(ANNA_PUBLIC, `${"A".repeat(43)}=`)}`, 7, "small order"],
    ["client: the group's key", `${NODE}${CLIENT.replace(ANNA_PUBLIC, GROUP_PUBLIC)}`, 7, "key of the group itself"],
    [
      "client: name twice",
      `${NODE}${CLIENT}${CLIENT.replace(ANNA_PUBLIC, BELA_PUBLIC)}`,
      9,
      "already taken by client[0] (line 6)",
    ],
    [
      "client: key twice",
      `${NODE}${CLIENT}${CLIENT.replace("anna", "bela")}`,
      10,
      "already taken by client[0] (line 7)",
    ],
    ["client: bad psk", `${NODE}${CLIENT}psk = "x"\n`, 8, "client[0].psk is no key"],
    ["client: no psk file", `${NODE}${CLIENT}psk_file = "none"\n`, 8, "/etc/anyhop/none cannot be read"],
    ["client: bad address", `${NODE}${CLIENT}addresses = ["10.9.0.2/24"]\n`, 8, "without a prefix length"],
    ["client: the node's address", `${NODE}${CLIENT}addresses = ["10.9.0.1"]\n`, 8, "already belongs to the device"],
    [
      "client: address twice",
      `${NODE}${CLIENT}addresses = ["10.9.0.2", "10.9.0.2"]\n`,
      8,
      "already belongs to this client",
    ],
    ["client: bad prefix", `${NODE}${CLIENT}prefixes = ["198.51.100.9/24"]\n`, 8, "did you mean 198.51.100.0/24?"],
    ["client: bad mode", `${NODE}${CLIENT}modes = ["relais"]\n`, 8, 'did you mean "relay"?'],
    ["client: no mode", `${NODE}${CLIENT}modes = []\n`, 8, "must not be empty"],
    [
      "client: unknown key",
      `${NODE}${CLIENT}addreses = []\n`,
      8,
      "there is no key addreses in [[client]]; did you mean addresses?",
    ],
    [
      "no pool for it",
      `${NODE.replace('pool = ["10.9.0.0/24"]\n', "")}${CLIENT}`,
      4,
      "client[0] has no addresses, and there is no pool",
    ],
    [
      "tunnel: session mux",
      `${NODE}[[tunnel]]\nname = "a"\nmux = 32768\npassphrase_file = "phrase"\nroutes = ["10.20.0.0/16"]\n`,
      7,
      "the muxes above 32767 belong to sessions",
    ],
    [
      "tunnel: no routes",
      `${NODE}[[tunnel]]\nname = "a"\npassphrase_file = "phrase"\n`,
      5,
      "shares the device with sessions",
    ],
    [
      "tunnel: the pool",
      `${NODE}[[tunnel]]\nname = "a"\npassphrase_file = "phrase"\nroutes = ["10.9.0.0/24"]\n`,
      8,
      "whole pool",
    ],
    [
      "tunnel and client",
      `${NODE}${CLIENT}prefixes = ["10.20.0.0/16"]\n[[tunnel]]\nname = "a"\npassphrase_file = "phrase"\nroutes = ["10.20.0.0/16"]\n`,
      8,
      "already belongs to tunnel[0]",
    ],
  ])("%s", (_what, text, line, says) => {
    const { lines } = node(text);
    expect(lines).toEqual([expect.stringContaining(says)]);
    expect(lines[0]).toMatch(new RegExp(`^${FILE}:${line}:\\d+: (error|warning): `));
    for (const secret of SECRETS) expect(lines[0]).not.toContain(secret);
  });

  test("all of them in one go, in the order of the file", () => {
    const { lines, spec } = node(
      `${NODE.replace("node.key", "none")}bad = 1\n${CLIENT.replace("anna", "")}psk = "x"\n`,
    );
    expect(spec).toBeUndefined();
    expect(lines.map((each) => each.split(":")[1])).toEqual(["3", "5", "7", "9"]);
  });

  test("a key in a file that others may read", () => {
    const inline = withKey(`private_key = "${GROUP_PRIVATE}"`);
    expect(node(inline, envWith(0o644)).lines).toEqual([expect.stringContaining(`run chmod 600 ${FILE}`)]);
  });

  test("no credentials at all", () => {
    const { lines } = node(withKey('private_key_credential = "group"'), envWith(0o600, false));
    expect(lines).toEqual([expect.stringContaining("systemd gave none")]);
  });

  test("[[client]] without [node] says what is missing", () => {
    expect(node(CLIENT).lines.join("\n")).toContain("node has no group");
  });
});

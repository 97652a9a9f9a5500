/** Client files: a whole one becomes a ClientSpec, and each way to be wrong is reported at its line. */
import { describe, expect, test } from "vitest";
import { describeFile, parseFile } from "../../src/control/config/config_file.ts";
import { formatFault } from "../../src/control/spec/faults.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import {
  ANNA_PRIVATE,
  ANNA_PUBLIC,
  BELA_PUBLIC,
  CLIENT,
  envWith,
  GROUP_PUBLIC,
  PSK,
  SECRETS,
} from "./session_files.ts";

const FILE = "/etc/anyhop/anna.toml";
function client(text: string) {
  const parsed = parseFile(text, FILE, envWith(0o600));
  if (parsed.kind !== "client") throw new Error(`it is a ${parsed.kind} file`);
  return { ...parsed, lines: parsed.faults.map(formatFault) };
}
const SECOND = `[[service]]\nname = "other"\naddress = ["vpn.example.net"]\npublic_key = "${BELA_PUBLIC}"\n`;

describe("a file without faults", () => {
  test("everything written", () => {
    const { spec, faults } = client(`
name = "laptop"
[client]
private_key_file = "anna.key"
port = 5000
[paths]
state = "/srv/state"
socket = "/srv/laptop.sock"
[[service]]
name = "example"
address = ["vpn.example.net", "[2001:db8::1]:4445"]
public_key = "${GROUP_PUBLIC}"
psk = "${PSK}"
routes = ["10.9.0.0/24", "2001:DB8:9::/64"]
addresses = ["10.9.0.2/24"]
device = "hop0"
mtu = 1300
keepalive = 0
kill_switch = true
dns_hook = "/usr/local/sbin/dns"
post_up = "/usr/local/sbin/up"
post_down = "/usr/local/sbin/down"
[[service]]
name = "other"
address = ["192.0.2.9:1"]
public_key = "${BELA_PUBLIC}"
routes = ["default"]
`);
    expect(faults).toEqual([]);
    expect(spec).toMatchObject({ name: "laptop", port: 5000, stateDir: "/srv/state", socketPath: "/srv/laptop.sock" });
    expect([formatKey(spec!.privateKey), formatKey(spec!.publicKey)]).toEqual([ANNA_PRIVATE, ANNA_PUBLIC]);
    const [first, second] = spec!.services;
    expect({ ...first, publicKey: formatKey(first.publicKey), psk: formatKey(first.psk!) }).toEqual({
      name: "example",
      remotes: [
        { host: "vpn.example.net", port: 4444 },
        { host: "2001:db8::1", port: 4445 },
      ],
      publicKey: GROUP_PUBLIC,
      psk: PSK,
      routes: ["10.9.0.0/24", "2001:db8:9::/64"],
      addresses: ["10.9.0.2/24"],
      device: "hop0",
      mtuBytes: 1300,
      keepaliveMs: 0,
      killSwitch: true,
      hooks: { dns: "/usr/local/sbin/dns", postUp: "/usr/local/sbin/up", postDown: "/usr/local/sbin/down" },
    });
    expect(second).toMatchObject({ routes: "everything", psk: undefined, killSwitch: false });
  });

  test("defaults: the node gives addresses, routes and MTU", () => {
    const parsed = client(CLIENT);
    expect(parsed.faults).toEqual([]);
    expect(parsed.spec).toMatchObject({ name: "anna", port: 0, socketPath: "/run/anyhop/anna.sock" });
    expect(parsed.spec!.services[0]).toMatchObject({
      routes: undefined,
      addresses: undefined,
      mtuBytes: undefined,
      device: undefined,
      keepaliveMs: 25_000,
    });
    expect(describeFile(parsed)).toBe("client of example");
  });
});

describe("faults", () => {
  test.each<[string, string, number, string]>([
    ["no key", CLIENT.replace('private_key_file = "anna.key"\n', ""), 1, "client has no private key"],
    ["no service", CLIENT.slice(0, CLIENT.indexOf("[[")), 1, "there is no service"],
    ["port", CLIENT.replace("[[", "port = 65536\n[["), 3, "must be a whole number from 0 to 65535"],
    ["service: no name", CLIENT.replace('name = "example"\n', ""), 3, "service[0] has no name"],
    ["service: bad name", CLIENT.replace('"example"', '""'), 4, "service[0].name must be"],
    ["service: no address", CLIENT.replace('address = ["192.0.2.1:4444"]\n', ""), 3, "service[0] has no address"],
    ["service: empty address", CLIENT.replace('"192.0.2.1:4444"', ""), 5, "service[0] has no address"],
    ["service: bad address", CLIENT.replace("192.0.2.1:4444", "192.0.2.1:0"), 5, 'port "0"'],
    ["service: no public key", CLIENT.replace(/public_key.*\n/, ""), 3, "service[0] has no public_key"],
    ["service: own public key", CLIENT.replace(GROUP_PUBLIC, ANNA_PUBLIC), 6, "key of this client itself"],
    ["service: private key there", CLIENT.replace(GROUP_PUBLIC, `${ANNA_PRIVATE}x`), 6, "this has 45"],
    ["routes: empty", `${CLIENT}routes = []\n`, 7, "is empty, so nothing could pass"],
    ["routes: 0.0.0.0/0", `${CLIENT}routes = ["0.0.0.0/0"]\n`, 7, 'write "default" instead'],
    ["routes: default and more", `${CLIENT}routes = ["default", "10.9.0.0/24"]\n`, 7, "default is everything"],
    ["routes: host bits", `${CLIENT}routes = ["10.9.0.1/24"]\n`, 7, "did you mean 10.9.0.0/24?"],
    ["routes: twice", `${CLIENT}routes = ["10.9.0.0/24", "10.9.0.0/24"]\n`, 7, "already belongs to this service"],
    [
      "routes: of another",
      `${CLIENT}routes = ["10.9.0.0/24"]\n${SECOND}routes = ["10.9.0.0/24"]\n`,
      12,
      "already belongs to service[0]",
    ],
    [
      "routes: two defaults",
      `${CLIENT}routes = ["default"]\n${SECOND}routes = ["default"]\n`,
      12,
      "already belongs to service[0]",
    ],
    ["addresses: no length", `${CLIENT}addresses = ["10.9.0.2"]\n`, 7, "write 10.9.0.2/32 for the single address"],
    ["addresses: empty", `${CLIENT}addresses = []\n`, 7, "the node gives them"],
    ["addresses: twice", `${CLIENT}addresses = ["10.9.0.2/24", "10.9.0.2/24"]\n`, 7, "listed twice"],
    ["mtu and IPv6 address", `${CLIENT}mtu = 1000\naddresses = ["2001:db8:9::2/64"]\n`, 8, "IPv6 needs an MTU"],
    ["mtu and IPv6 route", `${CLIENT}mtu = 1000\nroutes = ["2001:db8:9::/64"]\n`, 8, "IPv6 needs an MTU"],
    ["device", `${CLIENT}device = "a name"\n`, 7, "is no interface name"],
    [
      "device twice",
      `${CLIENT}device = "hop0"\n${SECOND}device = "hop0"\n`,
      12,
      "already taken by service[0] (line 7)",
    ],
    ["service twice", `${CLIENT}${SECOND.replace("other", "example")}`, 8, "already taken by service[0] (line 4)"],
    ["hooks", `${CLIENT}post_up = "up.sh"\n`, 7, "must be an absolute path"],
    ["kill switch", `${CLIENT}kill_switch = "yes"\n`, 7, 'must be true or false, not "yes"'],
    ["paths", `${CLIENT}[paths]\nstate = "here"\n`, 8, "paths.state must be an absolute path"],
    ["unknown key", `${CLIENT}adress = []\n`, 7, "did you mean address?"],
    ["a table of nodes", `${CLIENT}[listen]\nport = 1\n`, 7, "there is no key listen at the top of the file"],
    ["service as one table", CLIENT.replace("[[service]]", "[service]"), 3, "must be written as [[service]]"],
    ["not TOML", `${CLIENT}x = = 1\n`, 7, "this is not TOML"],
  ])("%s", (_what, text, line, says) => {
    const parsed = parseFile(text, FILE, envWith(0o600));
    const lines = parsed.faults.map(formatFault);
    expect(lines).toEqual([expect.stringContaining(says)]);
    expect(lines[0]).toMatch(new RegExp(`^${FILE}:${line}:\\d+: error: `));
    for (const secret of SECRETS) expect(lines[0]).not.toContain(secret);
  });
});

/** The configuration file: a whole one becomes an instance, and each way to be wrong is reported at its line. */
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/control/config/config.ts";
import type { ConfigEnv } from "../../src/control/spec/config_env.ts";
import { formatFault } from "../../src/control/spec/faults.ts";

const SECRET = "hunter2-zq";
const KEY16 = "db963f0fe106f483d9afa73bd4e39a8a";
const SALT = "36dbe526aa231abde2d0eef74d42";

const files: Record<string, { text: string | Uint8Array; mode: number }> = {
  "/s/phrase": { text: "correct horse battery staple\n", mode: 0o600 },
  "/s/open": { text: SECRET, mode: 0o644 },
  "/s/empty": { text: "\n", mode: 0o600 },
  "/s/binary": { text: Uint8Array.of(0xff, 0xfe), mode: 0o600 },
  "/s/key16": { text: `${KEY16}\n`, mode: 0o600 },
  "/s/both": { text: `${KEY16} ${SALT}\n`, mode: 0o400 },
  "/s/salt": { text: `${SALT}\n`, mode: 0o600 },
  "/s/short": { text: "36dbe5", mode: 0o600 },
  "/s/nothex": { text: SECRET, mode: 0o600 },
  "/etc/anyhop/beside": { text: "correct horse battery staple", mode: 0o600 },
};
const env: ConfigEnv = {
  readSecret(path) {
    const file = files[path];
    if (file === undefined) throw new Error("no such file");
    return file.text;
  },
  modeOf: (path) => (path === "/etc/anyhop/node.toml" ? 0o600 : files[path]?.mode),
  getenv: (name) => ({ PHRASE: "correct horse battery staple", EMPTY: "" })[name],
};
const parse = (text: string, file = "/etc/anyhop/node.toml") => parseConfig(text, file, env);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

const T = '[[tunnel]]\nname = "a"\npassphrase_file = "/s/phrase"\n';

describe("a file without faults", () => {
  test("everything written", () => {
    const { spec, faults } = parse(`
name = "vienna"
dscp = 46
[listen]
addresses = ["192.0.2.1", "2001:DB8::0:1"]
port = 4445
sender_id = 7
[device]
type = "tun"
name = "hop0"
mtu = 1380
addresses = ["10.9.0.1/24", "2001:db8:9::1/64"]
host_routes = ["10.10.0.0/16"]
post_up = "/usr/local/sbin/up"
[limits]
fanout = 8
flood_pps = 100
[paths]
state = "/srv/state"
socket = "/srv/vienna.sock"
[[tunnel]]
name = "a"
mux = 3
role = "bob"
cipher = "aes-ctr-256"
auth = "sha1"
tag_length = 12
kd_prf = "aes-ctr-128"
key_file = "/s/key16"
salt_file = "/s/salt"
remote = "[2001:db8::7]:4000"
window = 64
routes = ["10.9.0.2/32", "2001:db8:0:1::/64"]
keepalive = 25
[[tunnel]]
name = "b"
mux = 4
role = "server"
passphrase_env = "PHRASE"
remote = "gate.example.net"
routes = ["10.9.0.0/24"]
`);
    expect(faults).toEqual([]);
    expect(spec).toMatchObject({
      name: "vienna",
      dscp: 46,
      listen: [
        { address: "192.0.2.1", port: 4445 },
        { address: "2001:db8::1", port: 4445 },
      ],
      senderId: 7,
      device: {
        type: "tun",
        name: "hop0",
        mtuBytes: 1380,
        addresses: ["10.9.0.1/24", "2001:db8:9::1/64"],
        hostRoutes: ["10.10.0.0/16"],
        postUp: "/usr/local/sbin/up",
      },
      fanoutMax: 8,
      floodPps: 100,
      stateDir: "/srv/state",
      socketPath: "/srv/vienna.sock",
    });
    const [a, b] = spec?.tunnels ?? [];
    expect(a).toMatchObject({ name: "a", mux: 3, role: "right", cipherLen: 32, tagLen: 12, kdLen: 16, window: 64 });
    expect(a).toMatchObject({ remote: { host: "2001:db8::7", port: 4000 }, keepaliveMs: 25_000 });
    expect(a.routes).toEqual(["10.9.0.2/32", "2001:db8:0:1::/64"]);
    expect([hex(a.masterKey), hex(a.masterSalt)]).toEqual([KEY16, SALT]);
    expect(b).toMatchObject({ role: "left", remote: { host: "gate.example.net", port: 4444 }, window: 2048 });
  });

  test("defaults", () => {
    const { spec, faults } = parse('[[tunnel]]\nname = "a"\npassphrase_file = "beside"\n');
    expect(faults).toEqual([]);
    expect(spec).toMatchObject({
      name: "node",
      dscp: "copy",
      listen: [
        { address: "0.0.0.0", port: 4444 },
        { address: "::", port: 4444 },
      ],
      senderId: 0,
      device: { type: "tun", name: undefined, mtuBytes: 1400, addresses: [], hostRoutes: [], postUp: undefined },
      fanoutMax: 256,
      floodPps: 10_000,
      stateDir: "/var/lib/anyhop",
      socketPath: "/run/anyhop/node.sock",
    });
    const [tunnel] = spec?.tunnels ?? [];
    expect(tunnel).toMatchObject({ mux: 0, role: "left", cipherLen: 16, tagLen: 10, kdLen: 16, window: 2048 });
    expect(tunnel).toMatchObject({ remote: undefined, routes: undefined, keepaliveMs: 0 });
    // Captured from anytun with this passphrase.
    expect([hex(tunnel.masterKey), hex(tunnel.masterSalt)]).toEqual([KEY16, SALT]);
  });

  test.each([
    ["passphrase", 'passphrase = "correct horse battery staple"'],
    ["passphrase_env", 'passphrase_env = "PHRASE"'],
    ["key_file with salt", 'key_file = "/s/both"'],
  ])("key from %s", (_name, line) => {
    const { spec, faults } = parse(`[[tunnel]]\nname = "a"\n${line}\n`);
    expect(faults).toEqual([]);
    expect([hex(spec!.tunnels[0].masterKey), hex(spec!.tunnels[0].masterSalt)]).toEqual([KEY16, SALT]);
  });

  test.each([
    ["left", "left"],
    ["alice", "left"],
    ["server", "left"],
    ["right", "right"],
    ["bob", "right"],
    ["client", "right"],
  ])("role %s is %s", (name, role) => {
    expect(parse(`${T}role = "${name}"\n`).spec?.tunnels[0].role).toBe(role);
  });

  test.each([
    ["null", 0],
    ["aes-ctr", 16],
    ["aes-ctr-128", 16],
    ["aes-ctr-192", 24],
    ["aes-ctr-256", 32],
  ])("cipher and kd_prf %s have %i bytes", (name, length) => {
    expect(parse(`${T}cipher = "${name}"\n`).spec?.tunnels[0].cipherLen).toBe(length);
    const tunnel = parse(`${T}kd_prf = "${name}"\n`).spec?.tunnels[0];
    expect([tunnel?.kdLen, tunnel?.masterKey.length]).toEqual([length, length]);
  });

  test("a longer route inside a shorter one of another tunnel is legal", () => {
    const text = `${T}routes = ["10.0.0.0/8"]\n${T.replace('"a"', '"b"')}mux = 1\nroutes = ["10.9.0.0/16"]\n`;
    expect(parse(text).faults).toEqual([]);
  });

  test("a tap device has several tunnels without routes", () => {
    expect(parse(`[device]\ntype = "tap"\n${T}${T.replace('"a"', '"b"')}mux = 1\n`).faults).toEqual([]);
  });

  test("cipher null with auth null needs no key", () => {
    const { spec, faults } = parse('[[tunnel]]\nname = "a"\ncipher = "null"\nauth = "null"\n');
    expect(faults.map((fault) => fault.severity)).toEqual(["warning", "warning"]);
    expect(spec?.tunnels[0]).toMatchObject({ cipherLen: 0, tagLen: -1, kdLen: 0 });
  });
});

/** Each text has one fault, at the line with HERE. */
const errors: [what: string, text: string, message: RegExp][] = [
  ["not TOML", `${T}mux = = 1 # HERE\n`, /this is not TOML/],
  ["the same key twice", `${T}mux = 1\nmux = 2 # HERE\n`, /this is not TOML/],
  ["unknown key", `${T}windw = 1 # HERE\n`, /no key windw in \[\[tunnel\]\]; did you mean window\?/],
  ["unknown key at the top", `colour = "red" # HERE\n${T}`, /no key colour at the top.*the keys here are name, dscp/],
  ["unknown table", `${T}[limit] # HERE\nfanout = 1\n`, /no key limit.*did you mean limits\?/],
  ["key of another table", `port = 1 # HERE\n${T}`, /no key port.*belongs in \[listen\]/],
  [
    "text instead of number",
    `${T}mux = "1" # HERE\n`,
    /tunnel\[0\]\.mux must be a whole number from 0 to 65535, not "1"/,
  ],
  ["fraction", `${T}window = 1.5 # HERE\n`, /window must be a whole number/],
  ["port too high", `[listen]\nport = 65536 # HERE\n${T}`, /listen\.port must be .* from 1 to 65535, not 65536/],
  ["port 0", `[listen]\nport = 0 # HERE\n${T}`, /from 1 to 65535, not 0/],
  ["sender id", `[listen]\nsender_id = -1 # HERE\n${T}`, /from 0 to 65535, not -1/],
  ["mux too high", `${T}mux = 70000 # HERE\n`, /from 0 to 65535, not 70000/],
  ["tag length", `${T}tag_length = 21 # HERE\n`, /from 0 to 20, not 21/],
  ["window too large", `${T}window = 65537 # HERE\n`, /from 0 to 65536/],
  ["unknown cipher", `${T}cipher = "aes-crt-128" # HERE\n`, /must be one of .*did you mean "aes-ctr-128"\?/],
  ["unknown kd_prf", `${T}kd_prf = "blake3" # HERE\n`, /kd_prf must be one of "null", "aes-ctr"/],
  ["unknown auth", `${T}auth = "sha2" # HERE\n`, /must be one of "sha1", "null", not "sha2"; did you mean "sha1"/],
  ["unknown role", `${T}role = "lefty" # HERE\n`, /did you mean "left"\?/],
  ["dscp", `dscp = 64 # HERE\n${T}`, /dscp must be "copy" or a whole number from 0 to 63, not 64/],
  ["dscp name", `dscp = "ef" # HERE\n${T}`, /dscp must be "copy" or/],
  ["mtu small", `[device]\nmtu = 575 # HERE\n${T}`, /from 576 to 1900, not 575/],
  ["mtu large", `[device]\nmtu = 1901 # HERE\n${T}`, /from 576 to 1900/],
  [
    "mtu for IPv6 address",
    `[device]\nmtu = 1279 # HERE\naddresses = ["2001:db8::1/64"]\n${T}`,
    /\(line 3\) is IPv6; .*1280/,
  ],
  ["mtu for IPv6 host route", `[device]\nmtu = 900 # HERE\nhost_routes = ["2001:db8::/64"]\n${T}`, /at least 1280/],
  [
    "mtu for IPv6 route",
    `[device]\nmtu = 900\n${T}routes = ["2001:db8::/64"] # HERE\n`,
    /but device\.mtu is 900; .*1280/,
  ],
  ["device type", `[device]\ntype = "tub" # HERE\n${T}`, /did you mean "tun"\?/],
  ["device name", `[device]\nname = "a-very-long-name" # HERE\n${T}`, /no interface name: at most 15/],
  ["device address", `[device]\naddresses = ["10.9.0.1"] # HERE\n${T}`, /no prefix length; write 10\.9\.0\.1\/32/],
  ["device address twice", `[device]\naddresses = ["10.9.0.1/24",\n"10.9.0.1/24"] # HERE\n${T}`, /listed twice/],
  ["host route bits", `[device]\nhost_routes = ["10.9.0.1/24"] # HERE\n${T}`, /did you mean 10\.9\.0\.0\/24\?/],
  ["relative post_up", `[device]\npost_up = "up" # HERE\n${T}`, /must be an absolute path/],
  [
    "listen address",
    `[listen]\naddresses = ["0.0.0.0",\n"here"] # HERE\n${T}`,
    /"here" is not an IPv4 or IPv6 address/,
  ],
  ["listen address with port", `[listen]\naddresses = ["0.0.0.0:44"] # HERE\n${T}`, /belongs in listen\.port/],
  ["listen twice", `[listen]\naddresses = ["::",\n"0::0"] # HERE\n${T}`, /listed twice/],
  ["listen empty", `[listen]\naddresses = [] # HERE\n${T}`, /listen\.addresses is empty/],
  ["list expected", `[listen]\naddresses = "::" # HERE\n${T}`, /must be a list of addresses/],
  ["table expected", `listen = 3 # HERE\n${T}`, /listen must be a table/],
  ["element type", `${T}routes = ["10.0.0.0/8",\n7] # HERE\n`, /routes\[1\] must be a prefix in quotes, not 7/],
  [
    "no tunnel",
    `name = "x"`,
    /there is neither a \[node\], nor a \[\[service\]\] of a client, nor a \[\[tunnel\]\]; `anyhop init node`/,
  ],
  ["tunnel as one table", `[tunnel] # HERE\nname = "a"\n`, /must be written as \[\[tunnel\]\]/],
  ["tunnel without name", `[[tunnel]] # HERE\npassphrase_file = "/s/phrase"\n`, /tunnel\[0\] has no name/],
  ["bad tunnel name", `${T.replace('"a"', '"a b" # HERE')}`, /must be 1 to 64 letters/],
  [
    "tunnel name twice",
    `[device]\ntype="tap"\n${T}${T.replace('"a"', '"a" # HERE')}mux = 1\n`,
    /name "a" is already taken by tunnel\[0\] \(line 4\)/,
  ],
  [
    "mux twice",
    `[device]\ntype="tap"\n${T}mux = 9\n${T.replace('"a"', '"b"')}mux = 9 # HERE\n`,
    /mux 9 is already taken by tunnel\[0\] \(line 6\)/,
  ],
  [
    "default mux twice",
    `[device]\ntype="tap"\n${T}${T.replace("[[tunnel]]", "[[tunnel]] # HERE").replace('"a"', '"b"')}`,
    /mux 0 \(the default\) is already taken/,
  ],
  ["route with host bits", `${T}routes = ["10.9.0.1/24"] # HERE\n`, /did you mean 10\.9\.0\.0\/24\?/],
  ["route no prefix", `${T}routes = ["10.9.0/24"] # HERE\n`, /"10\.9\.0\/24" is not an IPv4 or IPv6 prefix/],
  ["route length", `${T}routes = ["10.9.0.0/33"] # HERE\n`, /prefix length "33" .* from 0 to 32/],
  ["route without length", `${T}routes = ["2001:db8::1"] # HERE\n`, /write 2001:db8::1\/128/],
  ["no routes at all", `${T}routes = [] # HERE\n`, /is empty, so nothing could pass/],
  [
    "route of two tunnels",
    `${T}routes = ["10.9.0.0/24"]\n${T.replace('"a"', '"b"')}mux = 1\nroutes = [\n"10.9.0.0/24"] # HERE\n`,
    /already belongs to tunnel\[0\] \(line 4\)/,
  ],
  [
    "same route spelt differently",
    `${T}routes = ["2001:db8::/32",\n"2001:DB8:0::/32"] # HERE\n`,
    /already belongs to this tunnel/,
  ],
  ["route on tap", `[device]\ntype = "tap"\n${T}routes = ["10.9.0.0/24"] # HERE\n`, /no meaning on a tap device/],
  [
    "one of two without routes",
    `${T}routes = ["10.9.0.0/24"]\n${T.replace("[[tunnel]]", "[[tunnel]] # HERE").replace('"a"', '"b"')}mux = 1\n`,
    /tunnel "b" has no routes, and there are 2/,
  ],
  ["remote", `${T}remote = "a b:1" # HERE\n`, /is not an address or host name with a port/],
  ["remote port", `${T}remote = "192.0.2.1:0" # HERE\n`, /port "0" of "192\.0\.2\.1:0" is not a number from 1/],
  ["remote family", `[listen]\naddresses = ["::"]\n${T}remote = "192.0.2.1:1" # HERE\n`, /is IPv4, but no address/],
  ["no key", `[[tunnel]] # HERE\nname = "a"\n`, /tunnel\[0\] has no key; add one of passphrase, passphrase_file/],
  ["two keys", `${T}key_file = "/s/both" # HERE\n`, /has both passphrase_file and key_file/],
  ["salt_file alone", `${T}salt_file = "/s/salt" # HERE\n`, /only used together with key_file/],
  ["key without salt", `[[tunnel]]\nname="a"\nkey_file = "/s/key16" # HERE\n`, /a key but no salt; add salt_file/],
  [
    "key length",
    `[[tunnel]]\nname="a"\nkd_prf="aes-ctr-256"\nkey_file = "/s/both" # HERE\n`,
    /has 16 bytes; .*exactly 32 bytes/,
  ],
  [
    "salt length",
    `[[tunnel]]\nname="a"\nkey_file="/s/key16"\nsalt_file = "/s/short" # HERE\n`,
    /the salt has 3 bytes; .*14/,
  ],
  ["key not hex", `[[tunnel]]\nname="a"\nkey_file = "/s/nothex" # HERE\n`, /a key file holds the key as hex/],
  [
    "salt not hex",
    `[[tunnel]]\nname="a"\nkey_file="/s/key16"\nsalt_file = "/s/nothex" # HERE\n`,
    /a salt file holds 28 hex digits/,
  ],
  [
    "file missing",
    `[[tunnel]]\nname="a"\npassphrase_file = "gone" # HERE\n`,
    /\/etc\/anyhop\/gone cannot be read: no such file/,
  ],
  ["empty passphrase", `[[tunnel]]\nname="a"\npassphrase = "" # HERE\n`, /the passphrase is empty/],
  ["empty passphrase file", `[[tunnel]]\nname="a"\npassphrase_file = "/s/empty" # HERE\n`, /the passphrase is empty/],
  ["binary passphrase", `[[tunnel]]\nname="a"\npassphrase_file = "/s/binary" # HERE\n`, /not UTF-8/],
  ["variable not set", `[[tunnel]]\nname="a"\npassphrase_env = "GONE" # HERE\n`, /variable GONE is not set/],
  ["variable empty", `[[tunnel]]\nname="a"\npassphrase_env = "EMPTY" # HERE\n`, /the passphrase is empty/],
  ["passphrase no text", `[[tunnel]]\nname="a"\npassphrase = 7 # HERE\n`, /passphrase must be a passphrase in quotes$/],
  ["name", `name = "a/b" # HERE\n${T}`, /name must be 1 to 64 letters/],
  ["relative path", `[paths]\nstate = "state" # HERE\n${T}`, /paths\.state must be an absolute path/],
  ["relative socket", `[paths]\nsocket = "s.sock" # HERE\n${T}`, /paths\.socket must be an absolute path/],
  ["socket too long", `[paths]\nsocket = "/${"x".repeat(95)}" # HERE\n${T}`, /longer than 95 bytes/],
  ["fanout", `[limits]\nfanout = 0 # HERE\n${T}`, /from 1 to 1024, not 0/],
  ["flood", `[limits]\nflood_pps = 0 # HERE\n${T}`, /from 1 to 10000000/],
  ["keepalive", `${T}keepalive = -5 # HERE\n`, /from 0 to 65535, not -5/],
];

describe("one error, at its line", () => {
  test.each(errors)("%s", (_what, text, message) => {
    const { spec, faults } = parse(text);
    const line = text.split("\n").findIndex((each) => each.includes("HERE")) + 1;
    expect(faults.map((fault) => [fault.severity, fault.line])).toEqual([["error", Math.max(line, 1)]]);
    const shown = formatFault(faults[0]);
    expect(shown).toMatch(/^\/etc\/anyhop\/node\.toml:\d+:\d+: error: /);
    expect(shown).toMatch(message);
    expect(spec).toBeUndefined();
  });
});

const warnings: [what: string, text: string, message: RegExp][] = [
  ["cipher null", `${T}cipher = "null" # HERE\n`, /sends everything readable/],
  ["auth null", `${T}auth = "null" # HERE\n`, /accepts every datagram/],
  ["tag 0", `${T}tag_length = 0 # HERE\n`, /a tag length of 0 accepts every datagram/],
  ["window 0", `${T}window = 0 # HERE\n`, /copies of old packets/],
  ["kd null", `[[tunnel]]\nname = "a"\nkd_prf = "null" # HERE\n`, /keys of zeros/],
  [
    "open file",
    `[[tunnel]]\nname="a"\npassphrase_file = "/s/open" # HERE\n`,
    /others may read \/s\/open \(mode 0644\).*chmod 600/,
  ],
];

describe("one warning, at its line, and the instance all the same", () => {
  test.each(warnings)("%s", (_what, text, message) => {
    const { spec, faults } = parse(text);
    const line = text.split("\n").findIndex((each) => each.includes("HERE")) + 1;
    expect(faults.map((fault) => [fault.severity, fault.line])).toEqual([["warning", line]]);
    expect(formatFault(faults[0])).toMatch(message);
    expect(spec).toBeDefined();
  });

  test("an inline passphrase in a file that others may read is reported once", () => {
    const text =
      '[device]\ntype="tap"\n[[tunnel]]\nname="a"\npassphrase="xyz"\n[[tunnel]]\nname="b"\nmux=1\npassphrase="xyz"\n';
    const { faults, spec } = parseConfig(text, "/s/open", env);
    expect(faults.map((fault) => [fault.severity, fault.line, fault.key])).toEqual([
      ["warning", 5, "tunnel[0].passphrase"],
    ]);
    expect(spec).toBeDefined();
  });
});

test("all faults come at once, in the order of the file", () => {
  const { faults } = parse(`prt = 1
[listen]
port = "x"
[device]
addresses = ["10.0.0.1"]
[[tunnel]]
name = "a"
mux = 5
cipher = "rot13"
routes = ["10.0.0.1/8", "10.1.0.0/16"]
[[tunnel]]
nam = "b"
mux = 5
routes = ["10.1.0.0/16"]
passphrase = ""
`);
  expect(faults.map((fault) => `${fault.line} ${fault.key}`)).toEqual([
    "1 prt",
    "3 listen.port",
    "5 device.addresses[0]",
    "6 tunnel[0]",
    "9 tunnel[0].cipher",
    "10 tunnel[0].routes[0]",
    "11 tunnel[1]",
    "12 tunnel[1].nam",
    "13 tunnel[1].mux",
    "14 tunnel[1].routes[0]",
    "15 tunnel[1].passphrase",
  ]);
});

test("no fault shows a secret", () => {
  const texts = [
    `[[tunnel]]\nname="a"\npassphrase = ["${SECRET}"]\n`,
    `[[tunnel]]\nname="a"\npassphrse = "${SECRET}"\n`,
    `[[tunnel]]\nname="a"\npassphrase = "${SECRET}\n`,
    `[[tunnel]]\nname="a"\npassphrase = "${SECRET}"\nkey_file = "/s/nothex"\n`,
    `[[tunnel]]\nname="a"\npassphrase = ${SECRET}\n`,
    `[[tunnel]]\nname="a"\nkey_file = "/s/nothex"\nsalt_file = "/s/nothex"\n`,
  ];
  for (const text of texts) {
    const { faults } = parseConfig(text, "/s/open", env);
    expect(faults.length).toBeGreaterThan(0);
    expect(faults.map(formatFault).join("\n")).not.toContain("hunter2");
  }
});

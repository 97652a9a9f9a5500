/** Every option of anytun and uanytun, short and long, and every refusal of `anyhop classic`. */
import { describe, expect, test } from "vitest";
import { type ParsedClassic, parseClassic } from "../../src/control/classic/classic.ts";
import { classicOptions } from "../../src/control/classic/classic_options.ts";
import type { ClassicEnv } from "../../src/control/spec/config_env.ts";

const KEY16 = "db963f0fe106f483d9afa73bd4e39a8a";
const KEY32 = `${KEY16}${KEY16}`;
const SALT = "36dbe526aa231abde2d0eef74d42";
const SECRET = "hunter2-zq";

function environment(files: Record<string, string | Uint8Array> = {}, modes: Record<string, number> = {}): ClassicEnv {
  const text = (path: string) => {
    const content = files[path];
    return content === undefined || typeof content === "string" ? content : new TextDecoder().decode(content);
  };
  return {
    readSecret(path) {
      if (files[path] === undefined) throw new Error("no such file");
      return files[path];
    },
    modeOf: (path) => modes[path] ?? (files[path] === undefined ? undefined : 0o600),
    getenv: () => undefined,
    readText: text,
    listFiles(path) {
      const names = Object.keys(files).filter((file) => file.startsWith(`${path}/`));
      return names.length === 0 ? undefined : names.map((file) => file.slice(path.length + 1)).sort();
    },
  };
}
const env = environment({ "/s/phrase": "correct horse battery staple\n", "/s/key": `${KEY16} ${SALT}\n` });
type Run = Extract<ParsedClassic, { kind: "run" }>;

function run(argv: string[], use = env): Run {
  const parsed = parseClassic(argv, use);
  if (parsed.kind !== "run") throw new Error(`not run: ${JSON.stringify(parsed)}`);
  return parsed;
}
const withKey = (...argv: string[]): Run => run(["--passphrase-file", "/s/phrase", ...argv]);
function errors(argv: string[], use = env): readonly string[] {
  const parsed = parseClassic(argv, use);
  return parsed.kind === "error" ? parsed.errors : [];
}
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const tunnel = ({ spec }: Run) => spec.tunnels[0];

test("defaults are those of the originals, with a replay window", () => {
  const { spec, process, warnings } = withKey();
  expect(warnings).toEqual([]);
  expect(spec).toMatchObject({
    name: "classic-4444",
    listen: [
      { address: "0.0.0.0", port: 4444 },
      { address: "::", port: 4444 },
    ],
    senderId: 0,
    device: { type: "tun", name: undefined, mtuBytes: 1500, addresses: [], hostRoutes: [], postUp: undefined },
    dscp: 0,
    stateDir: "/var/lib/anyhop",
    socketPath: "/run/anyhop/classic-4444.sock",
  });
  expect(spec.tunnels).toHaveLength(1);
  expect(spec.tunnels[0]).toMatchObject({ mux: 0, role: "left", cipherLen: 16, tagLen: 10, kdLen: 16, window: 2048 });
  expect(spec.tunnels[0]).toMatchObject({ remote: undefined, routes: undefined, keepaliveMs: 0 });
  expect([hex(spec.tunnels[0].masterKey), hex(spec.tunnels[0].masterSalt)]).toEqual([KEY16, SALT]);
  expect(process).toEqual({
    daemonize: true,
    username: undefined,
    groupname: undefined,
    chroot: undefined,
    writePid: undefined,
    log: [{ kind: "syslog", level: 3, ident: "anyhop", facility: 3 }],
  });
});

/** Short and long form, value, where it arrives. */
const effects: [short: string, long: string, value: string[], seen: (run: Run) => unknown, expected: unknown][] = [
  ["-D", "--nodaemonize", [], (r) => r.process.daemonize, false],
  ["-u", "--username", ["nobody"], (r) => r.process.username, "nobody"],
  ["-g", "--groupname", ["nogroup"], (r) => r.process.groupname, "nogroup"],
  ["-C", "--chroot", ["/var/empty"], (r) => r.process.chroot, "/var/empty"],
  ["-P", "--write-pid", ["/run/a.pid"], (r) => r.process.writePid, "/run/a.pid"],
  ["-L", "--log", ["stderr:4"], (r) => r.process.log, [{ kind: "stderr", level: 4 }]],
  ["-U", "--debug", [], (r) => [r.process.daemonize, r.process.log], [false, [{ kind: "stdout", level: 5 }]]],
  ["-i", "--interface", ["192.0.2.1"], (r) => r.spec.listen, [{ address: "192.0.2.1", port: 4444 }]],
  ["-p", "--port", ["5000"], (r) => r.spec.listen.map(({ port }) => port), [5000, 5000]],
  ["-s", "--sender-id", ["65535"], (r) => r.spec.senderId, 65535],
  ["-r", "--remote-host", ["192.0.2.9"], (r) => tunnel(r).remote, { host: "192.0.2.9", port: 4444 }],
  ["-4", "--ipv4-only", [], (r) => r.spec.listen, [{ address: "0.0.0.0", port: 4444 }]],
  ["-6", "--ipv6-only", [], (r) => r.spec.listen, [{ address: "::", port: 4444 }]],
  ["-d", "--dev", ["tap3"], (r) => [r.spec.device.type, r.spec.device.name], ["tap", "tap3"]],
  ["-t", "--type", ["tap"], (r) => r.spec.device.type, "tap"],
  [
    "-n",
    "--ifconfig",
    ["10.9.0.1/24"],
    (r) => [r.spec.device.addresses, r.spec.device.mtuBytes],
    [["10.9.0.1/24"], 1400],
  ],
  ["-x", "--post-up-script", ["/s/up"], (r) => r.spec.device.postUp, "/s/up"],
  ["-m", "--mux", ["65535"], (r) => tunnel(r).mux, 65535],
  ["-w", "--window-size", ["100"], (r) => tunnel(r).window, 100],
  ["-k", "--kd-prf", ["aes-ctr-192"], (r) => [tunnel(r).kdLen, tunnel(r).masterKey.length], [24, 24]],
  ["-e", "--role", ["client"], (r) => tunnel(r).role, "right"],
  ["-c", "--cipher", ["aes-ctr-256"], (r) => tunnel(r).cipherLen, 32],
  ["-a", "--auth-algo", ["null"], (r) => tunnel(r).tagLen, -1],
  ["-b", "--auth-tag-length", ["20"], (r) => tunnel(r).tagLen, 20],
];

describe("options", () => {
  test.each(effects)("%s and %s", (short, long, value, seen, expected) => {
    expect(seen(withKey(short, ...value))).toEqual(expected);
    expect(seen(withKey(long, ...value))).toEqual(expected);
    if (value.length === 0) return;
    expect(seen(withKey(`${short}${value[0]}`))).toEqual(expected);
    expect(seen(withKey(`${long}=${value[0]}`))).toEqual(expected);
  });

  test.each([["-E"], ["--passphrase"]])("%s gives key and salt, and a warning", (flag) => {
    const parsed = run([flag, "correct horse battery staple"]);
    expect([hex(tunnel(parsed).masterKey), hex(tunnel(parsed).masterSalt)]).toEqual([KEY16, SALT]);
    expect(parsed.warnings).toEqual([expect.stringContaining("every user who runs ps")]);
  });

  test.each([
    ["-K", "-A"],
    ["--key", "--salt"],
  ])("%s and %s", (key, salt) => {
    const parsed = run([key, KEY16.toUpperCase(), salt, SALT]);
    expect([hex(tunnel(parsed).masterKey), hex(tunnel(parsed).masterSalt)]).toEqual([KEY16, SALT]);
    expect(parsed.warnings).toEqual([expect.stringContaining("-K shows the key")]);
  });

  test("an explicit half beats the passphrase, the other half comes from it", () => {
    const other = "00112233445566778899aabbccdd";
    expect(hex(tunnel(withKey("-A", other)).masterSalt)).toBe(other);
    expect(hex(tunnel(withKey("-A", other)).masterKey)).toBe(KEY16);
    const key = "ffeeddccbbaa99887766554433221100";
    expect([hex(tunnel(withKey("-K", key)).masterKey), hex(tunnel(withKey("-K", key)).masterSalt)]).toEqual([
      key,
      SALT,
    ]);
  });

  test.each([["-o"], ["--remote-port"]])("%s is the port of -r", (flag) => {
    expect(tunnel(withKey("-r", "gate.example.net", flag, "5555")).remote).toEqual({
      host: "gate.example.net",
      port: 5555,
    });
  });

  test("our own options", () => {
    const parsed = run([
      "--key-file",
      "/s/key",
      "--keepalive",
      "25",
      "--state-dir",
      "/s/st",
      "--control-socket",
      "/s/c.sock",
    ]);
    expect(parsed.spec).toMatchObject({ stateDir: "/s/st", socketPath: "/s/c.sock" });
    expect(tunnel(parsed).keepaliveMs).toBe(25_000);
    expect([hex(tunnel(parsed).masterKey), hex(tunnel(parsed).masterSalt)]).toEqual([KEY16, SALT]);
    expect(parsed.warnings).toEqual([]);
  });

  test("-L may be repeated and knows every target", () => {
    const words = ["syslog:2,hop,local3", "file:1,/var/log/hop.log", "stdout:5", "json:3", "syslog:0", "file:4"];
    expect(withKey(...words.flatMap((word) => ["-L", word])).process.log).toEqual([
      { kind: "syslog", level: 2, ident: "hop", facility: 19 },
      { kind: "file", level: 1, path: "/var/log/hop.log" },
      { kind: "stdout", level: 5 },
      { kind: "json", level: 3 },
      { kind: "syslog", level: 0, ident: "anyhop", facility: 3 },
      { kind: "file", level: 4, path: "anyhop.log" },
    ]);
  });

  test("flags may share a dash, and digits are flags", () => {
    const parsed = withKey("-D4", "-b10", "-m", "7");
    expect(parsed.process.daemonize).toBe(false);
    expect(parsed.spec.listen).toEqual([{ address: "0.0.0.0", port: 4444 }]);
    expect([tunnel(parsed).tagLen, tunnel(parsed).mux]).toEqual([10, 7]);
  });

  test("a passphrase may look like an option", () => {
    expect(run(["-E", "-D"]).process.daemonize).toBe(true);
  });

  test("the type comes from -t by three letters, else from -d", () => {
    expect(withKey("-t", "tapir").spec.device.type).toBe("tap");
    expect(withKey("-d", "tun7").spec.device).toMatchObject({ type: "tun", name: "tun7" });
    expect(withKey("-d", "office", "-t", "tun").spec).toMatchObject({ name: "office", device: { type: "tun" } });
  });

  test("IPv6 outside, with or without brackets", () => {
    expect(tunnel(withKey("-r", "2001:db8::1")).remote).toEqual({ host: "2001:db8::1", port: 4444 });
    expect(tunnel(withKey("-r", "[2001:db8::1]", "-o", "9")).remote).toEqual({ host: "2001:db8::1", port: 9 });
  });

  test("instances without -d differ in name by port and address", () => {
    expect(withKey("-p", "5000", "-i", "2001:db8::1").spec.name).toBe("classic-5000-2001_db8__1");
  });

  test("null and null need no key", () => {
    const parsed = run(["-c", "null", "-a", "null", "-k", "aes-ctr-256"]);
    expect(tunnel(parsed)).toMatchObject({ cipherLen: 0, tagLen: -1, kdLen: 0 });
  });

  test("-k null needs no key, and warns", () => {
    const parsed = run(["-k", "null"]);
    expect(tunnel(parsed)).toMatchObject({ kdLen: 0, cipherLen: 16 });
    expect(parsed.warnings).toEqual([expect.stringContaining("keys of zeros")]);
  });

  test.each([
    [["-w", "0"], /copies of old packets/, (r: Run) => tunnel(r).window, 0],
    [["-w", "100000"], /65536 is used/, (r: Run) => tunnel(r).window, 65536],
    [["-b", "64"], /20 is used, as in anytun/, (r: Run) => tunnel(r).tagLen, 20],
    [["-b", "0"], /accepts every datagram/, (r: Run) => tunnel(r).tagLen, 0],
    [["-c", "null"], /readable/, (r: Run) => tunnel(r).cipherLen, 0],
    [
      ["-R", "10.9.0.0/24,10.8.0.0/16", "-R", "10.7.0.0/16"],
      /-R has no effect with one tunnel/,
      (r: Run) => tunnel(r).routes,
      undefined,
    ],
  ])("%j is accepted with a warning", (argv, message, seen, expected) => {
    const parsed = withKey(...argv);
    expect(parsed.warnings).toEqual([expect.stringMatching(message)]);
    expect(seen(parsed)).toBe(expected);
  });

  test("a key of another AES length sets the key derivation, as in uanytun", () => {
    const parsed = run(["-K", KEY32, "-A", SALT]);
    expect([tunnel(parsed).kdLen, hex(tunnel(parsed).masterKey)]).toEqual([32, KEY32]);
    expect(parsed.warnings).toContainEqual(expect.stringContaining("aes-ctr-256 is used instead of aes-ctr-128"));
  });

  test("-h and -v", () => {
    expect(parseClassic(["-v"], env)).toEqual({ kind: "version" });
    expect(parseClassic(["--version"], env)).toEqual({ kind: "version" });
    for (const flag of ["-h", "--help"]) {
      const help = parseClassic([flag], env);
      if (help.kind !== "help") throw new Error(help.kind);
      for (const { flags } of classicOptions) expect(help.text).toContain(flags);
    }
  });

  test("every option of the table is tested above or refused below", () => {
    const covered = new Set([...effects.map(([short]) => short), ...refusals.map(([argv]) => argv[0])]);
    for (const flag of ["-h", "-v", "-E", "-K", "-A", "-o", "-R"]) covered.add(flag);
    const all = classicOptions.filter(({ from }) => from !== "anyhop").map(({ flags }) => flags.slice(0, 2));
    expect(all.filter((flag) => !covered.has(flag))).toEqual([]);
  });
});

const refusals: [argv: string[], message: RegExp][] = [
  [["-I", "192.0.2.1"], /^-I is refused: anytun's cluster protocol hands every key/],
  [["-S", "2323"], /^-S is refused.*use anyhop run/],
  [["-M", "192.0.2.1:2323,192.0.2.2"], /^-M is refused/],
  [["-X", "192.0.2.1"], /^-X is refused/],
  [["--sync-interface", "192.0.2.1"], /^-I is refused/],
  [["--sync-port", "2323"], /^-S is refused/],
  [["--sync-hosts", "192.0.2.1"], /^-M is refused/],
  [["--control-host", "192.0.2.1"], /^-X is refused/],
  [["-Y"], /^-Y is refused/],
  [["--rail-mode"], /^-Y is refused/],
  [["-p", "4444:4450"], /^-p with a port range is refused/],
  [["-o", "4444:4450"], /^-o with a port range is refused/],
  [["-m", "70000"], /^-m takes a whole number from 0 to 65535, not "70000"/],
  [["-m", "-1"], /^-m takes a whole number/],
  [["-s", "65536"], /^-s takes a whole number/],
  [["-p", "0"], /^-p takes a port number/],
  [["-o", "anysip"], /^-o takes a port number/],
  [["-w", "4294967296"], /^-w takes a whole number/],
  [["-b", "ten"], /^-b takes a whole number/],
  [["--keepalive", "x"], /^--keepalive takes/],
  [["-c", "blowfish"], /^-c takes one of null, aes-ctr/],
  [["-a", "md5"], /^-a takes one of sha1, null/],
  [["-k", "toString"], /^-k takes one of null, aes-ctr/],
  [["-e", "middle"], /^-e takes one of left, alice, server/],
  [["-t", "veth"], /^-t veth: the device type is tun or tap/],
  [["-d", "office"], /^-d office does not begin with tun or tap/],
  [["-d", "tun-with-a-long-name"], /is no interface name/],
  [["-n", "10.9.0.1"], /^-n: .*no prefix length/],
  [["-4", "-6"], /^-4 and -6 exclude each other/],
  [["-i", "eth0"], /^-i: "eth0" is not an IPv4 or IPv6 address/],
  [["-i", "::1", "-4"], /^-i ::1 is IPv6, but -4/],
  [["-6", "-r", "192.0.2.1"], /^-r 192\.0\.2\.1 is IPv4, but/],
  [["-r", "a b"], /^-r: "a b" is not/],
  [["-R", "10.9.0.0/40"], /^-R: prefix length "40"/],
  [["-L", "stderr:6"], /^-L: log target "stderr:6"/],
  [["-L", "printer:3"], /^-L: log target "printer" is unknown/],
  [["-L", "syslog:3,x,nowhere"], /^-L: syslog facility "nowhere"/],
  [["-K", "abc"], /^-K takes pairs of hex digits/],
  [["-K", "zz"], /^-K takes pairs/],
  [["-A", "0011"], /^the salt has 2 bytes; it must have exactly 14/],
  [["-K", "00112233"], /^the key has 4 bytes; .*exactly 16/],
  [["-E", "x"], /--passphrase and --passphrase-file exclude/],
  [["--key-file", "/s/gone"], /^--key-file: the file \/s\/gone cannot be read/],
  [["--key-file", "/s/phrase"], /^--key-file: a key file holds/],
  [["--muxx", "3"], /^there is no option --muxx; did you mean --mux\?/],
  [["-Z"], /^there is no option -Z; see/],
  [["-m"], /^option -m needs a value/],
  [["-m", "1", "left"], /words that belong to no option/],
  [["--control-socket", `/${"x".repeat(95)}`], /is longer than 95 bytes/],
  [["--config", "/etc/anytun/gone"], /\/etc\/anytun\/gone\/config does not exist/],
];

describe("refused", () => {
  test.each(refusals)("%j", (argv, message) => {
    expect(errors(["--passphrase-file", "/s/phrase", ...argv])).toEqual([expect.stringMatching(message)]);
  });

  test("no key: says what to type", () => {
    expect(errors([])).toEqual(["there is no key: add --passphrase-file FILE (or -E PHRASE, or -K and -A)"]);
    expect(errors(["-K", KEY16])).toEqual([expect.stringMatching(/^there is a key but no salt/)]);
    expect(errors(["-E", ""])).toEqual([expect.stringMatching(/^the passphrase is empty/)]);
  });

  test("all faults at once", () => {
    expect(errors(["-m", "70000", "-s", "70000", "-S", "1", "-Y", "-c", "x"])).toHaveLength(6);
  });

  test("no sentence shows a secret", () => {
    const lines = [
      ["-K", SECRET],
      ["-A", SECRET],
      [`--passphrse=${SECRET}`],
      [`-Z${SECRET}`],
      ["-E", "my", SECRET],
      ["-E", SECRET, "-m", "x"],
      ["--key-file", "/s/secret"],
    ];
    const use = environment({ "/s/secret": SECRET });
    for (const argv of lines) {
      const parsed = parseClassic(argv, use);
      expect(parsed.kind).toBe("error");
      expect(JSON.stringify(parsed)).not.toContain("hunter2");
    }
    const parsed = run(["-E", SECRET]);
    expect(JSON.stringify([parsed.warnings, parsed.process])).not.toContain("hunter2");
  });
});

describe("--config FOLDER", () => {
  const DIR = "/etc/anytun/office";
  test("one tunnel: options, comments, post-up.sh; the command line overrules", () => {
    const use = environment({
      [`${DIR}/config`]:
        "# office\nremote-host 192.0.2.1\n  mux\t5 # five\ncipher aes-ctr-192\nipv4-only\n\npassphrase correct horse battery staple\n",
      [`${DIR}/post-up.sh`]: "#!/bin/sh\n",
    });
    const { spec, warnings } = run(["--config", `${DIR}/`, "-c", "aes-ctr"], use);
    expect(warnings).toEqual([]);
    expect(spec).toMatchObject({ name: "office", listen: [{ address: "0.0.0.0", port: 4444 }] });
    expect(spec.device.postUp).toBe(`${DIR}/post-up.sh`);
    expect(spec.tunnels).toHaveLength(1);
    expect(spec.tunnels[0]).toMatchObject({ mux: 5, cipherLen: 16, remote: { host: "192.0.2.1", port: 4444 } });
    expect(hex(spec.tunnels[0].masterKey)).toBe(KEY16);
  });

  const server = {
    [`${DIR}/config`]: "type tun\ndev tun9\ncipher aes-ctr-256\nauth-tag-length 8\ncontrol-host 127.0.0.1:2323\n",
    [`${DIR}/conf.d/anna`]: "mux 1\npassphrase correct horse battery staple\nroute 10.9.0.1/32\nroute 10.1.2.3/8\n",
    [`${DIR}/conf.d/bela`]: `mux 2\nrole right\nkd-prf aes-ctr-256\nkey ${KEY32}\nsalt ${SALT}\nroute 10.9.0.2/32,2001:db8::/64\nwindow-size 64\n`,
  };
  test("conf.d: one tunnel for each client", () => {
    const { spec, warnings } = run(["--config", DIR], environment(server));
    expect(spec.device).toMatchObject({ type: "tun", name: "tun9" });
    expect(spec.tunnels.map(({ name }) => name)).toEqual(["anna", "bela"]);
    expect(spec.tunnels[0]).toMatchObject({ mux: 1, role: "left", cipherLen: 32, tagLen: 8, kdLen: 16 });
    expect(spec.tunnels[0].routes).toEqual(["10.9.0.1/32", "10.0.0.0/8"]);
    expect(spec.tunnels[1]).toMatchObject({ mux: 2, role: "right", kdLen: 32, window: 64 });
    expect(spec.tunnels[1].routes).toEqual(["10.9.0.2/32", "2001:db8::/64"]);
    expect(warnings).toEqual([
      expect.stringContaining("-X is not needed"),
      expect.stringContaining("conf.d/anna: -R 10.1.2.3/8 has bits set"),
    ]);
  });

  test.each<[string, Record<string, string>, RegExp]>([
    ["same mux", { bela: "mux 1\npassphrase x\nroute 10.9.0.2/32" }, /anna and bela have the same mux 1/],
    ["same route", { bela: "mux 2\npassphrase x\nroute 10.9.0.1/32" }, /have the same route 10\.9\.0\.1\/32/],
    ["no route", { bela: "mux 2\npassphrase x" }, /tunnel bela has no route, and there are 2/],
    ["no key", { bela: "mux 2\nroute 10.9.0.2/32" }, /^\/etc\/anytun\/office\/conf\.d\/bela: there is no key/],
    ["not an option of anytun-config", { bela: "mux 2\ncipher null" }, /bela: there is no option --cipher/],
  ])("conf.d with %s", (_what, changed, message) => {
    const files: Record<string, string> = { ...server };
    for (const [name, text] of Object.entries(changed)) files[`${DIR}/conf.d/${name}`] = text;
    expect(errors(["--config", DIR], environment(files))).toContainEqual(expect.stringMatching(message));
  });

  test("a client beside a connection of the process itself", () => {
    const files = { ...server, [`${DIR}/config`]: "remote-host 192.0.2.1\nmux 7\nroute 10.7.0.0/16\npassphrase x\n" };
    expect(run(["--config", DIR], environment(files)).spec.tunnels.map(({ mux }) => mux)).toEqual([7, 1, 2]);
  });

  test("a file that others may read, and a # inside a value, are reported", () => {
    const use = environment({ [`${DIR}/config`]: "passphrase ab#cd\n" }, { [`${DIR}/config`]: 0o644 });
    expect(run(["--config", DIR], use).warnings).toEqual([
      expect.stringContaining("others may read /etc/anytun/office/config"),
      expect.stringContaining("config:1: the value ends before the #"),
    ]);
  });

  test("faults in the folder's file name it", () => {
    const use = environment({ [`${DIR}/config`]: "muxx 4\n" });
    expect(errors(["--config", DIR], use)).toEqual([
      expect.stringMatching(/^\/etc\/anytun\/office\/config: there is no option --muxx/),
    ]);
  });
});

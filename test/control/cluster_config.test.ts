/** [group] and [engine] of node files: a whole one becomes a ClusterSpec, each way to be wrong is reported at its line. */
import { describe, expect, test } from "vitest";
import { parseFile } from "../../src/control/config/config_file.ts";
import { diffNode } from "../../src/control/config/reload.ts";
import { formatFault } from "../../src/control/spec/faults.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { envWith, FLEET_KEY, NKEY_SEED, NODE, SECRETS } from "./session_files.ts";

const FILE = "/etc/anyhop/node.toml";
function node(text: string) {
  const parsed = parseFile(text, FILE, envWith(0o600));
  if (parsed.kind !== "node") throw new Error(`it is a ${parsed.kind} file`);
  return { ...parsed, lines: parsed.faults.map(formatFault) };
}
/** Begins at line 5 of a node file. */
const GROUP = `[group]
node = 3
fleet_key_file = "fleet.key"
link = "198.51.100.1"
`;
const PEER = `[[group.peer]]
node = 4
link = "[2001:db8::4]:4446"
`;
const ENGINE = `[engine]
kind = "nats"
url = ["nats://127.0.0.1:4222"]
`;

test("everything written", () => {
  const { spec, faults } = node(
    `${NODE}${GROUP}hold = 20\n${PEER}[[group.peer]]\nnode = 5\nlink = "n5.example.net"\n${ENGINE}` +
      'nkey_file = "engine.nk"\nca_file = "ca.pem"\ncert_file = "ca.pem"\nkey_file = "tls.key"\n',
  );
  expect(faults).toEqual([]);
  expect(spec!.instance.senderId).toBe(3);
  const cluster = spec!.cluster!;
  expect(formatKey(cluster.fleetKey)).toBe(FLEET_KEY);
  expect({ ...cluster, fleetKey: undefined }).toEqual({
    fleetKey: undefined,
    node: 3,
    link: { host: "198.51.100.1", port: 4445 },
    holdMs: 20,
    peers: [
      { node: 4, link: { host: "2001:db8::4", port: 4446 } },
      { node: 5, link: { host: "n5.example.net", port: 4445 } },
    ],
    engine: {
      kind: "nats",
      url: ["nats://127.0.0.1:4222"],
      nkeySeed: NKEY_SEED,
      ca: expect.stringContaining("CERTIFICATE"),
      cert: expect.stringContaining("CERTIFICATE"),
      key: expect.stringContaining("PRIVATE KEY"),
    },
  });
});

test("without [group] a node is alone, without [engine] it has the node link only", () => {
  expect(node(NODE).spec!.cluster).toBeUndefined();
  expect(node(`${NODE}${GROUP}`).spec!.cluster).toMatchObject({ engine: { kind: "embedded" }, holdMs: 10, peers: [] });
  expect(node(`${NODE}[listen]\nsender_id = 3\n${GROUP}`).faults).toEqual([]);
});

test("a changed group needs a restart", () => {
  const [old, next] = [node(`${NODE}${GROUP}`).spec!, node(`${NODE}${GROUP}${PEER}`).spec!];
  expect(diffNode(old, old)).toEqual([]);
  expect(diffNode(old, next)).toEqual([
    { what: "group", subject: "", kind: "changed", fields: ["group"], effect: "needs_restart" },
  ]);
});

const without = (text: string, line: string): string => text.replace(`${line}\n`, "");
describe("faults", () => {
  test.each<[string, string, number, string]>([
    ["no node", without(GROUP, "node = 3"), 5, "group has no node"],
    ["node 0", GROUP.replace("node = 3", "node = 0"), 6, "must be a whole number from 1 to 63, not 0"],
    ["no fleet key", without(GROUP, 'fleet_key_file = "fleet.key"'), 5, "`anyhop genpsk` makes one"],
    ["two fleet keys", `${GROUP}fleet_key_env = "KEY"\n`, 9, "both fleet_key_file and fleet_key_env"],
    ["a fleet key that is none", GROUP.replace("fleet.key", "phrase"), 7, "group.fleet_key_file is no key"],
    ["a fleet key as path", GROUP.replace("fleet.key", FLEET_KEY), 7, "looks like a key itself"],
    ["no link", without(GROUP, 'link = "198.51.100.1"'), 5, "group has no link"],
    ["a link with a name", GROUP.replace("198.51.100.1", "n3.example.net"), 8, "write its IP address"],
    ["a link that is none", GROUP.replace("198.51.100.1", "198.51.100.1:x"), 8, 'port "x"'],
    ["the clients' port", GROUP.replace("198.51.100.1", "198.51.100.1:4444"), 8, "use 4445"],
    ["hold", `${GROUP}hold = 0\n`, 9, "from 1 to 100, not 0"],
    ["another sender id", `[listen]\nsender_id = 4\n${GROUP}`, 6, "remove listen.sender_id"],
    ["an unknown key", `${GROUP}hld = 1\n`, 9, "there is no key hld in [group]; did you mean hold?"],
    ["peer: no node", `${GROUP}${without(PEER, "node = 4")}`, 9, "group.peer[0] has no node"],
    ["peer: no link", `${GROUP}${without(PEER, 'link = "[2001:db8::4]:4446"')}`, 9, "group.peer[0] has no link"],
    ["peer: this node", `${GROUP}${PEER.replace("4", "3")}`, 10, "node 3 is this node itself"],
    ["peer: this link", `${GROUP}${PEER.replace("[2001:db8::4]:4446", "198.51.100.1")}`, 11, "of this node itself"],
    ["peer: node twice", `${GROUP}${PEER}${PEER.replace("4446", "1")}`, 13, "node 4 is a peer above (line 9)"],
    ["peer: link twice", `${GROUP}${PEER}${PEER.replace("4", "5")}`, 14, "is that of a peer above (line 9)"],
    ["peer: unknown key", `${GROUP}${PEER}lnk = 1\n`, 12, "no key lnk in [[group.peer]]; did you mean link?"],
    ["peer: a table", `${GROUP}peer = 7\n`, 9, "must be written as [[group.peer]]"],
    ["engine: no group", ENGINE, 5, "but no [group]"],
    ["engine: unknown kind", `${GROUP}[engine]\nkind = "nat"\n`, 10, 'did you mean "nats"?'],
    ["engine: no url", `${GROUP}[engine]\nkind = "nats"\n`, 9, "engine has no url"],
    ["engine: bad url", `${GROUP}${ENGINE.replace("nats:", "http:")}`, 11, "is no URL of a NATS server"],
    ["engine: a bad port", `${GROUP}${ENGINE.replace(":4222", ":0")}`, 11, 'port "0"'],
    ["engine: a password", `${GROUP}${ENGINE.replace("//", "//u:p@")}`, 11, "would be seen by everybody"],
    ["engine: url of nobody", `${GROUP}${without(ENGINE, 'kind = "nats"')}`, 10, 'no meaning with kind = "embedded"'],
    ["engine: no file", `${GROUP}${ENGINE}nkey_file = "none"\n`, 12, "/etc/anyhop/none cannot be read"],
    ["engine: an open file", `${GROUP}${ENGINE}nkey_file = "open.nk"\n`, 12, "run chmod 600 /etc/anyhop/open.nk"],
    ["engine: no nkey", `${GROUP}${ENGINE}nkey_file = "tls.key"\n`, 12, "no nkey of a user"],
    ["engine: no PEM", `${GROUP}${ENGINE}ca_file = "phrase"\n`, 12, "engine.ca_file is no PEM file"],
    ["a key for a number", GROUP.replace("node = 3", `node = "${FLEET_KEY}"`), 6, 'not "(a key)"'],
    ["engine: a seed for a url", `${GROUP}${ENGINE.replace(/nats:[^"]*/, NKEY_SEED)}`, 11, '"(a key)" is no URL'],
    [
      "engine: a seed for a file",
      `${GROUP}${ENGINE}nkey_file = "${NKEY_SEED}"\n`,
      12,
      "/etc/anyhop/(a key) cannot be read",
    ],
    ["engine: half a pair", `${GROUP}${ENGINE}cert_file = "ca.pem"\n`, 12, "engine.cert_file needs key_file"],
  ])("%s", (_what, text, line, says) => {
    const { lines, spec } = node(`${NODE}${text}`);
    expect(lines).toEqual([expect.stringContaining(says)]);
    expect(lines[0]).toMatch(new RegExp(`^${FILE}:${line}:\\d+: error: `));
    expect(spec).toBeUndefined();
    for (const secret of SECRETS) expect(lines[0]).not.toContain(secret);
  });
});

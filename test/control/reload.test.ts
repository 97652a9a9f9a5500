/** What changes between two versions of a file, and what that does to sessions. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseFile } from "../../src/control/config/config_file.ts";
import { describeChange, diffClient, diffNode } from "../../src/control/config/reload.ts";
import type { ClientSpec, NodeClient, NodeSpec } from "../../src/control/spec/instance.ts";
import { ANNA_PUBLIC, BELA_PUBLIC, CLIENT, envWith, NODE } from "./session_files.ts";

const node = (text: string): NodeSpec => {
  const parsed = parseFile(text, "/etc/anyhop/node.toml", envWith(0o600));
  if (parsed.kind !== "node" || parsed.spec === undefined) throw new Error(parsed.faults[0]?.message);
  return parsed.spec;
};
const client = (text: string): ClientSpec => {
  const parsed = parseFile(text, "/etc/anyhop/anna.toml", envWith(0o600));
  if (parsed.kind !== "client" || parsed.spec === undefined) throw new Error(parsed.faults[0]?.message);
  return parsed.spec;
};
const ANNA = `[[client]]\nname = "anna"\npublic_key = "${ANNA_PUBLIC}"\n`;
const BELA = `[[client]]\nname = "bela"\npublic_key = "${BELA_PUBLIC}"\n`;
const TUNNEL = '[[tunnel]]\nname = "old"\npassphrase_file = "phrase"\nroutes = ["10.20.0.0/16"]\n';
const short = (changes: ReturnType<typeof diffNode>) =>
  changes.map(({ what, subject, kind, fields, effect }) => [what, subject, kind, fields.join(), effect].join(" "));

describe("a node", () => {
  test("the same file changes nothing, although every object is another", () =>
    expect(diffNode(node(NODE + ANNA + TUNNEL), node(NODE + ANNA + TUNNEL))).toEqual([]));

  test.each([
    ["client added", ANNA, ANNA + BELA, ["client bela added  live"]],
    ["client removed", ANNA + BELA, BELA, ["client anna removed  ends_session"]],
    ["order", ANNA + BELA, BELA + ANNA, []],
    ["networks of a client", ANNA, `${ANNA}prefixes = ["198.51.100.0/24"]\n`, ["client anna changed prefixes live"]],
    ["modes", ANNA, `${ANNA}modes = ["open", "relay"]\n`, ["client anna changed modes live"]],
    ["psk", ANNA, `${ANNA}psk_file = "anna.psk"\n`, ["client anna changed psk ends_session"]],
    ["key", ANNA, ANNA.replace(ANNA_PUBLIC, BELA_PUBLIC), ["client anna changed publicKey ends_session"]],
    [
      "addresses",
      ANNA,
      `${ANNA}addresses = ["10.9.0.9"]\nprefixes = ["198.51.100.0/24"]\n`,
      ["client anna changed addresses,prefixes live"],
    ],
    ["what clients are told", "", 'dns = ["203.0.113.53"]\n', ["node  changed dns live"]],
    ["device", "", "[device]\nmtu = 1300\n", ["device  changed mtuBytes needs_restart"]],
    ["listen", "", "[listen]\nport = 5\n", ["listen  changed listen needs_restart"]],
    ["paths", "", '[paths]\nstate = "/srv"\n', ["paths  changed stateDir needs_restart"]],
    ["limits", "", "[limits]\nfanout = 3\n", ["instance  changed fanoutMax needs_restart"]],
    [
      "tunnel",
      TUNNEL,
      TUNNEL.replace("old", "new"),
      ["tunnel old removed  needs_restart", "tunnel new added  needs_restart"],
    ],
    ["tunnel's window", TUNNEL, `${TUNNEL}window = 64\n`, ["tunnel old changed window needs_restart"]],
  ])("%s", (_what, before, after, changes) =>
    expect(short(diffNode(node(NODE + before), node(NODE + after)))).toEqual(changes),
  );

  test("who the group is needs a restart", () => {
    const other = { ...node(NODE), privateKey: new Uint8Array(32).fill(3) };
    expect(short(diffNode(node(NODE), other))).toEqual(["identity  changed privateKey needs_restart"]);
  });

  test("a client that did not change is never named", () => {
    const clients = fc.uniqueArray(
      fc.record({
        name: fc.constantFrom("a", "b", "c", "d"),
        publicKey: fc.constantFrom(ANNA_PUBLIC, BELA_PUBLIC),
        psk: fc.constantFrom(undefined, new Uint8Array(32), new Uint8Array(32).fill(1)),
        addresses: fc.constantFrom<string[][]>([], ["10.9.0.2"]),
        prefixes: fc.constantFrom<string[][]>([], ["198.51.100.0/24"]),
        modes: fc.constantFrom<NodeClient["modes"][]>(["tunnel"], ["relay"]),
      }),
      { selector: ({ name }) => name },
    );
    const base = node(NODE);
    fc.assert(
      fc.property(clients, clients, (before, after) => {
        const named = new Set(
          diffNode({ ...base, clients: before }, { ...base, clients: after }).map((c) => c.subject),
        );
        const json = (list: readonly NodeClient[], name: string) =>
          JSON.stringify(
            list.find((c) => c.name === name),
            (_, v) => (v instanceof Uint8Array ? [...v] : v),
          );
        for (const name of ["a", "b", "c", "d"])
          expect([name, named.has(name)]).toEqual([name, json(before, name) !== json(after, name)]);
      }),
    );
  });
});

describe("a client", () => {
  test.each([
    ["nothing", "", []],
    ["a hook", 'post_up = "/bin/true"\n', ["service example changed hooks live"]],
    [
      "routes and kill switch",
      'routes = ["10.9.0.0/24"]\nkill_switch = true\n',
      ["service example changed routes,killSwitch live"],
    ],
    ["psk", 'psk_file = "anna.psk"\n', ["service example changed psk ends_session"]],
    ["device", 'device = "hop0"\nkeepalive = 0\n', ["service example changed device,keepaliveMs ends_session"]],
  ])("%s", (_what, more, changes) => expect(short(diffClient(client(CLIENT), client(CLIENT + more)))).toEqual(changes));

  test("identity and paths", () => {
    const text = CLIENT.replace("[[", "port = 7\n[[");
    expect(short(diffClient(client(CLIENT), client(`name = "x"\n${text}`)))).toEqual([
      "identity  changed port needs_restart",
      "paths  changed name,socketPath needs_restart",
    ]);
  });
});

test("for people", () => {
  const changes = diffNode(node(NODE + ANNA), node(`${NODE + BELA}[device]\nmtu = 1300\n`));
  expect(changes.map(describeChange)).toEqual([
    "device: mtuBytes changed; start the daemon again to apply it",
    "client anna: removed; its session ends",
    "client bela: added",
  ]);
});

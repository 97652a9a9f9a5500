/** [announce]: what it means, each way to be wrong at its line, and what a reload does with it. */
import { describe, expect, test } from "vitest";
import { parseFile } from "../../src/control/config/config_file.ts";
import { describeChange, diffNode } from "../../src/control/config/reload.ts";
import { formatFault } from "../../src/control/spec/faults.ts";
import { NO_ANNOUNCE } from "../announce/parts.ts";
import { envWith, NODE } from "./session_files.ts";

/** The first line of `lines` is line 6 of the file. */
function node(lines: string, before = "") {
  const parsed = parseFile(`${NODE}${before}[announce]\n${lines}`, "/etc/anyhop/node.toml", envWith(0o600));
  if (parsed.kind !== "node") throw new Error(`it is a ${parsed.kind} file`);
  return { ...parsed, said: parsed.faults.map(formatFault) };
}
const BIRD = 'kind = "bird"\ndevice = "anyc0"\naddresses = ["192.0.2.1", "2001:DB8::1"]\n';

describe("a file without faults", () => {
  test("no table: nothing is announced", () => {
    const parsed = parseFile(NODE, "/etc/anyhop/node.toml", envWith(0o600));
    expect(parsed).toMatchObject({ faults: [], spec: { announce: NO_ANNOUNCE } });
  });

  test("bird: socket and protocols as in docs/samples/bird, by the families of the addresses", () => {
    expect(node(BIRD)).toMatchObject({ faults: [] });
    expect(node(BIRD).spec!.announce).toEqual({
      ...NO_ANNOUNCE,
      ...{ kind: "bird", device: "anyc0" },
      addresses: ["192.0.2.1/32", "2001:db8::1/128"],
      prefixes: ["192.0.2.1/32", "2001:db8::1/128"],
      ...{ protocols: ["any4", "any6"], drainProtocols: ["drain4", "drain6"] },
    });
    expect(node(BIRD.replace(', "2001:DB8::1"', "")).spec!.announce).toMatchObject({
      ...{ protocols: ["any4"], drainProtocols: ["drain4"] },
    });
    expect(node(`${BIRD}drain_protocols = []\n`).spec!.announce.drainProtocols).toEqual([]);
  });

  test("exabgp and command; a wider prefix; hysteresis and time limit", () => {
    const exabgp = 'kind = "exabgp"\naddresses = ["192.0.2.1/24"]\npipe = "/run/x.in"\nnext_hop = ["203.0.113.2"]\n';
    expect(node(exabgp)).toMatchObject({
      faults: [],
      spec: {
        announce: {
          ...{ addresses: ["192.0.2.1/24"], prefixes: ["192.0.2.0/24"], device: undefined },
          ...{ pipe: "/run/x.in", nextHop: { v4: "203.0.113.2", v6: "self" } },
        },
      },
    });
    const command = 'kind = "command"\naddresses = ["192.0.2.1"]\ncommand = "/bin/x"\ntimeout = 7\ngood = 9\nbad = 4\n';
    expect(node(command)).toMatchObject({
      faults: [],
      spec: { announce: { command: "/bin/x", timeoutMs: 7000, goodToAnnounce: 9, badToWithdraw: 4 } },
    });
  });

  test("a service address that is listened on by name or by wildcard", () => {
    const listen = '[listen]\naddresses = ["192.0.2.1", "::"]\n';
    expect(node(BIRD, listen).said).toEqual([]);
  });
});

describe("faults", () => {
  test.each<[string, string, number, string]>([
    ["an unknown kind", 'kind = "frr"\n', 6, "announce.kind must be one of"],
    ["a misspelt kind", 'kind = "brd"\n', 6, 'did you mean "bird"?'],
    ["an unknown key", `${BIRD}protocol = ["a"]\n`, 9, "did you mean protocols?"],
    ["no addresses", 'kind = "command"\ncommand = "/bin/x"\n', 6, "announce has no addresses"],
    ["an empty device", 'device = "anyc0"\n', 6, "announce.device has no addresses to hold"],
    ["no command", 'kind = "command"\naddresses = ["192.0.2.1"]\n', 6, "announce has no command"],
    ["a relative command", 'kind = "command"\naddresses = ["192.0.2.1"]\ncommand = "x"\n', 8, "absolute path"],
    ["a key of another kind", `${BIRD}pipe = "/run/x"\n`, 9, 'announce.pipe is of kind "exabgp"'],
    ["no protocols", `${BIRD}protocols = []\n`, 9, "announce.protocols is empty"],
    ["more than a name", `${BIRD}protocols = ["any4; down"]\n`, 9, '"any4; down" is no name of a protocol'],
    ["a protocol twice", `${BIRD}protocols = ["a", "a"]\n`, 9, "the protocol a is listed twice"],
    ["a relative socket", `${BIRD}socket = "bird.ctl"\n`, 9, "announce.socket must be an absolute path"],
    ["no address", BIRD.replace("192.0.2.1", "anycast"), 8, '"anycast" is not an IPv4 or IPv6 address'],
    ["a bad length", BIRD.replace("192.0.2.1", "192.0.2.1/33"), 8, 'prefix length "33"'],
    ["an address twice", BIRD.replace("2001:DB8::1", "192.0.2.1/24"), 8, "192.0.2.1 is listed twice"],
    ["a long name", BIRD.replace("anyc0", "anyc-and-so-on-and-on"), 7, "is no interface name"],
    ["two next hops", 'kind = "exabgp"\naddresses = ["192.0.2.1"]\nnext_hop = ["192.0.2.9", "192.0.2.8"]\n', 8, "IPv4"],
    ["no next hop", 'kind = "exabgp"\naddresses = ["192.0.2.1"]\nnext_hop = ["me"]\n', 8, '"me" is not'],
    ["good", `${BIRD}good = 0\n`, 9, "must be a whole number from 1 to 100, not 0"],
    ["timeout", `${BIRD}timeout = 61\n`, 9, "must be a whole number from 1 to 60, not 61"],
  ])("%s", (_what, lines, line, says) => {
    const { said, spec } = node(lines);
    expect(said).toEqual([expect.stringContaining(says)]);
    expect(said[0]).toMatch(new RegExp(`^/etc/anyhop/node.toml:${line}:\\d+: error: `));
    expect(spec).toBeUndefined();
  });

  test("an address that nobody listens on", () => {
    const { said } = node(BIRD, '[listen]\naddresses = ["192.0.2.1"]\n');
    expect(said).toEqual([expect.stringContaining("the service address 2001:db8::1 is not in listen.addresses")]);
  });

  test("the device of the clients", () => {
    const { said } = node(BIRD, '[device]\nname = "anyc0"\n');
    expect(said).toEqual([expect.stringContaining("which is the device of the clients")]);
  });

  test("bird without a device is a warning, and works", () => {
    const { said, spec } = node(BIRD.replace('device = "anyc0"\n', ""));
    expect(said).toEqual([expect.stringMatching(/warning: .*goes on announcing.*add device/)]);
    expect(spec!.announce.device).toBeUndefined();
  });
});

test("a reload names what changed, and changes nothing before the next start", () => {
  const [old, next] = [node(BIRD).spec!, node(`${BIRD}bad = 5\n`).spec!];
  expect(diffNode(old, node(BIRD).spec!)).toEqual([]);
  expect(diffNode(old, next).map(describeChange)).toEqual([
    "announce: badToWithdraw changed; start the daemon again to apply it",
  ]);
});

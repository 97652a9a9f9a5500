/** The description of the anycast lab is consistent with itself, and the programs take the files made from it. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findProgram } from "../../src/bench/netns.ts";
import { parseFile } from "../../src/control/config/config_file.ts";
import type { ConfigEnv } from "../../src/control/spec/config_env.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { privateKeyFrom, publicKeyOf } from "../../src/control/text/keys/x25519.ts";
import { crowdAddressText } from "../../src/crowd/order.ts";
import { nodeBirdText, type Preferences, preferenceText, routerBirdText } from "../../src/lab/bird.ts";
import { WAYS } from "../../src/lab/group_lab.ts";
import {
  CLIENTS,
  cableOf,
  cutCommands,
  NODES,
  ROUTER,
  SOURCES,
  STORM_FIRST,
  steeringCommands,
  tableOf,
  threeNodes,
} from "../../src/lab/group_topology.ts";
import { configText, innerAddresses, outerAddresses } from "../../src/lab/topology.ts";

const preferences: Preferences = { c1: "n1", c2: "n2", c3: "n3", s: "n1", x: "n3" };

test("no address is used twice, and those outside the tunnels are for documentation", () => {
  const all = threeNodes.places.flatMap(({ name }) => outerAddresses(threeNodes, name));
  expect(new Set(all).size).toBe(all.length);
  for (const address of all) expect(address).toMatch(/^(198\.51\.100\.|203\.0\.113\.|2001:db8:|10\.30\.0\.|fd00:30::)/);
  expect(crowdAddressText(STORM_FIRST, 0)).toBe("10.9.16.0");
  expect(crowdAddressText(STORM_FIRST, 9999)).toBe("10.9.55.15");
});

test("every place but the router has one cable to it, and every stream ends where its address is", () => {
  for (const { name } of threeNodes.places.filter(({ name }) => name !== ROUTER)) {
    const cables = threeNodes.links.filter(({ ends }) => ends.some(({ place }) => place === name));
    expect(cables.map(({ ends }) => ends.map(({ place }) => place))).toEqual([[ROUTER, name]]);
    const { place4, place6 } = cableOf(name);
    expect(outerAddresses(threeNodes, name)).toEqual([place4, place6]);
  }
  for (const { to, address } of WAYS)
    expect([...innerAddresses(threeNodes, to), ...outerAddresses(threeNodes, to)]).toContain(address);
});

test("the program takes every file: three nodes of one group that know each other, and their clients", () => {
  const keys = new Map(threeNodes.places.map(({ name }, i) => [name, privateKeyFrom(new Uint8Array(32).fill(i + 1))]));
  for (const node of NODES) keys.set(node, keys.get("n1")!);
  const publicKeys = new Map([...keys].map(([name, key]) => [name, formatKey(publicKeyOf(key))]));
  const read = (place: string) => {
    const directory = `/run/lab/${place}`;
    const secrets = new Map([
      [`${directory}/key`, `${formatKey(keys.get(place)!)}\n`],
      [`${directory}/fleet.key`, `${formatKey(new Uint8Array(32).fill(9))}\n`],
      [`${directory}/engine/engine.nk`, `SU${"A".repeat(56)}\n`],
    ]);
    const env: ConfigEnv = {
      readSecret(path) {
        const text = secrets.get(path);
        if (text === undefined) throw new Error(`no such file: ${path}`);
        return text;
      },
      modeOf: () => 0o600,
      getenv: () => undefined,
    };
    const extra = [{ name: "storm0", publicKey: formatKey(new Uint8Array(32).fill(7)), addresses: [STORM_FIRST] }];
    const text = configText(threeNodes, place, directory, publicKeys, extra);
    const parsed = parseFile(text, `${directory}/anyhop.toml`, env);
    expect(parsed.faults).toEqual([]);
    return parsed;
  };
  for (const [i, name] of NODES.entries()) {
    const node = read(name);
    if (node.kind !== "node") throw new Error(`the file of ${name} makes a ${node.kind}`);
    expect(node.spec!.cluster).toMatchObject({ node: i + 1, link: { host: cableOf(name).place4, port: 4445 } });
    const others = NODES.filter((other) => other !== name).map((other) => cableOf(other).place4);
    expect(node.spec!.cluster!.peers.map(({ link }) => link.host)).toEqual(others);
    expect(node.spec!.clients.map((client) => client.name)).toEqual([...CLIENTS, "storm0"]);
    expect(node.spec!.announce).toMatchObject({ kind: "bird", protocols: ["any4", "any6", "pool4", "pool6"] });
  }
  for (const name of CLIENTS) expect(read(name).kind).toBe("client");
});

test("BIRD takes the files of the nodes and of the router", (context) => {
  const bird = findProgram("bird");
  if (bird === undefined) return context.skip("the program `bird` is missing");
  const directory = mkdtempSync(join(tmpdir(), "anyhop-bird-text-"));
  try {
    const preferred = join(directory, "prefer.conf");
    writeFileSync(preferred, preferenceText(preferences));
    const texts = new Map([
      ...NODES.map((node) => [node, nodeBirdText(node)] as const),
      [ROUTER, routerBirdText(preferred)],
    ]);
    for (const [name, text] of texts) {
      const file = join(directory, `${name}.conf`);
      writeFileSync(file, text);
      const { status, stderr } = spawnSync(bird, ["-p", "-c", file], { encoding: "utf8" });
      expect({ name, status, stderr }).toEqual({ name, status: 0, stderr: "" });
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a flip changes the lines of its source and no other", () => {
  const before = preferenceText(preferences).split("\n");
  const after = preferenceText({ ...preferences, c2: "n3" }).split("\n");
  expect(after.filter((line, i) => line !== before[i])).toEqual([
    'define PREFER_C2_V4 = "n3v4";',
    'define PREFER_C2_V6 = "n3v6";',
  ]);
});

test("each source has a table of its own in both families, and a cut names every pair once in each direction", () => {
  const rules = steeringCommands("ns").map((command) => command.join(" "));
  for (const source of SOURCES)
    for (const family of ["-4", "-6"])
      expect(rules).toContain(`ip ${family} -n ns rule add iif ${source} lookup ${tableOf(source)}`);
  expect(new Set(SOURCES.map(tableOf)).size).toBe(SOURCES.length);
  const pairs = (nodes: readonly ("n1" | "n2" | "n3")[]) =>
    cutCommands("ns", nodes, "add").map((command) => command.slice(6, 10).join(" "));
  expect(pairs(["n3"])).toHaveLength(4);
  expect(pairs(NODES)).toHaveLength(6);
  expect(new Set(pairs(NODES)).size).toBe(6);
});

/** The description of the lab is consistent with itself. */
import { expect, test } from "vitest";
import { overlap, parsePrefix } from "../../src/base/prefix.ts";
import { parseFile } from "../../src/control/config/config_file.ts";
import type { ConfigEnv } from "../../src/control/spec/config_env.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { privateKeyFrom, publicKeyOf } from "../../src/control/text/keys/x25519.ts";
import {
  configText,
  innerAddresses,
  namespaceOf,
  namespacePattern,
  oneNode,
  outerAddresses,
  setUpCommands,
} from "../../src/lab/topology.ts";

const bare = (prefix: string) => prefix.split("/")[0]!;

const daemonAt = (place: string) => oneNode.places.find(({ name }) => name === place)!.daemon!;

test("every path leads to an address that its place really has", () => {
  for (const path of oneNode.paths) {
    const place = oneNode.places.find(({ name }) => name === path.to)!;
    const inner = (place.daemon?.addresses ?? []).map(bare);
    expect([...inner, ...outerAddresses(oneNode, path.to)]).toContain(path.address);
    expect(path.address.includes(":")).toBe(path.family === 6);
    expect(oneNode.places.some(({ name }) => name === path.from)).toBe(true);
  }
});

test("the node knows every client, and the client finds the node", () => {
  const node = daemonAt(oneNode.node);
  if (node.kind !== "node") throw new Error("no node");
  const clients = oneNode.places.flatMap(({ name, daemon }) => (daemon?.kind === "client" ? [{ name, daemon }] : []));
  expect(clients.map(({ name }) => name)).toEqual(node.clients);
  expect(new Set(clients.flatMap(({ daemon }) => daemon.addresses)).size).toBe(2 * clients.length);
  for (const { daemon } of clients) {
    expect(daemon.node).toBe(oneNode.node);
    const remote = daemon.remote.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
    expect(node.listen).toContain(remote);
    expect(outerAddresses(oneNode, daemon.node)).toContain(remote);
    for (const address of daemon.addresses) {
      const inside = node.pool.some((pool) => overlap(parsePrefix(pool)!, parsePrefix(address)!));
      expect(inside, `${address} is in the pool`).toBe(true);
    }
  }
});

test("only documentation addresses outside the tunnels", () => {
  for (const place of oneNode.places) {
    for (const address of outerAddresses(oneNode, place.name)) {
      expect(address).toMatch(/^(192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|2001:db8:)/);
    }
  }
});

test("namespaces are made before anything happens in them", () => {
  const known = new Set<string>();
  for (const [program, ...args] of setUpCommands(oneNode, (place) => namespaceOf(1, place))) {
    expect(program).toBe("ip");
    if (args[0] === "netns" && args[1] === "add") known.add(args[2]!);
    else for (const word of args.filter((word) => namespacePattern.test(word))) expect(known).toContain(word);
  }
  expect([...known]).toEqual(oneNode.places.map(({ name }) => `anyhop-lab-1-${name}`));
});

test("the program takes the files: one node with its clients, clients that know its key, and no fault", () => {
  const secrets = new Map(
    ["client1", "client2", "node"].map((name, i) => [name, privateKeyFrom(new Uint8Array(32).fill(i + 1))]),
  );
  const publicKeys = new Map([...secrets].map(([name, secret]) => [name, formatKey(publicKeyOf(secret))]));
  const read = (place: string) => {
    const directory = `/run/lab/${place}`;
    const env: ConfigEnv = {
      readSecret(path) {
        if (path !== `${directory}/key`) throw new Error("no such file");
        return `${formatKey(secrets.get(place)!)}\n`;
      },
      modeOf: () => 0o600,
      getenv: () => undefined,
    };
    const parsed = parseFile(configText(oneNode, place, directory, publicKeys), `${directory}/anyhop.toml`, env);
    expect(parsed.faults).toEqual([]);
    return parsed;
  };
  const node = read("node");
  if (node.kind !== "node") throw new Error(`the node's file makes a ${node.kind}`);
  expect(node.spec!.instance).toMatchObject({ name: "node", socketPath: "/run/lab/node/control.sock" });
  expect(node.spec!.clients.map(({ name, publicKey }) => [name, publicKey])).toEqual(
    ["client1", "client2"].map((name) => [name, publicKeys.get(name)]),
  );
  for (const place of ["client1", "client2"]) {
    const client = read(place);
    if (client.kind !== "client") throw new Error(`the client's file makes a ${client.kind}`);
    const [service] = client.spec!.services;
    expect(formatKey(service!.publicKey)).toBe(publicKeys.get("node"));
    // The node gives the addresses, so the lab also shows that it does.
    expect(service!.addresses).toBeUndefined();
    const known = node.spec!.clients.find(({ name }) => name === place)!;
    expect(known.addresses.map(bare)).toEqual(innerAddresses(oneNode, place));
  }
  expect(() => configText(oneNode, "host", "/run/lab/host", publicKeys)).toThrow("no daemon at host");
});

/** The description of the lab is consistent with itself. */
import { parseTOML } from "toml-eslint-parser";
import { expect, test } from "vitest";
import {
  configText,
  namespaceOf,
  namespacePattern,
  oneNode,
  outerAddresses,
  setUpCommands,
} from "../../src/lab/topology.ts";

const bare = (prefix: string) => prefix.split("/")[0]!;

test("every path leads to an address that its place really has", () => {
  for (const path of oneNode.paths) {
    const place = oneNode.places.find(({ name }) => name === path.to)!;
    const inner = (place.daemon?.addresses ?? []).map(bare);
    expect([...inner, ...outerAddresses(oneNode, path.to)]).toContain(path.address);
    expect(path.address.includes(":")).toBe(path.family === 6);
    expect(oneNode.places.some(({ name }) => name === path.from)).toBe(true);
  }
});

test("both ends of every tunnel agree on mux and have opposite roles, and the node routes the client's addresses", () => {
  const node = oneNode.places.find(({ name }) => name === "node")!.daemon!;
  for (const tunnel of node.tunnels) {
    const client = oneNode.places.find(({ name }) => name === tunnel.name)!.daemon!;
    const [other] = client.tunnels;
    expect(other).toMatchObject({ mux: tunnel.mux, role: "right", routes: undefined });
    expect(tunnel.role).toBe("left");
    expect(tunnel.routes!.map(bare)).toEqual(client.addresses.map(bare));
    const remote = other!.remote!.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
    expect(node.listen).toContain(remote);
    expect(outerAddresses(oneNode, "node")).toContain(remote);
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

test("the configuration of every daemon is TOML, and a client has no routes and no routed tunnel", () => {
  for (const { name, daemon } of oneNode.places) {
    if (daemon === undefined) continue;
    const text = configText(name, daemon, "/run/lab");
    expect(() => parseTOML(text)).not.toThrow();
    expect(text).toContain(`name = "${name}"\n`);
    expect(text.match(/^\[\[tunnel\]\]$/gm)).toHaveLength(daemon.tunnels.length);
    expect(text.includes("\nroutes = ")).toBe(name === "node");
    expect(text.includes("\nhost_routes = ")).toBe(name !== "node");
  }
});

/** Keys, init, invite and import on a real disk: what is written, with which mode, and that it is good. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startApiServer } from "../../src/api/server.ts";
import { type Actions, runCli } from "../../src/cli/program.ts";
import type { InviteOptions } from "../../src/cli/setup.ts";
import { parseFile } from "../../src/control/config/config_file.ts";
import type { NodeSpec } from "../../src/control/spec/instance.ts";
import { openKey } from "../../src/control/text/keys/sealed.ts";
import { createSetupActions } from "../../src/daemon/setup_actions.ts";
import * as configEnv from "../../src/drivers/config_env.ts";
import { openStore } from "../../src/drivers/store.ts";
import { createNode, onBug } from "../api/node.ts";
import { sampleStatus } from "../api/sample.ts";
import { readConfigHere } from "../control/session_files.ts";

let folder: string;
let out: string;
let err: string;
const setup = () =>
  createSetupActions({
    readConfig: readConfigHere,
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    socketDir: folder,
  });
beforeEach(() => {
  folder = mkdtempSync(`${tmpdir()}/anyhop-setup-${process.pid}-`);
  out = "";
  err = "";
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const check = (path: string) => parseFile(readFileSync(path, "utf8"), path, configEnv);
const mode = (path: string) => statSync(path).mode & 0o777;
const node = {
  ...{ name: "node", group: undefined, address: ["192.0.2.1:4444"], pool: [], force: false },
  ...{ groupNode: undefined, peer: [], link: undefined, fleetKeyFile: undefined, operator: undefined },
};
const guest: InviteOptions = {
  ...{ config: undefined, instance: undefined, socket: undefined, output: undefined, address: [] },
  ...{ psk: false, qr: false },
};

test("keys: plain, and sealed with a passphrase", async () => {
  expect(await setup().genkey({ passphraseFile: undefined })).toBe(0);
  expect(out).toMatch(/^[A-Za-z0-9+/]{43}=\n$/);
  out = "";
  writeFileSync(`${folder}/phrase`, "correct horse\n", { mode: 0o600 });
  await setup().genkey({ passphraseFile: `${folder}/phrase` });
  expect(openKey(out, "correct horse")).toHaveLength(32);
  writeFileSync(`${folder}/open`, "correct horse\n", { mode: 0o644 });
  await expect(setup().genkey({ passphraseFile: `${folder}/open` })).rejects.toMatchObject({ code: "usage" });
});

describe("init", () => {
  test("nodes of a group: one makes the keys, the printed commands make the others, which fit", async () => {
    const dir = `${folder}/1`;
    const wishes = {
      ...node,
      dir,
      groupNode: "1",
      link: "198.51.100.1",
      peer: ["2=198.51.100.2", "3=[2001:db8::3]:5"],
    };
    await setup().initNode(wishes);
    expect(mode(`${dir}/fleet.key`)).toBe(0o600);
    const cluster = (file: string) => (check(file).spec as NodeSpec).cluster;
    const first = cluster(`${dir}/node.toml`)!;
    expect(first).toMatchObject({
      node: 1,
      link: { host: "198.51.100.1", port: 4445 },
      peers: [{ node: 2 }, { node: 3 }],
    });
    const commands = out.match(/^ {2}anyhop init node .*$/gm)!;
    expect(commands).toHaveLength(2);
    for (const [i, command] of commands.entries()) {
      const there = `${folder}/${i + 2}`;
      cpSync(dir, there, { recursive: true });
      rmSync(`${there}/node.toml`);
      const words = command.trim().split(" ").slice(1);
      const actions = { setup: async () => setup() } as unknown as Actions;
      expect(
        await runCli([...words, "--dir", there], actions, {
          version: "",
          out: () => {},
          err: () => {},
          readSecret: configEnv.readSecret,
        }),
      ).toBe(0);
      const other = cluster(`${there}/node.toml`)!;
      expect(other.fleetKey).toEqual(first.fleetKey);
      expect(other.node).toBe(i + 2);
      expect(other.link).toEqual(first.peers[i].link);
      expect(other.peers).toContainEqual({ node: 1, link: first.link });
    }
    const secret = readFileSync(`${dir}/fleet.key`, "utf8").trim();
    expect(out + err).not.toContain(secret);
  });

  test.each([
    [{ groupNode: "0" }, "--group-node is a whole number"],
    [{ groupNode: "4096" }, "--group-node is a whole number"],
    [{ peer: ["2=198.51.100.2"] }, "add --group-node"],
    [{ groupNode: "1", peer: ["198.51.100.2"] }, "write NODE=HOST"],
    [{ groupNode: "1", peer: ["1=198.51.100.2"] }, "node 1 is this node itself"],
    [{ groupNode: "1", peer: ["2=a b"] }, "is not an address"],
    [{ groupNode: "1", fleetKeyFile: "/nowhere/fleet.key" }, "There is no file"],
  ])("a wrong group: %j", async (change, says) => {
    const wishes = {
      ...node,
      dir: folder,
      link: "groupNode" in change ? "198.51.100.1" : undefined,
      ...change,
    };
    await expect(setup().initNode(wishes)).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining(says),
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a node: good files of mode 0600, which are not overwritten", async () => {
    const dir = `${folder}/etc`;
    await setup().initNode({ ...node, dir });
    expect([mode(dir), mode(`${dir}/node.key`), mode(`${dir}/node.toml`)]).toEqual([0o700, 0o600, 0o600]);
    expect(check(`${dir}/node.toml`)).toMatchObject({ kind: "node", faults: [] });
    expect(out).toContain(`Next: anyhop up ${dir}/node.toml`);
    const key = readFileSync(`${dir}/node.key`, "utf8");
    expect(out + err).not.toContain(key.trim());
    writeFileSync(`${dir}/node.toml`, "mine");
    await expect(setup().initNode({ ...node, dir })).rejects.toMatchObject({ code: "exists" });
    expect(readFileSync(`${dir}/node.toml`, "utf8")).toBe("mine");
    await setup().initNode({ ...node, dir, force: true });
    expect(check(`${dir}/node.toml`).faults).toEqual([]);
    // With another key, every client would be lost.
    expect(readFileSync(`${dir}/node.key`, "utf8")).toBe(key);
    expect(readdirSync(dir).sort()).toEqual(["node.key", "node.toml"]);
  });

  test("wishes that make no good file write nothing", async () => {
    const dir = `${folder}/etc`;
    for (const change of [{ pool: ["10.9.0.1/24"] }, { address: ["x y"] }, { group: "a b" }])
      await expect(setup().initNode({ ...node, dir, ...change })).rejects.toMatchObject({ code: "usage" });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a client", async () => {
    await setup().initNode({ ...node, dir: folder });
    const publicKey = /group: (\S+)/.exec(out)![1];
    const wishes = { dir: `${folder}/c`, name: "anna", service: "s", address: ["192.0.2.1"], publicKey, route: [] };
    await setup().initClient({ ...wishes, force: false });
    expect(check(`${folder}/c/anna.toml`)).toMatchObject({ kind: "client", faults: [] });
    expect(out).toContain("anyhop clients add anna --public-key ");
  });
});

describe("invite", () => {
  test("without a daemon: into the store of the file; the client's file is good and closed", async () => {
    const dir = `${folder}/etc`;
    await setup().initNode({ ...node, dir });
    const text = readFileSync(`${dir}/node.toml`, "utf8");
    const config = `${dir}/node.toml`;
    const paths = `[paths]\nstate = "${folder}/state"\nsocket = "${folder}/node.sock"\n`;
    writeFileSync(config, `${text}${paths}`);
    const output = `${folder}/anna.toml`;
    await setup().invite("anna", { ...guest, config, output, psk: true });
    expect(mode(output)).toBe(0o600);
    const parsed = check(output);
    expect(parsed).toMatchObject({ kind: "client", faults: [], spec: { name: "anna" } });
    const store = openStore(`${folder}/state`, "node");
    expect(store.clients()).toMatchObject([{ name: "anna", addresses: ["10.9.0.2", expect.any(String)] }]);
    await store.close();
    await expect(setup().invite("anna", { ...guest, config })).rejects.toMatchObject({ code: "client_exists" });
    await expect(setup().invite("bela", { ...guest, config, output })).rejects.toMatchObject({ code: "exists" });
    // A file that can't be written makes no client, and a client that can't be made no file.
    const nowhere = "/proc/anyhop/bela.toml";
    await expect(setup().invite("bela", { ...guest, config, output: nowhere })).rejects.toMatchObject({
      code: "unwritable",
    });
    const again = `${folder}/again.toml`;
    await expect(setup().invite("anna", { ...guest, config, output: again })).rejects.toMatchObject({
      code: "client_exists",
    });
    expect(existsSync(again)).toBe(false);
    out = "";
    await setup().invite("bela", { ...guest, config, qr: true });
    expect(out.split("\n").length).toBeLessThan(45);
  });

  test("with a daemon: over its socket", async () => {
    const { control } = createNode();
    const server = await startApiServer({ socketPath: `${folder}/node.sock`, status: sampleStatus, control, onBug });
    try {
      await setup().invite("bela", { ...guest, address: ["192.0.2.9:1"] });
      expect(parseFile(out, "/x/bela.toml", { ...configEnv, modeOf: () => 0o600 })).toMatchObject({
        faults: [],
        spec: { services: [{ remotes: [{ host: "192.0.2.9", port: 1 }], routes: ["10.9.0.0/24"] }] },
      });
      expect(control.clients().map(({ name }) => name)).toEqual(["anna", "bela"]);
    } finally {
      await server.close();
    }
  });

  test("neither: says where it looked", async () =>
    expect(setup().invite("anna", guest)).rejects.toMatchObject({ code: "no_daemon" }));
});

test("import: files that check accepts", async () => {
  mkdirSync(`${folder}/office`);
  writeFileSync(`${folder}/office/config`, "dev tun7\nremote-host 192.0.2.1\npassphrase correct horse\n", {
    mode: 0o600,
  });
  await setup().importAnytun(`${folder}/office`, { dir: `${folder}/etc`, force: false });
  expect(check(`${folder}/etc/office.toml`)).toMatchObject({ kind: "classic", faults: [] });
  expect([mode(`${folder}/etc/office.toml`), mode(`${folder}/etc/office-office.key`)]).toEqual([0o600, 0o600]);
  await expect(setup().importAnytun(`${folder}/none`, { dir: folder, force: false })).rejects.toMatchObject({
    code: "usage",
  });
});

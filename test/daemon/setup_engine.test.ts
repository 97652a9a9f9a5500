/** `anyhop init engine`: what is written, with which mode, kept and refused. That servers run from it: contract/bus-nats. */
import { spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { InitEngineOptions } from "../../src/cli/setup.ts";
import { parseFile } from "../../src/control/config/config_file.ts";
import { createSetupActions } from "../../src/daemon/setup_actions.ts";
import * as configEnv from "../../src/drivers/config_env.ts";
import { readConfigHere } from "../control/session_files.ts";

let folder: string;
let out: string;
beforeEach(() => {
  folder = mkdtempSync(`${tmpdir()}/anyhop-engine-${process.pid}-`);
  out = "";
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const init = (change: Partial<InitEngineOptions> = {}): Promise<number> =>
  createSetupActions({
    out: (text) => {
      out += text;
    },
    err: () => {},
    readConfig: readConfigHere,
    socketDir: folder,
  }).initEngine({
    ...{ dir: `${folder}/e`, group: "example.net", node: "1", address: "198.51.100.1", force: false },
    ...{ peer: ["2=198.51.100.2", "3=[2001:db8::3]:7000"], ca: undefined, installed: undefined },
    ...{ store: `${folder}/store`, clientPort: "4222", leafPort: "7422", hubPort: "4333", ...change },
  });
const read = (name: string): string => readFileSync(`${folder}/e/${name}`, "utf8");

test("files of mode 0600 that nats-server takes, a certificate of the fleet, the next commands, no secret printed", async () => {
  await init();
  const names = readdirSync(`${folder}/e`).sort();
  expect(names).toEqual(
    ["anyhop-hub.service", "anyhop-leaf.service", "ca.key", "ca.pem", "engine.nk", "hub.conf", "leaf.conf"].concat([
      "node.key",
      "node.pem",
    ]),
  );
  for (const name of names) expect([name, statSync(`${folder}/e/${name}`).mode & 0o777]).toEqual([name, 0o600]);
  for (const conf of ["hub.conf", "leaf.conf"]) {
    const { status, stderr } = spawnSync("nats-server", ["-t", "-c", `${folder}/e/${conf}`], { encoding: "utf8" });
    expect([conf, status, stderr]).toEqual([conf, 0, expect.stringContaining("is valid")]);
  }
  const [ca, cert] = [new X509Certificate(read("ca.pem")), new X509Certificate(read("node.pem"))];
  expect([
    cert.verify(ca.publicKey),
    cert.checkIP("198.51.100.1"),
    cert.checkIP("198.51.100.9"),
    ca.ca,
    cert.ca,
  ]).toEqual([true, "198.51.100.1", undefined, true, false]);
  expect(read("hub.conf")).toContain('"nats-route://[2001:db8::3]:7000"');
  expect(read("leaf.conf")).toContain('publish: ["st.example~net.1.>", "sh.example~net.1.>",');
  expect(out).toContain("anyhop init engine --group example.net --node 2 --address 198.51.100.2 --peer 1=198.51.100.1");
  for (const secret of [read("engine.nk").trim(), /password: "(\w+)"/.exec(read("hub.conf"))![1]])
    expect(out).not.toContain(secret);
});

test("the printed table is good in a node file", async () => {
  await init();
  const table = out.slice(out.indexOf("[engine]"), out.indexOf("The other nodes"));
  const secret = `${"A".repeat(43)}=`;
  const text = `[node]\ngroup = "example.net"\nprivate_key = "${secret}"\n[group]\nnode = 1\nfleet_key = "${secret}"\nlink = "198.51.100.1"\n${table}`;
  expect(parseFile(text, `${folder}/node.toml`, { ...configEnv, modeOf: () => 0o600 })).toMatchObject({
    faults: [],
    spec: { cluster: { engine: { kind: "nats", nkeySeed: read("engine.nk").trim() } } },
  });
});

test("another node under the same authority; the paths are those of where the files will be", async () => {
  await init();
  const peer = ["1=198.51.100.1"];
  await init({
    dir: `${folder}/two`,
    node: "2",
    address: "n2.example.net",
    peer,
    ca: `${folder}/e`,
    installed: "/etc/x",
  });
  const cert = new X509Certificate(readFileSync(`${folder}/two/node.pem`));
  expect([cert.verify(new X509Certificate(read("ca.pem")).publicKey), cert.checkHost("n2.example.net")]).toEqual([
    true,
    "n2.example.net",
  ]);
  expect(readdirSync(`${folder}/two`)).not.toContain("ca.key");
  expect(readFileSync(`${folder}/two/hub.conf`, "utf8")).toContain('"/etc/x/node.pem"');
});

test("nothing is overwritten unless asked, and then nkey and authority stay", async () => {
  await init();
  const before = [read("engine.nk"), read("ca.pem"), read("node.pem")];
  await expect(init()).rejects.toMatchObject({ code: "exists" });
  await init({ force: true });
  const after = [read("engine.nk"), read("ca.pem"), read("node.pem")];
  expect(after.slice(0, 2)).toEqual(before.slice(0, 2));
  expect(after[2]).not.toBe(before[2]);
});

test.each<[string, Partial<InitEngineOptions>, string]>([
  ["node 0", { node: "0" }, "from 1 to 63"],
  ["a word", { node: "one" }, "from 1 to 63"],
  ["a peer without number", { peer: ["198.51.100.2"] }, "write NODE=ADDRESS"],
  ["itself", { peer: ["1=198.51.100.2"] }, "this node itself"],
  ["a peer twice", { peer: ["2=198.51.100.2", "2=198.51.100.3"] }, "named twice"],
  ["a bad address", { address: "a b" }, "is not an address or host name"],
  ["a bad group", { group: "a b" }, "--group must be 1 to 64 letters"],
  ["a bad port", { hubPort: "0" }, "is no port"],
  ["no authority", { ca: "/nowhere" }, "no ca.pem with ca.key"],
])("refused: %s", async (_what, change, says) => {
  await expect(init(change)).rejects.toMatchObject({ code: "usage", message: expect.stringContaining(says) });
  expect(readdirSync(folder)).toEqual([]);
});

test("without openssl it says what to install, and writes nothing", async () => {
  const path = process.env["PATH"];
  try {
    process.env["PATH"] = folder;
    await expect(init()).rejects.toMatchObject({
      code: "openssl",
      message: expect.stringContaining("apt-get install"),
    });
  } finally {
    process.env["PATH"] = path;
  }
  expect(readdirSync(folder)).toEqual([]);
});

test("a damaged nkey is no reason to make another one silently", async () => {
  await init();
  writeFileSync(`${folder}/e/engine.nk`, "SUX\n");
  await expect(init({ force: true })).rejects.toMatchObject({ message: expect.stringContaining("is no nkey") });
});

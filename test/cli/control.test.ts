/** Commands that ask a daemon, against a real control behind a real socket; and that files and keys get their words. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startApiServer } from "../../src/api/server.ts";
import { AnyhopError } from "../../src/base/errors.ts";
import { runCli } from "../../src/cli/program.ts";
import type { SetupActions } from "../../src/cli/setup.ts";
import { readSecret } from "../../src/drivers/config_env.ts";
import { createNode, NODE_FILE, onBug, type TestNode } from "../api/node.ts";
import { sampleStatus } from "../api/sample.ts";
import { ANNA_PUBLIC, BELA_PUBLIC, GROUP_PUBLIC, PSK, SECRETS } from "../control/session_files.ts";

let socketDir: string;
let node: TestNode;
let server: { close(): Promise<void> };
const ALONE = { groupNode: undefined, peer: [], link: undefined, fleetKeyFile: undefined };
beforeEach(async () => {
  socketDir = mkdtempSync(`${tmpdir()}/anyhop-cli-${process.pid}-`);
  node = createNode();
  server = await startApiServer({
    socketPath: `${socketDir}/node.sock`,
    status: sampleStatus,
    control: node.control,
    onBug,
  });
});
afterEach(async () => {
  await server.close();
  rmSync(socketDir, { recursive: true, force: true });
});

async function cli(...argv: string[]) {
  const calls: unknown[] = [];
  let out = "";
  let err = "";
  const note =
    (name: string) =>
    async (...words: unknown[]) => {
      calls.push([name, ...words]);
      return 0;
    };
  const setup = Object.fromEntries(
    ["genkey", "pubkey", "genpsk", "initNode", "initClient", "initEngine", "invite", "importAnytun", "up"].map((n) => [
      n,
      note(n),
    ]),
  ) as unknown as SetupActions;
  const actions = { run: note("run"), classic: note("classic"), check: note("check"), setup: async () => setup };
  const io = {
    readSecret,
    version: "9.8.7",
    socketDir,
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
  };
  const code = await runCli(argv, actions, io);
  for (const secret of SECRETS) expect(out + err).not.toContain(secret);
  return { code, out, err, calls };
}
const lines = async (...argv: string[]) => (await cli(...argv)).out.trimEnd().split("\n");

describe("a running node", () => {
  test("clients: add, list, show, remove", async () => {
    writeFileSync(`${socketDir}/psk`, `${PSK}\n`);
    const added = await cli(
      ...["clients", "add", "bela", "--public-key", BELA_PUBLIC, "--psk-file", `${socketDir}/psk`],
      ...["--prefix", "198.51.100.0/24", "--mode", "relay", "--mode", "tunnel"],
    );
    expect(added.out).toContain("bela may come, with 10.9.0.3.");
    expect(added.out).toContain(`public_key = "${GROUP_PUBLIC}"`);
    expect(await lines("clients", "list")).toEqual([
      "CLIENT  ADDRESSES  NETWORKS         MODES         FROM   SESSION",
      "anna    10.9.0.2   -                tunnel        file   no",
      "bela    10.9.0.3   198.51.100.0/24  relay,tunnel  added  no",
    ]);
    node.sessions.connect(BELA_PUBLIC, "192.0.2.7:4444", 1);
    const shown = await cli("show", "bela");
    for (const part of [BELA_PUBLIC, "pre-shared key  yes", "192.0.2.7:4444"]) expect(shown.out).toContain(part);
    expect((await cli("show", "anna")).out).toContain("Not connected.");
    expect((await cli("clients", "remove", "bela")).out).toBe("bela is removed.\n");
    expect(await cli("clients", "remove", "bela")).toMatchObject({
      code: 1,
      err: "anyhop: There is no client bela.\n",
    });
  });

  test("sessions: list, kill", async () => {
    expect((await cli("sessions", "list")).out).toBe("Nobody is connected.\n");
    const id = node.sessions.connect(ANNA_PUBLIC, "192.0.2.7:4444", 1);
    const [head, row] = await lines("sessions", "list");
    expect([head, row]).toEqual([expect.stringContaining("SESSION"), expect.stringContaining("192.0.2.7:4444")]);
    expect((await cli("sessions", "kill", String(id))).out).toBe(`Session ${id} is ended.\n`);
    expect((await cli("sessions", "kill", String(id))).code).toBe(1);
    expect((await cli("sessions", "kill", "x")).code).toBe(2);
  });

  test("routes, reload, log-level", async () => {
    expect(await lines("routes")).toEqual([
      "PREFIX       TO      NAME",
      "10.9.0.1/32  device  anyhop0",
      "10.9.0.2/32  client  anna",
    ]);
    expect((await cli("reload")).out).toBe("Nothing has changed.\n");
    node.text = NODE_FILE.replace('psk_file = "anna.psk"\n', "[device]\nmtu = 1300\n");
    expect(await lines("reload")).toEqual([
      "WHAT         CHANGE            EFFECT",
      "device       mtuBytes changed  not applied: needs anyhop down and up",
      "client anna  psk changed       applied, its session starts anew",
    ]);
    node.text = `${NODE_FILE}bad = 1\n`;
    expect(await cli("reload")).toMatchObject({ code: 1, err: expect.stringContaining("there is no key bad") });
    expect((await cli("log-level")).out).toBe("notice\n");
    expect((await cli("log-level", "debug")).out).toBe("debug\n");
    expect(await cli("log-level", "loud")).toMatchObject({ code: 2, err: expect.stringContaining("notice, info") });
  });

  test("drain, undrain", async () => {
    const begun = await cli("drain", "--max", "7", "--no-wait");
    expect(begun).toMatchObject({ code: 0, out: "node: draining, clients still send here, at most 7 s left\n" });
    expect(JSON.parse((await cli("drain", "--no-wait", "--json")).out)).toMatchObject({ wish: "drain" });
    // Its clock stands still and nobody ticks: somebody else ends the drain that is waited for.
    const waiting = cli("drain");
    setTimeout(() => node.control.undrain(), 300);
    expect(await waiting).toMatchObject({ code: 1, out: expect.stringContaining("somebody has ended the drain") });
    expect((await cli("undrain")).out).toBe("node will be announced when its self-test is good.\n");
    expect(await cli("drain", "--max", "soon")).toMatchObject({ code: 2, err: expect.stringContaining("--max takes") });
  });

  test("ping: one line each, 1 when nobody answers", async () => {
    expect(await cli("ping", "anna")).toMatchObject({ code: 1, err: "anyhop: The client has no session.\n" });
    node.sessions.connect(ANNA_PUBLIC, "192.0.2.7:4444", 12.345);
    expect(await cli("ping", "anna", "-c", "2")).toMatchObject({ code: 0, out: "anna: 12.35 ms\n".repeat(2) });
    expect(await cli("ping", "anna", "-c", "1", "-W", "5")).toMatchObject({
      code: 1,
      out: "anna: The client did not answer within 5 ms.\n",
    });
    for (const words of [
      ["-c", "0"],
      ["-c", "x"],
      ["-W", "60001"],
    ])
      expect([words, (await cli("ping", "anna", ...words)).code]).toEqual([words, 2]);
  });

  test("--json is the whole answer", async () => {
    const json = async (...argv: string[]) => JSON.parse((await cli(...argv, "--json")).out);
    expect((await json("clients", "list")).clients[0].name).toBe("anna");
    expect(await json("sessions", "list")).toEqual({ sessions: [] });
    expect((await json("routes")).routes.length).toBe(2);
    expect(await json("reload")).toEqual({ changes: [], warnings: [] });
    expect(await json("log-level")).toEqual({ level: "notice" });
    expect(await json("show", "anna")).toMatchObject({ client: { name: "anna" }, session: null });
    node.sessions.connect(ANNA_PUBLIC, "192.0.2.7:4444", 1);
    expect(await json("ping", "anna", "-c", "1")).toEqual({ client: "anna", rttMs: 1, node: null });
  });

  test("an instance is chosen as with status", async () => {
    expect((await cli("routes", "-i", "graz")).err).toContain(`${socketDir}/graz.sock`);
    expect((await cli("routes", "-i", "node")).code).toBe(0);
    expect((await cli("routes", "--socket", `${socketDir}/node.sock`)).code).toBe(0);
    expect((await cli("routes", "-i", "a", "--socket", "b")).code).toBe(2);
  });
});

test("down ends the process that the socket names, and waits for it", async () => {
  const child = spawn(
    process.execPath,
    ["-e", "process.on('SIGTERM', () => setTimeout(process.exit, 100)); setInterval(() => {}, 1000); console.log()"],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const { createServer } = await import("node:http");
  const body = JSON.stringify({ name: "vienna", pid: child.pid, ok: true, problems: [] });
  const daemon = createServer((_request, response) => response.end(body));
  await new Promise<void>((resolve) => daemon.listen(`${socketDir}/vienna.sock`, resolve));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  expect(await cli("down", "vienna")).toMatchObject({ code: 0, out: "vienna has stopped.\n" });
  await ended;
  expect((await cli("down", "graz")).code).toBe(1);
  await new Promise((resolve) => daemon.close(resolve));
});

describe("words of the commands about keys and files", () => {
  test.each<[string[], unknown[]]>([
    [["genkey"], ["genkey", { passphraseFile: undefined }]],
    [
      ["genkey", "--passphrase-file", "f"],
      ["genkey", { passphraseFile: "f" }],
    ],
    [["pubkey"], ["pubkey", { passphraseFile: undefined }]],
    [["genpsk"], ["genpsk"]],
    [
      ["init", "node"],
      [
        "initNode",
        { ...ALONE, dir: "/etc/anyhop", name: "node", group: undefined, address: [], pool: [], force: false },
      ],
    ],
    [
      [..."init node --dir d --name n --group g --address a:1 --address b:2 --pool p --force".split(" ")],
      ["initNode", { ...ALONE, dir: "d", name: "n", group: "g", address: ["a:1", "b:2"], pool: ["p"], force: true }],
    ],
    [
      [..."init engine --node 1 --peer 2=b --peer 3=c".split(" ")],
      [
        "initEngine",
        {
          ...{ dir: "/etc/anyhop/engine", group: "node", node: "1", address: undefined, peer: ["2=b", "3=c"] },
          ...{ ca: undefined, installed: undefined, store: "/var/lib/anyhop/engine", force: false },
          ...{ clientPort: "4222", leafPort: "7422", hubPort: "4333" },
        },
      ],
    ],
    [
      [..."init client --address a:1 --public-key k --route default".split(" ")],
      [
        "initClient",
        {
          dir: "/etc/anyhop",
          name: "client",
          service: "service",
          address: ["a:1"],
          publicKey: "k",
          route: ["default"],
          force: false,
        },
      ],
    ],
    [
      ["invite", "anna", "--qr"],
      [
        "invite",
        "anna",
        {
          config: undefined,
          instance: undefined,
          socket: undefined,
          output: undefined,
          psk: false,
          qr: true,
          address: [],
        },
      ],
    ],
    [
      ["import", "/etc/anytun/x"],
      ["importAnytun", "/etc/anytun/x", { dir: "/etc/anyhop", force: false }],
    ],
    [
      ["up", "node", "-L", "json:3"],
      ["up", "node", { log: ["json:3"], timeoutS: 30, keepTrying: false, json: false }],
    ],
  ])("%s", async (argv, call) => expect(await cli(...argv)).toMatchObject({ code: 0, calls: [call] }));

  test("what is missing is wrong usage, and no command takes a secret as an argument", async () => {
    for (const argv of [["init"], ["init", "client"], ["invite"], ["import"], ["up"], ["clients", "add", "x"]])
      expect([argv, (await cli(...argv)).code]).toEqual([argv, 2]);
    for (const argv of [["genkey"], ["pubkey"], ["invite"], ["clients", "add"], ["init", "client"]]) {
      const { out } = await cli(...argv, "--help");
      expect(out).not.toMatch(/--(psk|passphrase|private-key|key) </);
    }
  });

  test("an action that fails is one line", async () => {
    let err = "";
    const failing = {
      run: async () => 0,
      classic: async () => 0,
      check: async () => 0,
      setup: async (): Promise<SetupActions> => {
        throw new AnyhopError("exists", "There is a file.");
      },
    };
    const io = {
      version: "1",
      readSecret,
      socketDir,
      out: () => {},
      err: (text: string) => {
        err += text;
      },
    };
    expect([await runCli(["genpsk"], failing, io), err]).toEqual([1, "anyhop: There is a file.\n"]);
  });
});

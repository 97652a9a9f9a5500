/** The words of the command line, exit codes, and `status` against a real control socket. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startApiServer } from "../../src/api/server.ts";
import { AnyhopError } from "../../src/base/errors.ts";
import { runCli } from "../../src/cli/program.ts";
import { readSecret } from "../../src/drivers/config_env.ts";
import { onBug } from "../api/node.ts";
import { sampleStatus } from "../api/sample.ts";

let socketDir: string;
const open: { close(): Promise<void> }[] = [];
beforeEach(() => {
  socketDir = mkdtempSync(`${tmpdir()}/anyhop-cli-${process.pid}-`);
});
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
  rmSync(socketDir, { recursive: true, force: true });
});
async function daemon(name: string): Promise<void> {
  const status = () => ({ ...sampleStatus(), name });
  open.push(await startApiServer({ socketPath: `${socketDir}/${name}.sock`, status, onBug }));
}

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly calls: unknown[];
}
async function cli(...argv: string[]): Promise<Outcome> {
  const calls: unknown[] = [];
  let out = "";
  let err = "";
  const actions = {
    async run(file: string, options: { log: readonly string[] }) {
      calls.push(["run", file, options.log]);
      if (file === "bad") throw new AnyhopError("device", "No device.");
      return 0;
    },
    async classic(words: readonly string[]) {
      calls.push(["classic", ...words]);
      return 0;
    },
    async check(file: string) {
      calls.push(["check", file]);
      return file === "bad" ? 2 : 0;
    },
  };
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
  return { code, out, err, calls };
}

describe("commands", () => {
  test("run, check", async () => {
    expect(await cli("run", "a.toml")).toEqual({ code: 0, out: "", err: "", calls: [["run", "a.toml", []]] });
    expect((await cli("run", "a.toml", "-L", "json:4", "--log", "stderr:2")).calls).toEqual([
      ["run", "a.toml", ["json:4", "stderr:2"]],
    ]);
    expect((await cli("check", "a.toml")).calls).toEqual([["check", "a.toml"]]);
  });

  test("classic gets every word untouched", async () => {
    const words = ["-h", "-v", "--version", "-E", "--", "--json", "-D4", "--help", "status"];
    expect(await cli("classic", ...words)).toEqual({ code: 0, out: "", err: "", calls: [["classic", ...words]] });
  });

  test("exit codes: what the action says, 1 for a failure, 2 for wrong words", async () => {
    expect((await cli("check", "bad")).code).toBe(2);
    expect(await cli("run", "bad")).toMatchObject({ code: 1, err: "anyhop: No device.\n" });
    for (const argv of [["run"], ["run", "a", "b"], ["rn", "a"], ["run", "a", "--lgo", "x"], ["status", "--jsn"], []])
      expect([argv, (await cli(...argv)).code]).toEqual([argv, 2]);
    expect((await cli("rn", "a")).err).toContain("Did you mean run?");
  });

  test("version and help", async () => {
    expect(await cli("--version")).toMatchObject({ code: 0, out: "9.8.7\n" });
    const { code, out } = await cli("--help");
    expect(code).toBe(0);
    for (const word of ["run", "check", "classic", "status", "Examples:", "Exit codes"]) expect(out).toContain(word);
    for (const command of ["run", "check", "status"]) expect((await cli(command, "--help")).out).toContain("Example");
  });
});

describe("status", () => {
  test("the only daemon needs no name", async () => {
    await daemon("vienna");
    expect((await cli("status")).out).toContain("vienna: anyhop 0.1.0, pid 4711");
  });

  test("a name, or --socket, chooses one of several", async () => {
    await daemon("vienna");
    await daemon("graz");
    expect(await cli("status")).toMatchObject({ code: 2, err: expect.stringContaining("name one of graz, vienna") });
    expect((await cli("status", "graz")).out).toContain("graz: anyhop");
    expect((await cli("status", "--socket", `${socketDir}/vienna.sock`)).out).toContain("vienna: anyhop");
  });

  test("--json is the whole answer", async () => {
    await daemon("node");
    const { code, out } = await cli("status", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual(sampleStatus());
  });

  test("no daemon: says where it looked", async () => {
    expect(await cli("status")).toMatchObject({ code: 1, err: expect.stringContaining(`no socket in ${socketDir}`) });
    expect(await cli("status", "node")).toMatchObject({
      code: 1,
      err: `anyhop: node is not running: there is no socket ${socketDir}/node.sock. Nothing runs (no socket in ${socketDir}).\n`,
    });
    await daemon("other");
    for (const word of ["status", "down"])
      expect((await cli(word, "node")).err).toBe(
        `anyhop: node is not running: there is no socket ${socketDir}/node.sock. There is other.\n`,
      );
  });

  test("a path as name, or both, is wrong usage", async () => {
    expect(await cli("status", "/run/x.sock")).toMatchObject({ code: 2, err: expect.stringContaining("--socket") });
    expect((await cli("status", "a", "--socket", "b")).code).toBe(2);
    // What stands behind `up` is no name behind `down`.
    await daemon("anna");
    expect(await cli("down", "./anna.toml")).toMatchObject({
      code: 2,
      err: `anyhop: "./anna.toml" is a configuration file; give the name of the instance: there is anna.\n`,
    });
  });
});

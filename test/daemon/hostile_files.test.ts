/**
 * The program as it is installed, with files that were made to hurt it: a sentence and no stack trace, and a running node
 * that is told to reload one goes on as it was.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Program, run } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { whyNoNetns } from "../support/netns.ts";
import { SessionPair } from "./session_pair.ts";

const folder = mkdtempSync(`${tmpdir()}/anyhop-hostile-${process.pid}-`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const PROTO = "[__proto__]\nx = 1\n";
const DEEP = `a = ${"[".repeat(3000)}${"]".repeat(3000)}\n`;
const PARTS = `${Array(200_000).fill("a").join(".")} = 1\n`;
const LONG = "#\n".repeat(4.5 * 1024 * 1024);
const file = (text: string): string => {
  const path = `${folder}/file.toml`;
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};
const fifo = (): string => {
  execFileSync("mkfifo", ["-m", "600", `${folder}/fifo`]);
  return `${folder}/fifo`;
};

describe("anyhop check, run and invite", () => {
  test.each<[string, () => string, RegExp]>([
    ["a key of all objects", () => file(PROTO), /file\.toml:1:2: error: there is no key __proto__/],
    ["deep brackets", () => file(DEEP), /file\.toml:1:37: error: brackets are nested more than 32 deep/],
    ["a key of 200,000 parts", () => file(PARTS), /file\.toml:1:64: error: a key has more than 32 parts/],
    ["a pipe", fifo, /is a pipe \(FIFO\) and no file/],
    ["a device", () => "/dev/zero", /\/dev\/zero is a device and no file/],
    ["a folder", () => folder, /is a folder and no file/],
    ["9 MiB", () => file(LONG), /has more than 8388608 bytes/],
    ["a key file that is a device", () => file('[client]\nprivate_key_file = "/dev/zero"\n'), /zero is a device/],
  ])("%s", async (what, path, message) => {
    const at = path();
    const others = [
      ["run", at],
      ["invite", "anna", "-c", at, "-o", `${folder}/anna.toml`],
    ];
    for (const words of [["check", at], ...(what.startsWith("a key of all") ? others : [])]) {
      const { code, stderr } = await run([ANYHOP, ...words]);
      expect(stderr).toMatch(message);
      expect(stderr).not.toMatch(/\n\s+at |internal error/);
      expect(code).toBeGreaterThan(0);
    }
  });
});

describe("other commands", () => {
  test.each([
    [["genkey", "--passphrase-file", "/dev/zero"]],
    [["clients", "add", "anna", "--public-key", "x", "--psk-file", "/dev/zero", "--socket", "/nowhere"]],
    [["classic", "--passphrase-file", "/dev/zero"]],
    [["group", "apply", "/dev/zero", "--socket", "/nowhere"]],
  ])("%s", async (words) => {
    const { code, stderr } = await run([ANYHOP, ...words]);
    expect(stderr).toContain("/dev/zero is a device and no file");
    expect(code).toBeGreaterThan(0);
  });

  test.each([
    [["invite", "../x"]],
    [["init", "node", "--name", "../x", "--dir", folder]],
    [["init", "node", "--name", "x", "--group", "a\n[paths]", "--dir", folder]],
    [["init", "engine", "--node", "1", "--group", "constructor", "--dir", folder]],
  ])("names: %s", async (words) => {
    const { code, stderr } = await run([ANYHOP, ...words]);
    expect(stderr).toContain("must be 1 to 64 letters, digits, dots, dashes or underscores");
    expect(code).toBe(2);
  });

  test("a key on standard input that does not end", async () => {
    const { code, stderr } = await run(["sh", "-c", `${ANYHOP} pubkey < /dev/zero`]);
    expect(stderr).toContain("too long for a key");
    expect(code).toBe(2);
  });
});

test("a file that is not read in time is refused, and the process ends", async () => {
  const reader = new URL("../../dist/daemon/config_reader.js", import.meta.url).href;
  const path = file("#\n".repeat(1024 * 1024));
  const code = `import(process.argv[1]).then(({ readConfigFile }) => readConfigFile(process.argv[2], 1))
    .catch((error) => console.log(error.code, error.message))`;
  const { stdout, code: status } = await run([process.execPath, "-e", code, reader, path]);
  expect(stdout).toContain(`config_timeout ${path} was not read within 0.001 s, so it is refused`);
  expect(status).toBe(0);
});

const why = whyNoNetns({ tun: true });
describe.skipIf(why !== undefined)(`a node that runs${why === undefined ? "" : ` (${why})`}`, () => {
  let world: SessionPair;
  let node: Program;
  let good: string;
  beforeAll(async () => {
    world = await SessionPair.create("hos");
    good = readFileSync(world.file("node"), "utf8");
    node = await world.startNode();
  });
  afterAll(() => world?.close());

  test("goes on when the file that it is to reload is one of these", async () => {
    const pidOf = async () => JSON.parse((await world.cli("status", "--json")).stdout).pid;
    const before = await pidOf();
    const path = world.file("node");
    const places: [() => void, RegExp][] = [
      [() => writeFileSync(path, good + PROTO), /there is no key __proto__/],
      [() => writeFileSync(path, good + DEEP), /nested more than 32 deep/],
      [() => writeFileSync(path, good + PARTS), /more than 32 parts/],
      [() => writeFileSync(path, good + LONG), /has more than 8388608 bytes/],
      [() => symlinkSync(fifoBeside(world.dir), path), /is a pipe \(FIFO\) and no file/],
      [() => symlinkSync("/dev/zero", path), /is a device and no file/],
      [() => {}, /There is no file/],
    ];
    for (const [put, message] of places) {
      rmSync(path, { force: true });
      put();
      const { code, stderr } = await world.cli("reload");
      expect(stderr).toMatch(/Nothing was changed/);
      expect(stderr).toMatch(message);
      expect(code).toBe(1);
      expect([await pidOf(), node.alive]).toEqual([before, true]);
    }
    rmSync(path, { force: true });
    writeFileSync(path, good.replace("keepalive = 25", "keepalive = 20"), { mode: 0o600 });
    const { stdout, code } = await world.cli("reload");
    expect([code, stdout]).toEqual([0, expect.stringContaining("keepaliveMs")]);
  });
});

function fifoBeside(dir: string): string {
  execFileSync("mkfifo", [`${dir}/pipe`]);
  return `${dir}/pipe`;
}

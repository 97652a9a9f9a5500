/** Files that people name on the command line: what can't be read is said in a sentence. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readSecret, readText } from "../../src/drivers/config_env.ts";

const folder = mkdtempSync(`${tmpdir()}/anyhop-config-${process.pid}-`);
const [fifo, link, socket] = ["fifo", "link", "socket"].map((name) => `${folder}/${name}`);
const server = createServer();
beforeAll(async () => {
  execFileSync("mkfifo", [fifo]);
  symlinkSync("/dev/zero", link);
  await once(server.listen(socket), "listening");
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

const refusal = (message: RegExp) =>
  expect.objectContaining({ code: "file_read", message: expect.stringMatching(message) });

test("a file that is not there has no text", () => {
  expect(readText(`${folder}/none`)).toBeUndefined();
});

test.each<[string, () => string, RegExp]>([
  ["a folder", () => folder, /is a folder and no file; name a file/],
  ["a pipe that nobody writes to", () => fifo, /is a pipe \(FIFO\) and no file/],
  ["a device without end", () => "/dev/zero", /^\/dev\/zero is a device and no file/],
  ["a link to a device", () => link, /is a device and no file/],
  ["a socket", () => socket, /is a socket and no file/],
])("%s in place of a file", (_what, path, message) => {
  expect(() => readText(path())).toThrow(refusal(message));
  expect(() => readSecret(path())).toThrow(message);
});

test("as many bytes as there are, and no more than fit", () => {
  const file = `${folder}/long`;
  for (const [bytes, read] of [
    [64 * 1024, readSecret],
    [8 * 1024 * 1024, (path: string) => readText(path)!],
  ] as const) {
    for (const length of [0, 1, 4096, 4097, bytes]) {
      writeFileSync(file, "x".repeat(length));
      expect(read(file).length).toBe(length);
    }
    writeFileSync(file, "x".repeat(bytes + 1));
    expect(() => read(file)).toThrow(`${file} has more than ${bytes} bytes, the most that is read of such a file`);
  }
});

test("a file that says it is empty and is not", () => {
  expect(readText("/proc/self/status")).toContain("VmRSS");
  expect(readSecret("/proc/self/stat").length).toBeGreaterThan(50);
});

test("somebody else's file: who may read it", (context) => {
  const file = `${folder}/node.toml`;
  writeFileSync(file, "[node]\n", { mode: 0o600 });
  if (process.geteuid?.() !== 0 || process.seteuid === undefined) return context.skip("only root can be somebody else");
  process.seteuid(65534);
  try {
    expect(() => readText(file)).toThrow(refusal(/cannot be read \(EACCES\).* root may; use sudo\.$/));
  } finally {
    process.seteuid(0);
  }
});

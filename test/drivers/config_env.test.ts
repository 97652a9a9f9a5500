/** Files that people name on the command line: what can't be read is said in a sentence. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterAll, expect, test } from "vitest";
import { readText } from "../../src/drivers/config_env.ts";

const folder = mkdtempSync(`${tmpdir()}/anyhop-config-${process.pid}-`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const refusal = (message: RegExp) =>
  expect.objectContaining({ code: "file_read", message: expect.stringMatching(message) });

test("a file that is not there has no text", () => {
  expect(readText(`${folder}/none`)).toBeUndefined();
});

test("a folder in place of a file", () => {
  expect(() => readText(folder)).toThrow(refusal(/cannot be read \(EISDIR\)\.$/));
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

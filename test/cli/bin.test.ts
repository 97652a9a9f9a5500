/** The file that people start: it finds the built program, or says how to get one. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, expect, test } from "vitest";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(`${tmpdir()}/anyhop-bin-${process.pid}-`);
  mkdirSync(`${folder}/bin`);
  writeFileSync(`${folder}/package.json`, '{"type":"module"}');
  copyFileSync(new URL("../../bin/anyhop", import.meta.url), `${folder}/bin/anyhop`);
});
afterEach(() => rmSync(folder, { recursive: true }));

test("not built: exit code 2 and what to do", () => {
  const { status, stderr } = spawnSync(`${folder}/bin/anyhop`, ["status"], { encoding: "utf8" });
  expect([status, stderr]).toEqual([2, expect.stringContaining("npm run build")]);
});

test("built: the program gets the words and sets the exit code", () => {
  mkdirSync(`${folder}/dist/daemon`, { recursive: true });
  writeFileSync(`${folder}/dist/daemon/main.js`, "console.log(process.argv.slice(2).join('|')); process.exitCode = 7;");
  const { status, stdout } = spawnSync(`${folder}/bin/anyhop`, ["run", "a b"], { encoding: "utf8" });
  expect([status, stdout]).toEqual([7, "run|a b\n"]);
});

/** What a terminal is given to read. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import fc from "fast-check";
import { expect, test } from "vitest";
import { printable } from "../../src/base/printable.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";

test("no commands for terminals, no marks of direction; text, newlines, tabs and colours stay", () => {
  expect(printable("anna\t1\nbela é 💣\n")).toBe("anna\t1\nbela é 💣\n");
  expect(printable("\u001b[97;40m##\u001b[0m\n")).toBe("\u001b[97;40m##\u001b[0m\n");
  expect(printable("\u001b[8mhidden")).toBe("\\u001b[8mhidden");
  expect(printable("a\u001b[2J\rb\u009b1A\u202ec")).toBe("a\\u001b[2J\\u000db\\u009b1A\\u202ec");
});

test("whatever the text, JSON means the same afterwards, and only colours begin with ESC", () => {
  const unit = fc.constantFrom("\u001b", "[", "m", "0", "97;40", "\u0000", "\u009b", "\u2028", "\u202e", "a", "\n");
  fc.assert(
    fc.property(fc.array(unit, { maxLength: 40 }), (units) => {
      const text = units.join("");
      const shown = printable(text);
      expect(shown.replace(/\u001b\[(?:97;40|0)m/g, "")).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/);
      expect(JSON.parse(printable(JSON.stringify({ text })))).toEqual({ text });
    }),
  );
});

test("a file from a stranger: its faults name what stands in it, and the terminal stays as it is", () => {
  const folder = mkdtempSync(`${tmpdir()}/anyhop-printable-${process.pid}-`);
  try {
    const file = `${folder}/anna.toml`;
    writeFileSync(file, 'name = "anna"\n["cli\\u001b[2Jent\\u009b"]\nx = 1\n', { mode: 0o600 });
    for (const words of [
      ["check", file],
      ["show", "\u001b[2J", "--socket", `${folder}/\u001b[31m`],
    ]) {
      const { status, stdout, stderr } = spawnSync(ANYHOP, words, { encoding: "utf8" });
      expect(status).not.toBe(0);
      expect(stdout + stderr).toMatch(/\\u001b/);
      expect(stdout + stderr).not.toMatch(/\u001b\[2J|\u009b/);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

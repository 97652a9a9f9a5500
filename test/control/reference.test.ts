/** docs/OPERATIONS.md lists every key and every classic option, with the texts that the program itself uses. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { z } from "zod";
import { classicOptions } from "../../src/control/classic_options.ts";
import { parseConfig } from "../../src/control/config.ts";
import { tables } from "../../src/control/config_schema.ts";

const text = readFileSync(new URL("../../docs/OPERATIONS.md", import.meta.url), "utf8");

const cell = (content: string) => content.replaceAll("|", "\\|");
/** | `key` | default | description | */
function keyRow(key: string, schema: z.ZodType): string | undefined {
  if (schema.description === undefined) return undefined;
  const parsed = schema.safeParse(undefined);
  const fallback = parsed.success && parsed.data !== undefined ? `\`${JSON.stringify(parsed.data)}\`` : "";
  return `| \`${key}\` | ${cell(fallback)} | ${cell(schema.description)} |`;
}

test.each(Object.entries(tables))("keys of table %j", (table, schema) => {
  for (const [key, type] of Object.entries(schema.shape)) {
    const row = keyRow(key, type as z.ZodType);
    // Only the tables themselves have no description.
    if (row === undefined) expect(key in tables).toBe(true);
    else expect(text.split("\n")).toContain(row);
  }
  const heading = table === "tunnel" ? "[[tunnel]]" : `[${table}]`;
  if (table !== "") expect(text).toContain(`### \`${heading}\``);
});

test.each(classicOptions.map((option) => [option.flags, option] as const))(
  "option %s",
  (_flags, { flags, from, help }) => {
    expect(text.split("\n")).toContain(`| \`${cell(flags)}\` | ${from} | ${cell(help)} |`);
  },
);

test("the examples of the document are good files", () => {
  const examples = [...text.matchAll(/```toml\n(.*?)```/gs)].map((match) => match[1]);
  const env = { readSecret: () => "correct horse battery staple", modeOf: () => 0o600, getenv: () => undefined };
  expect(examples.map((example) => parseConfig(example, "/etc/anyhop/node.toml", env).faults)).toEqual([[], []]);
});

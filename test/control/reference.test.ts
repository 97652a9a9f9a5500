/** docs/OPERATIONS.md lists every key and every classic option, with the texts that the program itself uses. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { z } from "zod";
import { commandVariables } from "../../src/announce/command.ts";
import { operations } from "../../src/api/contract/operations.ts";
import { problemReasons } from "../../src/control/asked/problem_reasons.ts";
import { classicOptions } from "../../src/control/classic/classic_options.ts";
import { clientKind } from "../../src/control/config/client_schema.ts";
import { parseFile } from "../../src/control/config/config_file.ts";
import { classicKind } from "../../src/control/config/config_schema.ts";
import { nodeKind } from "../../src/control/config/node_schema.ts";
import { hookVariables } from "../../src/control/host/hooks.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";

const text = readFileSync(new URL("../../docs/OPERATIONS.md", import.meta.url), "utf8");

const cell = (content: string) => content.replaceAll("|", "\\|");
/** | `key` | default | description | */
function keyRow(key: string, schema: z.ZodType): string | undefined {
  if (schema.description === undefined) return undefined;
  const parsed = schema.safeParse(undefined);
  const fallback = parsed.success && parsed.data !== undefined ? `\`${JSON.stringify(parsed.data)}\`` : "";
  return `| \`${key}\` | ${cell(fallback)} | ${cell(schema.description)} |`;
}

const kinds = { classic: classicKind, node: nodeKind, client: clientKind };
/** Where the reference says the same of two kinds of file, it says it once. */
const saidElsewhere = (kind: string, table: string) => kind === "client" && (table === "" || table === "paths");

test.each(
  Object.entries(kinds).flatMap(([kind, { tables, lists }]) =>
    Object.entries(tables)
      .filter(([table]) => !saidElsewhere(kind, table))
      .map(([table, schema]) => [kind, table, schema, lists.has(table), tables] as const),
  ),
)("%s file: keys of table %j", (_kind, table, schema, list, tables) => {
  for (const [key, type] of Object.entries(schema.shape)) {
    const row = keyRow(key, type as z.ZodType);
    // Only the tables themselves have no description.
    if (row === undefined) expect(key in tables).toBe(true);
    else expect(text.split("\n")).toContain(row);
  }
  const heading = list ? `[[${table}]]` : `[${table}]`;
  if (table !== "") expect(text).toContain(`### \`${heading}\``);
});

test.each(Object.values(operations).map(({ method, path, summary }) => [method, path, summary]))(
  "operation %s %s",
  (method, path, summary) => expect(text.split("\n")).toContain(`| ${method} | \`${path}\` | ${summary} |`),
);

test.each(Object.entries({ ...hookVariables, ...commandVariables, ...problemReasons }))("%s", (name, meaning) =>
  expect(text.split("\n")).toContain(`| \`${name}\` | ${meaning} |`),
);

test.each(classicOptions.map((option) => [option.flags, option] as const))(
  "option %s",
  (_flags, { flags, from, help }) => {
    expect(text.split("\n")).toContain(`| \`${cell(flags)}\` | ${from} | ${cell(help)} |`);
  },
);

test("the examples of the document are good files", () => {
  const examples = [...text.matchAll(/```toml\n(.*?)```/gs)].map((match) => match[1]);
  const readSecret = (path: string) =>
    path.endsWith(".nk")
      ? `SU${"A".repeat(56)}`
      : path.endsWith(".key")
        ? formatKey(new Uint8Array(32).fill(path.length))
        : "correct horse battery staple";
  const env = { readSecret, modeOf: () => 0o600, getenv: () => undefined };
  const parsed = examples.map((example) => parseFile(example, "/etc/anyhop/node.toml", env));
  expect(parsed.map(({ kind, faults }) => [kind, faults])).toEqual([
    ["node", []],
    ["client", []],
    ["node", []],
    ["classic", []],
    ["classic", []],
  ]);
});

test("from a clone to a ping it takes at most six commands", () => {
  const section = text.slice(text.indexOf("## From a clone"), text.indexOf("## Keys"));
  const commands = [...section.matchAll(/```sh\n(.*?)```/gs)].flatMap((match) => match[1].trim().split("\n"));
  expect(commands.length).toBeLessThanOrEqual(6);
  expect(commands.at(-1)).toMatch(/^ping /);
});

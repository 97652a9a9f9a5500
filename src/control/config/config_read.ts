/**
 * From the text of a TOML file to checked values, for every kind of file: syntax, unknown keys, types and ranges. Every
 * fault is found in one go: what the schema refuses is reported and cut out, the rest is judged as if it were the whole
 * file.
 */
import { type AST, getStaticTOMLValue, ParseError, parseTOML, traverseNodes } from "toml-eslint-parser";
import type { z } from "zod";
import { isObjectWord } from "../../base/names.ts";
import { closest, type Fault } from "../spec/faults.ts";
import { type Excess, findExcess } from "../text/toml_limits.ts";
import { Places } from "./config_places.ts";
import { Report } from "./config_report.ts";

/** One kind of configuration file. */
export interface FileKind<T> {
  readonly schema: z.ZodType<T>;
  /** Tables with their schemas, for key lists and the reference; "" is the top of the file. */
  readonly tables: Readonly<Record<string, z.ZodObject>>;
  /** Names of the tables that are written [[name]]. */
  readonly lists: ReadonlySet<string>;
  /** Keys whose values must never be shown. */
  readonly secrets: ReadonlySet<string>;
}

export interface TomlFile {
  readonly value: Readonly<Record<string, unknown>>;
  readonly report: Report;
}

/**
 * The file as plain values, or the one fault when it is not TOML, or more of it than a file of ours ever has. `file` is
 * its path, for messages.
 */
export function readToml(text: string, file: string): TomlFile | Fault {
  const excess = findExcess(text);
  if (excess !== undefined) return faultAt(excess, file);
  let program: AST.TOMLProgram;
  try {
    program = parseTOML(text);
    const word = findObjectWord(program);
    if (word !== undefined) return faultAt(word, file);
    return { value: getStaticTOMLValue(program) as TomlFile["value"], report: new Report(file, new Places(program)) };
  } catch (error) {
    if (error instanceof ParseError) return syntaxFault(error, file);
    // A number or a comment of megabytes: what is long overflows the stack of the parser.
    if (error instanceof RangeError)
      return faultAt({ line: 1, column: 1, message: "a part of this is too long" }, file);
    throw error;
  }
}

/**
 * The first key that every object of JavaScript has without being given it. The parser would write below it into what
 * all objects share: `[__proto__]` changed every table of the program.
 */
function findObjectWord(program: AST.TOMLProgram): Excess | undefined {
  let found: Excess | undefined;
  traverseNodes(program, {
    enterNode(node) {
      if (node.type !== "TOMLKey" || found !== undefined) return;
      for (const key of node.keys) {
        const word = key.type === "TOMLBare" ? key.name : key.value;
        if (!isObjectWord(word)) continue;
        const { line, column } = key.loc.start;
        found = { line, column: column + 1, message: `there is no key ${word}, here or anywhere` };
        return;
      }
    },
    leaveNode() {},
  });
  return found;
}

const faultAt = ({ line, column, message }: Excess, file: string): Fault => ({
  ...{ severity: "error", file, line, column, key: "", message, suggestion: undefined },
});

function syntaxFault(error: ParseError, file: string): Fault {
  return {
    severity: "error",
    file,
    line: error.lineNumber,
    column: error.column + 1,
    key: "",
    message: `this is not TOML: ${error.message.replace(/\.$/, "").toLowerCase()}`,
    suggestion: "text values need quotes, and each key may stand only once in its table",
  };
}

/** Each round cuts out what is wrong at one level or more; the tables are four levels deep. */
const ROUNDS_MAX = 32;

type Raw = Record<string | number, unknown>;

/** Reports what the schema refuses, cuts it out and returns the rest with defaults filled in. Changes `file.value`. */
export function readSchema<T>({ value, report }: TomlFile, kind: FileKind<T>): T {
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const result = kind.schema.safeParse(value);
    if (result.success) return result.data;
    for (const issue of result.error.issues) {
      if (issue.code === "unrecognized_keys") {
        for (const key of issue.keys) {
          reportUnknown(issue, key, kind, report);
          cut(value as Raw, [...issue.path, key] as (string | number)[]);
        }
      } else reportValue(value as Raw, issue, kind, report);
    }
  }
  throw new Error(`The faults of ${report.file} do not end.`);
}

function reportUnknown<T>(issue: z.core.$ZodIssue, key: string, kind: FileKind<T>, report: Report): void {
  const { tables, lists } = kind;
  const bracket = (name: string): string => (lists.has(name) ? `[[${name}]]` : `[${name}]`);
  const names = issue.path.filter((part) => typeof part === "string").join(".");
  const table = Object.hasOwn(tables, names) ? names : String(issue.path[0] ?? "");
  const known = Object.keys(tables[table].shape);
  const meant = closest(key, known);
  const homes = Object.keys(tables).filter((name) => name !== table && Object.hasOwn(tables[name].shape, key));
  const home = homes.find((name) => !lists.has(name) || homes.length === 1);
  let suggestion = `the keys here are ${known.join(", ")}`;
  if (meant !== undefined) suggestion = `did you mean ${meant}?`;
  else if (home !== undefined)
    suggestion = `${key} belongs ${home === "" ? "to the top of the file" : `in ${bracket(home)}`}`;
  const where = table === "" ? "at the top of the file" : `in ${bracket(table)}`;
  report.error([...(issue.path as (string | number)[]), key], `there is no key ${key} ${where}`, suggestion);
}

function reportValue<T>(root: Raw, issue: z.core.$ZodIssue, kind: FileKind<T>, report: Report): void {
  const path = issue.path as (string | number)[];
  const value = path.reduce<unknown>((at, key) => (at as Raw)[key], root);
  const key = path[path.length - 1];
  const shown = kind.secrets.has(String(key)) ? "" : showValue(value);
  const names = issue.code === "invalid_value" && typeof value === "string" ? issue.values.map(String) : [];
  const meant = typeof value === "string" ? closest(value, names) : undefined;
  report.error(path, `${report.show(path)} ${issue.message}${shown}`, meant && `did you mean "${meant}"?`);
  // A list with one bad element is judged no further; nor is a [[table]] that is no table.
  const element = typeof key === "number";
  const whole = element && !kind.lists.has(String(path[path.length - 2])) ? path.slice(0, -1) : path;
  report.taint(whole);
  cut(root, whole, element && whole === path ? {} : undefined);
}

function showValue(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return `, not ${value}`;
  if (typeof value === "string" && value.length <= 60) return `, not "${value}"`;
  return "";
}

/** Removes or replaces what stands at the path. */
function cut(root: Raw, path: readonly (string | number)[], replacement?: unknown): void {
  const parent = path.slice(0, -1).reduce<Raw>((at, key) => (at?.[key] ?? {}) as Raw, root);
  const key = path[path.length - 1];
  if (replacement === undefined) delete parent[key];
  else parent[key] = replacement;
}

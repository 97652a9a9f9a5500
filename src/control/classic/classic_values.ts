/**
 * Values of classic options: numbers in their ranges, and the sentences that are collected when something is wrong.
 * Where the originals let a number wrap, this refuses it.
 */

import { parsePort } from "../text/address_text.ts";
import { type RawOptions, textOf } from "./classic_options.ts";

/** Errors and warnings of one command line, all of them. */
export class Problems {
  readonly errors: string[];
  readonly warnings: string[];
  readonly #prefix: string;

  constructor(prefix = "", parent?: Problems) {
    this.#prefix = prefix;
    this.errors = parent?.errors ?? [];
    this.warnings = parent?.warnings ?? [];
  }

  /** The same lists, with the file's name before each sentence. */
  inside(file: string): Problems {
    return new Problems(`${file}: `, this);
  }

  fail(sentence: string): void {
    this.errors.push(this.#prefix + sentence);
  }

  warn(sentence: string): void {
    this.warnings.push(this.#prefix + sentence);
  }

  /** A whole number in [min, max], or `fallback` when the option is absent or wrong. */
  number(raw: RawOptions, flag: string, name: string, min: number, max: number, fallback: number): number {
    const text = textOf(raw, name);
    if (text === undefined) return fallback;
    const value = Number(text);
    if (/^[0-9]+$/.test(text) && value >= min && value <= max) return value;
    this.fail(`${flag} takes a whole number from ${min} to ${max}, not "${text}"`);
    return fallback;
  }

  port(raw: RawOptions, flag: string, name: string, fallback: number): number {
    const text = textOf(raw, name);
    if (text === undefined || text.includes(":")) return fallback;
    const port = parsePort(text);
    if (port === undefined) this.fail(`${flag} takes a port number from 1 to 65535, not "${text}"`);
    return port ?? fallback;
  }

  /** One of the names of a table, or the value of `fallback`. */
  name<T>(raw: RawOptions, flag: string, name: string, table: Readonly<Record<string, T>>, fallback: string): T {
    const text = textOf(raw, name) ?? fallback;
    if (Object.hasOwn(table, text)) return table[text];
    this.fail(`${flag} takes one of ${Object.keys(table).join(", ")}, not "${text}"`);
    return table[fallback];
  }
}

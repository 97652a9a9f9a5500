/**
 * Collects the faults of one file. Knows where keys stand, and stays silent about what was already reported: one wrong
 * value gives one fault. What looks like a key is never shown, whatever the key is that it was given to.
 */

import type { Fault } from "../spec/faults.ts";
import { withoutKeys } from "../text/keys/key_text.ts";
import { type Path, type Places, showPath } from "./config_places.ts";

export class Report {
  readonly file: string;
  readonly places: Places;
  readonly #faults: Fault[] = [];
  readonly #tainted = new Set<string>();

  constructor(file: string, places: Places) {
    this.file = file;
    this.places = places;
  }

  error(path: Path, message: string, suggestion?: string): void {
    this.#add("error", path, message, suggestion);
  }

  warning(path: Path, message: string, suggestion?: string): void {
    this.#add("warning", path, message, suggestion);
  }

  /** Further faults at or below this path would only repeat the one that was found. */
  taint(path: Path): void {
    this.#tainted.add(JSON.stringify(path));
  }

  isTainted(path: Path): boolean {
    return path.some((_, n) => this.#tainted.has(JSON.stringify(path.slice(0, n + 1))));
  }

  show(path: Path): string {
    return showPath(path);
  }

  /** In the order of the file. */
  sorted(): Fault[] {
    return this.#faults.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }

  #add(severity: Fault["severity"], path: Path, message: string, suggestion: string | undefined): void {
    if (this.isTainted(path)) return;
    this.#faults.push({
      ...{ severity, file: this.file, ...this.places.at(path), key: withoutKeys(showPath(path)) },
      ...{ message: withoutKeys(message), suggestion: suggestion && withoutKeys(suggestion) },
    });
  }
}

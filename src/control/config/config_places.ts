/**
 * Where each key of a TOML file stands. Walks the syntax tree once and answers "line and column of this path", falling
 * back to the nearest table that is written down, so that even a missing key has a place.
 */
import type { AST } from "toml-eslint-parser";

export type Path = readonly (string | number)[];

export interface Place {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

export class Places {
  readonly #places = new Map<string, Place>();

  constructor(program: AST.TOMLProgram) {
    for (const node of program.body[0].body) {
      if (node.type === "TOMLKeyValue") this.#keyValue([], node);
      else {
        this.#addChain(node.resolvedKey, node.key.loc.start);
        for (const child of node.body) this.#keyValue(node.resolvedKey, child);
      }
    }
  }

  /** Whether the path itself is written in the file. */
  has(path: Path): boolean {
    return this.#places.has(JSON.stringify(path));
  }

  /** The place of the path, of its nearest written ancestor, or the file's first line. */
  at(path: Path): Place {
    for (let n = path.length; n > 0; n--) {
      const place = this.#places.get(JSON.stringify(path.slice(0, n)));
      if (place !== undefined) return place;
    }
    return { line: 1, column: 1 };
  }

  #keyValue(base: Path, node: AST.TOMLKeyValue): void {
    const keys = node.key.keys.map((key) => (key.type === "TOMLBare" ? key.name : key.value));
    const path = [...base, ...keys];
    this.#addChain(path, node.key.loc.start, base.length);
    this.#content(path, node.value);
  }

  #content(path: Path, node: AST.TOMLContentNode): void {
    if (node.type === "TOMLInlineTable") for (const child of node.body) this.#keyValue(path, child);
    if (node.type !== "TOMLArray") return;
    for (const [i, element] of node.elements.entries()) {
      this.#add([...path, i], element.loc.start);
      this.#content([...path, i], element);
    }
  }

  /** Adds the path and those of its parents, longer than `from`, that have no place yet. */
  #addChain(path: Path, start: AST.Position, from = 0): void {
    for (let n = from + 1; n <= path.length; n++) this.#add(path.slice(0, n), start);
  }

  #add(path: Path, start: AST.Position): void {
    const key = JSON.stringify(path);
    if (!this.#places.has(key)) this.#places.set(key, { line: start.line, column: start.column + 1 });
  }
}

/** "tunnel[0].mux" */
export function showPath(path: Path): string {
  return path.reduce<string>(
    (shown, key) => (typeof key === "number" ? `${shown}[${key}]` : shown === "" ? key : `${shown}.${key}`),
    "",
  );
}

/**
 * Limits of a TOML text, judged in one pass before the parser sees it. The parser's time grows with the square of the
 * depth and of the parts of a key, and a long string overflows its stack; no file of ours comes near these limits.
 */

/** Arrays and inline tables within each other; the files have at most two. */
const DEPTH_MAX = 32;
/** Parts of a dotted key; the files have at most three. */
const PARTS_MAX = 32;
/** Characters of one string. A key has 44, a path at most 4096. */
const STRING_LEN_MAX = 65_536;

export interface Excess {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** A sentence without the full stop. */
  readonly message: string;
}

/** The first place where the text is beyond a limit. What is no TOML at all is left to the parser. */
export function findExcess(text: string): Excess | undefined {
  let depth = 0;
  let parts = 1;
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case "#": {
        const end = text.indexOf("\n", i);
        if (end < 0) return undefined;
        i = end - 1;
        break;
      }
      case '"':
      case "'": {
        const end = stringEnd(text, i);
        if (end - i > STRING_LEN_MAX) return at(text, i, `a text in quotes has at most ${STRING_LEN_MAX} characters`);
        i = end - 1;
        break;
      }
      case "[":
      case "{":
        depth += 1;
        parts = 1;
        if (depth > DEPTH_MAX) return at(text, i, `brackets are nested more than ${DEPTH_MAX} deep`);
        break;
      case "]":
      case "}":
        depth = Math.max(0, depth - 1);
        parts = 1;
        break;
      case ".":
        parts += 1;
        if (parts > PARTS_MAX) return at(text, i, `a key has more than ${PARTS_MAX} parts`);
        break;
      case "=":
      case ",":
      case "\n":
        parts = 1;
        break;
    }
  }
  return undefined;
}

/** Position behind the string that begins at `from`; the end of the line or of the text when it is not closed. */
function stringEnd(text: string, from: number): number {
  const quote = text[from];
  const triple = quote.repeat(3);
  const isTriple = text.startsWith(triple, from);
  for (let i = from + (isTriple ? 3 : 1); i < text.length; i++) {
    const c = text[i];
    if (c === "\\" && quote === '"') i += 1;
    else if (isTriple ? text.startsWith(triple, i) : c === quote) return i + (isTriple ? 3 : 1);
    else if (c === "\n" && !isTriple) return i;
  }
  return text.length;
}

function at(text: string, index: number, message: string): Excess {
  const before = text.slice(0, index);
  return { line: before.split("\n").length, column: index - before.lastIndexOf("\n"), message };
}

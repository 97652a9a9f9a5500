/**
 * What is wrong with a configuration, at which line, and what to do about it. Faults are collected, never thrown: one
 * look at the list must be enough to repair the file. A fault never shows a secret.
 */
import { distance } from "fastest-levenshtein";

export interface Fault {
  readonly severity: "error" | "warning";
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** Dotted path as written, "tunnel[0].mux"; "" for the file as a whole. */
  readonly key: string;
  /** A sentence without the full stop. */
  readonly message: string;
  /** What to do, or undefined when the message says it. */
  readonly suggestion: string | undefined;
}

/** "file:3:1: error: message; suggestion", the form that editors understand. */
export function formatFault(fault: Fault): string {
  const advice = fault.suggestion === undefined ? "" : `; ${fault.suggestion}`;
  return `${fault.file}:${fault.line}:${fault.column}: ${fault.severity}: ${fault.message}${advice}`;
}

const WORD_LEN_MAX = 64;

/** The candidate that `word` was probably meant to be, or undefined. */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  // Nobody means a known word by a text of a thousand letters, and comparing it takes long.
  if (word.length > WORD_LEN_MAX) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const d = distance(word.toLowerCase(), candidate.toLowerCase());
    // A short word is within two letters of everything: at least half of it must be right.
    if (d < bestDistance && d * 2 <= Math.max(word.length, candidate.length)) {
      best = candidate;
      bestDistance = d;
    }
  }
  return best;
}

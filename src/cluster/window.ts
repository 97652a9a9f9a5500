/**
 * A client's replay window on its way to another node: newest word first, so that leaving out words at the end only makes
 * old numbers count as received. Words are written in runs, since most windows are all ones. docs/PROTOCOL.md, "Windows".
 */
import type { Reader, Writer } from "./bytes.ts";

export interface Window {
  /** Highest number that was received; -1 = none yet, then there are no words. */
  readonly highest: number;
  /**
   * words[k] bit b: whether number 32 * ((highest >>> 5) - k) + b was received. Numbers below the last word count as
   * received. At most WINDOW_WORDS_MAX travel.
   */
  readonly words: Int32Array;
}

/** 8192 numbers. */
export const WINDOW_WORDS_MAX = 256;
/** Highest, number of words, words in runs at their worst. */
export const WINDOW_LEN_MAX = roomOf(WINDOW_WORDS_MAX);

const NONE = 0;
const SOME = 1;
/** Control byte of a run: 0-127 that many words and one, as they are; 128-191 words of zeros; 192-255 words of ones. */
const ZEROS = 128;
const ONES = 192;
const LITERAL_MAX = 128;
const SAME_MAX = 64;

function roomOf(words: number): number {
  return 5 + 2 + 4 * words + Math.ceil(words / 128) + 1;
}

/** The same window, in which everything up to `floor` counts as received. */
export function closedUpTo(floor: number, { highest, words }: Window): Window {
  if (floor < 0) return { highest, words };
  if (floor >= highest) return { highest: floor, words: Int32Array.of(bitsUpTo(floor & 31)) };
  const closed = words.slice();
  for (let k = 0; k < closed.length; k++) {
    const lowest = 32 * ((highest >>> 5) - k);
    if (lowest <= floor) closed[k] |= bitsUpTo(Math.min(31, floor - lowest));
  }
  return { highest, words: closed };
}

const bitsUpTo = (bit: number): number => (bit === 31 ? -1 : (1 << (bit + 1)) - 1);

/** Nothing was received yet. */
export const EMPTY: Window = { highest: -1, words: new Int32Array(0) };

/** Bytes that are enough for this one. */
export const windowRoom = ({ words }: Window): number => roomOf(Math.min(words.length, WINDOW_WORDS_MAX));

export function writeWindow(writer: Writer, { highest, words }: Window): void {
  if (highest < 0) {
    writer.u8(NONE);
    return;
  }
  const count = Math.min(words.length, WINDOW_WORDS_MAX);
  writer.u8(SOME).u32(highest).u16(count);
  for (let at = 0; at < count; ) {
    const same = sameRun(words, at, count);
    // A single such word inside a literal run costs 4 bytes, as a run of its own up to 2: never more.
    if (same > 0) {
      writer.u8((words[at] === 0 ? ZEROS : ONES) + same - 1);
      at += same;
      continue;
    }
    let n = 1;
    while (n < LITERAL_MAX && at + n < count && sameRun(words, at + n, count) === 0) n++;
    writer.u8(n - 1);
    for (const end = at + n; at < end; at++) writer.u32(words[at] >>> 0);
  }
}

/** Number of equal words from `at` on that are all zeros or all ones; 0 when the first is neither. */
function sameRun(words: Int32Array, at: number, count: number): number {
  const word = words[at];
  if (word !== 0 && word !== -1) return 0;
  let n = 1;
  while (n < SAME_MAX && at + n < count && words[at + n] === word) n++;
  return n;
}

export function readWindow(reader: Reader): Window {
  const flag = reader.u8();
  reader.must(flag <= SOME);
  if (flag !== SOME) return EMPTY;
  const [highest, count] = [reader.u32(), reader.u16()];
  reader.must(count <= WINDOW_WORDS_MAX);
  const words = new Int32Array(reader.failed ? 0 : count);
  for (let at = 0; at < count && !reader.failed; ) {
    const code = reader.u8();
    const n = 1 + (code < ZEROS ? code : (code - ZEROS) % SAME_MAX);
    reader.must(at + n <= count);
    if (reader.failed) break;
    if (code >= ZEROS) words.fill(code >= ONES ? -1 : 0, at, at + n);
    else for (let k = 0; k < n; k++) words[at + k] = reader.u32() | 0;
    at += n;
  }
  return { highest, words };
}

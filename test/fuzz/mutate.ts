/**
 * Makes hostile inputs from valid ones: what a liar changes is mostly one field of something that is otherwise right, so
 * that the parser gets far before it meets it. Seeded; the same seed gives the same inputs everywhere.
 */
import type { Prng } from "../support/prng.ts";

const BYTES = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
const WORDS = [0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff];
const LONG = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
/** No input is longer; datagrams and values of the state engine are not either. */
const LENGTH_MAX = 66_000;

const pick = <T>(prng: Prng, list: readonly T[]): T => list[prng.nextBelow(list.length)];

/** One to four changes of `valid`; now and then nothing of it is left, or half of it is another valid one. */
export function mutateBytes(prng: Prng, valid: Uint8Array, other: Uint8Array): Uint8Array {
  if (prng.nextBelow(32) === 0) return randomBytes(prng, prng.nextBelow(prng.nextBelow(8) === 0 ? 2000 : 64));
  let bytes = Uint8Array.from(valid);
  for (let left = 1 + prng.nextBelow(4); left > 0; left--) bytes = changed(prng, bytes, other);
  return bytes.subarray(0, LENGTH_MAX);
}

function changed(prng: Prng, bytes: Uint8Array<ArrayBuffer>, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const { length } = bytes;
  const at = prng.nextBelow(length + 1);
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  switch (prng.nextBelow(12)) {
    case 0:
      return bytes.slice(0, at);
    case 1:
      return joined(bytes, randomBytes(prng, 1 + prng.nextBelow(40)));
    case 2:
      return joined(bytes.subarray(0, at), randomBytes(prng, 1 + prng.nextBelow(8)), bytes.subarray(at));
    case 3:
      return joined(bytes.subarray(0, at), bytes.subarray(Math.min(length, at + 1 + prng.nextBelow(8))));
    case 4: {
      const part = bytes.subarray(at, Math.min(length, at + 1 + prng.nextBelow(64)));
      return joined(bytes.subarray(0, at), ...Array(1 + prng.nextBelow(20)).fill(part), bytes.subarray(at));
    }
    case 5:
      return joined(bytes.subarray(0, at), other.subarray(prng.nextBelow(other.length + 1)));
    case 6:
      if (length >= 2) view.setUint16(prng.nextBelow(length - 1), pick(prng, WORDS));
      return bytes;
    case 7:
      if (length >= 4) view.setUint32(prng.nextBelow(length - 3), pick(prng, LONG));
      return bytes;
    case 8: {
      // A length or a count that is off by one.
      if (length >= 2) {
        const place = prng.nextBelow(length - 1);
        view.setUint16(place, (view.getUint16(place) + (prng.nextBelow(2) === 0 ? 1 : 0xffff)) & 0xffff);
      }
      return bytes;
    }
    case 9:
      if (length > 0) bytes[prng.nextBelow(length)] ^= 1 << prng.nextBelow(8);
      return bytes;
    default:
      if (length > 0) bytes[prng.nextBelow(length)] = prng.nextBelow(2) === 0 ? pick(prng, BYTES) : prng.nextBelow(256);
      return bytes;
  }
}

function randomBytes(prng: Prng, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => prng.nextU32() & 255);
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(
    Math.min(
      LENGTH_MAX,
      parts.reduce((sum, part) => sum + part.length, 0),
    ),
  );
  let at = 0;
  for (const part of parts) {
    const fitting = part.subarray(0, bytes.length - at);
    bytes.set(fitting, at);
    at += fitting.length;
  }
  return bytes;
}

/** What means something to one of the parsers, or to JavaScript. */
const TOKENS = [
  ...["[", "]", "[[", "]]", "{", "}", "=", ".", ",", ":", "#", "/", "-", "--", "+", " ", "\n", "\r\n", "\t", "\0"],
  ...[
    '"',
    "'",
    '"""',
    "'''",
    "\\",
    "\\u0000",
    "\\ud800",
    "\ud800",
    "\u202e",
    "\ufeff",
    "é",
    "true",
    "null",
    "NaN",
    "inf",
  ],
  ...["0", "-1", "1e999", "99999999999999999999", "0x7fffffffffffffff", "1_0", "2147483648", "65536", "1979-05-27"],
  ...["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "__defineGetter__", "length", "then"],
  ...[
    "0.0.0.0/0",
    "::/0",
    "::ffff:1.2.3.4",
    "fe80::1%eth0",
    "255.255.255.255",
    "[::]:0",
    "256.1.1.1",
    "..",
    "../..",
    "/dev/zero",
  ],
];

/** One to four changes of a text, between its words and lines. */
export function mutateText(prng: Prng, valid: string, other: string): string {
  let text = valid;
  for (let left = 1 + prng.nextBelow(4); left > 0; left--) text = changedText(prng, text, other);
  return text.slice(0, LENGTH_MAX);
}

function changedText(prng: Prng, text: string, other: string): string {
  const at = prng.nextBelow(text.length + 1);
  const token = pick(prng, TOKENS);
  switch (prng.nextBelow(9)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + token + text.slice(at);
    case 2:
      return text.slice(0, at) + text.slice(at + 1 + prng.nextBelow(8));
    case 3:
      return (
        text.slice(0, at) + token.repeat(1 + prng.nextBelow(prng.nextBelow(20) === 0 ? 2000 : 10)) + text.slice(at)
      );
    case 4: {
      // A word becomes another.
      const words = [...text.matchAll(/[A-Za-z0-9_.:/]+/g)];
      if (words.length === 0) return token;
      const word = pick(prng, words);
      return text.slice(0, word.index) + token + text.slice(word.index + word[0].length);
    }
    case 5: {
      const lines = text.split("\n");
      lines.splice(prng.nextBelow(lines.length), 1);
      return lines.join("\n");
    }
    case 6: {
      const lines = text.split("\n");
      const line = pick(prng, lines);
      lines.splice(prng.nextBelow(lines.length), 0, ...Array(1 + prng.nextBelow(3)).fill(line));
      return lines.join("\n");
    }
    case 7: {
      const lines = other.split("\n");
      return `${text}\n${lines.slice(prng.nextBelow(lines.length)).join("\n")}`;
    }
    default:
      return text.slice(0, at) + String.fromCharCode(prng.nextBelow(0x180)) + text.slice(at + 1);
  }
}

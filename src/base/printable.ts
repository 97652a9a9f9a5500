/**
 * Text for a terminal. Names in files, answers of servers and words of other programs may hold commands for terminals, and
 * marks that turn the direction of text so that a line reads as another one.
 */

/** Control characters of ASCII and ISO 8859 but for newline and tab, line ends of Unicode, marks of direction. */
const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
/** What a QR code needs: white on black, and back (SGR). Other colours could hide text. */
const COLOURS = /\u001b\[(?:97;40|0)m/g;

/** The same text with "\\u001b" in place of such a character: readable for people, and the same text to who parses JSON. */
export function printable(text: string): string {
  if (text.search(UNPRINTABLE) < 0) return text;
  const pieces = text.split(COLOURS);
  const colours = text.match(COLOURS) ?? [];
  return pieces.map((piece, i) => piece.replace(UNPRINTABLE, escaped) + (colours[i] ?? "")).join("");
}

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

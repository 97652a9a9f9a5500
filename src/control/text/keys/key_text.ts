/**
 * Keys as people see them: 32 bytes as 44 characters of base64, as WireGuard writes them. Strict, so that a key has one
 * text only and texts can be compared. No message here shows what it was given: it may be a secret in the wrong place.
 */

export const KEY_LEN = 32;
const KEY_TEXT = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

/** 44 characters. */
export function formatKey(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString("base64");
}

/** 32 bytes, or undefined when the text (white space around it is cut) is not one whole key. */
export function parseKey(text: string): Uint8Array | undefined {
  const trimmed = text.trim();
  return KEY_TEXT.test(trimmed) ? new Uint8Array(Buffer.from(trimmed, "base64")) : undefined;
}

/** What is wrong with a text that `parseKey` refuses: a sentence that does not show it. */
export function explainKey(text: string): string {
  const { length } = text.trim();
  if (length === 0) return "there is nothing in it";
  if (length !== 44) return `a key has 44 characters of base64, and this has ${length}`;
  return "a key has 43 characters of base64 and a = at its end, and this has not";
}

/** A whole key, or the seed of an nkey, wherever it stands in a text. A path may end in one: secrets go where paths should be. */
const KEYS_INSIDE = /(?<![A-Za-z0-9+])[A-Za-z0-9+/]{43}=|\bS[A-Z][A-Z2-7]{40,}/g;

/** The text without what is, or may be, a secret that somebody wrote in a wrong place. */
export function withoutKeys(text: string): string {
  return text.replace(KEYS_INSIDE, "(a key)");
}

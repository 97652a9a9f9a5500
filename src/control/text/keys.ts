/**
 * From secrets as people give them (passphrase, hex, key file) to the master key and salt of a tunnel. Refusals are
 * sentences that name lengths, never content.
 */
import { masterKeyFromPassphrase, masterSaltFromPassphrase } from "../../crypto/satp.ts";
import { type KeyLen, SALT_LEN } from "./transforms.ts";

/** Explicit key and salt beat the passphrase, each for its half; missing halves come from the passphrase. */
export interface Secrets {
  readonly passphrase?: string | undefined;
  readonly key?: Uint8Array | undefined;
  readonly salt?: Uint8Array | undefined;
}

export interface Master {
  readonly masterKey: Uint8Array;
  readonly masterSalt: Uint8Array;
}

const EMPTY = new Uint8Array(0);

/** Master key of `kdLen` bytes and salt of 14, both empty for kd null; or a sentence. */
export function resolveMaster(secrets: Secrets, kdLen: KeyLen): Master | string {
  if (kdLen === 0) return { masterKey: EMPTY, masterSalt: EMPTY };
  const { key, salt, passphrase } = secrets;
  if (key !== undefined && key.length !== kdLen)
    return `the key has ${key.length} bytes; key derivation aes-ctr-${kdLen * 8} takes exactly ${kdLen} bytes (${kdLen * 2} hex digits)`;
  if (salt !== undefined && salt.length !== SALT_LEN)
    return `the salt has ${salt.length} bytes; it must have exactly ${SALT_LEN} (${SALT_LEN * 2} hex digits)`;
  if (passphrase !== undefined && passphrase.length === 0) return "the passphrase is empty";
  if (passphrase === undefined && (key === undefined || salt === undefined)) {
    if (key === undefined && salt === undefined) return "there is no key";
    return key === undefined ? "there is a salt but no key" : "there is a key but no salt";
  }
  const phrase = passphrase ?? "";
  return {
    masterKey: key ?? masterKeyFromPassphrase(phrase, kdLen),
    masterSalt: salt ?? masterSaltFromPassphrase(phrase),
  };
}

/** Strict hex: pairs of digits, and white space around them; undefined otherwise. */
export function parseHex(content: string | Uint8Array): Uint8Array | undefined {
  const text = asText(content).trim();
  if (text.length % 2 !== 0 || !/^[0-9A-Fa-f]+$/.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

/** A key file: the key as hex, and optionally the salt as hex after white space. A sentence when it is not. */
export function parseKeyFile(content: string | Uint8Array): { key: Uint8Array; salt: Uint8Array | undefined } | string {
  const words = asText(content).trim().split(/\s+/);
  const [key, salt] = words.map(parseHex);
  if (words.length > 2 || key === undefined || (words.length === 2 && salt === undefined))
    return "a key file holds the key as hex digits, and optionally the salt as hex digits after a space";
  return { key, salt };
}

/** A passphrase file: its text without one newline at the end. undefined when it is not UTF-8. */
export function parsePassphraseFile(content: string | Uint8Array): string | undefined {
  if (typeof content === "string") return content.replace(/\r?\n$/, "");
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content).replace(/\r?\n$/, "");
  } catch {
    return undefined;
  }
}

/** What to say about permission bits that let others read a secret; undefined when all is well. */
export function tooOpen(path: string, mode: number | undefined): { message: string; advice: string } | undefined {
  if (mode === undefined || (mode & 0o077) === 0) return undefined;
  const octal = mode.toString(8).padStart(4, "0");
  return { message: `others may read ${path} (mode ${octal}), and it holds a secret`, advice: `run chmod 600 ${path}` };
}

function asText(content: string | Uint8Array): string {
  return typeof content === "string" ? content : new TextDecoder("latin1").decode(content);
}

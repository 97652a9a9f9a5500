/**
 * A private key under a passphrase, as a small text file:
 *
 *   anyhop-sealed-key 1
 *   scrypt LOG2N R P SALT            RFC 7914; 16 bytes of salt in base64
 *   aes-256-gcm NONCE SEALED         12 bytes; 32 bytes of key and 16 of tag, in base64
 *
 * The first two lines are authenticated, too. Costs are bounded when read, so that a hostile file cannot take the
 * memory of the daemon. Errors are sentences and show neither key nor passphrase.
 */
import { createCipheriv, createDecipheriv, scryptSync } from "node:crypto";
import { KEY_LEN } from "./key_text.ts";

const MAGIC = "anyhop-sealed-key";
const VERSION = "1";
const SALT_LEN = 16;
const NONCE_LEN = 12;
const TAG_LEN = 16;
/** 64 MiB and about 0.2 s. */
const LOG2N = 16;
/** 128 MiB and half a second: more is not read, so no file takes longer. */
const LOG2N_MAX = 17;
const R = 8;
const P = 1;

/** Random bytes that `sealKey` takes. */
export const SEAL_RANDOM_LEN = SALT_LEN + NONCE_LEN;

/** The file's text. `random`: SEAL_RANDOM_LEN bytes. */
export function sealKey(key: Uint8Array, passphrase: string, random: Uint8Array, log2n = LOG2N): string {
  if (random.length !== SEAL_RANDOM_LEN) throw new Error(`Sealing takes ${SEAL_RANDOM_LEN} random bytes.`);
  const salt = random.subarray(0, SALT_LEN);
  const nonce = random.subarray(SALT_LEN);
  const head = `${MAGIC} ${VERSION}\nscrypt ${log2n} ${R} ${P} ${base64(salt)}\n`;
  const cipher = createCipheriv("aes-256-gcm", stretch(passphrase, salt, log2n, P), nonce);
  cipher.setAAD(Buffer.from(head));
  const sealed = Buffer.concat([cipher.update(key), cipher.final(), cipher.getAuthTag()]);
  return `${head}aes-256-gcm ${base64(nonce)} ${base64(sealed)}\n`;
}

/** Whether the text means to be such a file. */
export function isSealed(text: string): boolean {
  return text.startsWith(`${MAGIC} `);
}

/** 32 bytes of key, or a sentence without the full stop. */
export function openKey(text: string, passphrase: string): Uint8Array | string {
  const lines = text.trimEnd().split("\n");
  if (lines[0] !== `${MAGIC} ${VERSION}`)
    return `it is not a sealed key of version ${VERSION}; a newer anyhop may have written it`;
  const kdf = /^scrypt (\d{1,2}) (\d{1,2}) (\d{1,2}) (\S+)$/.exec(lines[1] ?? "");
  const box = /^aes-256-gcm (\S+) (\S+)$/.exec(lines[2] ?? "");
  const salt = bytes(kdf?.[4], SALT_LEN);
  const nonce = bytes(box?.[1], NONCE_LEN);
  const sealed = bytes(box?.[2], KEY_LEN + TAG_LEN);
  if (lines.length !== 3 || kdf === null || !salt || !nonce || !sealed) return "the sealed key is damaged";
  const [log2n, r, p] = kdf.slice(1, 4).map(Number);
  if (log2n < 10 || log2n > LOG2N_MAX || r !== R || p !== P)
    return `its scrypt costs ${log2n} ${r} ${p} are out of range: 10 to ${LOG2N_MAX}, ${R}, ${P}`;
  const decipher = createDecipheriv("aes-256-gcm", stretch(passphrase, salt, log2n, p), nonce);
  decipher.setAAD(Buffer.from(`${lines[0]}\n${lines[1]}\n`));
  decipher.setAuthTag(sealed.subarray(KEY_LEN));
  try {
    return new Uint8Array(Buffer.concat([decipher.update(sealed.subarray(0, KEY_LEN)), decipher.final()]));
  } catch {
    return "the passphrase is wrong, or the sealed key is damaged";
  }
}

function stretch(passphrase: string, salt: Uint8Array, log2n: number, p: number): Buffer {
  const N = 2 ** log2n;
  return scryptSync(passphrase, salt, 32, { N, r: R, p, maxmem: 256 * N * R });
}

const base64 = (of: Uint8Array): string => Buffer.from(of).toString("base64");

/** Strict base64 of exactly `length` bytes. */
function bytes(text: string | undefined, length: number): Buffer | undefined {
  const decoded = Buffer.from(text ?? "", "base64");
  return decoded.length === length && decoded.toString("base64") === text ? decoded : undefined;
}

/**
 * The notice of a group's keys: which static public keys the group has had and which one is in force, signed by the operator,
 * whose key lies on no node. A client that knows any of the keys and the operator's public key goes on to the one in force,
 * so a new group key needs no new invitation. A text of lines with one way to write each. docs/PROTOCOL.md, "Group keys".
 */
import { isSignedBy, SIGNATURE_LEN, SIGNING_KEY_LEN, type SigningKey } from "./ed25519.ts";
import { equalBytes } from "./kdf.ts";

/** A client that was away for more rotations needs a new invitation. */
export const GROUP_KEYS_MAX = 8;
/** Of the text, in bytes: four lines and a line a key. */
export const NOTICE_LEN_MAX = 1024;
const KEY_LEN = 32;
const FIRST_LINE = "anyhop group keys 1";
const VERSION_MAX = 0xffff_ffff;

export interface GroupKeyNotice {
  /** Counts rotations: of two notices the greater one is in force. */
  readonly version: number;
  /** 32 bytes, Ed25519. */
  readonly operator: Uint8Array;
  /** Static public keys of the group (X25519, 32 bytes each), oldest first; the last one is in force. 1 to 8. */
  readonly keys: readonly Uint8Array[];
}

export interface SignedNotice extends GroupKeyNotice {
  readonly text: string;
}

export const keyInForce = ({ keys }: GroupKeyNotice): Uint8Array => keys[keys.length - 1]!;

/** Throws a RangeError for no key or too many. */
export function signNotice(notice: GroupKeyNotice, operator: SigningKey): string {
  if (notice.keys.length < 1 || notice.keys.length > GROUP_KEYS_MAX)
    throw new RangeError(`a notice has 1 to ${GROUP_KEYS_MAX} keys, not ${notice.keys.length}`);
  const body = bodyOf(notice);
  return `${body}signature ${base64(operator.sign(bytesOf(body)))}\n`;
}

/** A notice that `operator` has signed, or a sentence that says what is wrong with it. */
export function readNotice(text: string, operator: Uint8Array): SignedNotice | string {
  if (text.length > NOTICE_LEN_MAX) return `it is longer than ${NOTICE_LEN_MAX} bytes`;
  const match = /^([\s\S]*\n)signature (\S+)\n$/.exec(text);
  const notice = match === null ? undefined : parseBody(match[1]!);
  if (match === null || notice === undefined || bodyOf(notice) !== match[1])
    return "it is no notice of group keys, or was cut or changed";
  if (!equalBytes(notice.operator, operator)) return "another operator made it";
  const signature = bytes(match[2]!, SIGNATURE_LEN);
  if (signature === undefined || !isSignedBy(operator, bytesOf(match[1]!), signature))
    return "its signature is wrong: it was changed after it was signed";
  return { ...notice, text };
}

/**
 * The key that a holder of `known` goes on to, or undefined: the notice is of another group, or says nothing new. A key that
 * the notice does not list can't be told from that of a stranger's group under the same operator.
 */
export function successorOf(notice: GroupKeyNotice, known: Uint8Array): Uint8Array | undefined {
  const at = notice.keys.findIndex((key) => equalBytes(key, known));
  return at < 0 || at === notice.keys.length - 1 ? undefined : keyInForce(notice);
}

function bodyOf({ version, operator, keys }: GroupKeyNotice): string {
  const lines = keys.map((key) => `key ${base64(key)}\n`);
  return `${FIRST_LINE}\nversion ${version}\noperator ${base64(operator)}\n${lines.join("")}`;
}

function parseBody(body: string): GroupKeyNotice | undefined {
  const [first, versionLine, operatorLine, ...rest] = body.split("\n");
  const version = Number(/^version ([1-9]\d{0,9})$/.exec(versionLine ?? "")?.[1]);
  const operator = bytes(/^operator (\S{44})$/.exec(operatorLine ?? "")?.[1], SIGNING_KEY_LEN);
  if (first !== FIRST_LINE || !(version <= VERSION_MAX) || operator === undefined || rest.pop() !== "")
    return undefined;
  if (rest.length < 1 || rest.length > GROUP_KEYS_MAX) return undefined;
  const keys: Uint8Array[] = [];
  for (const line of rest) {
    const key = bytes(/^key (\S{44})$/.exec(line)?.[1], KEY_LEN);
    if (key === undefined || keys.some((other) => equalBytes(other, key))) return undefined;
    keys.push(key);
  }
  return { version, operator, keys };
}

function bytes(text: string | undefined, length: number): Uint8Array | undefined {
  if (text === undefined) return undefined;
  const found = new Uint8Array(Buffer.from(text, "base64"));
  return found.length === length && base64(found) === text ? found : undefined;
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const base64 = (raw: Uint8Array): string => Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString("base64");

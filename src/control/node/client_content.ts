/**
 * A client as it stands in the group's book: what other nodes say of it, judged to the last character, because they may lie.
 * The key stands in the name of the entry. docs/PROTOCOL.md, "The book".
 */
import { formatAddress, parseAddress } from "../../base/ip.ts";
import { isName } from "../../base/names.ts";
import { formatPrefix, parsePrefix } from "../../base/prefix.ts";
import type { Mode } from "../spec/instance.ts";
import type { ClientRecord } from "../spec/ports.ts";
import { parseKey } from "../text/keys/key_text.ts";
import { prefixesOf } from "./client_book.ts";

/** What a client had to leave to another one. */
export interface Lost {
  /** An inner prefix, or a name behind "=". */
  readonly what: string;
  /** Name of the client that has it. */
  readonly to: string;
  /** When that was settled, milliseconds since 1970. */
  readonly atMs: number;
}

export type Content = Pick<ClientRecord, "name" | "psk" | "addresses" | "prefixes"> & {
  readonly modes: readonly Mode[];
  /** The newest last; mostly none. */
  readonly lost: readonly Lost[];
};

const ADDRESSES_MAX = 64;
const PREFIXES_MAX = 128;
export const LOST_MAX = 4;
const MODES: ReadonlySet<unknown> = new Set<Mode>(["tunnel", "open", "relay"]);
/** What a date can show. */
const TIME_MAX = 8.64e15;
const NO_LOST: readonly Lost[] = [];
const KEYS: ReadonlySet<string> = new Set(["name", "psk", "addresses", "prefixes", "modes", "lost"]);

const decoder = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();

export function encodeContent({ name, psk, addresses, prefixes, modes, lost }: Content): Uint8Array {
  return encoder.encode(
    JSON.stringify({ name, psk, addresses, prefixes, modes, ...(lost.length > 0 ? { lost } : {}) }),
  );
}

/** Undefined: no node writes that. */
export function decodeContent(bytes: Uint8Array): Content | undefined {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || !Object.keys(value).every((key) => KEYS.has(key)))
    return undefined;
  const { name, psk, addresses, prefixes, modes, lost = NO_LOST } = value as Record<string, unknown>;
  const isPsk = psk === undefined || (typeof psk === "string" && parseKey(psk) !== undefined);
  if (typeof name !== "string" || !isName(name) || !isPsk) return undefined;
  if (!isList(addresses, ADDRESSES_MAX, isAddress) || !isList(prefixes, PREFIXES_MAX, isPrefix)) return undefined;
  if (!isList(modes, MODES.size, (mode) => MODES.has(mode)) || modes.length === 0) return undefined;
  if (!isList(lost, LOST_MAX, isLost)) return undefined;
  return { name, psk, addresses, prefixes, modes, lost } as Content;
}

/** What it claims, for the book: inner prefixes, and the name behind "=". */
export const claimsOf = (content: Content): string[] => [nameClaim(content.name), ...prefixesOf(content)];

export const nameClaim = (name: string): string => `=${name}`;

const isList = (value: unknown, max: number, isOne: (one: unknown) => boolean): value is readonly unknown[] =>
  Array.isArray(value) && value.length <= max && value.every(isOne) && new Set(value).size === value.length;

function isAddress(text: unknown): boolean {
  const address = typeof text === "string" ? parseAddress(text) : undefined;
  return address !== undefined && formatAddress(address.w0, address.w1, address.w2, address.w3) === text;
}

function isPrefix(text: unknown): boolean {
  const prefix = typeof text === "string" ? parsePrefix(text) : undefined;
  return prefix !== undefined && !prefix.hostBits && formatPrefix(prefix) === text;
}

function isLost(one: unknown): boolean {
  const { what, to, atMs } = (one ?? {}) as Record<string, unknown>;
  if (typeof what !== "string" || typeof to !== "string" || !isName(to)) return false;
  if (!Number.isSafeInteger(atMs) || (atMs as number) < 0 || (atMs as number) > TIME_MAX) return false;
  return what.startsWith("=") ? isName(what.slice(1)) : isPrefix(what);
}

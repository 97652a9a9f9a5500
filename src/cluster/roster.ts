/**
 * The roster of a group: which nodes belong to it, each with its public key, signed by the operator, whose key lies on no
 * node. A text of lines, so that people can read it and compare two; one way to write each, so that nobody can argue about
 * what was signed. docs/PROTOCOL.md, "The roster".
 */
import { isSignedBy, SIGNATURE_LEN, SIGNING_KEY_LEN, type SigningKey } from "../crypto/ed25519.ts";
import { NODE_MAX } from "../crypto/session_index.ts";

/** A roster with its signature fits into one value of the state engine. */
export const ROSTER_LEN_MAX = 3900;
const VERSION_MAX = 0xffff_ffff;
const FIRST_LINE = "anyhop roster 1";

export interface RosterNode {
  /** 1-63. */
  readonly node: number;
  /** 32 bytes, Ed25519. */
  readonly publicKey: Uint8Array;
  /** For people: 1 to 32 letters, digits, dots, dashes, underscores. */
  readonly name: string;
  /** Version of the roster that put it out; undefined: it belongs to the group. */
  readonly evictedIn: number | undefined;
}

export interface Roster {
  readonly group: string;
  /** Counts up: of two rosters the greater one is in force. */
  readonly version: number;
  /** 32 bytes, Ed25519. */
  readonly operator: Uint8Array;
  /** In the order of numbers. */
  readonly nodes: readonly RosterNode[];
}

/** Text and what it says. */
export interface SignedRoster extends Roster {
  readonly text: string;
}

export function isMember(roster: Roster, node: number): boolean {
  return roster.nodes.some((one) => one.node === node && one.evictedIn === undefined);
}

/**
 * The version of the last eviction, 0 for none. Keys that were made under an older roster are known to a node that does not
 * belong to the group any more. Versions and not times, so no clock has a part in it.
 */
export function lastEviction(roster: Roster | undefined): number {
  return Math.max(0, ...(roster?.nodes ?? []).map(({ evictedIn }) => evictedIn ?? 0));
}

/** Throws a RangeError when it is longer than a roster may be. */
export function signRoster(roster: Roster, operator: SigningKey): string {
  const body = bodyOf(roster);
  const text = `${body}signature ${base64(operator.sign(bytesOf(body)))}\n`;
  if (text.length > ROSTER_LEN_MAX)
    throw new RangeError(`the roster has ${text.length} bytes, and ${ROSTER_LEN_MAX} is the most`);
  return text;
}

/** A roster that `operator` has signed for `group`, or a sentence that says what is wrong with it. */
export function readRoster(text: string, group: string, operator: Uint8Array): SignedRoster | string {
  if (text.length > ROSTER_LEN_MAX) return `it is longer than ${ROSTER_LEN_MAX} bytes`;
  const match = /^([\s\S]*\n)signature (\S+)\n$/.exec(text);
  const roster = match === null ? undefined : parseBody(match[1]);
  if (match === null || roster === undefined || bodyOf(roster) !== match[1])
    return "it is no roster, or was cut or changed";
  if (roster.group !== group) return `it is of the group ${roster.group}, and this is ${group}`;
  if (!sameBytes(roster.operator, operator)) return "another operator made it";
  const signature = bytes(match[2], SIGNATURE_LEN);
  if (signature === undefined || !isSignedBy(operator, bytesOf(match[1]), signature))
    return "its signature is wrong: it was changed after it was signed";
  return { ...roster, text };
}

function bodyOf({ group, version, operator, nodes }: Roster): string {
  const lines = nodes.map(({ node, publicKey, name, evictedIn }) => {
    const state = evictedIn === undefined ? "member" : `evicted ${evictedIn}`;
    return `node ${node} ${base64(publicKey)} ${name} ${state}\n`;
  });
  return `${FIRST_LINE}\ngroup ${group}\nversion ${version}\noperator ${base64(operator)}\n${lines.join("")}`;
}

function parseBody(body: string): Roster | undefined {
  const [first, group, version, operator, ...rest] = body.split("\n");
  const head = `${group}\n${version}\n${operator}`;
  const match = /^group (\S{1,64})\nversion ([1-9]\d{0,9})\noperator (\S{44})$/.exec(head);
  const key = match === null ? undefined : bytes(match[3], SIGNING_KEY_LEN);
  if (first !== FIRST_LINE || match === null || key === undefined || rest.pop() !== "") return undefined;
  const count = Number(match[2]);
  if (count > VERSION_MAX) return undefined;
  const nodes: RosterNode[] = [];
  for (const line of rest) {
    const node = parseNode(line);
    if (node === undefined || (node.evictedIn ?? 0) > count || node.node <= (nodes.at(-1)?.node ?? 0)) return undefined;
    // One key for two numbers would make one node speak as two.
    if (nodes.some(({ publicKey }) => sameBytes(publicKey, node.publicKey))) return undefined;
    nodes.push(node);
  }
  return { group: match[1], version: count, operator: key, nodes };
}

function parseNode(line: string): RosterNode | undefined {
  const match = /^node ([1-9]\d?) (\S{44}) ([A-Za-z0-9._-]{1,32}) (?:member|evicted ([1-9]\d{0,9}))$/.exec(line);
  if (match === null) return undefined;
  const [node, publicKey] = [Number(match[1]), bytes(match[2], SIGNING_KEY_LEN)];
  if (publicKey === undefined || node > NODE_MAX) return undefined;
  return { node, publicKey, name: match[3], evictedIn: match[4] === undefined ? undefined : Number(match[4]) };
}

function bytes(text: string, length: number): Uint8Array | undefined {
  const found = new Uint8Array(Buffer.from(text, "base64"));
  return found.length === length && base64(found) === text ? found : undefined;
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const base64 = (raw: Uint8Array): string => Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString("base64");
const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, i) => byte === b[i]);

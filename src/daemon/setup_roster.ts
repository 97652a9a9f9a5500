/**
 * The operator's files: operator.key, which never lies on a node, and group.roster, which may be shown to everybody.
 * Commands read them, change the roster and sign it anew with the next version.
 */
import { join, resolve } from "node:path";
import { AnyhopError } from "../base/errors.ts";
import { isName } from "../base/names.ts";
import type { RosterActions } from "../cli/roster.ts";
import { ROSTER_LEN_MAX, type Roster, type RosterNode, readRoster, signRoster } from "../cluster/roster.ts";
import { OPERATOR_KEY } from "../control/config/key_sources.ts";
import { explainKey, formatKey, KEY_LEN, parseKey } from "../control/text/keys/key_text.ts";
import { tooOpen } from "../control/text/keys.ts";
import { type SigningKey, signingKeyFrom } from "../crypto/ed25519.ts";
import { systemEntropy } from "../crypto/entropy.ts";
import { GROUP_KEYS_MAX, keyInForce, readNotice, signNotice } from "../crypto/group_key_notice.ts";
import { NODE_MAX } from "../crypto/session_index.ts";
import { keyPairFromPrivate } from "../crypto/x25519.ts";
import * as configEnv from "../drivers/config_env.ts";
import { writeSecretFiles } from "../drivers/new_files.ts";

const KEY_FILE = "operator.key";
const ROSTER_FILE = "group.roster";
const GROUP_KEYS_FILE = "group-keys.secret";
const NODE_NAME = /^[A-Za-z0-9._-]{1,32}$/;

export interface RosterIo {
  out(text: string): void;
}

export function createRosterActions({ out }: RosterIo): RosterActions {
  const write = (dir: string, { signing }: Operator, roster: Roster): void => {
    let text: string;
    try {
      text = signRoster(roster, signing);
    } catch {
      throw new AnyhopError(
        "usage",
        `The roster would be longer than ${ROSTER_LEN_MAX} bytes: choose shorter names for nodes.`,
      );
    }
    writeSecretFiles(dir, new Map([[ROSTER_FILE, text]]), true);
    out(`Wrote ${join(dir, ROSTER_FILE)}, version ${roster.version}.\n`);
    out(`Take it to any one node, and there: anyhop group apply ${ROSTER_FILE}\n`);
  };
  return {
    async initOperator({ dir: folder, group }) {
      const dir = resolve(folder);
      if (!isName(group)) throw new AnyhopError("usage", `--group ${group}: that is no name of a group.`);
      const seed = systemEntropy.bytes(KEY_LEN);
      const { publicKey } = signingKeyFrom(seed);
      writeSecretFiles(dir, new Map([[KEY_FILE, `${OPERATOR_KEY}1 ${group} ${formatKey(seed)}\n`]]), false);
      out(
        `Wrote ${join(dir, KEY_FILE)} (mode 0600). Keep it away from every node, and keep a copy: without it no node\n`,
      );
      out("can be put out or taken in.\n");
      out(`Public key of the operator: ${formatKey(publicKey)}\n`);
      out(`Next, on each node: anyhop init node --group-node N --operator ${formatKey(publicKey)} ...\n`);
      return 0;
    },

    async addNode(number, key, { dir: folder, name }) {
      const dir = resolve(folder);
      const operator = readOperator(dir);
      const node = nodeNumber(number);
      const publicKey = parseKey(key);
      if (publicKey === undefined) throw new AnyhopError("usage", `That is no key of a node: ${explainKey(key)}.`);
      const shown = name ?? `node${node}`;
      if (!NODE_NAME.test(shown))
        throw new AnyhopError("usage", "--name has 1 to 32 letters, digits, dots, dashes or underscores.");
      const { version, nodes } = readNodes(dir, operator);
      const listed = nodes.find((one) => one.node === node);
      if (listed !== undefined)
        throw new AnyhopError(
          "usage",
          listed.evictedIn === undefined
            ? `Node ${node} is in the roster already.`
            : `Node ${node} was put out of the group; its number is not used again. Give the machine another one.`,
        );
      const twin = nodes.find((one) => formatKey(one.publicKey) === key.trim());
      if (twin !== undefined) throw new AnyhopError("usage", `That is the key of node ${twin.node}.`);
      const added: RosterNode = { node, publicKey, name: shown, evictedIn: undefined };
      const all = [...nodes, added].sort((a, b) => a.node - b.node);
      write(dir, operator, rosterOf(operator, version + 1, all));
      return 0;
    },

    async evictNode(number, { dir: folder }) {
      const dir = resolve(folder);
      const operator = readOperator(dir);
      const node = nodeNumber(number);
      const { version, nodes } = readNodes(dir, operator);
      const listed = nodes.find((one) => one.node === node);
      if (listed === undefined) throw new AnyhopError("usage", `Node ${node} is not in the roster.`);
      if (listed.evictedIn !== undefined) throw new AnyhopError("usage", `Node ${node} was put out already.`);
      const all = nodes.map((one) => (one === listed ? { ...one, evictedIn: version + 1 } : one));
      write(dir, operator, rosterOf(operator, version + 1, all));
      return 0;
    },

    async rotateGroup({ dir: folder, current }) {
      const dir = resolve(folder);
      const operator = readOperator(dir);
      const { version, keys } = readGroupKeys(dir, operator, current);
      const raw = systemEntropy.bytes(KEY_LEN);
      const { publicKey } = keyPairFromPrivate(raw);
      const next = { version: version + 1, operator: operator.signing.publicKey, keys: [...keys, publicKey] };
      const notice = signNotice({ ...next, keys: next.keys.slice(-GROUP_KEYS_MAX) }, operator.signing);
      writeSecretFiles(dir, new Map([[GROUP_KEYS_FILE, `${notice}private ${formatKey(raw)}\n`]]), true);
      out(`Wrote ${join(dir, GROUP_KEYS_FILE)} (mode 0600), version ${next.version}. It holds the new private key.\n`);
      out(`Public key of the group from then on: ${formatKey(publicKey)}\n`);
      out(`Take the file to any one node by a safe way, and there: anyhop group apply ${GROUP_KEYS_FILE}\n`);
      return 0;
    },

    async showRoster({ dir: folder }) {
      const dir = resolve(folder);
      const operator = readOperator(dir);
      const { version, nodes } = readNodes(dir, operator);
      out(`Group ${operator.group}, roster ${version}, operator ${formatKey(operator.signing.publicKey)}\n`);
      for (const { node, name, publicKey, evictedIn } of nodes)
        out(
          `  ${node}  ${name}  ${formatKey(publicKey)}  ${evictedIn === undefined ? "member" : `put out by roster ${evictedIn}`}\n`,
        );
      return 0;
    },
  };
}

interface Operator {
  readonly group: string;
  readonly signing: SigningKey;
}

const rosterOf = ({ group, signing }: Operator, version: number, nodes: readonly RosterNode[]): Roster => {
  return { group, version, operator: signing.publicKey, nodes };
};

function readOperator(dir: string): Operator {
  const path = join(dir, KEY_FILE);
  const text = configEnv.readText(path);
  if (text === undefined)
    throw new AnyhopError("usage", `There is no ${path}: say --dir, or make one with anyhop init operator.`);
  const open = tooOpen(path, configEnv.modeOf(path));
  if (open !== undefined) throw new AnyhopError("usage", `${open.message}; ${open.advice}.`);
  const [, group, key] = /^anyhop operator 1 (\S{1,64}) (\S{44})\n$/.exec(text) ?? [];
  const seed = key === undefined ? undefined : parseKey(key);
  if (seed === undefined) throw new AnyhopError("usage", `${path} is no key of an operator.`);
  return { group, signing: signingKeyFrom(seed) };
}

/** The nodes of the roster that is there; none when there is none yet. */
function readNodes(dir: string, operator: Operator): Pick<Roster, "version" | "nodes"> {
  const path = join(dir, ROSTER_FILE);
  const text = configEnv.readText(path);
  if (text === undefined) return { version: 0, nodes: [] };
  const roster = readRoster(text, operator.group, operator.signing.publicKey);
  if (typeof roster === "string") throw new AnyhopError("usage", `${path} cannot be used: ${roster}.`);
  return roster;
}

/** The keys that the group has had, oldest first: of the last rotation, or the one that a person names. */
function readGroupKeys(
  dir: string,
  operator: Operator,
  current: string | undefined,
): { readonly version: number; readonly keys: readonly Uint8Array[] } {
  const path = join(dir, GROUP_KEYS_FILE);
  const text = configEnv.readText(path);
  if (text === undefined) {
    if (current === undefined)
      throw new AnyhopError(
        "usage",
        `There is no ${path}, so this is the first rotation: say --current KEY, the public_key in any client's file.`,
      );
    const key = parseKey(current);
    if (key === undefined) throw new AnyhopError("usage", `--current is no key: ${explainKey(current)}.`);
    return { version: 0, keys: [key] };
  }
  const notice = readNotice(text.replace(/(?:private \S+\n)+$/, ""), operator.signing.publicKey);
  if (typeof notice === "string") throw new AnyhopError("usage", `${path} cannot be used: ${notice}.`);
  if (current !== undefined && formatKey(keyInForce(notice)) !== current.trim())
    throw new AnyhopError("usage", `--current is not the key of the last rotation, ${formatKey(keyInForce(notice))}.`);
  return notice;
}

function nodeNumber(text: string): number {
  const node = Number(text);
  if (/^[0-9]{1,2}$/.test(text) && node >= 1 && node <= NODE_MAX) return node;
  throw new AnyhopError("usage", `A node has a number from 1 to ${NODE_MAX}, not "${text}".`);
}

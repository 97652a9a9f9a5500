/** What `anyhop init node --group-node` does beyond a node on its own: numbers, links, the fleet key, the next commands. */
import { isAbsolute, resolve } from "node:path";
import { AnyhopError } from "../base/errors.ts";
import type { InitNodeOptions } from "../cli/setup.ts";
import type { GroupWishes } from "../control/made/init_group.ts";
import { familyOf, readEndpoint } from "../control/text/address_text.ts";
import { explainKey, formatKey, KEY_LEN, parseKey } from "../control/text/keys/key_text.ts";
import { signingKeyFrom } from "../crypto/ed25519.ts";
import { systemEntropy } from "../crypto/entropy.ts";
import { NODE_MAX } from "../crypto/session_index.ts";
import * as configEnv from "../drivers/config_env.ts";

export const LINK_PORT = 4445;
const FLEET_KEY = "fleet.key";
const SIGNING_KEY = "signing.key";

/** undefined: a node on its own. `guess`: an address of this machine. Throws AnyhopError "usage". */
export function memberOf(options: InitNodeOptions, guess: string | undefined): GroupWishes | undefined {
  const { groupNode, link = guess, peer, fleetKeyFile, address } = options;
  if (groupNode === undefined) {
    for (const [flag, value] of [
      ["--peer", peer[0]],
      ["--link", options.link],
      ["--fleet-key-file", fleetKeyFile],
      ["--operator", options.operator],
    ])
      if (value !== undefined) throw new AnyhopError("usage", `${flag} is of a node of a group: add --group-node 1.`);
    return undefined;
  }
  const node = nodeNumber(groupNode, "--group-node");
  if (link === undefined) throw new AnyhopError("usage", "Say --link ADDRESS: where the other nodes find this one.");
  const { operator } = options;
  if (operator !== undefined && parseKey(operator) === undefined)
    throw new AnyhopError("usage", `--operator: ${explainKey(operator)}.`);
  const service = address.map((text) => endpoint(text, "--address").host).filter((host) => familyOf(host));
  return {
    ...{ node, link: shown(endpoint(link, "--link")), service, fleetKeyFile: nameOf(fleetKeyFile), operator },
    peers: peer.map((text) => {
      const [, number, place] = /^([^=]*)=(.*)$/.exec(text) ?? [];
      if (place === undefined) throw new AnyhopError("usage", `--peer ${text}: write NODE=HOST, as in 2=198.51.100.2.`);
      return { node: nodeNumber(number, `--peer ${text}: NODE`), link: shown(endpoint(place, `--peer ${text}`)) };
    }),
  };
}

/** Puts a new fleet key among the files unless there is one: true, this is the first node. A named file must be there. */
export function addFleetKey(
  { dir, fleetKeyFile }: InitNodeOptions,
  files: Map<string, string>,
  io: { err(text: string): void },
): boolean {
  const path = fleetKeyFile === undefined ? `${dir}/${FLEET_KEY}` : resolve(fleetKeyFile);
  const kept = configEnv.modeOf(path) !== undefined;
  if (!kept && fleetKeyFile !== undefined)
    throw new AnyhopError("usage", `There is no file ${fleetKeyFile}; (umask 077; anyhop genpsk > FILE) makes one.`);
  if (kept) io.err(`The fleet key ${path} is there already and is kept.\n`);
  else files.set(FLEET_KEY, `${formatKey(systemEntropy.bytes(KEY_LEN))}\n`);
  return !kept;
}

/** Puts a new signing key among the files unless there is one. Returns its public key as text. */
export function addSigningKey(
  { dir }: InitNodeOptions,
  files: Map<string, string>,
  io: { err(text: string): void },
): string {
  const path = `${dir}/${SIGNING_KEY}`;
  const kept = configEnv.modeOf(path) === undefined ? undefined : parseKey(configEnv.readText(path) ?? "");
  if (kept === undefined && configEnv.modeOf(path) !== undefined)
    throw new AnyhopError("usage", `${path} is no signing key; move it away.`);
  if (kept !== undefined) io.err(`The signing key ${path} is there already and is kept.\n`);
  const seed = kept ?? systemEntropy.bytes(KEY_LEN);
  if (kept === undefined) files.set(SIGNING_KEY, `${formatKey(seed)}\n`);
  return formatKey(signingKeyFrom(seed).publicKey);
}

/** What to do at the other nodes. */
export function otherNodes(options: InitNodeOptions, own: GroupWishes, pool: readonly string[]): string {
  const { dir, name, address, group } = options;
  const keys = isAbsolute(own.fleetKeyFile) ? `${name}.key and the fleet key` : `${name}.key and ${own.fleetKeyFile}`;
  const all = [{ node: own.node, link: own.link }, ...own.peers];
  const same = [
    ...(name === "node" ? [] : [`--name ${name}`]),
    ...(group === undefined ? [] : [`--group ${group}`]),
    ...address.map((text) => `--address ${text}`),
    ...pool.map((prefix) => `--pool ${prefix}`),
    ...(own.operator === undefined ? [] : [`--operator ${own.operator}`]),
  ].join(" ");
  const lines = own.peers.map(({ node, link }) => {
    const peers = all.filter((other) => other.node !== node).map((other) => `--peer ${other.node}=${other.link}`);
    return `  anyhop init node ${same} --group-node ${node} --link ${link} ${peers.join(" ")}\n`;
  });
  if (lines.length === 0) return "No --peer was named: add [[group.peer]] for each other node.\n";
  return `Copy ${keys} from ${dir} to /etc/anyhop of each other node (mode 0600), by a safe way. Then there:\n${lines.join("")}`;
}

/** As it stands in the node file, which lies beside a key of its own. */
const nameOf = (file: string | undefined): string => (file === undefined ? FLEET_KEY : resolve(file));

function nodeNumber(text: string, flag: string): number {
  const node = Number(text);
  if (/^[0-9]{1,2}$/.test(text) && node >= 1 && node <= NODE_MAX) return node;
  throw new AnyhopError("usage", `${flag} is a whole number from 1 to ${NODE_MAX}, not "${text}".`);
}

function endpoint(text: string, flag: string): { host: string; port: number } {
  const place = readEndpoint(text, LINK_PORT);
  if (typeof place === "string") throw new AnyhopError("usage", `${flag}: ${place}.`);
  return place;
}

const shown = ({ host, port }: { host: string; port: number }): string =>
  familyOf(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;

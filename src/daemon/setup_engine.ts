/** `anyhop init engine`: the files of the two nats-servers of one node, with keys and certificates. */
import { join, resolve } from "node:path";
import { createUser, fromSeed } from "@nats-io/nkeys";
import { AnyhopError } from "../base/errors.ts";
import { isName, NAME_RULE } from "../base/names.ts";
import type { InitEngineOptions } from "../cli/setup.ts";
import { type EngineWishes, engineTable, engineUnit, hubConf, leafConf } from "../control/made/engine_files.ts";
import { readEndpoint } from "../control/text/address_text.ts";
import { systemEntropy } from "../crypto/entropy.ts";
import { NODE_MAX } from "../crypto/session_index.ts";
import * as configEnv from "../drivers/config_env.ts";
import { writeSecretFiles } from "../drivers/new_files.ts";
import { type Certified, certify, makeAuthority } from "../drivers/openssl.ts";

const ROUTE_PORT = 6222;

/** `guess`: an address of this machine, when the command line says none. Prints what was made and what is next. */
export function initEngine(options: InitEngineOptions, guess: string | undefined, out: (text: string) => void): void {
  const { group, ca, force } = options;
  const dir = resolve(options.dir);
  const node = nodeNumber(options.node, "--node");
  if (!isName(group)) throw new AnyhopError("usage", `--group ${NAME_RULE}.`);
  const own = options.address ?? guess;
  if (own === undefined) throw new AnyhopError("usage", "Say where the other nodes find this one: --address ADDRESS.");
  const address = endpoint(own, "--address");
  const peers = options.peer.map((text) => peerOf(text, node));
  for (const [i, peer] of peers.entries())
    if (peers.findIndex((other) => other.node === peer.node) < i)
      throw new AnyhopError("usage", `--peer ${options.peer[i]}: node ${peer.node} is named twice.`);
  const caDir = resolve(ca ?? dir);
  const kept = authorityIn(caDir);
  if (kept === undefined && ca !== undefined)
    throw new AnyhopError("usage", `There is no ca.pem with ca.key in ${caDir}.`);
  const authority = kept ?? makeAuthority(`anyhop fleet ${group}`);
  const hosts = [...new Set([address.host, "127.0.0.1", "localhost"])];
  const certified = certify(authority, `node ${node} of ${group}`, hosts, `01${hex(15)}`);
  const { seed, publicKey, made } = nkey(dir);
  const wishes: EngineWishes = {
    ...{
      group,
      node,
      address,
      peers,
      dir: resolve(options.installed ?? dir),
      store: resolve(options.store),
      nkey: publicKey,
    },
    ports: { client: port(options.clientPort), leaf: port(options.leafPort), hub: port(options.hubPort) },
    passwords: { leaf: hex(24), hub: hex(24) },
  };
  const files = new Map([
    ["hub.conf", hubConf(wishes)],
    ["leaf.conf", leafConf(wishes)],
    ["node.pem", certified.cert],
    ["node.key", certified.key],
    ["anyhop-hub.service", engineUnit(wishes, "hub")],
    ["anyhop-leaf.service", engineUnit(wishes, "leaf")],
  ]);
  if (made) files.set("engine.nk", seed);
  if (kept === undefined) files.set("ca.key", authority.key);
  if (kept === undefined || caDir !== dir) files.set("ca.pem", authority.cert);
  writeSecretFiles(dir, files, force);
  out(`Wrote ${[...files.keys()].map((name) => join(dir, name)).join(", ")} (mode 0600).\n`);
  out(next(wishes, own, options, caDir));
}

function next(wishes: EngineWishes, own: string, options: InitEngineOptions, caDir: string): string {
  const { dir, node, group, peers } = wishes;
  const all = [
    { node, text: own },
    ...options.peer.map((text, i) => ({ node: peers[i].node, text: text.slice(text.indexOf("=") + 1) })),
  ];
  // Where the authority was made: what was made under it later needs no others.
  const others = options.ca === undefined ? all.slice(1) : [];
  const commands = others.map((peer) => {
    const flags = all.filter((other) => other !== peer).map((other) => `--peer ${other.node}=${other.text}`);
    return `  anyhop init engine --group ${group} --node ${peer.node} --address ${peer.text} ${flags.join(" ")} --ca ${caDir} --dir NODE${peer.node} --installed ${dir}\n`;
  });
  return (
    `Next: nats-server -c ${dir}/hub.conf and nats-server -c ${dir}/leaf.conf (or the two .service files), and in node.toml:\n` +
    `${engineTable(wishes)}` +
    (commands.length === 0
      ? ""
      : `The other nodes, here, where the authority is (then move each folder to ${dir} of its node; keep ${caDir}/ca.key off the nodes):\n${commands.join("")}`)
  );
}

function nodeNumber(text: string, what: string): number {
  const node = Number(text);
  if (/^[0-9]{1,2}$/.test(text) && node >= 1 && node <= NODE_MAX) return node;
  throw new AnyhopError("usage", `${what} ${text}: a node has a number from 1 to ${NODE_MAX}.`);
}

function port(text: string): number {
  const value = Number(text);
  if (/^[0-9]{1,5}$/.test(text) && value >= 1 && value <= 65535) return value;
  throw new AnyhopError("usage", `"${text}" is no port from 1 to 65535.`);
}

function endpoint(text: string, what: string): { host: string; port: number } {
  const found = readEndpoint(text, ROUTE_PORT);
  if (typeof found === "string") throw new AnyhopError("usage", `${what}: ${found}.`);
  return found;
}

function peerOf(text: string, own: number): EngineWishes["peers"][number] {
  const at = text.indexOf("=");
  if (at < 0) throw new AnyhopError("usage", `--peer ${text}: write NODE=ADDRESS, as in 2=198.51.100.2.`);
  const node = nodeNumber(text.slice(0, at), `--peer ${text}: NODE`);
  if (node === own) throw new AnyhopError("usage", `--peer ${text}: ${node} is this node itself.`);
  return { node, ...endpoint(text.slice(at + 1), `--peer ${text}`) };
}

function authorityIn(dir: string): Certified | undefined {
  const [cert, key] = [configEnv.readText(join(dir, "ca.pem")), configEnv.readText(join(dir, "ca.key"))];
  return cert === undefined || key === undefined ? undefined : { cert, key };
}

/** The seed of the daemon; one that is there is kept. */
function nkey(dir: string): { seed: string; publicKey: string; made: boolean } {
  const text = configEnv.readText(join(dir, "engine.nk"));
  try {
    const pair = text === undefined ? createUser() : fromSeed(new TextEncoder().encode(text.trim()));
    const seed = `${new TextDecoder().decode(pair.getSeed())}\n`;
    return { seed, publicKey: pair.getPublicKey(), made: text === undefined };
  } catch {
    throw new AnyhopError("usage", `${join(dir, "engine.nk")} is no nkey; remove it, and a new one is made.`);
  }
}

const hex = (bytes: number): string => Buffer.from(systemEntropy.bytes(bytes)).toString("hex");

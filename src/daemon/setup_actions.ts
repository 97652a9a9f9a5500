/**
 * What the commands about keys and files do: wires randomness, files, the store and the API into the pure parts of
 * `control/`. Secrets go to standard output only where the command is for that.
 */
import { unlinkSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { basename, dirname, resolve } from "node:path";
import { ask, getHealth } from "../api/client.ts";
import { AnyhopError } from "../base/errors.ts";
import { isName, NAME_RULE } from "../base/names.ts";
import type { InviteOptions, SetupActions } from "../cli/setup.ts";
import { findSocket } from "../cli/sockets.ts";
import type { ServiceView } from "../control/asked/control_port.ts";
import { type ParsedFile, parseFile } from "../control/config/config_file.ts";
import { prefixesOfBook } from "../control/group/shared_clients.ts";
import { importAnytun } from "../control/made/import_anytun.ts";
import { clientFile, nodeFile, uniqueLocalPrefix } from "../control/made/init_files.ts";
import { invitationFile } from "../control/made/invite.ts";
import { ClientBook } from "../control/node/client_book.ts";
import { serviceView } from "../control/operate/node_control.ts";
import { formatFault } from "../control/spec/faults.ts";
import type { NodeSpec } from "../control/spec/instance.ts";
import { explainKey, formatKey, KEY_LEN, parseKey } from "../control/text/keys/key_text.ts";
import { isSealed, openKey, SEAL_RANDOM_LEN, sealKey } from "../control/text/keys/sealed.ts";
import { privateKeyFrom, publicKeyOf } from "../control/text/keys/x25519.ts";
import { parsePassphraseFile, tooOpen } from "../control/text/keys.ts";
import { systemEntropy } from "../crypto/entropy.ts";
import * as configEnv from "../drivers/config_env.ts";
import { writeSecretFiles } from "../drivers/new_files.ts";
import { systemClock } from "./clock.ts";
import { addFleetKey, addSigningKey, LINK_PORT, memberOf, otherNodes } from "./setup_group.ts";
import { createRosterActions } from "./setup_roster.ts";
import { up } from "./up.ts";

export interface SetupIo {
  out(text: string): void;
  err(text: string): void;
  /** Where control sockets are. */
  readonly socketDir: string;
  /** Reads and judges a configuration file. */
  readConfig(file: string): Promise<ParsedFile>;
}

const CONFIG_DIR = "/etc/anyhop";
const PORT = 4444;
const STDIN_LEN_MAX = 64 * 1024;
const POOL = "10.9.0.0/24";
/** Bytes, more than a client's file has. */
const INVITATION_ROOM = 8192;
const SYSLOG = "syslog:3,anyhop,daemon";

export function createSetupActions(io: SetupIo): SetupActions {
  const { out, err } = io;
  return {
    ...createRosterActions(io),

    async genkey({ passphraseFile }) {
      const key = privateKeyFrom(systemEntropy.bytes(KEY_LEN));
      if (passphraseFile === undefined) out(`${formatKey(key)}\n`);
      else out(sealKey(key, readPassphrase(passphraseFile), systemEntropy.bytes(SEAL_RANDOM_LEN)));
      return 0;
    },

    async pubkey({ passphraseFile }) {
      out(`${formatKey(publicKeyOf(readPrivateKey(await readStdin(), passphraseFile)))}\n`);
      return 0;
    },

    async genpsk() {
      out(`${formatKey(systemEntropy.bytes(KEY_LEN))}\n`);
      return 0;
    },

    async initNode(options) {
      const { dir, name, group, address, pool, force } = options;
      requireName("--name", name);
      if (group !== undefined) requireName("--group", group);
      const { keyFile, publicKey, files } = identity(dir, name, io);
      const port = Number(/:(\d+)$/.exec(address[0] ?? "")?.[1] ?? PORT);
      const member = memberOf(options, guessAddress(LINK_PORT)[0]);
      const isFirst = member !== undefined && addFleetKey(options, files, io);
      const signingKey = member?.operator === undefined ? undefined : addSigningKey(options, files, io);
      const found = address.length > 0 ? address : guessAddress(port);
      const prefixes = pool.length > 0 ? pool : [POOL, uniqueLocalPrefix(systemEntropy.bytes(5))];
      const wishes = { group: group ?? name, keyFile, address: found, port, pool: prefixes };
      files.set(`${name}.toml`, nodeFile(member === undefined ? wishes : { ...wishes, member }));
      writeJudged(dir, `${name}.toml`, files, force, io);
      out(`Public key of the group: ${publicKey}\n`);
      if (signingKey !== undefined)
        out(`Where the operator's key is: anyhop group add ${member!.node} ${signingKey}\n`);
      if (address.length === 0)
        out(
          `Clients will be told ${found[0] ?? "no address"}: change address in the file if they find it elsewhere.\n`,
        );
      if (member !== undefined && (isFirst || options.fleetKeyFile !== undefined))
        out(otherNodes(options, member, prefixes));
      out(`Next: anyhop up ${target(dir, name)}    then: anyhop invite NAME -o NAME.toml\n`);
      return 0;
    },

    async initClient({ dir, name, service, address, publicKey: groupKey, route, force }) {
      requireName("--name", name);
      requireName("--service", service);
      const { keyFile, publicKey, files } = identity(dir, name, io);
      files.set(`${name}.toml`, clientFile({ service, keyFile, address, groupKey, routes: route }));
      writeJudged(dir, `${name}.toml`, files, force, io);
      out(`Next, on the node: anyhop clients add ${name} --public-key ${publicKey}\n`);
      out(`Then, here: anyhop up ${target(dir, name)}\n`);
      return 0;
    },

    async initEngine(options) {
      // Loaded here: nothing else of the command line needs nkeys.
      const { initEngine } = await import("./setup_engine.ts");
      initEngine(options, guessAddress(0)[0]?.replace(/:0$/, ""), out);
      return 0;
    },

    async invite(name, options) {
      requireName("The name of a client", name);
      const path = options.output === undefined ? undefined : resolve(options.output);
      if (path !== undefined && configEnv.modeOf(path) !== undefined)
        throw new AnyhopError("exists", `${path} is there already; nothing was done. Name another file with -o.`);
      const write = (text: string, force: boolean) =>
        writeSecretFiles(dirname(path!), new Map([[basename(path!), text]]), force);
      // Name and room first: the key of a client whose file can't be written would be lost.
      if (path !== undefined) write("#".repeat(INVITATION_ROOM), false);
      let file: string;
      try {
        file = await makeClient(name, options, io);
      } catch (error) {
        if (path !== undefined) unlinkSync(path);
        throw error;
      }
      if (path !== undefined) {
        write(file, true);
        err(`${path} makes ${name} a client. It holds a private key: hand it over by a safe way.\n`);
      } else if (options.qr) {
        const { default: encodeQr } = await import("qr");
        // White on black, whatever the colours of the terminal are: a QR code is dark on light, or not read by many.
        const rows = encodeQr(file, "ascii", { ecc: "low" }).trimEnd().split("\n");
        out(rows.map((row) => `\u001b[97;40m${row}\u001b[0m\n`).join(""));
      } else out(file);
      return 0;
    },

    async importAnytun(folder, { dir, force }) {
      const made = importAnytun(resolve(folder), configEnv);
      if (!("files" in made)) throw new AnyhopError("usage", `${made.join("; ")}.`);
      for (const warning of made.warnings) err(`anyhop: warning: ${warning}\n`);
      writeSecretFiles(dir, made.files, force);
      out(`Wrote ${[...made.files.keys()].map((file) => `${dir}/${file}`).join(", ")} (mode 0600).\n`);
      out("Sequence numbers begin anew: where both ends run anyhop, give them a new key.\n");
      out(`Next: anyhop check ${dir}/${made.name}.toml && anyhop up ${target(dir, made.name)}\n`);
      return 0;
    },

    async up(wanted, options) {
      const isFile = wanted.includes("/") || wanted.endsWith(".toml");
      const file = isFile ? resolve(wanted) : `${CONFIG_DIR}/${wanted}.toml`;
      const targets = (options.log.length > 0 ? options.log : [SYSLOG]).flatMap((one) => ["--log", one]);
      return up(["run", file, ...targets], options, io);
    },
  };
}

/** What `anyhop up` takes for a file. */
const target = (dir: string, name: string): string => (dir === CONFIG_DIR ? name : `${dir}/${name}.toml`);

/** Before anything is made of it: names go into paths and into comments of files. */
function requireName(what: string, name: string): void {
  if (!isName(name)) throw new AnyhopError("usage", `${what} ${NAME_RULE}.`);
}

/** Key file of an identity; a key that is there is kept. */
function identity(
  dir: string,
  name: string,
  io: SetupIo,
): { keyFile: string; publicKey: string; files: Map<string, string> } {
  const keyFile = `${name}.key`;
  const path = `${dir}/${keyFile}`;
  const kept = configEnv.modeOf(path) !== undefined;
  if (kept) io.err(`The key ${path} is there already and is kept.\n`);
  const key = kept ? readPrivateKey(readSecretText(path), undefined) : privateKeyFrom(systemEntropy.bytes(KEY_LEN));
  const files = new Map(kept ? [] : [[keyFile, `${formatKey(key)}\n`]]);
  return { keyFile, publicKey: formatKey(publicKeyOf(key)), files };
}

/** Judges the configuration before anything is written, as it will stand beside its key. */
function writeJudged(dir: string, name: string, files: ReadonlyMap<string, string>, force: boolean, io: SetupIo): void {
  const { faults } = parseFile(files.get(name)!, `${dir}/${name}`, {
    readSecret: (path) => files.get(basename(path)) ?? configEnv.readSecret(path),
    modeOf: () => 0o600,
    getenv: configEnv.getenv,
  });
  if (faults.length > 0)
    throw new AnyhopError("usage", `Nothing was written: it would be wrong.\n${faults.map(formatFault).join("\n")}`);
  writeSecretFiles(dir, files, force);
  io.out(`Wrote ${[...files.keys()].map((file) => `${dir}/${file}`).join(", ")} (mode 0600).\n`);
}

/** Adds the client by the API of a running node, else in the store of its file, and returns the client's file. */
async function makeClient(name: string, options: InviteOptions, io: SetupIo): Promise<string> {
  const privateKey = privateKeyFrom(systemEntropy.bytes(KEY_LEN));
  const psk = options.psk ? formatKey(systemEntropy.bytes(KEY_LEN)) : undefined;
  const render = (service: ServiceView) => {
    const told = options.address.length > 0 ? { ...service, address: options.address } : service;
    return invitationFile({ name, privateKey: formatKey(privateKey), psk, service: told }, options.qr);
  };
  const publicKey = formatKey(publicKeyOf(privateKey));
  const wish = { name, publicKey, psk, addresses: [], prefixes: [], modes: ["tunnel" as const] };
  const node = await findNode(options, io);
  // Rendered before anything is changed: an invitation that says no address is worth nothing.
  if (typeof node === "string") {
    const file = render(await ask(node, "service", {}));
    await ask(node, "addClient", wish);
    return file;
  }
  const file = render(serviceView(node));
  const { openStore } = await import("../drivers/store.ts");
  const store = openStore(node.instance.stateDir, node.instance.name);
  try {
    new ClientBook(node, store, systemClock, false, prefixesOfBook(store)).add(wish);
  } finally {
    await store.close();
  }
  return file;
}

/** The socket of a running node, or its file when none runs. */
async function findNode({ config, instance, socket }: InviteOptions, io: SetupIo): Promise<string | NodeSpec> {
  const file = config ?? (instance === undefined ? undefined : `${CONFIG_DIR}/${instance}.toml`);
  const described = config === undefined ? undefined : await readNode(config, io);
  try {
    const path = described?.instance.socketPath ?? findSocket(instance, socket, io.socketDir);
    await getHealth(path);
    return path;
  } catch (error) {
    if (!(error instanceof AnyhopError) || error.code !== "no_daemon" || file === undefined) throw error;
    return described ?? (await readNode(file, io));
  }
}

async function readNode(file: string, io: SetupIo): Promise<NodeSpec> {
  const parsed = await io.readConfig(resolve(file));
  if (parsed.spec === undefined) throw new AnyhopError("usage", parsed.faults.map(formatFault).join("\n"));
  if (parsed.kind !== "node") throw new AnyhopError("usage", `${file} does not describe a node.`);
  return parsed.spec;
}

function readPassphrase(path: string): string {
  const passphrase = parsePassphraseFile(readSecretText(path));
  if (passphrase === undefined || passphrase === "")
    throw new AnyhopError("usage", `There is no passphrase in ${path}.`);
  return passphrase;
}

/** A secret file; one that others may read is refused. */
function readSecretText(path: string): string {
  try {
    const content = configEnv.readSecret(path);
    const open = tooOpen(path, configEnv.modeOf(path));
    if (open !== undefined) throw new Error(`${open.message}; ${open.advice}`);
    return new TextDecoder().decode(content);
  } catch (cause) {
    throw new AnyhopError("usage", `${path} cannot be used: ${(cause as Error).message}.`, { cause });
  }
}

/** A key is short; what has no end is not waited for. */
async function readStdin(): Promise<string> {
  let text = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) {
    text += chunk;
    if (text.length > STDIN_LEN_MAX)
      throw new AnyhopError("usage", "What comes from standard input is too long for a key.");
  }
  return text;
}

function readPrivateKey(text: string, passphraseFile: string | undefined): Uint8Array {
  if (isSealed(text)) {
    if (passphraseFile === undefined)
      throw new AnyhopError("usage", "The key is sealed with a passphrase: use --passphrase-file FILE.");
    const key = openKey(text, readPassphrase(passphraseFile));
    if (typeof key === "string") throw new AnyhopError("usage", `The key cannot be opened: ${key}.`);
    return key;
  }
  const key = parseKey(text);
  if (key === undefined) throw new AnyhopError("usage", `That is no private key: ${explainKey(text)}.`);
  return key;
}

/** An address that other machines may know this one by, IPv4 first. */
function guessAddress(port: number): string[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const usable = all.filter(({ internal, address }) => !internal && !address.startsWith("fe80"));
  const best = usable.find(({ family }) => family === "IPv4") ?? usable[0];
  if (best === undefined) return [];
  return [best.family === "IPv4" ? `${best.address}:${port}` : `[${best.address}]:${port}`];
}

/**
 * One connection of a classic command line or of a conf.d file: mux, role, keys, peer, routes. Cipher and
 * authentication belong to the whole process, as in anytun.
 */

import type { ClassicEnv } from "../spec/config_env.ts";
import type { TunnelSpec } from "../spec/instance.ts";
import { readEndpoint, readPrefix } from "../text/address_text.ts";
import { parseHex, parseKeyFile, parsePassphraseFile, resolveMaster, type Secrets, tooOpen } from "../text/keys.ts";
import {
  type KeyLen,
  keyLens,
  roles,
  TAG_LEN_DEFAULT,
  TAG_LEN_MAX,
  WINDOW_DEFAULT,
  WINDOW_MAX,
  weaknesses,
} from "../text/transforms.ts";
import { listOf, type RawOptions, textOf } from "./classic_options.ts";
import type { Problems } from "./classic_values.ts";

/** What is the same for every connection of the process. */
export interface ProcessTransforms {
  readonly cipherLen: KeyLen;
  readonly tagLen: number;
  /** -k null of the process turns key derivation off for every connection. */
  readonly kdNull: boolean;
}

const NUMBER_MAX = 0xffff_ffff;
const MUX_MAX = 65535;
const KEEPALIVE_MAX_S = 65535;

export function readTransforms(raw: RawOptions, problems: Problems): ProcessTransforms {
  const cipherLen = problems.name(raw, "-c", "cipher", keyLens, "aes-ctr");
  const auth = problems.name(raw, "-a", "authAlgo", { sha1: true, null: false }, "sha1");
  const tagText = problems.number(raw, "-b", "authTagLength", 0, NUMBER_MAX, TAG_LEN_DEFAULT);
  if (auth && tagText > TAG_LEN_MAX)
    problems.warn(`-b ${tagText} is more than sha1 has; ${TAG_LEN_MAX} is used, as in anytun`);
  return {
    cipherLen,
    tagLen: auth ? Math.min(tagText, TAG_LEN_MAX) : -1,
    kdNull: textOf(raw, "kdPrf") === "null",
  };
}

/** Options of one connection; what is wrong goes to `problems`, and the result is then not to be used. */
export function readConnection(
  raw: RawOptions,
  name: string,
  transforms: ProcessTransforms,
  env: ClassicEnv,
  problems: Problems,
): TunnelSpec {
  const { cipherLen, tagLen } = transforms;
  const named = problems.name(raw, "-k", "kdPrf", keyLens, "aes-ctr");
  const secrets = readSecrets(raw, env, problems);
  let kdLen = transforms.kdNull || (cipherLen === 0 && tagLen < 0) ? 0 : named;
  const keyLen = secrets?.key?.length;
  if (kdLen !== 0 && keyLen !== kdLen && (keyLen === 16 || keyLen === 24 || keyLen === 32)) {
    problems.warn(
      `the key has ${keyLen} bytes, so key derivation aes-ctr-${keyLen * 8} is used instead of aes-ctr-${kdLen * 8}, as in uanytun`,
    );
    kdLen = keyLen;
  }
  const master = secrets === undefined ? "" : resolveMaster(secrets, kdLen);
  if (master === "there is no key")
    problems.fail("there is no key: add --passphrase-file FILE (or -E PHRASE, or -K and -A)");
  else if (typeof master === "string" && master !== "") problems.fail(`${master}; see -E, -K, -A and -k`);
  const window = problems.number(raw, "-w", "windowSize", 0, NUMBER_MAX, WINDOW_DEFAULT);
  if (window > WINDOW_MAX) problems.warn(`-w ${window} is more than is useful; ${WINDOW_MAX} is used`);
  for (const { message } of weaknesses({ cipherLen, tagLen, kdLen, window })) problems.warn(message);
  const remote = readPeer(raw, problems);
  const routes = readRoutes(raw, problems);
  return {
    name,
    mux: problems.number(raw, "-m", "mux", 0, MUX_MAX, 0),
    role: problems.name(raw, "-e", "role", roles, "left"),
    cipherLen,
    tagLen,
    kdLen,
    masterKey: typeof master === "string" ? new Uint8Array(0) : master.masterKey,
    masterSalt: typeof master === "string" ? new Uint8Array(0) : master.masterSalt,
    remote,
    window: Math.min(window, WINDOW_MAX),
    routes: routes.length === 0 ? undefined : routes,
    keepaliveMs: problems.number(raw, "--keepalive", "keepalive", 0, KEEPALIVE_MAX_S, 0) * 1000,
  };
}

function readPeer(raw: RawOptions, problems: Problems): TunnelSpec["remote"] {
  if (textOf(raw, "remotePort")?.includes(":"))
    problems.fail("-o with a port range is refused: anyhop sends each packet once, over one port");
  const port = problems.port(raw, "-o", "remotePort", 4444);
  const text = textOf(raw, "remoteHost");
  if (text === undefined) return undefined;
  const remote = readEndpoint(text, port);
  if (typeof remote !== "string") return remote;
  problems.fail(`-r: ${remote}`);
  return undefined;
}

function readRoutes(raw: RawOptions, problems: Problems): string[] {
  const routes: string[] = [];
  for (const text of listOf(raw, "route")
    .flatMap((list) => list.split(","))
    .filter((part) => part !== "")) {
    const prefix = readPrefix(text.trim());
    if (typeof prefix === "string") problems.fail(`-R: ${prefix}`);
    else {
      if (prefix.hostBits) problems.warn(`-R ${text} has bits set behind its length; ${prefix.network} is used`);
      if (!routes.includes(prefix.network)) routes.push(prefix.network);
    }
  }
  return routes;
}

/** undefined when a secret was given but could not be understood; that was reported. */
function readSecrets(raw: RawOptions, env: ClassicEnv, problems: Problems): Secrets | undefined {
  const errorsBefore = problems.errors.length;
  const hex = (flag: string, name: string): Uint8Array | undefined => {
    const text = textOf(raw, name);
    if (text === undefined) return undefined;
    const bytes = parseHex(text);
    if (bytes === undefined) problems.fail(`${flag} takes pairs of hex digits and nothing else`);
    return bytes;
  };
  const file = (flag: string, name: string): string | Uint8Array | undefined => {
    const path = textOf(raw, name);
    if (path === undefined) return undefined;
    try {
      const content = env.readSecret(path);
      const open = tooOpen(path, env.modeOf(path));
      if (open !== undefined) problems.warn(`${open.message}; ${open.advice}`);
      return content;
    } catch (error) {
      problems.fail(`${flag}: the file ${path} cannot be read: ${(error as Error).message}`);
      return undefined;
    }
  };
  for (const name of ["passphrase", "key"])
    if (raw[name] !== undefined && raw[`${name}File`] !== undefined)
      problems.fail(`--${name} and --${name}-file exclude each other`);
  const phraseFile = file("--passphrase-file", "passphraseFile");
  const passphrase = phraseFile === undefined ? textOf(raw, "passphrase") : parsePassphraseFile(phraseFile);
  if (phraseFile !== undefined && passphrase === undefined)
    problems.fail("--passphrase-file: the file is not UTF-8 text");
  const keyText = file("--key-file", "keyFile");
  const keyFile = keyText === undefined ? undefined : parseKeyFile(keyText);
  if (typeof keyFile === "string") problems.fail(`--key-file: ${keyFile}`);
  const fromFile = typeof keyFile === "object" ? keyFile : undefined;
  const secrets = { passphrase, key: hex("-K", "key") ?? fromFile?.key, salt: hex("-A", "salt") ?? fromFile?.salt };
  return problems.errors.length > errorsBefore ? undefined : secrets;
}

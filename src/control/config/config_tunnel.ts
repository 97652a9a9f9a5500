/**
 * One [[tunnel]] table: names become numbers, secrets become keys. Reads secret files through `ConfigEnv`; no fault
 * shows what was in them.
 */

import type { ConfigEnv } from "../spec/config_env.ts";
import type { TunnelSpec } from "../spec/instance.ts";
import { readEndpoint } from "../text/address_text.ts";
import {
  type Master,
  parseHex,
  parseKeyFile,
  parsePassphraseFile,
  resolveMaster,
  type Secrets,
  tooOpen,
} from "../text/keys.ts";
import { type KeyLen, keyLens, roles, weaknesses } from "../text/transforms.ts";
import type { Report } from "./config_report.ts";
import { REMOTE_PORT_DEFAULT } from "./config_rules.ts";
import type { TunnelConfig } from "./config_schema.ts";

const SOURCES = ["passphrase", "passphrase_file", "passphrase_env", "key_file"] as const;
type Source = (typeof SOURCES)[number];
const NO_MASTER: Master = { masterKey: new Uint8Array(0), masterSalt: new Uint8Array(0) };

/** State of the walk over all tunnels of a file. */
export interface FileContext {
  /** Folder of the configuration file with a slash at the end, or "". */
  readonly directory: string;
  /** The permissions of the file are reported once, not for each inline passphrase. */
  inlineChecked: boolean;
}

/** The specification of tunnel `i`; only to be used when nothing was reported as an error. */
export function readTunnel(
  tunnel: TunnelConfig,
  i: number,
  routes: readonly string[] | undefined,
  report: Report,
  env: ConfigEnv,
  context: FileContext,
): TunnelSpec {
  const at = (key: string) => ["tunnel", i, key];
  const cipherLen = keyLens[tunnel.cipher];
  const tagLen = tunnel.auth === "null" ? -1 : tunnel.tag_length;
  // As in the originals: with nothing to encrypt or authenticate there is no key to derive.
  const kdLen = cipherLen === 0 && tagLen < 0 ? 0 : keyLens[tunnel.kd_prf];
  if (tagLen < 0 && report.places.has(at("tag_length")))
    report.warning(at("tag_length"), `tunnel[${i}].tag_length has no effect, because auth is null`);
  const judged = { cipherLen, tagLen, kdLen, window: tunnel.window };
  const place = {
    cipherLen: "cipher",
    tagLen: tunnel.auth === "null" ? "auth" : "tag_length",
    kdLen: "kd_prf",
    window: "window",
  };
  for (const weakness of weaknesses(judged)) report.warning(at(place[weakness.cause]), weakness.message);
  const remote = tunnel.remote === undefined ? undefined : readEndpoint(tunnel.remote, REMOTE_PORT_DEFAULT);
  return {
    name: tunnel.name ?? "",
    mux: tunnel.mux,
    role: roles[tunnel.role],
    cipherLen,
    tagLen,
    kdLen,
    ...readMaster(tunnel, i, kdLen, report, env, context),
    remote: typeof remote === "string" ? undefined : remote,
    window: tunnel.window,
    routes,
    keepaliveMs: tunnel.keepalive * 1000,
  };
}

function readMaster(
  tunnel: TunnelConfig,
  i: number,
  kdLen: KeyLen,
  report: Report,
  env: ConfigEnv,
  context: FileContext,
): Master {
  const at = (key: string) => ["tunnel", i, key];
  const given = SOURCES.filter((key) => report.places.has(at(key)));
  for (const key of given.slice(1))
    report.error(at(key), `tunnel[${i}] has both ${given[0]} and ${key}`, `keep one of ${SOURCES.join(", ")}`);
  if (tunnel.salt_file !== undefined && !given.includes("key_file"))
    report.error(at("salt_file"), `tunnel[${i}].salt_file is only used together with key_file`);
  if (kdLen === 0) {
    for (const key of given) report.warning(at(key), `tunnel[${i}].${key} has no effect: no key is derived`);
    return NO_MASTER;
  }
  if (given.length === 0) {
    report.error(["tunnel", i], `tunnel[${i}] has no key`, `add one of ${SOURCES.join(", ")}`);
    return NO_MASTER;
  }
  const source = given[0];
  const secrets = readSecrets(tunnel, i, source, report, env, context);
  if (secrets === undefined || report.isTainted(at(source))) return NO_MASTER;
  const master = resolveMaster(secrets, kdLen);
  if (typeof master !== "string") return master;
  const saltAtFault = tunnel.salt_file !== undefined && master.startsWith("the salt");
  const advice = master === "there is a key but no salt" ? "add salt_file" : undefined;
  report.error(at(saltAtFault ? "salt_file" : source), `tunnel[${i}]: ${master}`, advice);
  return NO_MASTER;
}

function readSecrets(
  tunnel: TunnelConfig,
  i: number,
  source: Source,
  report: Report,
  env: ConfigEnv,
  context: FileContext,
): Secrets | undefined {
  const at = (key: string) => ["tunnel", i, key];
  const read = (key: "passphrase_file" | "key_file" | "salt_file") => {
    const path = tunnel[key] as string;
    const resolved = path.startsWith("/") ? path : context.directory + path;
    try {
      const content = env.readSecret(resolved);
      const open = tooOpen(resolved, env.modeOf(resolved));
      if (open !== undefined) report.warning(at(key), open.message, open.advice);
      return content;
    } catch (error) {
      report.error(at(key), `the file ${resolved} cannot be read: ${(error as Error).message}`);
      return undefined;
    }
  };
  if (report.isTainted(at(source))) return undefined;
  switch (source) {
    case "passphrase": {
      const open = context.inlineChecked ? undefined : tooOpen(report.file, env.modeOf(report.file));
      context.inlineChecked = true;
      if (open !== undefined) report.warning(at(source), open.message, `${open.advice}, or use passphrase_file`);
      return { passphrase: tunnel.passphrase };
    }
    case "passphrase_env": {
      const name = tunnel.passphrase_env as string;
      const passphrase = env.getenv(name);
      if (passphrase === undefined) report.error(at(source), `the environment variable ${name} is not set`);
      return passphrase === undefined ? undefined : { passphrase };
    }
    case "passphrase_file": {
      const content = read(source);
      if (content === undefined) return undefined;
      const passphrase = parsePassphraseFile(content);
      if (passphrase === undefined)
        report.error(at(source), "the passphrase is not UTF-8 text", "use key_file instead");
      return passphrase === undefined ? undefined : { passphrase };
    }
    case "key_file":
      return readKeyFiles(tunnel, i, read, report);
  }
}

function readKeyFiles(
  tunnel: TunnelConfig,
  i: number,
  read: (key: "key_file" | "salt_file") => string | Uint8Array | undefined,
  report: Report,
): Secrets | undefined {
  const keyText = read("key_file");
  const saltText = tunnel.salt_file === undefined ? undefined : read("salt_file");
  const parsed = keyText === undefined ? undefined : parseKeyFile(keyText);
  if (typeof parsed === "string") report.error(["tunnel", i, "key_file"], parsed);
  let salt: Uint8Array | undefined;
  if (saltText !== undefined) {
    salt = parseHex(saltText);
    if (salt === undefined)
      report.error(["tunnel", i, "salt_file"], "a salt file holds 28 hex digits and nothing else");
  }
  if (parsed === undefined || typeof parsed === "string") return undefined;
  if (tunnel.salt_file !== undefined && salt === undefined) return undefined;
  return { key: parsed.key, salt: salt ?? parsed.salt };
}

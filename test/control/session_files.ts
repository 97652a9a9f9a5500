/** Files of nodes and clients with keys that belong together, for the tests of configuration. Documentation keys only. */

import { type ParsedFile, parseFile } from "../../src/control/config/config_file.ts";
import type { ConfigEnv } from "../../src/control/spec/config_env.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { sealKey } from "../../src/control/text/keys/sealed.ts";
import { privateKeyFrom, publicKeyOf } from "../../src/control/text/keys/x25519.ts";
import * as configEnv from "../../src/drivers/config_env.ts";

const key = (seed: number) => privateKeyFrom(new Uint8Array(32).fill(seed));
export const GROUP_PRIVATE = formatKey(key(1));
export const GROUP_PUBLIC = formatKey(publicKeyOf(key(1)));
export const ANNA_PRIVATE = formatKey(key(2));
export const ANNA_PUBLIC = formatKey(publicKeyOf(key(2)));
export const BELA_PUBLIC = formatKey(publicKeyOf(key(3)));
export const PSK = formatKey(new Uint8Array(32).fill(0x55));
export const PASSPHRASE = "hunter2-zq";
/** Nothing that a person or a program is told may contain one of these. */
export const FLEET_KEY = formatKey(new Uint8Array(32).fill(0x66));
export const NKEY_SEED = `SU${"A2".repeat(28)}`;
const PEM_KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n";
export const SECRETS = [GROUP_PRIVATE, ANNA_PRIVATE, PSK, PASSPHRASE, FLEET_KEY, NKEY_SEED, "MC4CAQ"];

const sealed = sealKey(key(1), PASSPHRASE, new Uint8Array(28).fill(9), 10);
const files: Record<string, { text: string; mode: number }> = {
  "/etc/anyhop/node.key": { text: `${GROUP_PRIVATE}\n`, mode: 0o600 },
  "/etc/anyhop/anna.key": { text: `${ANNA_PRIVATE}\n`, mode: 0o400 },
  "/etc/anyhop/anna.psk": { text: `${PSK}\n`, mode: 0o600 },
  "/etc/anyhop/fleet.key": { text: `${FLEET_KEY}\n`, mode: 0o600 },
  "/etc/anyhop/engine.nk": { text: `${NKEY_SEED}\n`, mode: 0o600 },
  "/etc/anyhop/open.nk": { text: `${NKEY_SEED}\n`, mode: 0o644 },
  "/etc/anyhop/ca.pem": { text: "-----BEGIN CERTIFICATE-----\n", mode: 0o644 },
  "/etc/anyhop/tls.key": { text: PEM_KEY, mode: 0o600 },
  "/etc/anyhop/open.key": { text: GROUP_PRIVATE, mode: 0o640 },
  "/etc/anyhop/sealed.key": { text: sealed, mode: 0o600 },
  "/etc/anyhop/damaged.key": { text: sealed.replace("scrypt 10", "scrypt 11"), mode: 0o600 },
  "/etc/anyhop/phrase": { text: `${PASSPHRASE}\n`, mode: 0o600 },
  "/etc/anyhop/wrong": { text: "wrong horse\n", mode: 0o600 },
  "/etc/anyhop/short.key": { text: GROUP_PRIVATE.slice(0, 40), mode: 0o600 },
  "/run/credentials/anyhop/group": { text: GROUP_PRIVATE, mode: 0o440 },
};

/** `mode`: of the configuration file. */
export const envWith = (mode: number, credentials = true): ConfigEnv => ({
  readSecret(path) {
    const file = files[path];
    if (file === undefined) throw new Error("no such file");
    return new TextEncoder().encode(file.text);
  },
  modeOf: (path) => (path.endsWith(".toml") ? mode : files[path]?.mode),
  getenv: (name) =>
    ({
      KEY: GROUP_PRIVATE,
      PHRASE: PASSPHRASE,
      ...(credentials ? { CREDENTIALS_DIRECTORY: "/run/credentials/anyhop" } : {}),
    })[name],
});

/** As `daemon/config_reader.ts`, without a thread: those run what is built only. */
export const readConfigHere = async (file: string): Promise<ParsedFile> =>
  parseFile(configEnv.readText(file)!, file, configEnv);

/** A small good node file; each test changes it. */
export const NODE = `[node]
group = "example"
private_key_file = "node.key"
pool = ["10.9.0.0/24"]
`;
/** A small good client file. */
export const CLIENT = `[client]
private_key_file = "anna.key"
[[service]]
name = "example"
address = ["192.0.2.1:4444"]
public_key = "${GROUP_PUBLIC}"
`;

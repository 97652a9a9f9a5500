/**
 * The keys with which a configuration names a 32-byte secret: inline, a file, an environment variable, a credential of
 * systemd. Schema and reader for private keys and pre-shared keys alike. No fault shows what was found, nor a value
 * that looks like a key where a path should be.
 */
import type { ConfigEnv } from "../spec/config_env.ts";
import { explainKey, parseKey } from "../text/keys/key_text.ts";
import { isSealed, openKey } from "../text/keys/sealed.ts";
import { tooOpen } from "../text/keys.ts";
import { text } from "../text/schema_words.ts";
import type { Path } from "./config_places.ts";
import type { Report } from "./config_report.ts";

/** An operator's key file begins with it, so that it is never taken for the key of a node. */
export const OPERATOR_KEY = "anyhop operator ";

const WAYS = ["", "_file", "_env", "_credential"] as const;
type Way = (typeof WAYS)[number];

/** Values that must never be shown, by key. */
export const INLINE_SECRETS: ReadonlySet<string> = new Set([
  "passphrase",
  "private_key",
  "psk",
  "fleet_key",
  "signing_key",
]);

export const privateKeyKeys = {
  private_key: text("a key").optional().describe("Private key, here in the file. Better: one of the next three."),
  private_key_file: text("a path")
    .optional()
    .describe("File with the private key (mode 0600), as `anyhop genkey` writes it."),
  private_key_env: text("a name").optional().describe("Environment variable with the private key."),
  private_key_credential: text("a name").optional().describe("Credential of systemd with the private key."),
  passphrase_file: text("a path").optional().describe("File with the passphrase of a sealed private key."),
  passphrase_env: text("a name").optional().describe("Environment variable with that passphrase."),
  passphrase_credential: text("a name").optional().describe("Credential of systemd with that passphrase."),
};

export const pskKeys = {
  psk: text("a key").optional().describe("Pre-shared key, here in the file; the same at both ends."),
  psk_file: text("a path").optional().describe("File with the pre-shared key (mode 0600)."),
  psk_env: text("a name").optional().describe("Environment variable with the pre-shared key."),
  psk_credential: text("a name").optional().describe("Credential of systemd with the pre-shared key."),
};

export const fleetKeyKeys = {
  fleet_key: text("a key").optional().describe("Key of the fleet, here in the file; the same on each node."),
  fleet_key_file: text("a path")
    .optional()
    .describe("File with the fleet key (mode 0600), as `anyhop genpsk` writes it."),
  fleet_key_env: text("a name").optional().describe("Environment variable with the fleet key."),
  fleet_key_credential: text("a name").optional().describe("Credential of systemd with the fleet key."),
};

export const signingKeyKeys = {
  signing_key: text("a key").optional().describe("Signing key of this node, here in the file."),
  signing_key_file: text("a path")
    .optional()
    .describe("File with the signing key of this node alone (mode 0600), from `anyhop init node --operator`."),
  signing_key_env: text("a name").optional().describe("Environment variable with the signing key."),
  signing_key_credential: text("a name").optional().describe("Credential of systemd with the signing key."),
};

type Keys = Readonly<Record<string, unknown>>;

/** Reads secrets of one file and reports what is wrong with them. */
export class KeyReader {
  readonly #report: Report;
  readonly #env: ConfigEnv;
  readonly #directory: string;
  #inlineChecked = false;

  /** `directory`: folder of the configuration file with a slash at the end, or "". */
  constructor(report: Report, env: ConfigEnv, directory: string) {
    this.#report = report;
    this.#env = env;
    this.#directory = directory;
  }

  /** The private key of the table at `path`; reported when there is none. */
  privateKey(table: Keys, path: Path): Uint8Array | undefined {
    const way = this.#choose(table, path, "private_key");
    const phrase = this.#choose(table, path, "passphrase");
    if (way === undefined) {
      const name = this.#report.show(path);
      if (!WAYS.some((w) => this.#report.isTainted([...path, `private_key${w}`])))
        this.#report.error(
          path,
          `${name} has no private key`,
          'add private_key_file = "FILE"; `anyhop genkey` makes one',
        );
      return undefined;
    }
    const found = this.#read(table, path, "private_key", way);
    if (found === undefined) return undefined;
    const at = [...path, `private_key${way}`];
    if (!isSealed(found)) {
      if (phrase !== undefined)
        this.#report.warning([...path, `passphrase${phrase}`], "the passphrase is not needed: the key is not sealed");
      return this.#parse(found, at);
    }
    if (phrase === undefined) {
      this.#report.error(at, "the private key is sealed with a passphrase", "add passphrase_file or passphrase_env");
      return undefined;
    }
    const passphrase = this.#read(table, path, "passphrase", phrase)?.replace(/\r?\n$/, "");
    if (passphrase === undefined) return undefined;
    const key = openKey(found, passphrase);
    if (typeof key !== "string") return key;
    this.#report.error(at, `the private key cannot be opened: ${key}`);
    return undefined;
  }

  /** The pre-shared key of the table at `path`, or undefined: none is named, or it was reported. */
  psk(table: Keys, path: Path): Uint8Array | undefined {
    const way = this.#choose(table, path, "psk");
    const found = way === undefined ? undefined : this.#read(table, path, "psk", way);
    return found === undefined ? undefined : this.#parse(found, [...path, `psk${way}`]);
  }

  /** The key that the nodes of a group share; reported when there is none. */
  fleetKey(table: Keys, path: Path): Uint8Array | undefined {
    const way = this.#choose(table, path, "fleet_key");
    if (way === undefined) {
      if (!WAYS.some((w) => this.#report.isTainted([...path, `fleet_key${w}`])))
        this.#report.error(
          path,
          `${this.#report.show(path)} has no fleet key`,
          'add fleet_key_file = "FILE"; `anyhop genpsk` makes one, the same on each node',
        );
      return undefined;
    }
    const found = this.#read(table, path, "fleet_key", way);
    return found === undefined ? undefined : this.#parse(found, [...path, `fleet_key${way}`]);
  }

  /** The key that this node signs with, or undefined: none is named, or it was reported. */
  signingKey(table: Keys, path: Path): Uint8Array | undefined {
    const way = this.#choose(table, path, "signing_key");
    const found = way === undefined ? undefined : this.#read(table, path, "signing_key", way);
    if (found === undefined) return undefined;
    const at = [...path, `signing_key${way}`];
    if (!found.startsWith(OPERATOR_KEY)) return this.#parse(found, at);
    this.#report.error(
      at,
      "that is the operator's key: on a node, who steals the node has the group",
      "take it off this machine; `anyhop init node --operator KEY` makes a key for the node",
    );
    return undefined;
  }

  /** A file that is no 32-byte key. `secret`: its mode is judged. Undefined when it was reported. */
  text(name: string, at: Path, secret: boolean): string | undefined {
    return this.#file(name.startsWith("/") ? name : this.#directory + name, at, secret);
  }

  #parse(found: string, at: Path): Uint8Array | undefined {
    const key = parseKey(found);
    if (key === undefined) this.#report.error(at, `${this.#report.show(at)} is no key: ${explainKey(found)}`);
    return key;
  }

  /** The first way that is used; a second one is an error. */
  #choose(table: Keys, path: Path, what: string): Way | undefined {
    const given = WAYS.filter((way) => table[what + way] !== undefined);
    for (const way of given.slice(1))
      this.#report.error(
        [...path, what + way],
        `${this.#report.show(path)} has both ${what}${given[0]} and ${what}${way}`,
        "keep one of them",
      );
    return given[0];
  }

  #read(table: Keys, path: Path, what: string, way: Way): string | undefined {
    const at = [...path, what + way];
    const value = String(table[what + way]);
    if (way === "") return this.#inline(value, at);
    if (parseKey(value) !== undefined) {
      const wanted = way === "_file" ? "a path" : "a name";
      this.#report.error(at, `${this.#report.show(at)} wants ${wanted}, and this looks like a key itself`);
      return undefined;
    }
    if (way === "_env") {
      const found = this.#env.getenv(value);
      if (found === undefined) this.#report.error(at, `the environment variable ${value} is not set`);
      return found;
    }
    if (way === "_file") return this.#file(value.startsWith("/") ? value : this.#directory + value, at, true);
    const folder = this.#env.getenv("CREDENTIALS_DIRECTORY");
    if (folder === undefined || value.includes("/")) {
      const why = folder === undefined ? "systemd gave none (no CREDENTIALS_DIRECTORY)" : "its name has a slash";
      this.#report.error(at, `the credential ${value} cannot be read: ${why}`, "see LoadCredential= in systemd.exec");
      return undefined;
    }
    return this.#file(`${folder}/${value}`, at, false);
  }

  #inline(value: string, at: Path): string {
    if (!this.#inlineChecked) {
      this.#inlineChecked = true;
      this.#checkMode(this.#report.file, at);
    }
    return value;
  }

  /** `guarded`: permissions are ours to judge; those of credentials are systemd's. */
  #file(path: string, at: Path, guarded: boolean): string | undefined {
    try {
      const content = this.#env.readSecret(path);
      if (guarded) this.#checkMode(path, at);
      return typeof content === "string" ? content : new TextDecoder().decode(content);
    } catch (error) {
      this.#report.error(at, `the file ${path} cannot be read: ${(error as Error).message}`);
      return undefined;
    }
  }

  /** An error, unlike with passphrases of classic tunnels: whoever has this key is this client or this group. */
  #checkMode(path: string, at: Path): void {
    const open = tooOpen(path, this.#env.modeOf(path));
    if (open !== undefined) this.#report.error(at, open.message, open.advice);
  }
}

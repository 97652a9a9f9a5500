/**
 * What the two front doors of the control layer (configuration file, classic command line) want from the machine:
 * files, their permissions, environment variables. Only reads. The module as a whole is a `ClassicEnv`
 * (`control/config_env.ts`), so its functions are tagged for the check of unused exports.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { AnyhopError } from "../base/errors.ts";

/** A key or passphrase is short; a path that leads to something else must not fill the memory. */
const SECRET_BYTES_MAX = 64 * 1024;

/** Bytes of a file with a secret. Throws an Error with a sentence that does not show the content. @public */
export function readSecret(path: string): Uint8Array {
  const { size } = statSync(path);
  if (size > SECRET_BYTES_MAX) throw new Error(`${path} has ${size} bytes; a secret has at most ${SECRET_BYTES_MAX}`);
  return readFileSync(path);
}

/** Permission bits (0o777 mask), or undefined when the file is not there. @public */
export function modeOf(path: string): number | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? undefined : stat.mode & 0o777;
}

/** Value of an environment variable. @public */
export function getenv(name: string): string | undefined {
  return process.env[name];
}

/** Text of a file, or undefined when it is not there. Throws AnyhopError "file_read". */
export function readText(path: string): string | undefined {
  try {
    return exists(path) ? readFileSync(path, "utf8") : undefined;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const advice = code === "EACCES" || code === "EPERM" ? " Its owner or root may; use sudo." : "";
    throw new AnyhopError("file_read", `${path} cannot be read (${code}).${advice}`, { cause });
  }
}

/** Names of the plain files of a folder, sorted; undefined when it is not there. Throws on other errors. @public */
export function listFiles(path: string): string[] | undefined {
  if (!exists(path)) return undefined;
  const entries = readdirSync(path).filter((name) => statSync(`${path}/${name}`, { throwIfNoEntry: false })?.isFile());
  return entries.sort();
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/**
 * What the front doors of the control layer (configuration file, classic command line) and the commands about keys want
 * from the machine: files that a person names, their permissions, environment variables. Only reads. What is no plain
 * file is refused before it is opened: a FIFO would wait for a writer for ever, and a device may act on being opened.
 * The module as a whole is a `ClassicEnv` (`control/spec/config_env.ts`), so its functions are tagged for the check of unused
 * exports.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, type Stats, statSync } from "node:fs";
import { AnyhopError } from "../base/errors.ts";

/** A key, a passphrase or a certificate is short. */
const SECRET_BYTES_MAX = 64 * 1024;
/** 16,384 clients with everything that a client may have take about 5 MB. */
const TEXT_BYTES_MAX = 8 * 1024 * 1024;
/** A folder of anytun has a file for each client, and there are 65,536 muxes. */
const FILES_MAX = 65_536;

/** Bytes of a file with a secret. Throws an Error with a sentence that does not show the content. @public */
export function readSecret(path: string): Uint8Array {
  return readFile(path, SECRET_BYTES_MAX);
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
    return exists(path) ? new TextDecoder().decode(readFile(path, TEXT_BYTES_MAX)) : undefined;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === undefined) throw new AnyhopError("file_read", `${message}.`, { cause });
    const advice = code === "EACCES" || code === "EPERM" ? " Its owner or root may; use sudo." : "";
    throw new AnyhopError("file_read", `${path} cannot be read (${code}).${advice}`, { cause });
  }
}

/** Names of the plain files of a folder, sorted; undefined when it is not there. Throws on other errors. @public */
export function listFiles(path: string): string[] | undefined {
  if (!exists(path)) return undefined;
  const entries = readdirSync(path).filter((name) => statSync(`${path}/${name}`, { throwIfNoEntry: false })?.isFile());
  if (entries.length > FILES_MAX)
    throw new AnyhopError("file_read", `${path} has ${entries.length} files; at most ${FILES_MAX} can be read.`);
  return entries.sort();
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/**
 * All bytes of a plain file. Throws an Error with a sentence (without the full stop, as faults have them) when it is none
 * or has more than `max`, else what fs throws.
 */
function readFile(path: string, max: number): Uint8Array {
  requireFile(path, statSync(path));
  // Without waiting, should it have become a FIFO meanwhile.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stat = fstatSync(fd);
    requireFile(path, stat);
    // Files of /proc say that they have no bytes, and others grow while they are read: only reading tells.
    let bytes = new Uint8Array(Math.min(max, Math.max(stat.size, 4096)) + 1);
    let length = 0;
    for (;;) {
      const read = readSync(fd, bytes, length, bytes.length - length, null);
      if (read === 0) return bytes.slice(0, length);
      length += read;
      if (length > max) throw new Error(`${path} has more than ${max} bytes, the most that is read of such a file`);
      if (length < bytes.length) continue;
      const larger = new Uint8Array(Math.min(max, bytes.length * 2) + 1);
      larger.set(bytes);
      bytes = larger;
    }
  } finally {
    closeSync(fd);
  }
}

function requireFile(path: string, stat: Stats): void {
  const kind = kindOf(stat);
  if (kind !== undefined)
    throw new Error(`${path} is ${kind} and no file; name a file, or copy what it gives into one`);
}

function kindOf(stat: Stats): string | undefined {
  if (stat.isFile()) return undefined;
  if (stat.isDirectory()) return "a folder";
  if (stat.isFIFO()) return "a pipe (FIFO)";
  if (stat.isSocket()) return "a socket";
  return "a device";
}

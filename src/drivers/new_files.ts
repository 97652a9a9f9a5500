/**
 * Writes files with secrets: mode 0600 from the first byte, on disk when the call returns, never half written, and
 * never over something else unless asked. Only creates; reading is in `config_env.ts`.
 */
import { closeSync, existsSync, fsyncSync, linkSync, openSync, renameSync, unlinkSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { AnyhopError } from "../base/errors.ts";
import { makeFolder } from "./folders.ts";

/**
 * Writes name -> content into a folder, which is made (0700) when it is missing. Nothing is written when one of them is
 * there and `force` is false: throws AnyhopError "exists". Throws "unwritable" when the folder is.
 */
export function writeSecretFiles(folder: string, files: ReadonlyMap<string, string>, force: boolean): void {
  const taken = [...files.keys()].map((name) => join(folder, name)).filter((path) => existsSync(path));
  if (taken.length > 0 && !force) throw inTheWay(taken);
  try {
    makeFolder(folder, 0o700);
    for (const [name, content] of files) writeSecret(join(folder, name), content, force);
  } catch (cause) {
    if (cause instanceof AnyhopError) throw cause;
    throw new AnyhopError(
      "unwritable",
      `Nothing can be written to ${folder}: ${(cause as Error).message}. Use sudo, or name a folder of yours.`,
      { cause },
    );
  }
}

const inTheWay = (paths: readonly string[]): AnyhopError =>
  new AnyhopError(
    "exists",
    `${paths.join(" and ")} would be overwritten; nothing was done. Use --force if you mean it.`,
  );

function writeSecret(path: string, content: string, force: boolean): void {
  const temporary = `${path}.${process.pid}`;
  const fd = openSync(temporary, "wx", 0o600);
  try {
    try {
      writeSync(fd, content);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    // link(2) fails when the name is taken meanwhile, rename(2) replaces it.
    if (force) renameSync(temporary, path);
    else linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw inTheWay([path]);
    throw error;
  } finally {
    if (existsSync(temporary)) unlinkSync(temporary);
  }
  const folder = openSync(dirname(path), "r");
  fsyncSync(folder);
  closeSync(folder);
}

/**
 * Makes folders. Not with mkdir's own `recursive`: in a file system that refuses (/proc), Node 20 tries for ever, and the
 * daemon would hang where it should say what is wrong.
 */
import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";

/** Makes the folder and those above it that are missing, with this mode. Throws the error of the system call. */
export function makeFolder(path: string, mode: number): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  const above = dirname(path);
  if (above !== path) makeFolder(above, mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    // Somebody was faster.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST" || !statSync(path).isDirectory()) throw error;
  }
}

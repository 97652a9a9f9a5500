/** Which control socket a command means: by name, by path, or the only one there is. */
import { existsSync, readdirSync } from "node:fs";
import { AnyhopError } from "../base/errors.ts";

/** Throws AnyhopError "usage" when both are given or the choice is not clear, "no_daemon" when there is nothing. */
export function findSocket(name: string | undefined, socket: string | undefined, directory: string): string {
  if (name !== undefined && socket !== undefined)
    throw new AnyhopError("usage", "Give a name or --socket PATH, not both.");
  if (socket !== undefined) return socket;
  if (name?.endsWith(".toml"))
    throw new AnyhopError(
      "usage",
      `"${name}" is a configuration file; give the name of the instance: ${running(directory)}`,
    );
  if (name?.includes("/")) throw new AnyhopError("usage", `"${name}" is a path; write --socket ${name}.`);
  if (name !== undefined && existsSync(`${directory}/${name}.sock`)) return `${directory}/${name}.sock`;
  if (name !== undefined)
    throw new AnyhopError(
      "no_daemon",
      `${name} is not running: there is no socket ${directory}/${name}.sock. ${capital(running(directory))}`,
    );
  const names = listSockets(directory);
  if (names.length === 1) return `${directory}/${names[0]}.sock`;
  if (names.length === 0)
    throw new AnyhopError(
      "no_daemon",
      `No anyhop daemon is running: there is no socket in ${directory}. If its socket is elsewhere, use --socket PATH.`,
    );
  throw new AnyhopError("usage", `Several instances have a socket in ${directory}; name one of ${names.join(", ")}.`);
}

/** The end of a sentence: which names there are. */
function running(directory: string): string {
  const names = listSockets(directory);
  return names.length === 0 ? `nothing runs (no socket in ${directory}).` : `there is ${names.join(", ")}.`;
}

const capital = (text: string): string => text[0].toUpperCase() + text.slice(1);

function listSockets(directory: string): string[] {
  try {
    const files = readdirSync(directory).filter((file) => file.endsWith(".sock"));
    return files.map((file) => file.slice(0, -".sock".length)).sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw new AnyhopError("permission", `You may not read ${directory}: ${(error as Error).message}. Use sudo.`);
  }
}

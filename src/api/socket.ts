/**
 * A Unix socket that only its owner may open, at a path where nobody else listens. Bound under another name, closed to
 * others, then linked into place: the real name never stands for an open or a half-made socket, and link(2) fails when
 * somebody was faster.
 */
import { chmodSync, linkSync, lstatSync, mkdirSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import { AnyhopError } from "../base/errors.ts";

/** A daemon that holds its socket but is busy answers within this, or it is taken for dead only by refusing. */
const PROBE_MS = 2000;
const LINK_TRIES = 3;
const OUT_OF_REACH = new Set(["ENOENT", "ENOTDIR", "EACCES", "EPERM", "EROFS"]);

/**
 * Makes the socket; `listen` binds the path that it is given. Returns what removes it again. Throws AnyhopError
 * "already_running", "socket_in_use" or "socket_failed".
 */
export async function openControlSocket(
  socketPath: string,
  listen: (path: string) => Promise<unknown>,
): Promise<() => void> {
  const temporary = `${socketPath}.${process.pid}`;
  try {
    makeFolder(dirname(socketPath));
    removeIfThere(temporary);
    await listen(temporary);
    chmodSync(temporary, 0o600);
    await publish(temporary, socketPath);
    unlinkSync(temporary);
  } catch (error) {
    if (error instanceof AnyhopError) throw error;
    throw new AnyhopError(
      "socket_failed",
      `The control socket ${socketPath} cannot be made: ${(error as Error).message}. Run as root, or set paths.socket (--control-socket) to a folder that you may write to.`,
      { cause: error },
    );
  }
  const { ino } = lstatSync(socketPath);
  return () => {
    // Not when another daemon has replaced it meanwhile. After a change of user or root it may be out of reach; what
    // is left behind is replaced at the next start.
    try {
      if (lstatSync(socketPath).ino === ino) unlinkSync(socketPath);
    } catch (error) {
      if (!OUT_OF_REACH.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  };
}

/** One level only, as /run/anyhop: with `recursive`, Node 20 tries for ever where a file system refuses (/proc). */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o755 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

async function publish(from: string, to: string): Promise<void> {
  for (let i = 0; i < LINK_TRIES; i++) {
    try {
      linkSync(from, to);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const stat = lstatSync(to, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    if (!stat.isSocket())
      throw new AnyhopError("socket_in_use", `${to} is in the way and is no socket; it was not touched. Move it away.`);
    if (await answers(to)) throw alreadyRunning(to);
    removeIfThere(to);
  }
  throw alreadyRunning(to);
}

function alreadyRunning(path: string): AnyhopError {
  return new AnyhopError(
    "already_running",
    `A daemon is already running on ${path}. Stop it first (anyhop down), or give this one another name or another control socket.`,
  );
}

/** Whether somebody accepts connections. A full backlog or silence counts as somebody: only a refusal is a dead socket. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const finish = (alive: boolean) => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(PROBE_MS, () => finish(true));
    socket.once("connect", () => finish(true));
    socket.once("error", (error: NodeJS.ErrnoException) =>
      finish(error.code !== "ECONNREFUSED" && error.code !== "ENOENT"),
    );
  });
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

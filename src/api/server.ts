/**
 * The control socket of a daemon: HTTP over a Unix socket that only its owner may open. Answers questions, changes
 * nothing. fastify is loaded when the server is made, not when this file is.
 */
import { chmodSync, existsSync, linkSync, lstatSync, mkdirSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import { AnyhopError } from "../base/errors.ts";
import { HEALTH_PATH, type Health, STATUS_PATH, type Status } from "./contract.ts";

export interface ApiServer {
  /** Stops answering and removes the socket. */
  close(): Promise<void>;
}

export interface ApiOptions {
  readonly socketPath: string;
  /** Called for each request; must be quick. */
  readonly status: () => Status;
}

/** A daemon that holds its socket but is busy answers within this, or it is taken for dead only by refusing. */
const PROBE_MS = 2000;
const LINK_TRIES = 3;
const OUT_OF_REACH = new Set(["ENOENT", "ENOTDIR", "EACCES", "EPERM", "EROFS"]);

/**
 * Listens. A socket file that nobody answers on is replaced. Throws AnyhopError "already_running" when somebody does,
 * "socket_in_use" when the path is something else, "socket_failed" when it cannot be made.
 */
export async function startApiServer(options: ApiOptions): Promise<ApiServer> {
  const { socketPath } = options;
  const { fastify } = await import("fastify");
  const app = fastify({ logger: false, forceCloseConnections: true });
  app.get(STATUS_PATH, async () => options.status());
  app.get(HEALTH_PATH, async (): Promise<Health> => ({ name: options.status().name, pid: process.pid, ok: true }));
  app.setNotFoundHandler((_request, reply) => {
    reply.code(404).send({ error: "not_found", message: `Only ${STATUS_PATH} and ${HEALTH_PATH} exist.` });
  });
  // Bound under another name, closed to others, then linked into place: the real name never stands for an open or a
  // half-made socket, and link(2) fails when somebody was faster.
  const temporary = `${socketPath}.${process.pid}`;
  try {
    if (!existsSync(dirname(socketPath))) mkdirSync(dirname(socketPath), { mode: 0o755 });
    removeIfThere(temporary);
    await app.listen({ path: temporary });
    chmodSync(temporary, 0o600);
    await publish(temporary, socketPath);
    unlinkSync(temporary);
  } catch (error) {
    await app.close();
    if (error instanceof AnyhopError) throw error;
    throw new AnyhopError(
      "socket_failed",
      `The control socket ${socketPath} cannot be made: ${(error as Error).message}. Run as root, or set paths.socket (--control-socket) to a folder that you may write to.`,
      { cause: error },
    );
  }
  const { ino } = lstatSync(socketPath);
  return {
    async close() {
      // Not when another daemon has replaced it meanwhile. After a change of user or root it may be out of reach; what
      // is left behind is replaced at the next start.
      try {
        if (lstatSync(socketPath).ino === ino) unlinkSync(socketPath);
      } catch (error) {
        if (!OUT_OF_REACH.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
      }
      await app.close();
    },
  };
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
    `A daemon is already running on ${path}. Stop it first, or give this one another name or another control socket.`,
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

/**
 * Asks a daemon over its control socket. Small on purpose: node:http and the contract, no framework. Every failure is an
 * AnyhopError that names the socket.
 */
import { request } from "node:http";
import type { z } from "zod";
import { AnyhopError } from "../base/errors.ts";
import { HEALTH_PATH, type Health, healthSchema, STATUS_PATH, type Status, statusSchema } from "./contract.ts";

const TIMEOUT_MS = 5000;
/** Some kilobytes for each of up to 16384 tunnels. */
const BODY_BYTES_MAX = 64 * 1024 * 1024;

/** Throws AnyhopError "no_daemon", "permission", "timeout" or "bad_answer". */
export function getStatus(socketPath: string, timeoutMs = TIMEOUT_MS): Promise<Status> {
  return get(socketPath, STATUS_PATH, statusSchema, timeoutMs);
}

export function getHealth(socketPath: string, timeoutMs = TIMEOUT_MS): Promise<Health> {
  return get(socketPath, HEALTH_PATH, healthSchema, timeoutMs);
}

async function get<T>(socketPath: string, path: string, schema: z.ZodType<T>, timeoutMs: number): Promise<T> {
  const { code, body } = await fetchText(socketPath, path, timeoutMs);
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    value = undefined;
  }
  const parsed = schema.safeParse(value);
  if (code === 200 && parsed.success) return parsed.data;
  throw new AnyhopError(
    "bad_answer",
    `What answers on ${socketPath} does not speak this version of anyhop (${path}: HTTP ${code}). Restart the daemon after an update.`,
  );
}

function fetchText(socketPath: string, path: string, timeoutMs: number): Promise<{ code: number; body: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs);
    const call = request({ socketPath, path, method: "GET", agent: false, signal }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
        if (body.length > BODY_BYTES_MAX) response.destroy(new Error("the answer is too long"));
      });
      response.on("end", () => resolve({ code: response.statusCode ?? 0, body }));
      response.on("error", (error) => reject(explain(error, socketPath, timeoutMs, signal.aborted)));
    });
    call.on("error", (error) => reject(explain(error, socketPath, timeoutMs, signal.aborted)));
    call.end();
  });
}

function explain(error: NodeJS.ErrnoException, socketPath: string, timeoutMs: number, timedOut: boolean): AnyhopError {
  const cause = { cause: error };
  if (timedOut)
    return new AnyhopError("timeout", `The daemon on ${socketPath} did not answer within ${timeoutMs} ms.`, cause);
  if (error.code === "EACCES" || error.code === "EPERM")
    return new AnyhopError(
      "permission",
      `You may not open ${socketPath}: it belongs to the user that runs the daemon. Use sudo.`,
      cause,
    );
  const why = error.code === "ENOENT" ? "there is no such socket" : error.message;
  return new AnyhopError("no_daemon", `No anyhop daemon answers on ${socketPath}: ${why}.`, cause);
}

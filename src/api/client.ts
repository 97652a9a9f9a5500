/**
 * Asks a daemon over its control socket. Small on purpose: node:http and the contract, no framework. Every failure is an
 * AnyhopError: what the daemon says, or one that names the socket.
 */
import { type IncomingMessage, request } from "node:http";
import { AnyhopError } from "../base/errors.ts";
import { type ApiEvent, errorSchema, eventSchema } from "./contract/control.ts";
import {
  type Answer,
  type Asked,
  EVENTS_PATH,
  type Operation,
  type OperationName,
  operations,
} from "./contract/operations.ts";
import type { Health, Status } from "./contract.ts";

const TIMEOUT_MS = 5000;
/** Some kilobytes for each of up to 16384 tunnels. */
const BODY_BYTES_MAX = 64 * 1024 * 1024;

/** Throws AnyhopError "no_daemon", "permission", "timeout" or "bad_answer". */
export function getStatus(socketPath: string, timeoutMs = TIMEOUT_MS): Promise<Status> {
  return ask(socketPath, "status", {}, timeoutMs);
}

export function getHealth(socketPath: string, timeoutMs = TIMEOUT_MS): Promise<Health> {
  return ask(socketPath, "health", {}, timeoutMs);
}

/** Any operation of the contract. Throws what `getStatus` throws, or the daemon's own refusal with its code. */
export async function ask<K extends OperationName>(
  socketPath: string,
  name: K,
  asked: Asked<K>,
  timeoutMs = TIMEOUT_MS,
): Promise<Answer<K>> {
  const operation: Operation = operations[name];
  const left = { ...(asked as Record<string, unknown>) };
  const path = operation.path.replace(/\{(\w+)\}/g, (_, key: string) => encodeURIComponent(take(left, key)));
  const query = new URLSearchParams();
  for (const key of Object.keys(operation.query.shape)) if (left[key] !== undefined) query.set(key, take(left, key));
  const target = query.size === 0 ? path : `${path}?${query}`;
  const body = Object.keys(operation.body.shape).length === 0 ? undefined : JSON.stringify(left);
  const { code, text } = await fetchText(socketPath, operation.method, target, body, timeoutMs);
  const value = parseJson(text);
  if (code === operation.code) {
    const parsed = operation.answer.safeParse(value);
    if (parsed.success) return parsed.data as Answer<K>;
  }
  throw refusal(socketPath, operation.path, code, value);
}

/** Calls `onEvent` for each event until `signal` ends it. Rejects with AnyhopError when the daemon does. */
export function followEvents(
  socketPath: string,
  onEvent: (event: ApiEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      if (signal.aborted) resolve();
      else reject(explain(error, socketPath, 0, false));
    };
    const call = request({ socketPath, path: EVENTS_PATH, agent: false, signal }, (response) => {
      response.setEncoding("utf8");
      response.on("error", fail);
      if (response.statusCode === 200) {
        readLines(response, (line) => {
          const event = eventSchema.safeParse(parseJson(line));
          if (event.success) onEvent(event.data);
          else {
            reject(refusal(socketPath, EVENTS_PATH, 200, undefined));
            response.destroy();
          }
        });
        response.on("end", () =>
          reject(new AnyhopError("no_daemon", `The daemon on ${socketPath} has ended the connection.`)),
        );
        return;
      }
      readText(response, (text) => reject(refusal(socketPath, EVENTS_PATH, response.statusCode ?? 0, parseJson(text))));
    });
    call.on("error", fail);
    call.end();
  });
}

function take(from: Record<string, unknown>, key: string): string {
  const value = String(from[key]);
  delete from[key];
  return value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The daemon's own words when it has some. */
function refusal(socketPath: string, path: string, code: number, value: unknown): AnyhopError {
  const said = errorSchema.safeParse(value);
  if (code >= 400 && said.success && said.data.error !== "not_found")
    return new AnyhopError(said.data.error, said.data.message);
  return new AnyhopError(
    "bad_answer",
    `What answers on ${socketPath} does not speak this version of anyhop (${path}: HTTP ${code}). Restart the daemon after an update.`,
  );
}

function fetchText(
  socketPath: string,
  method: string,
  path: string,
  body: string | undefined,
  timeoutMs: number,
): Promise<{ code: number; text: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs);
    const fail = (error: Error) => reject(explain(error, socketPath, timeoutMs, signal.aborted));
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const call = request({ socketPath, path, method, headers, agent: false, signal }, (response) => {
      response.setEncoding("utf8");
      response.on("error", fail);
      readText(response, (text) => resolve({ code: response.statusCode ?? 0, text }));
    });
    call.on("error", fail);
    call.end(body);
  });
}

function readText(response: IncomingMessage, done: (text: string) => void): void {
  let text = "";
  response.on("data", (chunk: string) => {
    text += chunk;
    if (text.length > BODY_BYTES_MAX) response.destroy(new Error("the answer is too long"));
  });
  response.on("end", () => done(text));
}

function readLines(response: IncomingMessage, onLine: (line: string) => void): void {
  let rest = "";
  response.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") onLine(line);
    if (rest.length > BODY_BYTES_MAX) response.destroy(new Error("a line is too long"));
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
  const whys: Readonly<Record<string, string>> = {
    ENOENT: "there is no such socket",
    ECONNREFUSED: "nobody listens there any more, its daemon was killed or is no anyhop",
  };
  const why = whys[error.code ?? ""] ?? error.message;
  return new AnyhopError("no_daemon", `No anyhop daemon answers on ${socketPath}: ${why}.`, cause);
}

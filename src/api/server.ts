/**
 * The control socket of a daemon: HTTP over a Unix socket. Every request is judged by the contract at the door, every
 * answer passes through its schema on the way out, so that nothing leaves that the contract does not name. fastify is
 * loaded when the server is made, not when this file is.
 */
import type { FastifyReply } from "fastify";
import { z } from "zod";
import { AnyhopError } from "../base/errors.ts";
import type { ClientControl, Control } from "../control/asked/control_port.ts";
import { EVENTS_PATH, OPENAPI_PATH, type Operation, type OperationName, operations } from "./contract/operations.ts";
import type { Status } from "./contract.ts";
import { EVENTS_TYPE, streamEvents } from "./event_stream.ts";
import { createHandlers } from "./handlers.ts";
import { BODY_BYTES_MAX, CONNECTIONS_MAX, httpLimits, REQUEST_MS } from "./http_limits.ts";
import { openApi } from "./openapi.ts";
import { openControlSocket } from "./socket.ts";

export interface ApiServer {
  /** Stops answering and removes the socket. */
  close(): Promise<void>;
}

export interface ApiOptions {
  readonly socketPath: string;
  /** Called for each request; must be quick. */
  readonly status: () => Status;
  /** Sessions and clients; left out by an instance that has none. */
  readonly control?: Control;
  /** Services; left out by an instance that is no client. */
  readonly client?: ClientControl;
  /** Told of errors that are nobody's fault but ours, with the operation as "GET /v1/clients/{name}"; the answer shows nothing of them. */
  readonly onBug: (error: Error, operation: string) => void;
  /** Time for a whole request to come; REQUEST_MS when left out. */
  readonly requestMs?: number;
}

/** HTTP code of an error, by its own code; 500 for what is not here. */
const httpCodes: Readonly<Record<string, number>> = {
  bad_request: 400,
  bad_client: 400,
  not_found: 404,
  unknown_client: 404,
  unknown_service: 404,
  unknown_session: 404,
  no_group: 409,
  peer_away: 409,
  roster_refused: 409,
  group_keys_refused: 409,
  no_roster: 409,
  no_sessions: 409,
  no_session: 409,
  client_exists: 409,
  client_in_file: 409,
  key_taken: 409,
  address_taken: 409,
  pool_exhausted: 409,
  no_pool: 409,
  too_large: 413,
  unsupported_type: 415,
  config_faults: 422,
  too_many: 429,
  ping_timeout: 504,
  state_full: 507,
};

/**
 * Listens. A socket file that nobody answers on is replaced. Throws AnyhopError "already_running" when somebody does,
 * "socket_in_use" when the path is something else, "socket_failed" when it cannot be made.
 */
export async function startApiServer(options: ApiOptions): Promise<ApiServer> {
  const { fastify } = await import("fastify");
  const app = fastify({
    logger: false,
    forceCloseConnections: true,
    ...httpLimits(options.requestMs ?? REQUEST_MS),
    frameworkErrors: (error, _request, reply: FastifyReply) => {
      const { error: code, message } = explain(error);
      reply.code(error.statusCode ?? 400).send({ error: code, message });
    },
  });
  app.server.maxConnections = CONNECTIONS_MAX;
  // An empty body with a JSON type is what many clients send with DELETE.
  app.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) => {
    try {
      done(null, body === "" ? undefined : JSON.parse(body as string));
    } catch {
      done(new AnyhopError("bad_request", "The body is not JSON."));
    }
  });
  const handlers = createHandlers(options);
  for (const name of Object.keys(operations) as OperationName[]) {
    const operation: Operation = operations[name];
    const handler = handlers[name] as (given: unknown) => unknown;
    app.route({
      method: operation.method,
      url: operation.path.replace(/\{(\w+)\}/g, ":$1"),
      handler: async (request, reply) => {
        const { params, query, body } = request;
        const given = { ...judge(operation.params, params), ...judge(operation.query, query) };
        const answer = await handler({ ...given, ...judge(operation.body, body) });
        return reply.code(operation.code).send(operation.answer.parse(answer));
      },
    });
  }
  let document: object | undefined;
  app.get(OPENAPI_PATH, async () => {
    document ??= openApi(options.status().version);
    return document;
  });
  // HEAD has a handler of its own: that of GET does not end.
  app.get(EVENTS_PATH, { exposeHeadRoute: false }, (_request, reply) => streamEvents(handlers, reply));
  app.head(EVENTS_PATH, (_request, reply) => reply.type(EVENTS_TYPE).send());
  app.setNotFoundHandler((request, reply) => {
    const message = `There is no ${request.method} ${request.url.split("?")[0]}; ${OPENAPI_PATH} lists what there is.`;
    reply.code(404).send({ error: "not_found", message });
  });
  app.setErrorHandler((error: Error & { code?: string; statusCode?: number }, request, reply) => {
    const { error: code, message } = explain(error);
    // The pattern and not the path that was asked for, which holds what people wrote.
    if (code === "internal") options.onBug(error, `${request.method} ${request.routeOptions.url ?? "?"}`);
    reply.code(httpCodes[code] ?? 500).send({ error: code, message });
  });
  try {
    const remove = await openControlSocket(options.socketPath, (path) => app.listen({ path }));
    return {
      async close() {
        remove();
        await app.close();
      },
    };
  } catch (error) {
    await app.close();
    throw error;
  }
}

/** The parsed part of a request. Throws AnyhopError "bad_request" that names each field; never shows a value. */
function judge(schema: z.ZodObject, value: unknown): Record<string, unknown> {
  const result = schema.safeParse(value ?? {});
  if (result.success) return result.data;
  const sentences = result.error.issues.map(({ path, message }) => `${path.join(".") || "the request"}: ${message}`);
  throw new AnyhopError("bad_request", `${sentences.join("; ")}.`);
}

function explain(error: Error & { code?: string; statusCode?: number }): { error: string; message: string } {
  if (error instanceof AnyhopError) return { error: error.code, message: error.message };
  if (error.statusCode === 413)
    return { error: "too_large", message: `A request has at most ${BODY_BYTES_MAX} bytes.` };
  if (error.statusCode === 415)
    return { error: "unsupported_type", message: "Send JSON (content-type application/json)." };
  if (error.statusCode !== undefined && error.statusCode < 500)
    return { error: "bad_request", message: "This is no request that the daemon understands." };
  const why = error instanceof z.ZodError ? "an answer did not fit the contract" : "something failed inside the daemon";
  return { error: "internal", message: `This is a bug: ${why}. Please report it.` };
}

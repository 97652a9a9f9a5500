/** The OpenAPI 3.1 document of the control socket, made from the table of operations. */
import { z } from "zod";
import { errorSchema, eventSchema } from "./contract/control.ts";
import { EVENTS_PATH, type Operation, operations } from "./contract/operations.ts";

type Json = Readonly<Record<string, unknown>>;

/** `version`: of anyhop. */
export function openApi(version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const [operationId, operation] of Object.entries<Operation>(operations)) {
    paths[operation.path] ??= {};
    paths[operation.path][operation.method.toLowerCase()] = describe(operationId, operation);
  }
  paths[EVENTS_PATH] = {
    get: {
      operationId: "events",
      summary: "What happens, one JSON object a line, until the caller hangs up.",
      responses: { 200: content("application/x-ndjson", "output", eventSchema), default: failure() },
    },
  };
  return {
    openapi: "3.1.0",
    info: { title: "anyhop control socket", version },
    servers: [{ url: "http://localhost", description: "Over the Unix socket of the instance." }],
    paths,
  };
}

function describe(operationId: string, { summary, params, query, body, answer, code }: Operation): Json {
  const parameters = [...fields(params, "path"), ...fields(query, "query")];
  return {
    operationId,
    summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(Object.keys(body.shape).length > 0
      ? { requestBody: { required: true, ...content("application/json", "input", body) } }
      : {}),
    responses: { [code]: content("application/json", "output", answer), default: failure() },
  };
}

function fields(schema: z.ZodObject, where: "path" | "query"): Json[] {
  return Object.entries(schema.shape).map(([name, type]) => ({
    name,
    in: where,
    required: !(type as z.ZodType).safeParse(undefined).success,
    // Numbers in a query are text on the way; the document shows what they mean.
    schema: toJson(type as z.ZodType, "output"),
  }));
}

const failure = (): Json => content("application/json", "output", errorSchema);

function content(type: string, io: "input" | "output", schema: z.ZodType): Json {
  return { description: schema.description ?? "", content: { [type]: { schema: toJson(schema, io) } } };
}

function toJson(schema: z.ZodType, io: "input" | "output"): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io });
  return rest;
}

/**
 * Every operation of the control socket: method, path, what goes in and what comes out. Server, client, OpenAPI document
 * and tests are made from this table; nothing else knows a path.
 */
import { z } from "zod";
import { NAME_LEN_MAX } from "../../base/names.ts";
import { announceSchema, HEALTH_PATH, healthSchema, STATUS_PATH, statusSchema } from "../contract.ts";
import {
  clientAddedSchema,
  clientPageSchema,
  clientQuery,
  clientSchema,
  countersSchema,
  drainRequestSchema,
  emptySchema,
  logLevelSchema,
  newClientSchema,
  pingRequestSchema,
  pingSchema,
  reloadSchema,
  removedKeySchema,
  routesSchema,
  serviceSchema,
  sessionPageSchema,
  sessionQuery,
} from "./control.ts";
import {
  applyGroupKeysSchema,
  applyRosterSchema,
  groupKeysSchema,
  resyncRequestSchema,
  resyncSchema,
  rosterSchema,
  rotateRequestSchema,
} from "./group.ts";

const EMPTY = z.strictObject({});

export interface Operation {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Parameters are written {name}. */
  readonly path: string;
  readonly summary: string;
  /** Of the path. */
  readonly params: z.ZodObject;
  readonly query: z.ZodObject;
  readonly body: z.ZodObject;
  readonly answer: z.ZodType;
  /** Of the answer when all is well. */
  readonly code: 200 | 201;
}

const quiet = { params: EMPTY, query: EMPTY, body: EMPTY, code: 200 } as const;
const byName = z.object({ name: z.string().min(1).max(NAME_LEN_MAX) });
const byId = z.object({ id: z.coerce.number().int().min(0).max(0x7fff_ffff) });

export const operations = {
  status: {
    ...quiet,
    method: "GET",
    path: STATUS_PATH,
    summary: "What the daemon does: tunnels, counters, problems.",
    answer: statusSchema,
  },
  health: {
    ...quiet,
    method: "GET",
    path: HEALTH_PATH,
    summary: "Answers as long as the daemon does.",
    answer: healthSchema,
  },
  counters: {
    ...quiet,
    method: "GET",
    path: "/v1/counters",
    summary: "Packets, and requests for sessions, by what became of them, with the meaning of each counter.",
    answer: countersSchema,
  },
  service: {
    ...quiet,
    method: "GET",
    path: "/v1/service",
    summary: "What clients need to know of this group.",
    answer: serviceSchema,
  },
  listClients: {
    ...quiet,
    method: "GET",
    path: "/v1/clients",
    query: clientQuery,
    summary: "Who may come, in the order of names.",
    answer: clientPageSchema,
  },
  getClient: {
    ...quiet,
    method: "GET",
    path: "/v1/clients/{name}",
    params: byName,
    summary: "One client.",
    answer: clientSchema,
  },
  addClient: {
    ...quiet,
    method: "POST",
    path: "/v1/clients",
    body: newClientSchema,
    summary: "Lets a client come; it is kept over restarts.",
    answer: clientAddedSchema,
    code: 201,
  },
  removeClient: {
    ...quiet,
    method: "DELETE",
    path: "/v1/clients/{name}",
    params: byName,
    summary: "Cuts a client off, its session included.",
    answer: emptySchema,
  },
  removeKey: {
    ...quiet,
    method: "DELETE",
    path: "/v1/clients",
    query: z.object({ publicKey: z.string().min(1).max(64).describe("X25519, 44 characters of base64.") }),
    summary: "Cuts whoever has this key off, on all nodes, also when this node has not heard of it.",
    answer: removedKeySchema,
  },
  listSessions: {
    ...quiet,
    method: "GET",
    path: "/v1/sessions",
    query: sessionQuery,
    summary: "Who is connected, in the order of session indexes.",
    answer: sessionPageSchema,
  },
  endSession: {
    ...quiet,
    method: "DELETE",
    path: "/v1/sessions/{id}",
    params: byId,
    summary: "Ends a session; the client may come again.",
    answer: emptySchema,
  },
  routes: {
    ...quiet,
    method: "GET",
    path: "/v1/routes",
    summary: "Inner prefixes and where packets for them go, longest first.",
    answer: routesSchema,
  },
  reload: {
    ...quiet,
    method: "POST",
    path: "/v1/reload",
    summary: "Reads the configuration file again; sessions whose settings did not change go on.",
    answer: reloadSchema,
  },
  getLogLevel: { ...quiet, method: "GET", path: "/v1/log-level", summary: "The log level.", answer: logLevelSchema },
  setLogLevel: {
    ...quiet,
    method: "PUT",
    path: "/v1/log-level",
    body: logLevelSchema,
    summary: "Sets the level of all log targets until the next start.",
    answer: logLevelSchema,
  },
  ping: {
    ...quiet,
    method: "POST",
    path: "/v1/ping",
    body: pingRequestSchema,
    summary: "Sends a control ping through a client's session.",
    answer: pingSchema,
  },
  announcement: {
    ...quiet,
    method: "GET",
    path: "/v1/announce",
    summary: "What routers are told of this node, its self-test, and the drain that is under way.",
    answer: announceSchema,
  },
  drain: {
    ...quiet,
    method: "POST",
    path: "/v1/drain",
    body: drainRequestSchema,
    summary: "Sends clients to other nodes, then withdraws; asked again it changes the end of the drain.",
    answer: announceSchema,
  },
  resync: {
    ...quiet,
    method: "POST",
    path: "/v1/resync",
    body: resyncRequestSchema,
    summary: "Asks the other nodes which sessions they know, and for what is missing here.",
    answer: resyncSchema,
  },
  roster: {
    ...quiet,
    method: "GET",
    path: "/v1/roster",
    summary: "Which nodes belong to the group, as the operator signed it.",
    answer: rosterSchema,
  },
  applyRoster: {
    ...quiet,
    method: "PUT",
    path: "/v1/roster",
    body: applyRosterSchema,
    summary: "Takes a newer roster of the operator; the other nodes get it from this one.",
    answer: rosterSchema,
  },
  applyGroupKeys: {
    ...quiet,
    method: "PUT",
    path: "/v1/group-keys",
    body: applyGroupKeysSchema,
    summary: "Takes another static key of the group; other nodes and clients get it from this node.",
    answer: groupKeysSchema,
  },
  rotate: {
    ...quiet,
    method: "POST",
    path: "/v1/rotate",
    body: rotateRequestSchema,
    summary: "Makes other keys for the group while it runs.",
    answer: emptySchema,
  },
  undrain: {
    ...quiet,
    method: "POST",
    path: "/v1/undrain",
    summary: "Ends a drain: the node serves again.",
    answer: announceSchema,
  },
} as const satisfies Readonly<Record<string, Operation>>;

/** Lines of JSON as things happen; no schema fits a stream, so it stands beside the table. */
export const EVENTS_PATH = "/v1/events";
export const OPENAPI_PATH = "/v1/openapi.json";

export type Operations = typeof operations;
export type OperationName = keyof Operations;
/** An operation without parameters, query or body has an empty object there, which says nothing about the others. */
type Named<T> = string extends keyof T ? unknown : T;
/** Everything that an operation takes, in one object: as the caller writes it, and as the handler gets it. */
export type Asked<K extends OperationName> = Named<z.input<Operations[K]["params"]>> &
  Named<z.input<Operations[K]["query"]>> &
  Named<z.input<Operations[K]["body"]>>;
export type Given<K extends OperationName> = Named<z.output<Operations[K]["params"]>> &
  Named<z.output<Operations[K]["query"]>> &
  Named<z.output<Operations[K]["body"]>>;
export type Answer<K extends OperationName> = z.output<Operations[K]["answer"]>;

/** Every operation over a real socket: answers, refusals with their HTTP codes, the OpenAPI document, events. */

import assert from "node:assert";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bugLog } from "../../src/api/bug_log.ts";
import { ask, followEvents } from "../../src/api/client.ts";
import { type ApiEvent, errorSchema } from "../../src/api/contract/control.ts";
import { operations } from "../../src/api/contract/operations.ts";
import { type ApiServer, startApiServer } from "../../src/api/server.ts";
import { AnyhopError } from "../../src/base/errors.ts";
import { createLogger, type LogRecord } from "../../src/base/log.ts";
import type { ClientControl } from "../../src/control/asked/control_port.ts";
import type { InstanceEvent } from "../../src/control/asked/event_hub.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { privateKeyFrom, publicKeyOf } from "../../src/control/text/keys/x25519.ts";
import { ANNA_PUBLIC, BELA_PUBLIC, GROUP_PUBLIC, PSK, SECRETS } from "../control/session_files.ts";
import { createNode, NODE_FILE, onBug, type TestNode } from "./node.ts";
import { sampleStatus } from "./sample.ts";

let folder: string;
let socket: string;
let node: TestNode;
let server: ApiServer;
const bugs: Error[] = [];

beforeEach(async () => {
  folder = mkdtempSync(`${tmpdir()}/anyhop-control-${process.pid}-`);
  socket = `${folder}/node.sock`;
  node = createNode();
  server = await startApiServer({
    ...{ socketPath: socket, status: sampleStatus, control: node.control },
    onBug: (error) => void bugs.push(error),
  });
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
  expect(bugs.splice(0)).toEqual([]);
});

interface Raw {
  readonly code: number;
  readonly text: string;
}
function raw(method: string, path: string, body?: string, type = "application/json"): Promise<Raw> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "content-type": type };
    const call = request({ socketPath: socket, method, path, headers, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve({ code: response.statusCode ?? 0, text }));
    });
    call.on("error", reject).end(body);
  });
}

describe("clients", () => {
  test("list, one, add, remove", async () => {
    expect(await ask(socket, "listClients", {})).toMatchObject({ clients: [{ name: "anna", psk: true }], next: null });
    const added = await ask(socket, "addClient", { name: "bela", publicKey: BELA_PUBLIC, psk: PSK });
    expect(added).toMatchObject({
      client: { name: "bela", addresses: ["10.9.0.3"], psk: true, modes: ["tunnel"] },
      service: { group: "example", publicKey: GROUP_PUBLIC, address: ["vpn.example.net:4444"], inner: ["10.9.0.1"] },
    });
    expect(await ask(socket, "getClient", { name: "bela" })).toEqual(added.client);
    expect(await ask(socket, "removeClient", { name: "bela" })).toEqual({});
    await expect(ask(socket, "getClient", { name: "bela" })).rejects.toMatchObject({ code: "unknown_client" });
    await ask(socket, "addClient", { name: "bela", publicKey: BELA_PUBLIC });
    expect(await ask(socket, "removeKey", { publicKey: BELA_PUBLIC })).toEqual({ name: "bela" });
    // On a node on its own nobody else could have added it.
    await expect(ask(socket, "removeKey", { publicKey: BELA_PUBLIC })).rejects.toMatchObject({
      code: "unknown_client",
    });
  });

  test("pages hold what was asked for, and all of them hold everyone once", async () => {
    const names = Array.from({ length: 25 }, (_, i) => `c${i}`);
    for (const [i, name] of names.entries()) {
      const publicKey = formatKey(publicKeyOf(privateKeyFrom(new Uint8Array(32).fill(50 + i))));
      await ask(socket, "addClient", { name, publicKey });
      node.sessions.connect(publicKey, "192.0.2.7:1", 1);
    }
    const seen: string[] = [];
    for (let after: string | null = ""; after !== null; ) {
      const page: { clients: { name: string }[]; next: string | null } = await ask(socket, "listClients", {
        after,
        limit: 10,
      });
      expect(page.clients.length).toBeLessThanOrEqual(10);
      seen.push(...page.clients.map(({ name }) => name));
      after = page.next;
    }
    expect(seen).toEqual(["anna", ...names].sort());
    const first = await ask(socket, "listSessions", { limit: 24 });
    const second = await ask(socket, "listSessions", { after: first.next!, limit: 24 });
    expect([first.sessions.length, second.sessions.length, second.next]).toEqual([24, 1, null]);
  });
});

test("sessions, routes, counters, ping", async () => {
  const id = node.sessions.connect(ANNA_PUBLIC, "192.0.2.7:4444", 3.5);
  expect((await ask(socket, "listSessions", {})).sessions).toMatchObject([{ id, client: "anna" }]);
  expect(await ask(socket, "ping", { client: "anna" })).toEqual({ client: "anna", rttMs: 3.5, node: null });
  expect(await ask(socket, "endSession", { id })).toEqual({});
  await expect(ask(socket, "ping", { client: "anna" })).rejects.toMatchObject({ code: "no_session" });
  expect((await ask(socket, "routes", {})).routes[0]).toEqual({
    prefix: "10.9.0.1/32",
    kind: "device",
    via: "anyhop0",
  });
  const { counters } = await ask(socket, "counters", {});
  expect(counters).toContainEqual({ name: "auth_failed", kind: "drop", count: 12, help: expect.any(String) });
});

test("reload and log level", async () => {
  node.text = `${NODE_FILE}[[client]]\nname = "bela"\npublic_key = "${BELA_PUBLIC}"\n`;
  expect((await ask(socket, "reload", {})).changes).toEqual([
    { what: "client", subject: "bela", kind: "added", fields: [], effect: "live" },
  ]);
  expect(await ask(socket, "getLogLevel", {})).toEqual({ level: "notice" });
  expect(await ask(socket, "setLogLevel", { level: "debug" })).toEqual({ level: "debug" });
});

describe("refusals", () => {
  const add = (change: object) => JSON.stringify({ name: "bela", publicKey: BELA_PUBLIC, ...change });
  test.each<[string, string, string | undefined, number, string]>([
    ["POST", "/v1/clients", "{", 400, "bad_request"],
    ["POST", "/v1/clients", "[]", 400, "bad_request"],
    ["POST", "/v1/clients", undefined, 400, "bad_request"],
    ["POST", "/v1/clients", add({ name: 7 }), 400, "bad_request"],
    ["POST", "/v1/clients", add({ secret: 7 }), 400, "bad_request"],
    ["POST", "/v1/clients", add({ modes: ["all"] }), 400, "bad_request"],
    ["POST", "/v1/clients", add({ psk: PSK.slice(1) }), 400, "bad_client"],
    ["POST", "/v1/clients", add({ name: "anna" }), 409, "client_exists"],
    ["POST", "/v1/clients", add({ publicKey: ANNA_PUBLIC }), 409, "key_taken"],
    ["POST", "/v1/clients", add({ addresses: ["10.9.0.1"] }), 409, "address_taken"],
    ["POST", "/v1/clients", add({ prefixes: Array(65).fill("198.51.100.0/24") }), 400, "bad_request"],
    ["POST", "/v1/clients", add({ name: "x".repeat(70_000) }), 413, "too_large"],
    ["DELETE", "/v1/clients/anna", undefined, 409, "client_in_file"],
    ["DELETE", "/v1/clients/nobody", undefined, 404, "unknown_client"],
    ["GET", "/v1/clients?limit=0", undefined, 400, "bad_request"],
    ["GET", "/v1/clients?limit=10001", undefined, 400, "bad_request"],
    ["GET", "/v1/clients/%2e%2e%2fx", undefined, 404, "unknown_client"],
    ["DELETE", "/v1/sessions/1", undefined, 404, "unknown_session"],
    ["DELETE", "/v1/sessions/one", undefined, 400, "bad_request"],
    ["POST", "/v1/ping", '{"client":"anna"}', 409, "no_session"],
    ["POST", "/v1/ping", '{"client":"anna","timeoutMs":60001}', 400, "bad_request"],
    ["PUT", "/v1/log-level", '{"level":"none"}', 400, "bad_request"],
    ["PATCH", "/v1/clients", undefined, 404, "not_found"],
    ["GET", "/v1/keys", undefined, 404, "not_found"],
  ])("%s %s %s", async (method, path, body, code, error) => {
    const answer = await raw(method, path, body);
    expect([answer.code, errorSchema.parse(JSON.parse(answer.text)).error]).toEqual([code, error]);
    for (const secret of SECRETS) expect(answer.text).not.toContain(secret);
  });

  test("another content type", async () => {
    expect((await raw("POST", "/v1/clients", "name=x", "text/plain")).code).toBe(400);
    expect(JSON.parse((await raw("POST", "/v1/clients", "<x/>", "application/xml")).text).error).toBe(
      "unsupported_type",
    );
  });

  test("a faulty file on reload names its lines", async () => {
    node.text = `${NODE_FILE}bad = 1\n`;
    const { code, text } = await raw("POST", "/v1/reload");
    expect([code, JSON.parse(text)]).toEqual([
      422,
      { error: "config_faults", message: expect.stringContaining("there is no key bad") },
    ]);
  });

  test("what is no HTTP is dropped, and the daemon goes on", async () => {
    const end = await new Promise<string>((resolve) => {
      let said = "";
      const client = connect(socket, () => client.end("\0\x01\x02 nonsense\r\n\r\n"));
      client.on("data", (chunk) => {
        said += chunk;
      });
      client.on("close", () => resolve(said));
      client.on("error", () => {});
    });
    expect(end).toContain("400");
    expect((await ask(socket, "health", {})).ok).toBe(true);
  });

  test("an instance with static keys only says so", async () => {
    await server.close();
    server = await startApiServer({ socketPath: socket, status: sampleStatus, onBug });
    for (const path of ["/v1/clients", "/v1/routes", "/v1/log-level", "/v1/events"]) {
      const { code, text } = await raw("GET", path);
      expect([path, code, JSON.parse(text).error]).toEqual([path, 409, "no_sessions"]);
    }
    expect((await ask(socket, "counters", {})).counters.length).toBeGreaterThan(10);
  });
});

test("a bug is answered without details, and logged with them once a second", async () => {
  await server.close();
  const records: LogRecord[] = [];
  const sink = { level: 1, write: (record: LogRecord) => void records.push(record), close: () => {} };
  const clock = { monotonicMs: () => 0, wallMs: () => 0 };
  const control = Object.create(node.control, {
    removeClient: { value: () => assert.fail("a hole in the book") },
    logLevel: { value: () => "loud" },
  });
  const log = createLogger(clock, [sink]);
  server = await startApiServer({ socketPath: socket, status: sampleStatus, control, onBug: bugLog(log, clock) });
  for (let n = 0; n < 2; n++) {
    const { code, text } = await raw("DELETE", "/v1/clients/anna");
    expect([code, JSON.parse(text).error]).toEqual([500, "internal"]);
    expect(text).not.toContain("hole");
  }
  expect(await raw("GET", "/v1/log-level")).toMatchObject({
    code: 500,
    text: expect.stringContaining("did not fit the contract"),
  });
  expect(records.map(({ level, event }) => [level, event])).toEqual([
    [1, "internal"],
    [1, "internal"],
  ]);
  expect(records[0].message).toMatch(
    /^DELETE \/v1\/clients\/:name failed inside the daemon; .*a hole in the book\n +at /,
  );
  expect(records[1].message).toContain("GET /v1/log-level");
  for (const { message } of records) expect(message).not.toContain("anna");
});

describe("the OpenAPI document", () => {
  test("has every operation, and references that lead somewhere", async () => {
    const document = JSON.parse((await raw("GET", "/v1/openapi.json")).text);
    expect(document.openapi).toBe("3.1.0");
    const listed = Object.entries<object>(document.paths).flatMap(([path, methods]) =>
      Object.entries<{ operationId: string }>(methods as never).map(
        ([method, { operationId }]) => `${operationId} ${method.toUpperCase()} ${path}`,
      ),
    );
    const known = Object.entries(operations).map(([name, { method, path }]) => `${name} ${method} ${path}`);
    expect(listed.sort()).toEqual([...known, "events GET /v1/events"].sort());
    expect(JSON.stringify(document)).not.toContain("$ref");
    for (const [path, methods] of Object.entries<Record<string, { parameters?: { name: string; in: string }[] }>>(
      document.paths,
    )) {
      const named = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      for (const { parameters } of Object.values(methods))
        expect((parameters ?? []).filter((p) => p.in === "path").map((p) => p.name)).toEqual(named);
    }
  });

  test("says what a new client needs", async () => {
    const document = JSON.parse((await raw("GET", "/v1/openapi.json")).text);
    const { schema } = document.paths["/v1/clients"].post.requestBody.content["application/json"];
    expect(schema.required).toEqual(["name", "publicKey"]);
    expect(schema.additionalProperties).toBe(false);
    const answer = document.paths["/v1/clients"].post.responses["201"].content["application/json"].schema;
    expect(answer.properties.client.properties.psk.type).toBe("boolean");
  });
});

test("announce, drain, undrain", async () => {
  expect(await ask(socket, "announcement", {})).toMatchObject({ kind: "none", wish: "serve", drain: null });
  expect(await ask(socket, "drain", { maxS: 5 })).toMatchObject({ wish: "drain", drain: { leftMs: 5000 } });
  expect(await ask(socket, "undrain", {})).toMatchObject({ wish: "serve", drain: null });
  for (const body of ['{"maxS":-1}', '{"maxS":86401}', '{"exit":1}', '{"now":true}'])
    expect(await raw("POST", "/v1/drain", body)).toMatchObject({ code: 400 });
});

describe("a client's daemon", () => {
  test("pings its services and tells its events; what needs a node is refused with the reason", async () => {
    await server.close();
    const listeners = new Set<(event: InstanceEvent) => void>();
    const client: ClientControl = {
      controls: () => [],
      services: () => [],
      ping: async (service, timeoutMs) => {
        if (service === "example") return { rttMs: timeoutMs / 1000, node: 2 };
        throw new AnyhopError("unknown_service", `There is no service ${service} here, but example.`);
      },
      follow(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    };
    server = await startApiServer({ socketPath: socket, status: sampleStatus, client, onBug });
    expect(await ask(socket, "ping", { client: "example" })).toEqual({ client: "example", rttMs: 2, node: 2 });
    expect(await raw("POST", "/v1/ping", '{"client":"other"}')).toMatchObject({ code: 404 });
    expect(await raw("GET", "/v1/clients")).toMatchObject({ code: 409, text: expect.stringContaining("is no node") });
    const stop = new AbortController();
    const seen: ApiEvent[] = [];
    const following = followEvents(
      socket,
      (event) => {
        seen.push(event);
        stop.abort();
      },
      stop.signal,
    );
    await expect.poll(() => listeners.size).toBe(1);
    const event = { timeMs: 1, event: "session_up", message: "Service example: session up", subject: "example" };
    for (const tell of listeners) tell(event);
    await following;
    expect(seen).toEqual([event]);
  });
});

describe("events", () => {
  test("arrive as they happen, until the reader leaves", async () => {
    const seen: ApiEvent[] = [];
    const stop = new AbortController();
    let arrived: () => void;
    const two = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const following = followEvents(
      socket,
      (event) => {
        seen.push(event);
        if (seen.length === 2) arrived();
      },
      stop.signal,
    );
    // The reader is there once the daemon has taken its request; until then, events are not for it.
    const poke = setInterval(() => node.control.setLogLevel("info"), 5);
    await two;
    clearInterval(poke);
    stop.abort();
    await following;
    expect(seen[0]).toEqual({ timeMs: 1_750_000_000_000, event: "log_level", message: expect.any(String) });
  });

  test("a reader that does not read costs little, and learns what it lost", async () => {
    const silent = connect(socket, () => silent.write("GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n"));
    await new Promise((resolve) => silent.once("readable", resolve));
    silent.pause();
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
    for (let i = 0; i < 20_000; i++) {
      node.control.setLogLevel(i % 2 === 0 ? "info" : "debug");
      if (i % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const after = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
    expect(after - before).toBeLessThan(64 * 1024 * 1024);
    let said = "";
    silent.on("data", (chunk) => {
      said += chunk;
    });
    silent.resume();
    await new Promise<void>((resolve) => {
      const poke = setInterval(() => {
        node.control.setLogLevel("info");
        if (!said.includes('"event":"lost"')) return;
        clearInterval(poke);
        resolve();
      }, 5);
    });
    expect(said).toMatch(/"event":"lost","message":"\d+ lines were lost"/);
    silent.destroy();
  });

  test("when the daemon ends, so does the reader, with the reason", async () => {
    const following = followEvents(socket, () => {}, new AbortController().signal);
    const refused = expect(following).rejects.toMatchObject({ code: "no_daemon" });
    await ask(socket, "health", {});
    await server.close();
    await refused;
  });
});

test("no answer holds a secret", async () => {
  await ask(socket, "addClient", { name: "bela", publicKey: BELA_PUBLIC, psk: PSK });
  node.sessions.connect(BELA_PUBLIC, "192.0.2.7:4444", 1);
  const gets = Object.values(operations).filter(({ method, path }) => method === "GET" && !path.includes("{"));
  const texts = await Promise.all(gets.map(({ path }) => raw("GET", path)));
  texts.push(
    await raw("GET", "/v1/clients/bela"),
    await raw("GET", "/v1/openapi.json"),
    await raw("POST", "/v1/reload"),
  );
  for (const { code, text } of texts) {
    expect(code).toBe(200);
    for (const secret of SECRETS) expect(text).not.toContain(secret);
  }
});

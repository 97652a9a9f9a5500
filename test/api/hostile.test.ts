/** Requests that were made to hurt: each gets an answer in words, none hangs, and the next one is served as before. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask, followEvents } from "../../src/api/client.ts";
import { errorSchema } from "../../src/api/contract/control.ts";
import { type ApiServer, startApiServer } from "../../src/api/server.ts";
import { BELA_PUBLIC } from "../control/session_files.ts";
import { createNode, onBug, type TestNode } from "./node.ts";
import { sampleStatus } from "./sample.ts";

let folder: string;
let socket: string;
let node: TestNode;
let server: ApiServer;

beforeAll(async () => {
  folder = mkdtempSync(`${tmpdir()}/anyhop-hostile-api-${process.pid}-`);
  socket = `${folder}/node.sock`;
  node = createNode();
  server = await startApiServer({ socketPath: socket, status: sampleStatus, control: node.control, onBug });
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Writes bytes and reads until the daemon closes. */
function exchange(bytes: string | Buffer, path = socket): Promise<string> {
  return new Promise((resolve) => {
    let said = "";
    const client = connect(path, () => client.write(bytes));
    client.on("data", (chunk) => {
      said += chunk;
    });
    client.on("error", () => {});
    client.on("close", () => resolve(said));
  });
}
const http = (first: string, headers: readonly string[] = [], body = ""): string =>
  `${[`${first} HTTP/1.1`, "host: x", "connection: close", ...headers].join("\r\n")}\r\n\r\n${body}`;
const json = (method: string, path: string, body: string): string =>
  http(`${method} ${path}`, ["content-type: application/json", `content-length: ${Buffer.byteLength(body)}`], body);
const codeOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]);
const errorOf = (answer: string): string =>
  errorSchema.parse(
    JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4).replace(/^[0-9a-f]+\r\n|\r\n0\r\n\r\n$/g, "")),
  ).error;

describe("each is refused in words", () => {
  const add = (more: string): string =>
    json("POST", "/v1/clients", `{"name":"bela","publicKey":"${BELA_PUBLIC}"${more}}`);
  const chunked = ["content-type: application/json", "transfer-encoding: chunked"];
  const deep = "[".repeat(30_000);
  test.each<[string, string, number, string]>([
    ["no HTTP", "\0\x01\x02 nonsense\r\n\r\n", 400, "bad_request"],
    ["a method that is none", http("BREW /v1/status"), 400, "bad_request"],
    ["a method that nothing has", http("PROPFIND /v1/status"), 404, "not_found"],
    ["a method that the path has not", http("DELETE /v1/status"), 404, "not_found"],
    ["TRACE", http("TRACE /v1/status"), 404, "not_found"],
    ["a bad path", http("GET /v1/clients/%zz"), 400, "bad_request"],
    ["a long path", http(`GET /v1/clients/${"x".repeat(1000)}`), 414, "bad_request"],
    ["a longer path", http(`GET /${"x".repeat(9000)}`), 431, "too_large"],
    ["long headers", http("GET /v1/status", [`x: ${"x".repeat(9000)}`]), 431, "too_large"],
    ["many headers", http("GET /v1/status", Array(8000).fill("x: y")), 431, "too_large"],
    [
      "a body that says it is long",
      http("POST /v1/clients", ["content-type: application/json", "content-length: 99999999"]),
      413,
      "too_large",
    ],
    ["two lengths", http("POST /v1/clients", ["content-length: 1", "content-length: 2"]), 400, "bad_request"],
    [
      "a length and chunks",
      http("POST /v1/clients", [...chunked, "content-length: 2"], "2\r\n{}\r\n0\r\n\r\n"),
      400,
      "bad_request",
    ],
    [
      "chunks that grow too long",
      http("POST /v1/clients", chunked, `10000\r\n${"x".repeat(0x10000)}\r\n1\r\nx\r\n0\r\n\r\n`),
      413,
      "too_large",
    ],
    [
      "another type",
      http("POST /v1/clients", ["content-type: text/xml", "content-length: 4"], "<x/>"),
      415,
      "unsupported_type",
    ],
    ["no type", http("POST /v1/clients", ["content-length: 4"], "<x/>"), 415, "unsupported_type"],
    [
      "a type of nonsense",
      http("POST /v1/clients", ["content-type: ;;;", "content-length: 4"], "<x/>"),
      415,
      "unsupported_type",
    ],
    ["deep JSON", json("POST", "/v1/clients", deep + "]".repeat(30_000)), 400, "bad_request"],
    ["deep JSON that does not close", json("POST", "/v1/clients", deep), 400, "bad_request"],
    ["deep JSON in a field", add(`,"addresses":${deep}${"]".repeat(30_000)}`), 400, "bad_request"],
    ["__proto__", add(',"__proto__":{"modes":["open"]}'), 400, "bad_request"],
    ["constructor", add(',"constructor":{"prototype":{"x":1}}'), 400, "bad_request"],
    [
      "__proto__ as a name",
      json("POST", "/v1/clients", `{"name":"__proto__","publicKey":"${BELA_PUBLIC}"}`),
      400,
      "bad_client",
    ],
    [
      "constructor as a name",
      json("POST", "/v1/clients", `{"name":"constructor","publicKey":"${BELA_PUBLIC}"}`),
      400,
      "bad_client",
    ],
    [
      "a path as a name",
      json("POST", "/v1/clients", `{"name":"../x","publicKey":"${BELA_PUBLIC}"}`),
      400,
      "bad_client",
    ],
    ["a client that every object has", http("GET /v1/clients/__proto__"), 404, "unknown_client"],
    ["and its removal", http("DELETE /v1/clients/constructor"), 404, "unknown_client"],
    ["a query of all objects", http("GET /v1/status?__proto__[x]=1"), 400, "bad_request"],
    ["a number that is none", http("GET /v1/clients?limit=1e999"), 400, "bad_request"],
  ])("%s", async (_what, request, code, error) => {
    const answer = await exchange(request);
    expect([codeOf(answer), errorOf(answer)]).toEqual([code, error]);
    expect(answer).not.toMatch(/\n\s+at |FST_|HPE_/);
    expect(({} as Record<string, unknown>)["x"]).toBeUndefined();
    expect((await ask(socket, "health", {})).ok).toBe(true);
    expect((await ask(socket, "listClients", {})).clients.map(({ name }) => name)).toEqual(["anna"]);
  });
});

test("HEAD ends, also where GET does not", async () => {
  for (const path of ["/v1/events", "/v1/status", "/v1/openapi.json"]) {
    const answer = await exchange(http(`HEAD ${path}`));
    expect([path, codeOf(answer)]).toEqual([path, 200]);
    expect(answer.slice(answer.indexOf("\r\n\r\n") + 4)).toBe("");
  }
});

test("a request that does not become complete is ended, and those beside it are served", async () => {
  const slow = await startApiServer({ socketPath: `${folder}/slow.sock`, status: sampleStatus, onBug, requestMs: 100 });
  try {
    const path = `${folder}/slow.sock`;
    const halves = [
      "",
      "GET /v1/sta",
      "GET /v1/status HTTP/1.1\r\nhost: x\r\n",
      "POST /v1/clients HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
    ];
    const ends = halves.map((half) => exchange(half, path));
    expect((await ask(path, "health", {})).ok).toBe(true);
    for (const [i, end] of ends.entries()) {
      const answer = await end;
      if (i > 0) expect([i, codeOf(answer), errorOf(answer)]).toEqual([i, 408, "too_slow"]);
    }
  } finally {
    await slow.close();
  }
});

test("more connections than there may be are closed, and there is room again afterwards", async () => {
  const held = Array.from({ length: 256 }, () => connect(socket));
  await Promise.all(held.map((one) => new Promise((resolve) => one.once("connect", resolve))));
  for (const one of held) one.write(http("GET /v1/events").replace("connection: close\r\n", ""));
  const answered = held.filter((one) => new Promise((resolve) => one.once("data", resolve)));
  expect(await exchange(http("GET /v1/health"))).toBe("");
  for (const one of answered) one.destroy();
  await expect.poll(async () => codeOf(await exchange(http("GET /v1/health")))).toBe(200);
});

describe("a daemon that is none", () => {
  test.each(["nonsense\n", '{"event":1}\n', "[]\n", '{"__proto__":1}\n'])("events of %j", async (line) => {
    const other = createServer((_request, response) => response.writeHead(200).write(line));
    const path = `${folder}/other.sock`;
    await new Promise<void>((resolve) => other.listen(path, resolve));
    try {
      const seen: unknown[] = [];
      const following = followEvents(path, (event) => seen.push(event), new AbortController().signal);
      await expect(following).rejects.toMatchObject({ code: "bad_answer" });
      expect(seen).toEqual([]);
    } finally {
      other.closeAllConnections();
      await new Promise((resolve) => other.close(resolve));
    }
  });
});

/** Server and client over a real Unix socket: answers, permissions, stale and living sockets. */
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, expect, test } from "vitest";
import { getHealth, getStatus } from "../../src/api/client.ts";
import type { Status } from "../../src/api/contract.ts";
import { type ApiServer, startApiServer } from "../../src/api/server.ts";
import { onBug } from "./node.ts";
import { sampleStatus } from "./sample.ts";

let folder: string;
let socketPath: string;
const open: { close(): unknown }[] = [];

beforeEach(() => {
  folder = mkdtempSync(`${tmpdir()}/anyhop-api-${process.pid}-`);
  socketPath = `${folder}/run/node.sock`;
});
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(status: () => Status = () => sampleStatus()): Promise<ApiServer> {
  const server = await startApiServer({ socketPath, status, onBug });
  open.push(server);
  return server;
}
async function listenRaw(path: string, onData: string): Promise<Server> {
  const server = createServer((socket) => socket.once("data", () => socket.end(onData)));
  open.push(server);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return server;
}

test("status and health arrive as they were sent", async () => {
  await start();
  expect(await getStatus(socketPath)).toEqual(sampleStatus());
  expect(await getHealth(socketPath)).toEqual({ name: "node", pid: process.pid, ok: true, problems: [] });
});

test("each request asks anew", async () => {
  let uptimeS = 0;
  await start(() => ({ ...sampleStatus(), uptimeS: ++uptimeS }));
  expect([(await getStatus(socketPath)).uptimeS, (await getStatus(socketPath)).uptimeS]).toEqual([1, 2]);
});

test("only the owner may open the socket, and nothing else is left in the folder", async () => {
  const server = await start();
  expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  expect(existsSync(`${socketPath}.${process.pid}`)).toBe(false);
  await server.close();
  expect(existsSync(socketPath)).toBe(false);
});

test("a second daemon on the same socket is refused, the first goes on", async () => {
  await start();
  await expect(startApiServer({ socketPath, status: sampleStatus, onBug })).rejects.toMatchObject({
    code: "already_running",
    message: expect.stringContaining(socketPath),
  });
  expect((await getHealth(socketPath)).ok).toBe(true);
});

test("a socket that nobody answers on is replaced", async () => {
  await (await start()).close();
  // A dead socket: bound by somebody who went away without removing it.
  const dead = await listenRaw(`${folder}/bound`, "");
  const { linkSync } = await import("node:fs");
  linkSync(`${folder}/bound`, socketPath);
  await new Promise((resolve) => dead.close(resolve));
  open.splice(open.indexOf(dead), 1);
  expect(statSync(socketPath).isSocket()).toBe(true);
  await expect(getStatus(socketPath)).rejects.toMatchObject({ code: "no_daemon" });
  await start();
  expect((await getHealth(socketPath)).ok).toBe(true);
});

test("something else in the way is not touched", async () => {
  await (await start()).close();
  writeFileSync(socketPath, "precious");
  await expect(start()).rejects.toMatchObject({ code: "socket_in_use" });
  expect(statSync(socketPath).size).toBe(8);
});

test("close does not remove the socket of a successor", async () => {
  const first = await start();
  rmSync(socketPath);
  await start();
  await first.close();
  expect((await getHealth(socketPath)).ok).toBe(true);
});

test("a folder that cannot be written is a sentence", async () => {
  writeFileSync(`${folder}/run`, "a file where the folder should be");
  await expect(start()).rejects.toMatchObject({ code: "socket_failed", message: expect.stringContaining(socketPath) });
});

test("a folder in a file system that refuses is a sentence, too", async () => {
  socketPath = "/proc/anyhop/node.sock";
  await expect(start()).rejects.toMatchObject({ code: "socket_failed", message: expect.stringContaining(socketPath) });
});

test("no socket: the error names it", async () => {
  await expect(getStatus(socketPath)).rejects.toMatchObject({
    code: "no_daemon",
    message: `No anyhop daemon answers on ${socketPath}: there is no such socket.`,
  });
});

test("no permission (as another user than root)", async () => {
  await start();
  chmodSync(folder, 0o000);
  const { getuid } = process;
  try {
    if (getuid?.() === 0) process.seteuid?.(65534);
    await expect(getStatus(socketPath)).rejects.toMatchObject({ code: "permission" });
  } finally {
    if (getuid?.() === 0) process.seteuid?.(0);
    chmodSync(folder, 0o700);
  }
});

test.each([
  ["not JSON", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"],
  ["another contract", 'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"name":"a"}'],
  ["an error", "HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}"],
])("an answer that is %s", async (_what, answer) => {
  const path = `${folder}/other.sock`;
  await listenRaw(path, answer);
  await expect(getStatus(path)).rejects.toMatchObject({ code: "bad_answer" });
});

test("a daemon that never answers", async () => {
  const path = `${folder}/silent.sock`;
  const sockets: { destroy(): void }[] = [];
  const server = createServer((socket) => sockets.push(socket));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await expect(getStatus(path, 50)).rejects.toMatchObject({ code: "timeout" });
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

test("another path is not found", async () => {
  await start();
  const { request } = await import("node:http");
  const code = await new Promise<number | undefined>((resolve, reject) => {
    const call = request({ socketPath, path: "/v1/keys", agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    call.on("error", reject).end();
  });
  expect(code).toBe(404);
});
